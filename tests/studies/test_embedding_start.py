"""Small tokens under a long embedding: what is measured, with a tiny backbone."""

import torch

from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.data.datasets import SpriteClips
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.results import saved_results
from taskadapter_lite.studies import embedding_start
from taskadapter_lite.studies.embedding_start import (
    embedding_start_table,
    look_at_start,
    run_embedding_start,
)


def tiny(name=None, img_size=16, depth=2):
    torch.manual_seed(0)
    return load_backbone(pretrained=False, img_size=img_size, embed_dim=32, depth=depth, num_heads=2)


def test_a_long_embedding_makes_clips_alike_and_a_short_one_does_not():
    clips = SpriteClips("train", 1, size=16)
    found = {}
    for std in (0.001, 100.0):
        torch.manual_seed(0)
        model = TaskAdapterViT(tiny(), 1, axes=("time",), temporal_std=std)
        before = model.temporal.clone()
        found[std] = look_at_start(model, clips)
        assert torch.equal(model.temporal, before)
    short, long = found.values()
    assert long["alike"] > 0.999
    assert long["spread_of_scores"] < 0.2 * long["spread_of_scores_without"]
    assert abs(short["spread_of_scores"] / short["spread_of_scores_without"] - 1) < 0.2
    assert long["embedding"] > 1000 * short["embedding"]
    assert short["token"] == long["token"]


def test_each_start_is_measured_trained_from_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(embedding_start, "load_backbone", tiny)
    monkeypatch.setattr(embedding_start, "SIZE", 16)
    monkeypatch.setattr(embedding_start, "N_STEPS", 2)
    monkeypatch.setattr(embedding_start, "STARTS", ((2, 0.5), (3, 0.1)))
    run_embedding_start([0], tmp_path)
    table = embedding_start_table(list(saved_results(tmp_path)))
    assert sorted(table.blocks) == [2, 3]
    assert table.accuracy.between(0, 100).all()
    before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.json")}
    run_embedding_start([0], tmp_path)
    assert before == {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.json")}
