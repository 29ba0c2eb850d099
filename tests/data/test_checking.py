"""check-data: what it finds in replicas of the public layouts, and its exit status."""

import json
import os

import pytest
from made_videos import make_frame_folder, make_video

from taskadapter_lite.__main__ import main
from taskadapter_lite.data.checking import check_dataset
from taskadapter_lite.data.public import published_split


@pytest.fixture(scope="module")
def one_video(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("one") / "v.mp4", n_frames=16).read_bytes()


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def put(content, *paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def state(folder):
    return sorted((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*"))


def test_a_whole_data_set_is_usable(root, one_video, capsys):
    for part, names in published_split("hmdb51").classes.items():
        put(one_video, *(root / name / f"{part} {i}.avi" for name in names for i in range(2)))
    before = state(root)
    assert main(["check-data", str(root), "--dataset", "hmdb51", "--min-clips", "2"]) == 0
    assert state(root) == before
    report = json.loads((root.parent / "runs" / "check_hmdb51.json").read_text())
    assert report["videos"]["train"] == {"expected": 4280, "found": 62, "readable": 62}
    assert report["videos"]["test"] == {"expected": 1292, "found": 20, "readable": 20}
    assert report["problems"] == []
    assert "\nusable\n" in capsys.readouterr().out


def test_every_kind_of_finding_is_reported(root, one_video, tmp_path, capsys):
    put(one_video, root / "eat" / "good.mp4", root / "eat" / "Odd__name.mp4", root / "sit" / "1.mp4")
    put(one_video[: len(one_video) // 2], root / "eat" / "cut.mp4")
    put(b"", root / "sit" / "empty.avi")
    make_video(root / "sit" / "short.webm", n_frames=3)
    listed = ["eat/good", "eat/odd name", "eat/cut", "sit/1", "sit/empty", "sit/short", "sit/gone", "walk/1 a"]
    (tmp_path / "test_list.txt").write_text("\n".join(listed))
    status = main(
        [
            "check-data",
            str(root),
            "--dataset",
            "ucf101",
            "--list",
            str(tmp_path / "test_list.txt"),
            "--min-clips",
            "2",
            "--report",
            str(tmp_path / "r.json"),
        ]
    )
    report = json.loads((tmp_path / "r.json").read_text())
    assert status == 1
    assert report["videos"] == {"test": {"expected": 8, "found": 6, "readable": 4}}
    assert report["missing"] == ["sit/gone", "walk/1 a"]
    assert report["missing_classes"] == ["walk"]
    assert [path for path, _ in report["unreadable"]] == ["eat/cut.mp4", "sit/empty.avi"]
    assert report["unreadable"][1][1] == "the file is empty"
    assert report["too_short"] == [["sit/short.webm", 3]]
    assert report["named_differently"] == [["eat/odd name", "eat/Odd__name.mp4"]]
    assert report["thin_classes"] == {"walk": 0}
    assert len(report["problems"]) == 2
    printed = capsys.readouterr().out
    assert "not usable: 1 of 3 classes have no video" in printed
    assert "crcv.ucf.edu" in printed


def test_frame_folders_are_compared_with_the_listed_lengths(root, tmp_path):
    make_frame_folder(root / "eat" / "a", 9)
    make_frame_folder(root / "eat" / "b", 10)
    (tmp_path / "train.txt").write_text("eat/a 9 0\neat/b 12 0\n")
    report = check_dataset(root, "ssv2_small", [tmp_path / "train.txt"], T=4, min_clips=1)
    assert report.other_length == [("eat/b", 10, 12)]
    assert report.videos == {"train": {"expected": 2, "found": 2, "readable": 2}}
    assert report.problems == []


def test_a_class_in_two_parts_is_no_split(root, one_video, tmp_path):
    put(one_video, root / "eat" / "1.mp4", root / "eat" / "2.mp4")
    (tmp_path / "train.txt").write_text("eat/1")
    (tmp_path / "test.txt").write_text("eat/2")
    report = check_dataset(root, "hmdb51", [tmp_path / "train.txt", tmp_path / "test.txt"], min_clips=1)
    assert report.shared_classes == ["eat"]
    assert report.problems == ["1 classes are in two parts of the split"]


def test_an_incomplete_published_data_set_is_not_usable(root, one_video):
    put(one_video, root / "fencing" / "1.avi")
    report = check_dataset(root, "hmdb51", min_clips=1, quick=True)
    assert len(report.missing_classes) == 50
    assert report.videos["test"] == {"expected": 1292, "found": 1, "readable": 1}
    assert report.problems[0] == "50 of 51 classes have no video"


def test_a_folder_of_one_s_own_videos(root, one_video):
    put(one_video, *(root / name / f"{i}.mp4" for name in ("wave", "clap") for i in range(3)))
    assert main(["check-data", str(root), "--dataset", "folder", "--min-clips", "3"]) == 0
    assert main(["check-data", str(root), "--dataset", "folder"]) == 1
    (root / "wave" / "0.mp4").write_text("no video")
    assert main(["check-data", str(root), "--dataset", "folder", "--min-clips", "3"]) == 1
    assert main(["check-data", str(root), "--dataset", "folder", "--min-clips", "3", "--quick"]) == 0


def test_mistakes_are_one_line_and_status_2(root, one_video, tmp_path, capsys):
    put(one_video, root / "wave" / "1.mp4")
    os.symlink(make_video(tmp_path / "outside.mp4"), root / "wave" / "link.mp4")
    calls = [
        (["check-data", str(root / "absent"), "--dataset", "folder"], "no folder"),
        (["check-data", str(root), "--dataset", "folder", "--report", str(root / "r.json")], "nothing is written"),
        (["check-data", str(root), "--dataset", "folder"], "outside"),
        (["check-data", str(root), "--dataset", "hmdb51", "--list", str(tmp_path / "no.txt")], "no.txt"),
    ]
    for call, reason in calls:
        assert main(call) == 2
        error = capsys.readouterr().err.strip().splitlines()
        assert reason in error[-1]
    assert main(["check-data", str(root), "--dataset", "folder", "--min-clips", "2", "--allow-outside"]) == 0
