"""One rule for what a clip is: checking, data sets, lists and the playground see the same clips."""

import os
from pathlib import Path

import pytest
import torch
from made_videos import make_frame_folder, make_video
from PIL import Image

from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.data import labelled
from taskadapter_lite.data.checking import check_dataset
from taskadapter_lite.data.datasets import ClipFolder, FrameFolder, open_dataset
from taskadapter_lite.data.decoding import ClipError
from taskadapter_lite.data.public import find_clips, part_folders, sort_by_class
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.widgets.playground import FewShotPlayground

INPUTS = Path(__file__).parents[3] / "shared" / "inputs"


def frames(folder, n=8):
    return [f"{folder}/img_{i:05d}.jpg" for i in range(n)]


LAYOUTS = {  # files -> clips of each class
    "older suffixes": (
        ["eat/1.mpg", "eat/2.WMV", "sit/1.3gp", "sit/2.mpeg", "sit/3.flv", "sit/4.ts"],
        {"eat": ["1.mpg", "2.WMV"], "sit": ["1.3gp", "2.mpeg", "3.flv", "4.ts"]},
    ),
    "frame folders named like videos": (
        [*frames("eat/v_1.avi"), *frames("eat/v_2.avi"), *frames("sit/v_1.avi")],
        {"eat": ["v_1.avi", "v_2.avi"], "sit": ["v_1.avi"]},
    ),
    "one class of frame folders": (
        ["eat/1.mp4", "eat/2.mp4", *frames("sit/a"), *frames("sit/b")],
        {"eat": ["1.mp4", "2.mp4"], "sit": ["a", "b"]},
    ),
    "subjects": (
        ["eat/ann/1.mp4", "eat/bob/1.mp4", *frames("sit/ann/1"), "sit/bob/x/2.mp4"],
        {"eat": ["ann/1.mp4", "bob/1.mp4"], "sit": ["ann/1", "bob/x/2.mp4"]},
    ),
    "folders that are no class": (
        ["eat/1.mp4", "sit/1.mp4", "annotations/all.txt", "__MACOSX/eat/._1.mp4", ".cache/eat/2.mp4", "eat/._1.mp4"],
        {"eat": ["1.mp4"], "sit": ["1.mp4"]},
    ),
    "thumbnails": (
        ["eat/1.mp4", "eat/1.jpg", "sit/poster.png", *frames("sit/a"), *frames("sit/b"), "preview.jpg"],
        {"eat": ["1.mp4"], "sit": ["a", "b"]},
    ),
    "streams of one clip": (
        [*frames("eat/a"), *frames("eat/a/flow_x"), *frames("eat/a/flow_y"), "sit/1.mp4"],
        {"eat": ["a"], "sit": ["1.mp4"]},
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_reader_sees_the_same_clips(files, layout):
    paths, expected = LAYOUTS[layout]
    root = files(*paths)
    found = find_clips(root)
    assert sort_by_class(found) == {name: [f"{name}/{clip}" for clip in clips] for name, clips in expected.items()}
    flat = [f"{name}/{clip}" for name, clips in expected.items() for clip in clips]
    for clips in (ClipFolder(root), FrameFolder(root), open_dataset(root)):
        assert clips.class_names == list(expected)
        assert clips.paths == flat
    report = check_dataset(root, "folder", min_clips=1, quick=True)
    assert report.videos == {"all": {"expected": len(flat), "found": len(flat), "readable": len(flat)}}
    assert report.problems == []


def test_folders_without_clips_are_named(files):
    root = files("eat/1.mp4", "annotations/all.txt", "__MACOSX/eat/._1.mp4", "sit/1.vob", "eat/bob/notes.txt", ".h/x")
    report = check_dataset(root, "folder", min_clips=1, quick=True)
    assert report.without_clips == ["__MACOSX", "annotations", "sit", "eat/bob"]
    with pytest.raises(ValueError, match="class 'sit' has no clip in"):
        ClipFolder(root, class_names=["eat", "sit"])


@pytest.mark.parametrize(
    "train, val", [("train", "val"), ("Training", "validation"), ("train_256", "dev"), ("train", "valid")]
)
def test_parts_are_told_by_words(files, train, val):
    root = files(f"{train}/eat/1.mp4", f"{train}/eat/2.mp4", f"{val}/sit/1.mp4", "lists/a.txt")
    assert part_folders(find_clips(root)) == {train: "train", val: "val"}
    assert open_dataset(root, split="train").paths == ["eat/1.mp4", "eat/2.mp4"]
    assert open_dataset(root, split="val").class_names == ["sit"]
    assert open_dataset(root).paths == [f"{train}/eat/1.mp4", f"{train}/eat/2.mp4", f"{val}/sit/1.mp4"]
    assert open_dataset(root).class_names == ["eat", "sit"]
    report = check_dataset(root, "folder", min_clips=1, quick=True)
    assert {part: counts["found"] for part, counts in report.videos.items()} == {"train": 2, "val": 1}
    with pytest.raises(ValueError, match="parts .* instead of classes"):
        ClipFolder(root)
    with pytest.raises(ValueError, match="0 folders of part 'test'"):
        open_dataset(root, split="test")


@pytest.mark.parametrize(
    "paths", [["training/1.mp4", "test/1.mp4"], ["training/ann/1.mp4", "run/ann/1.mp4"], ["dev/1.mp4", "val/a/1.mp4"]]
)
def test_classes_called_like_parts_are_classes(files, paths):
    assert part_folders(find_clips(files(*paths))).keys() <= {"val"}  # only the exact name over class folders


def test_one_class_in_two_spellings_is_refused_by_name(files, tmp_path):
    root = files("train/hand_stand/1.mp4", "test/Hand Stand/1.mp4", "val/eat/1.mp4")
    report = check_dataset(root, "folder", min_clips=1, quick=True)
    assert report.shared_classes == ["Hand Stand = hand_stand"]
    assert report.problems == ["1 classes are in two parts of the split"]
    with pytest.raises(ValueError, match="'Hand Stand' and 'hand_stand' are one class"):
        open_dataset(root)
    (tmp_path / "trainlist.txt").write_text("hand_stand/1\neat/1")
    (tmp_path / "testlist.txt").write_text("Hand Stand/1")
    with pytest.raises(ValueError, match="'hand_stand' and 'Hand Stand' are one class"):
        open_dataset(root, split="train", lists=[tmp_path / "trainlist.txt", tmp_path / "testlist.txt"])


def test_links_never_loop_and_never_leave_unseen(files, tmp_path):
    root = files("root/eat/1.mp4", "elsewhere/sit/2.mp4") / "root"
    os.symlink(root, root / "eat" / "again")
    assert find_clips(root) == ["eat/1.mp4"]
    os.symlink(tmp_path / "elsewhere" / "sit", root / "sit")
    assert find_clips(root) == ["eat/1.mp4", "sit"]  # handed on unopened, to be refused by name
    assert find_clips(root, follow_links=True) == ["eat/1.mp4", "sit/2.mp4"]
    for read in (ClipFolder, open_dataset):
        with pytest.raises(ValueError, match="'sit' leads outside"):
            read(root)
        assert read(root, allow_outside=True).class_names == ["eat", "sit"]


def cut(image):
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])


def test_the_check_reads_every_frame_that_a_run_may_draw(tmp_path):
    for name in ("eat", "sit"):
        make_frame_folder(tmp_path / name / "a", 40)
        make_frame_folder(tmp_path / name / "b", 9)
    cut(tmp_path / "eat" / "a" / "img_00004.jpg")  # no middle frame of 8 segments: a run trips over it at some step
    clips = ClipFolder(tmp_path)
    assert clips[0].shape == (8, 3, 64, 96)
    report = check_dataset(tmp_path, "folder", min_clips=1)
    assert [path for path, _ in report.unreadable] == ["eat/a"]
    assert "img_00004.jpg" in report.unreadable[0][1]
    skipping = ClipFolder(tmp_path, on_error="skip")
    assert skipping.paths == ["eat/b", "sit/a", "sit/b"]
    assert skipping.skipped == report.unreadable


def test_frames_of_another_size_are_found_far_apart(tmp_path):
    make_frame_folder(tmp_path / "eat" / "a", 70)
    other = make_frame_folder(tmp_path / "other", 1)
    Image.open(other / "img_00001.jpg").resize((32, 32)).save(tmp_path / "eat" / "a" / "img_00070.jpg")
    assert check_dataset(tmp_path, "folder", min_clips=0).unreadable == [("eat/a", "its frames have different sizes")]


def test_the_check_reads_a_video_from_its_first_to_its_last_frame(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(labelled, "decode_frames", lambda path, choose: asked.append(choose(1000)))
    assert labelled.read_through(tmp_path / "1.mp4", T=8) == 1000
    assert (asked[0][0], asked[0][-1], len(asked[0])) == (0, 999, 34)
    assert asked[0] == sorted(set(asked[0]))


@pytest.mark.skipif(not INPUTS.is_dir(), reason="the samples are not here")
def test_the_sample_with_one_cut_frame_of_forty(tmp_path):
    (tmp_path / "eat").mkdir()
    os.symlink(INPUTS / "f8_one_cut_frame", tmp_path / "eat" / "v")
    report = check_dataset(tmp_path, "folder", min_clips=0, allow_outside=True)
    assert [path for path, _ in report.unreadable] == ["eat/v"]
    with pytest.raises(ValueError, match="class 'eat' has no readable clip left"):
        ClipFolder(tmp_path, on_error="skip", allow_outside=True)


def test_the_playground_reads_what_the_data_sets_read(tmp_path):
    vit = load_backbone("vit_tiny_patch16_224", pretrained=False, img_size=32, patch_size=16, depth=1)
    playground = FewShotPlayground(TaskAdapterViT(vit, depth=1, T=2))
    make_frame_folder(tmp_path / "eat" / "v_1.avi", 4)
    (tmp_path / "sit" / "ann").mkdir(parents=True)
    make_video(tmp_path / "sit" / "ann" / "1.mp4")
    make_frame_folder(tmp_path / "query" / "q", 4)
    (tmp_path / "annotations").mkdir()
    playground.read_folder(tmp_path)
    assert [(row, name) for row, name, _ in playground.support] == [(0, "v_1.avi"), (1, "1.mp4")]
    assert [name for name, _ in playground.queries] == ["q"]
    assert torch.equal(playground._task()[2][0], ClipFolder(tmp_path, ["query"], T=2, size=32)[0])


def test_an_error_of_a_clip_is_one_kind(tmp_path):
    make_frame_folder(tmp_path / "eat" / "a", 3)
    cut(tmp_path / "eat" / "a" / "img_00002.jpg")
    with pytest.raises(ClipError, match=r"img_00002\.jpg"):
        ClipFolder(tmp_path, T=3)[0]
