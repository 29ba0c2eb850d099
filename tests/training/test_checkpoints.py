import errno
import json
import math
import os

import pytest
import torch
from tiny_run import tiny_backbone, tiny_model

from taskadapter_lite.data.datasets import bundled_clips
from taskadapter_lite.episodes import load_episodes
from taskadapter_lite.evaluation import evaluate
from taskadapter_lite.files import data_dir
from taskadapter_lite.training import checkpoints
from taskadapter_lite.training.checkpoints import (
    CheckpointError,
    check_writable,
    fingerprint,
    load_checkpoint,
    load_model,
    newest_usable,
    read_checkpoint,
    save_checkpoint,
    save_training_checkpoint,
    training_checkpoints,
)


def trained_model(seed: int = 7, **options):
    """A model whose adapters are not at their start."""
    model = tiny_model(**options)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.trainable_parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture
def saved(tmp_path):
    model = trained_model()
    return model, save_checkpoint(tmp_path / "a.safetensors", model, metadata={"classes": ["pushing", "naïve"]})


def test_adapters_return_bit_for_bit_without_the_backbone(saved):
    model, path = saved
    other = tiny_model()
    content = load_checkpoint(path, other)
    assert content["metadata"] == {"classes": ["pushing", "naïve"]}
    assert content["training_state"] is None
    for name, value in model.adapter_state().items():
        assert torch.equal(other.adapter_state()[name], value), name
    stored = sum(tensor.numel() for tensor in read_checkpoint(path)[0].values())
    assert stored == sum(p.numel() for p in model.trainable_parameters())


def test_training_state_keeps_tensors_and_exact_floats(tmp_path):
    state = {
        "step": 3,
        "history": [{"loss": 0.1 + 0.2, "none": None}],
        "m.0": torch.tensor([1.5, -0.0]),
        "s": torch.tensor(4),
    }
    path = save_checkpoint(tmp_path / "a.safetensors", tiny_model(), state)
    loaded = load_checkpoint(path, tiny_model())["training_state"]
    assert loaded.pop("m.0").tolist() == [1.5, -0.0]
    assert loaded.pop("s") == 4
    assert loaded == {"step": 3, "history": [{"loss": 0.1 + 0.2, "none": None}]}


def test_safetensors_itself_reads_the_file(saved):
    from safetensors import safe_open

    model, path = saved
    with safe_open(path, "pt") as file:
        description = json.loads(file.metadata()["content"])
        assert description["model"] == json.loads(json.dumps(model.config))
        assert {f"adapters.{name}" for name in model.adapter_state()} == set(file.keys())


def test_damage_at_any_byte_is_found(saved):
    _, path = saved
    data = path.read_bytes()
    header_end = 8 + int.from_bytes(data[:8], "little")
    places = [
        *range(header_end),
        *range(header_end, len(data), 97),
        len(data) - 1,
    ]  # all of the header, much of the rest
    for place in places:
        damaged = bytearray(data)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="a.safetensors"):
            read_checkpoint(path)
    path.write_bytes(data)
    read_checkpoint(path)


@pytest.mark.parametrize("keep", [0, 4, 8, 100, -1])
def test_a_cut_file_is_refused_and_the_model_left_alone(saved, keep):
    _, path = saved
    path.write_bytes(path.read_bytes()[:keep])
    model = tiny_model()
    before = model.adapter_state()
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path, model)
    assert all(torch.equal(before[name], value) for name, value in model.adapter_state().items())


def test_a_longer_file_is_refused(saved):
    _, path = saved
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(path)


def test_files_that_are_not_ours_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    for name, reason in [("other", "not a checkpoint"), ("text", "not a checkpoint"), ("none", "No such file")]:
        with pytest.raises(CheckpointError, match=reason):
            read_checkpoint(tmp_path / f"{name}.safetensors")
    with pytest.raises(CheckpointError, match="directory"):
        read_checkpoint(tmp_path)


def test_a_later_format_is_refused_by_name(saved, monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoints, "FORMAT", "taskadapter_lite checkpoint 99")
    path = save_checkpoint(tmp_path / "new.safetensors", tiny_model())
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="checkpoint 99"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "other, named",
    [
        ({"depth": 2}, "depth 1, not 2"),
        ({"axes": ("space",)}, "axes"),
        ({"ratio": 0.5}, "ratio"),
        ({"temporal_embedding": None}, "temporal_embedding"),
        ({"task_frames": "all"}, "task_frames 'same', not 'all'"),
        ({"class_mark": True}, "class_mark False, not True"),
        ({"seed": 3}, "another backbone"),
    ],
)
def test_another_model_is_refused(saved, other, named):
    _, path = saved
    with pytest.raises(CheckpointError, match=named):
        load_checkpoint(path, tiny_model(**other))


def test_the_scope_may_differ(saved):
    _, path = saved
    model = tiny_model(scope="joint")
    load_checkpoint(path, model)
    assert model.scope == "joint"


def test_adapters_of_fewer_frames_are_interpolated_with_a_warning(saved):
    model, path = saved
    longer = tiny_model(T=2 * model.T)
    with pytest.warns(UserWarning, match=f"trained for T={model.T} is interpolated to T={2 * model.T}"):
        load_checkpoint(path, longer)
    assert torch.allclose(longer.temporal.mean(0), model.temporal.mean(0), atol=1e-5)
    for name, value in model.adapter_state().items():
        assert name == "temporal" or torch.equal(longer.adapter_state()[name], value)


def test_load_model_builds_what_the_file_describes(tmp_path):
    model = trained_model(scope="split", axes=("time", "task"), task_frames="all", class_mark=True)
    path = save_checkpoint(tmp_path / "a.safetensors", model)
    built = load_model(path, tiny_backbone())
    assert built.config == model.config
    clips = torch.rand(4, 3, 3, 16, 16)
    assert torch.equal(built(clips, 2, 2), model.eval()(clips, 2, 2))
    with pytest.raises(CheckpointError, match="backbone"):
        load_model(path)  # a random backbone can't be found by name


def test_a_file_that_does_not_name_what_task_attention_sees_holds_the_published_choice():
    path = data_dir() / "task_adapter.safetensors"
    assert not {"task_frames", "class_mark"} & read_checkpoint(path)[1]["model"].keys()
    model = load_model(path)
    assert (model.task_frames, model.class_mark) == ("same", False)


def test_full_fine_tuning_stores_the_backbone(tmp_path):
    model = tiny_model(axes=(), temporal_embedding=None)
    model.backbone.requires_grad_(True)
    model.backbone.blocks[0].norm1.weight.data += 1
    path = save_checkpoint(tmp_path / "a.safetensors", model)
    other = load_model(path, tiny_backbone())
    assert torch.equal(other.backbone.blocks[0].norm1.weight, model.backbone.blocks[0].norm1.weight)
    assert fingerprint(other.backbone) == fingerprint(model.backbone)


def test_only_the_last_two_training_checkpoints_are_kept(tmp_path):
    for step in (5, 10, 15, 100):
        save_training_checkpoint(tmp_path, step, tiny_model(), {"step": step}, {})
    assert [path.name for path in training_checkpoints(tmp_path)] == [
        "step_00000015.safetensors",
        "step_00000100.safetensors",
    ]


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path):
    for step in (5, 10):
        save_training_checkpoint(tmp_path, step, tiny_model(), {"step": step}, {})
    older, newer = training_checkpoints(tmp_path)
    assert newest_usable([older, newer]) == newer
    newer.write_bytes(newer.read_bytes()[:-3])
    with pytest.warns(UserWarning, match="00000010"):
        assert newest_usable([older, newer]) == older
    older.write_bytes(b"")
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(CheckpointError, match="every checkpoint"):
        newest_usable([older, newer])
    assert newest_usable([]) is None


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_leaves_the_older_file_whole(saved, monkeypatch, failing):
    _, path = saved
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, trained_model(8))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_an_unusable_folder_is_known_before_training(tmp_path):
    check_writable(tmp_path / "new" / "folder", 1000)
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="can't write checkpoints"):
        check_writable(tmp_path / "file" / "folder", 1000)
    with pytest.raises(OSError, match="bytes are free|are free"):
        check_writable(tmp_path, 10**18)


def test_the_bundled_adapters_say_how_they_were_trained():
    """Their file is older than the field: metric and temperature are found in its other parts."""
    model = load_model(data_dir() / "task_adapter.safetensors")
    assert model.trained_with == {
        "metric": "otam",
        "aggregation": "prototype",
        "temperature": pytest.approx(math.exp(0.3850), abs=1e-3),
    }


def test_the_bundled_adapters_are_scored_as_recorded_and_one_shot_leaves_no_choice():
    model, clips = load_model(data_dir() / "task_adapter.safetensors"), bundled_clips("test")
    found = {}
    for shots in (1, 5):
        episodes = load_episodes(data_dir() / "episodes" / f"test_5way_{shots}shot.json", clips)[:2]
        for aggregation in (None, "prototype", "per_shot"):
            found[shots, aggregation] = evaluate(model, clips, episodes, aggregation=aggregation, progress=False)
    assert {run.metric for run in found.values()} == {"otam"}
    assert {shots: found[shots, None].config["aggregation"] for shots in (1, 5)} == {1: "prototype", 5: "prototype"}
    assert found[1, None].confusion == found[1, "prototype"].confusion == found[1, "per_shot"].confusion
    assert found[5, None].confusion == found[5, "prototype"].confusion


def test_a_file_of_unknown_adapters_does_not_say_how_they_were_trained(saved):
    _, path = saved
    assert load_model(path, tiny_backbone()).trained_with is None


def test_the_fingerprint_sees_one_changed_weight_and_not_the_device_copy():
    backbone = tiny_backbone()
    assert fingerprint(backbone) == fingerprint(tiny_backbone())
    backbone.norm.bias.data[0] += 1e-3
    assert fingerprint(backbone) != fingerprint(tiny_backbone())
