"""Pieces of one video on both sides of an episode: what they are, and what the study counts."""

import numpy as np
import pytest
import torch
from PIL import Image

from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.data.datasets import ClipFolder
from taskadapter_lite.results import saved_results
from taskadapter_lite.studies import same_source
from taskadapter_lite.studies.same_source import (
    ALLOWED,
    NEVER,
    PiecesOfVideos,
    run_same_source,
    same_source_table,
)


@pytest.fixture
def videos(tmp_path) -> ClipFolder:
    """Five classes of four videos; each video is of one grey of its own, whatever its class."""
    rng = np.random.default_rng(0)
    for c in range(5):
        for v in range(4):
            folder = tmp_path / "signs" / f"class {c}" / f"user{v}"
            folder.mkdir(parents=True)
            grey = rng.integers(20, 235)
            for t in range(8):
                noise = rng.integers(-8, 9, size=(16, 16, 3))
                Image.fromarray((grey + noise).astype(np.uint8)).save(folder / f"{t:03}.png")
    return ClipFolder(tmp_path / "signs", T=8, size=16)


def test_pieces_are_consecutive_parts_of_a_video_and_one_group(videos):
    pieces = PiecesOfVideos(videos)
    assert (len(pieces), pieces.T) == (80, 2)
    assert torch.equal(torch.cat([pieces.read(i) for i in range(4, 8)]), videos.read(1))
    assert len(set(pieces.groups)) == 20
    assert len(set(pieces.groups[4:8])) == 1
    assert len(set(pieces.paths)) == 80
    with pytest.raises(ValueError, match="6 frames can't be cut into 4 pieces"):
        PiecesOfVideos(ClipFolder(videos.root, T=6, size=16))


def test_the_same_source_inflates_what_is_known_by_its_source(videos, tmp_path, monkeypatch):
    """Classes that can't be told apart, videos that can: chance without the source, and far above it with it."""

    def tiny(name, img_size):
        torch.manual_seed(0)
        return load_backbone(pretrained=False, img_size=16, embed_dim=16, depth=1, num_heads=2)

    monkeypatch.setattr(same_source, "load_backbone", tiny)
    monkeypatch.setattr(same_source, "T", 2)
    monkeypatch.setattr(same_source, "SHOTS", (1,))
    monkeypatch.setattr(same_source, "N_EPISODES", 60)
    run_same_source(videos, tmp_path / "out")
    table = same_source_table(list(saved_results(tmp_path / "out")))
    assert list(table.rule) == [NEVER, ALLOWED] * 2
    never, allowed = (table[table.rule == rule].iloc[0] for rule in (NEVER, ALLOWED))
    assert never.share == 0
    assert np.isnan(never.with_source)
    assert 10 < allowed.share < 35  # 3 of 15 other pieces
    assert allowed.with_source > 45 > 30 > allowed.without_source
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").iterdir()}
    run_same_source(videos, tmp_path / "out")
    assert before == {file: file.stat().st_mtime_ns for file in (tmp_path / "out").iterdir()}
