"""Sprites to real videos, with made folders, a tiny random backbone and a few steps."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.data.datasets import SpriteClips
from taskadapter_lite.results import clip_interval
from taskadapter_lite.studies import sim_to_real
from taskadapter_lite.studies.sim_to_real import (
    RUNGS,
    TEST,
    VALIDATION,
    JoinedClips,
    PhotoSprites,
    SimBudget,
    load_sim_to_real,
    open_real,
    real_folder,
    run_sim_to_real,
    sim_to_real_table,
    sprites,
)

TINY = SimBudget(n_steps=2, clips_per_class=2, sprite_clips=2, n_test=6, size=32)


@pytest.fixture
def real(tmp_path, monkeypatch) -> Path:
    """Folders as the real ones, of frames of noise; the study's video set is read from frames too."""
    rng = np.random.default_rng(0)
    for name, clips in (("ssv2_toy", "{}"), ("signs", "user{:02}_R01")):
        for c in range(5):
            for i in range(4):
                folder = tmp_path / name / f"class {c}" / clips.format(i)
                folder.mkdir(parents=True)
                for t in range(8):
                    Image.fromarray(rng.integers(256, size=(32, 32, 3), dtype=np.uint8)).save(folder / f"{t:08}.jpg")

    def tiny(name, img_size, **options):
        torch.manual_seed(1)
        shape = {"img_size": img_size, "embed_dim": 32, "depth": 3, "num_heads": 2}
        return load_backbone(pretrained=False, **{**shape, **options})

    monkeypatch.setattr(sim_to_real, "load_backbone", tiny)
    return tmp_path


def test_rungs_are_trained_on_sprites_and_tested_on_both_real_sets(real, tmp_path):
    out = tmp_path / "out"
    only = ["Frozen, cosine", "+ task, inductive, cosine"]
    run_sim_to_real(TINY, [0, 1], real, out, only, progress=False)
    found = [r for r in load_sim_to_real(out) if r.name in only]
    assert {(r.name, r.metadata["set"], r.seeds["training"]) for r in found} == {
        *(("Frozen, cosine", name, 0) for name in (VALIDATION, TEST, "ssv2_toy", "signs")),
        *((only[1], name, seed) for name in (VALIDATION, TEST, "ssv2_toy", "signs") for seed in (0, 1)),
    }
    assert all(r.config["weights"] is None and r.metadata["real_videos_trained_on"] == 0 for r in found)
    for name in ("ssv2_toy", "signs"):
        assert len({r.episodes for r in found if r.metadata["set"] == name}) == 1
        table = sim_to_real_table([r for r in found], name)
        assert list(table.seeds) == [1, 2]
        assert (table.clip_low <= table["mean"]).all()
        assert (table["mean"] <= table.clip_high).all()
    files = {file: file.stat().st_mtime_ns for file in out.rglob("*.json")}
    run_sim_to_real(TINY, [0, 1], real, out, only, progress=False)
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*.json")} == files


def test_groups_are_signers_and_copies_of_a_clip(real):
    signs = sim_to_real.FrameFolder(real / "signs", T=8, size=32, resize=32, groups=r"(user\d+)_")
    assert set(signs.groups) == {"user00", "user01", "user02", "user03"}
    first, second = sorted((real / "ssv2_toy" / "class 0").iterdir())[:2]
    for image in second.iterdir():
        image.write_bytes((first / image.name).read_bytes())
    groups = open_real(real, "ssv2_toy", 32).groups
    assert groups[0] == groups[1]
    assert len(set(groups)) == 19


def test_a_folder_that_holds_no_real_sets_is_refused(real, monkeypatch, tmp_path):
    monkeypatch.delenv("TASKADAPTER_REAL", raising=False)
    with pytest.raises(ValueError, match="--real DIR"):
        real_folder(None)
    monkeypatch.setenv("TASKADAPTER_REAL", str(real))
    assert real_folder(None) == real
    with pytest.raises(ValueError, match="holds no folder ssv2_toy"):
        real_folder(tmp_path / "ssv2_toy")


def test_joined_clips_are_those_of_their_parts():
    both = sprites("val", 1, ("plain", "cluttered"), replace(TINY, size=16))
    assert isinstance(both, JoinedClips)
    assert len(both) == 2 * len(both.class_names)
    assert torch.equal(both.read(len(both) - 1), both.parts[1].read(len(both.parts[1]) - 1))
    assert torch.equal(both.read(1, 3), both.parts[0].read(1, 3))
    assert len({rung.name for rung in RUNGS}) == len(RUNGS)


def test_photos_lie_behind_cluttered_sprites_and_depend_on_the_clip_alone():
    photos, plain = PhotoSprites("train", 4, 2, 48), SpriteClips("train", 4, 2, size=48, level="cluttered")
    assert photos.labels == plain.labels
    assert photos.fingerprint != plain.fingerprint
    clip, ground = photos[6], photos.grounds([6])[0]
    assert torch.equal(clip, photos.read_batch([0, 6])[1])
    same = [(frame == ground).all(0) for frame in clip]
    assert min(share.float().mean() for share in same) > 0.3  # the photo stands still behind the things
    things = (clip[0] == plain[6][0]).all(0)
    assert 0.02 < (things & ~same[0]).float().mean() < 0.7  # and the things are those of the same cluttered clip
    assert len({tuple(photos.grounds([i]).flatten().tolist()) for i in range(8)}) == 8
    both = sprites("train", 1, ("plain", "photos"), replace(TINY, size=16))
    assert [type(part) for part in both.parts] == [SpriteClips, PhotoSprites]


def test_an_interval_over_clips_sees_how_few_there_are():
    """Two clips a class that are always right or always wrong: many episodes, and yet nearly no certainty."""
    rng = np.random.default_rng(0)
    clip = rng.integers(6, size=4000)
    support = (clip + rng.integers(1, 6, size=4000)) % 6
    right = (clip < 3).astype(int)
    low, high = clip_interval([{"clip": clip, "support": support, "right": right}])
    assert low < 0.2
    assert high > 0.8
    many = {"clip": np.arange(4000), "support": np.arange(4000, 8000), "right": rng.integers(2, size=4000)}
    low, high = clip_interval([many])
    assert 0.03 < high - low < 0.1  # binomial: 0.031, and a clip that is not drawn takes its partner with it
    with pytest.raises(ValueError, match="no queries"):
        clip_interval([{"clip": [], "support": [], "right": []}])
