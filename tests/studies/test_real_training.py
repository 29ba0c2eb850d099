"""Few real clips: which classes are trained on, where adapters start, what is tested; a tiny backbone."""

import pytest
import torch

from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.data.labelled import LabelledClips
from taskadapter_lite.studies import real_training, sim_to_real
from taskadapter_lite.studies.real_training import (
    PARTS,
    RUNGS,
    RealBudget,
    build,
    load_real_training,
    real_training_table,
    run_real_training,
    training_classes,
)
from taskadapter_lite.training.checkpoints import save_checkpoint

TINY = RealBudget(n_steps=2, n_test=4, views=1, size=16)


class Noise(LabelledClips):
    """Ten classes of four clips, read from nowhere."""

    def __init__(self, name):
        labels = [c for c in range(10) for _ in range(4)]
        names = [f"{'train' if c < 5 else 'test'}{c}" for c in range(10)]
        super().__init__([f"{name}/{i}" for i in range(40)], labels, names, 8)

    def read(self, i, view=None):
        generator = self.view_generator(i, -1 if view is None else view)
        return torch.randint(256, (8, 3, 16, 16), generator=generator, dtype=torch.uint8)


@pytest.fixture
def made(monkeypatch):
    def tiny(name, img_size):
        torch.manual_seed(1)
        return load_backbone(pretrained=False, img_size=img_size, embed_dim=16, depth=2, num_heads=2)

    monkeypatch.setattr(sim_to_real, "load_backbone", tiny)
    monkeypatch.setattr(real_training, "open_real", lambda root, name, size: Noise(name))


def test_rungs_are_trained_on_five_classes_and_tested_on_both_parts(made, tmp_path):
    run_real_training(TINY, [0, 1], tmp_path, tmp_path / "out", ["Frozen", "Full"])
    found = list(load_real_training(tmp_path / "out"))
    assert len(found) == 2 * 2 * (1 + 2)  # sets, parts; a frozen rung has one seed
    for name in ("ssv2_toy", "signs"):
        names = [
            {tuple(r.class_names) for r in found if r.metadata["part"] == p and r.metadata["set"] == name}
            for p in PARTS
        ]
        assert not set(*names[0]) & set(*names[1])
        table = real_training_table(found, name, PARTS[1])
        assert list(table.seeds) == [1, 2]
        assert table.difference[0] == 0
    tuned = next(r for r in found if r.name == "Full fine-tuning")
    assert tuned.trainable_parameters > 0 == found[0].trainable_parameters
    with pytest.raises(ValueError, match="needs --start DIR"):
        run_real_training(TINY, [0], tmp_path, tmp_path / "out", ["started from"])


def test_the_toy_sets_own_part_and_every_second_sign_are_trained_on():
    assert training_classes("ssv2_toy", ["test0_a", "train0_b", "val1_c", "train1_d"]) == ["train0_b", "train1_d"]
    assert training_classes("signs", list("abcde")) == list("ace")


def test_adapters_of_sprites_are_what_is_started_from(made, tmp_path):
    rung = next(rung for rung in RUNGS if rung.from_sprites)
    source = sim_to_real.build(
        next(r for r in sim_to_real.RUNGS if r.name == "+ time, OTAM"), sim_to_real.SimBudget(size=16), 0
    )
    with torch.no_grad():
        for value in source.trainable_parameters():
            value.fill_(0.25)
    folder = tmp_path / "runs" / real_training.SPRITES_RUN.format(0)
    assert folder.name == f"{sim_to_real.file_name('+ time, OTAM')}_seed0"
    folder.mkdir(parents=True)

    save_checkpoint(folder / "adapters.safetensors", source)
    model = build(rung, TINY, 0, tmp_path)
    assert all((value == 0.25).all() for value in model.trainable_parameters())
