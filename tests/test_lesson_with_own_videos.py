"""Lesson 10 with a folder of one's own: one path in, and every cell follows, whatever the videos are called."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import nbformat
import pytest
import torch
from made_videos import make_frame_folder, make_video

LESSON = Path(__file__).parents[1] / "notebooks" / "10_your_own_videos.ipynb"
CODEC = {".webm": "libvpx-vp9", ".avi": "mpeg4"}


def clip(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    lower = path.with_suffix(path.suffix.lower())
    return make_video(lower, 12, codec=CODEC.get(lower.suffix, "libx264"), texture=True).rename(path)


def with_queries(root):
    """Two classes that names tell, one that they don't; every kind of clip."""
    for place in ("Pouring tea/IMG_0001.MOV", "Pouring tea/2.mkv", "Μεταφορά/été $1.webm", "_[x] & <b>/a.AVI"):
        clip(root / place)
    for place in ("query/pouring_tea 1.m4v", "query/Pouring tea/b.mp4", "query/μεταφορά.MP4", "query/IMG_0002.avi"):
        clip(root / place)
    make_frame_folder(root / "query" / "Pouring tea" / "frames of c")


def without_queries(root):
    """Six classes, which are too many for the playground, as folders of frames."""
    for c in range(6):
        for i in range(2):
            make_frame_folder(root / f"class {c}" / f"take {i}")


@pytest.mark.parametrize("make", [with_queries, without_queries])
def test_the_lesson_runs_with_any_folder(make, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TASKADAPTER_PROGRESS", str(tmp_path / "progress.json"))
    monkeypatch.chdir(LESSON.parent)  # as a notebook runs
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("TASKADAPTER_WEIGHTS", raising=False)
    folder = tmp_path / "my clips"
    make(folder)
    before = sorted(folder.rglob("*"))
    cells = [cell.source for cell in nbformat.read(LESSON, as_version=4).cells if cell.cell_type == "code"]
    (chosen,) = [source for source in cells if source.startswith("my_videos = None")]
    names: dict = {}
    mpl.use("Agg")
    with mpl.rc_context(), torch.random.fork_rng(), torch.enable_grad():  # restored after what the lesson sets
        for source in cells:
            source = f"from pathlib import Path\nmy_videos = Path({str(folder)!r})" if source == chosen else source
            exec(compile(source, "lesson", "exec"), names)
    assert names["folder"] == folder
    assert sorted(folder.rglob("*")) == before  # nothing is written there
    said = capsys.readouterr().out
    assert "classes" in said
    if make is with_queries:
        assert "3 classes, 4 examples" in said
        assert "the class of 4 queries is known" in said
        assert names["playground"].classes == [0, 1, 2]
        assert names["playground"].error.value == ""
    else:
        assert "6 classes, 6 examples" in said
        assert "at most 5 have a row here" in said
