"""A folder of one's own: every kind of video, whatever the names; what is an example and what is asked about."""

from __future__ import annotations

import pytest
import torch
from made_videos import frame_numbers, make_frame_folder, make_video

from taskadapter_lite.data import read_clip
from taskadapter_lite.data.own_videos import find_videos, read_videos


def clip(path, n_frames=12):
    """A video whatever the case of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = {".webm": "libvpx-vp9", ".avi": "mpeg4"}.get(path.suffix.lower(), "libx264")
    return make_video(path.with_suffix(path.suffix.lower()), n_frames, codec=codec).rename(path)


@pytest.fixture
def folder(tmp_path):
    clip(tmp_path / "Pouring tea" / "IMG_0001.MOV")
    clip(tmp_path / "Pouring" / "été.webm")
    make_frame_folder(tmp_path / "Ένα" / "take 1")
    clip(tmp_path / "query" / "pouring_tea_2.AVI")
    clip(tmp_path / "query" / "Pouring" / "x.m4v")
    clip(tmp_path / "query" / "ΈΝΑ.mkv")
    clip(tmp_path / "query" / "pouringtea.mp4")
    (tmp_path / "query" / "notes.txt").write_text("no clip")
    return tmp_path


def test_every_kind_of_clip_is_found_and_the_names_tell_the_classes(folder):
    found = find_videos(folder)
    assert found.class_names == ["Pouring", "Pouring tea", "Ένα"]
    assert found.examples == [("Pouring/été.webm", 0), ("Pouring tea/IMG_0001.MOV", 1), ("Ένα/take 1", 2)]
    assert dict(found.queries) == {
        "query/pouring_tea_2.AVI": 1,  # the longer name
        "query/Pouring/x.m4v": 0,
        "query/ΈΝΑ.mkv": 2,
        "query/pouringtea.mp4": -1,  # "pouring" is no word of it
    }


def test_they_are_read_as_single_clips_are(folder):
    task = read_videos(folder, T=4, size=32)
    assert (task.support.shape, task.query.shape) == ((3, 4, 3, 32, 32), (4, 4, 3, 32, 32))
    assert task.support_labels.tolist() == [0, 1, 2]
    for file, label, query in zip(task.files, task.query_labels.tolist(), task.query, strict=True):
        assert torch.equal(query, read_clip(folder / file, 4, size=32))
        assert dict(find_videos(folder).queries)[file] == label
    assert frame_numbers(task.support[2]) == [1, 4, 7, 10]


def test_without_a_query_folder_the_first_clips_are_examples(tmp_path):
    for name in ("a/2.mp4", "a/1.mp4", "b/1.mp4", "a/3.mp4"):
        clip(tmp_path / name)
    found = find_videos(tmp_path)
    assert found.examples == [("a/1.mp4", 0), ("b/1.mp4", 1)]
    assert found.queries == [("a/2.mp4", 0), ("a/3.mp4", 0)]


def test_a_folder_of_another_form_is_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="holds 0"):
        find_videos(tmp_path / "nothing")
    clip(tmp_path / "a" / "1.mp4")
    with pytest.raises(ValueError, match="2 or more folders of classes, it holds 1"):
        find_videos(tmp_path)
    clip(tmp_path / "b" / "1.mp4")
    with pytest.raises(ValueError, match="nothing to ask about"):
        find_videos(tmp_path)
    (tmp_path / "query").mkdir()
    with pytest.raises(ValueError, match="query holds no video"):
        find_videos(tmp_path)
