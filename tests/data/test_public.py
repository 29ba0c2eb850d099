"""public.py: lists of every public format, and replicas of every public layout."""

import json

import pytest
from made_videos import make_frame_folder, make_video

from taskadapter_lite.data.datasets import ListedClips, open_dataset
from taskadapter_lite.data.public import (
    ListedClip,
    Locator,
    find_clips,
    load_split,
    published_datasets,
    published_split,
    read_split_list,
    save_split,
    split_classes,
)
from taskadapter_lite.episodes import loose_name

# classes and videos of each part, from the table of the paper's protocol
TABLE = {
    "hmdb51": ((31, 10, 10), (4280, 1194, 1292)),
    "ucf101": ((70, 10, 21), (9154, 1421, 2745)),
    "kinetics100": ((64, 12, 24), (6400, 1200, 2400)),
    "ssv2_small": ((64, 12, 24), (6400, 1200, 2400)),
    "ssv2_full": ((64, 12, 24), (67013, 1926, 2857)),
}


@pytest.fixture
def write_list(tmp_path):
    def write(*lines, encoding="utf-8", end="\n"):
        path = tmp_path / "list.txt"
        path.write_bytes(end.join(lines).encode(encoding))
        return path

    return write


@pytest.mark.parametrize("dataset", TABLE)
def test_published_splits_have_the_published_sizes(dataset):
    split = published_split(dataset)
    parts = ("train", "val", "test")
    assert tuple(len(split.classes[part]) for part in parts) == TABLE[dataset][0]
    assert tuple(split.videos[part] for part in parts) == TABLE[dataset][1]
    names = sum(split.classes.values(), [])
    assert len({loose_name(name) for name in names}) == len(names)  # disjoint, whatever the spelling
    assert split.page.startswith("https://")
    assert split.mirror_images == (not dataset.startswith("ssv2"))  # left to right is a class there


def test_a_split_nobody_published_is_refused():
    assert published_datasets() == list(TABLE)
    with pytest.raises(ValueError, match="'hmdb'.*hmdb51"):
        published_split("hmdb")


def test_lists_of_class_and_video(write_list):
    path = write_list(
        "Putting something, something and something on the table/177616",
        "hurling (sport)/-kYzxMKp514_000086_000096",
        "kick_ball/Amazing_Soccer_#2_kick ball_[HD]_5.avi",
        "",
        "crème brûlée/日本.mp4",
    )
    assert read_split_list(path) == [
        ListedClip(
            "Putting something, something and something on the table/177616",
            "Putting something, something and something on the table",
        ),
        ListedClip("hurling (sport)/-kYzxMKp514_000086_000096", "hurling (sport)"),
        ListedClip("kick_ball/Amazing_Soccer_#2_kick ball_[HD]_5.avi", "kick_ball"),
        ListedClip("crème brûlée/日本.mp4", "crème brûlée"),
    ]


def test_lists_with_numbered_classes(write_list):
    assert read_split_list(write_list("test18/195025", "test2/17")) == [
        ListedClip("test18/195025", "test18", "test"),
        ListedClip("test2/17", "test2", "test"),
    ]


def test_lists_of_class_numbers_and_paths(write_list):
    path = write_list("val0//videos/cartwheel/(Rad)_a b_0.avi", "val1//train_256/dunking basketball/x.mp4")
    assert read_split_list(path) == [
        ListedClip("videos/cartwheel/(Rad)_a b_0.avi", "cartwheel", "val"),
        ListedClip("train_256/dunking basketball/x.mp4", "dunking basketball", "val"),
    ]
    path = write_list("test0//videos/1.avi", "test1//videos/2.avi", "test1//videos/3.avi")  # no folder a class
    assert [clip.class_name for clip in read_split_list(path)] == ["test0", "test1", "test1"]


def test_lists_of_frame_folders(write_list):
    path = write_list("frames/brush hair/clip 1 120 3", "frames/brush hair/clip 2\t98\t3", "frames/eat/clip 3 7 5")
    assert read_split_list(path) == [
        ListedClip("frames/brush hair/clip 1", "brush hair", None, 120),
        ListedClip("frames/brush hair/clip 2", "brush hair", None, 98),
        ListedClip("frames/eat/clip 3", "eat", None, 7),
    ]
    path = write_list("20bn/195025 45 18", "20bn/17 50 2")
    assert [clip.class_name for clip in read_split_list(path)] == ["18", "2"]


def test_windows_line_ends_and_byte_order_marks(write_list):
    path = write_list("a/1", "b/2", encoding="utf-8-sig", end="\r\n")
    assert [(clip.path, clip.class_name) for clip in read_split_list(path)] == [("a/1", "a"), ("b/2", "b")]


@pytest.mark.parametrize(
    "lines, reason",
    [
        ((), "empty"),
        (("  ", ""), "empty"),
        (("a/1", "b/2", "no slash"), "line 3: 'no slash'"),
        (("a/1", "b/2", "a/1"), "'a/1' twice"),
        (("a/..", "b/2"), "line 1.*outside"),
        (("test0//../../etc/passwd.avi",), "outside"),
        (("test0///etc/passwd.avi",), "outside"),
        (("/data/eat/1 9 0",), "outside"),
    ],
)
def test_lists_that_are_refused(write_list, lines, reason):
    with pytest.raises(ValueError, match=reason):
        read_split_list(write_list(*lines))


def test_a_video_is_no_list(tmp_path):
    with pytest.raises(ValueError, match="not a list"):
        read_split_list(make_video(tmp_path / "a.mp4"))
    with pytest.raises(FileNotFoundError):
        read_split_list(tmp_path / "absent.txt")


def test_lists_may_lead_outside_when_asked(write_list):
    assert read_split_list(write_list("/data/eat/1 9 0"), allow_outside=True)[0].path == "/data/eat/1"


def test_a_split_by_seed_is_disjoint_complete_and_repeatable():
    names = [f"class {i}" for i in range(100)]
    split = split_classes(names, seed=3)
    assert [len(split[part]) for part in ("train", "val", "test")] == [64, 12, 24]
    assert sorted(sum(split.values(), [])) == sorted(names)
    assert split == split_classes(names[::-1], seed=3)  # the order of folders does not matter
    assert split != split_classes(names, seed=4)
    for n_classes in range(3, 60):
        least = min(len(part) for part in split_classes(names[:n_classes]).values())
        assert least >= (5 if n_classes >= 15 else 1)  # 5-way episodes of each part
    with pytest.raises(ValueError, match="3 different"):
        split_classes(["a", "b"])


def test_a_split_is_saved_and_read_back(tmp_path):
    split = split_classes(["a", "é", "c, d", "e"])
    save_split(tmp_path / "split.json", split, seed=0)
    assert load_split(tmp_path / "split.json") == split
    for content in (
        "[",
        "[]",
        '{"classes": {"train": []}}',
        json.dumps({"classes": {"train": 3, "val": 1, "test": 2}}),
    ):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(ValueError, match="bad.json is no split"):
            load_split(tmp_path / "bad.json")
    (tmp_path / "bad.json").write_text(json.dumps({"classes": {"train": ["a"], "val": ["a"], "test": ["b"]}}))
    with pytest.raises(ValueError, match="'a' twice"):
        load_split(tmp_path / "bad.json")


@pytest.mark.parametrize(
    "file, listed, as_listed",
    [
        ("hurling_(sport)/-kY.mp4", "hurling (sport)/-kY", True),
        ("195025.webm", "test18/195025", True),
        ("deep/er/fencing/A [1].AVI", "fencing/A [1]", True),
        ("fencing/x.avi", "fencing/x.mp4", True),
        ("train_256/busking/-kYzxMKp514.mp4", "busking/-kYzxMKp514_000086_000096", False),
        ("busking/-kYzxMKp514_000086_000096.mp4", "busking/-kYzxMKp514", False),
        ("kick/Amazing__Soccer__2.avi", "kick/Amazing_Soccer_#2", False),
        ("eat/cafe\u0301.mp4", "eat/caf\u00e9", False),  # how macOS writes an accent
        ("frames/eat/v 1/img_00001.png", "eat/v 1", True),
    ],
)
def test_a_listed_video_is_found(files, file, listed, as_listed):
    root = files(file, "other/unrelated.mp4")
    found, same_name = Locator(root).find(ListedClip(listed, listed.split("/")[0]))
    assert found == (file if not file.endswith("png") else "frames/eat/v 1")
    assert same_name == as_listed


def test_equal_names_in_several_classes_are_told_apart(files):
    root = files("walk/1.mp4", "run/1.mp4", "walk/2.mp4", ".hidden/1.mp4")
    locator = Locator(root, ["walk", "run", "sit"])
    assert locator.find(ListedClip("run/1", "run"))[0] == "run/1.mp4"
    assert locator.find(ListedClip("sit/1", "sit")) == (None, False)
    assert locator.find(ListedClip("run/2", "run")) == (None, False)  # it is another class's video
    assert find_clips(root) == ["run/1.mp4", "walk/1.mp4", "walk/2.mp4"]


def test_folders_without_clips_are_refused(tmp_path):
    with pytest.raises(ValueError, match="neither videos"):
        Locator(tmp_path)
    with pytest.raises(ValueError, match="no folder"):
        Locator(tmp_path / "absent")


def test_missing_videos_are_an_error_or_listed(tmp_path, write_list):
    make_video(tmp_path / "flat.mp4")
    listed = read_split_list(write_list("eat/flat", "eat/gone", "eat/gone too"))
    with pytest.raises(ValueError, match="2 of 3 listed videos.*'eat/gone'"):
        ListedClips(tmp_path, listed)
    clips = ListedClips(tmp_path, listed, on_error="skip", T=2)
    assert clips.class_names == ["eat"]
    assert clips.paths == ["flat.mp4"]
    assert clips.skipped == [("eat/gone", "no such file"), ("eat/gone too", "no such file")]
    assert clips[0].shape == (2, 3, 64, 96)
    with pytest.raises(ValueError, match="class 'sit' has no readable clip left"):
        ListedClips(tmp_path, [*listed, ListedClip("sit/1", "sit")], on_error="skip", T=2)


def test_numbered_classes_are_sorted_by_number(files, write_list):
    root = files("1.mp4", "2.mp4", "3.mp4")
    listed = read_split_list(write_list("test10/1", "test2/2", "test1/3"))
    assert ListedClips(root, listed).class_names == ["test1", "test2", "test10"]


# --- replicas of the public layouts: few classes, clips made on the spot, read from end to end


def test_hmdb51_with_a_list_of_numbers_and_paths(tmp_path, write_list):
    for name in ("fencing", "kick_ball"):
        (tmp_path / "videos" / name).mkdir(parents=True)
        make_video(tmp_path / "videos" / name / f"Mark_(of)_{name} #1!.avi")
    path = write_list(*(f"test{i}//videos/{c}/Mark_(of)_{c} #1!.avi" for i, c in enumerate(("fencing", "kick_ball"))))
    other = tmp_path / "train_list.txt"
    other.write_text("eat/1")
    clips = open_dataset(tmp_path, "hmdb51", "test", [other, path], T=4, size=32)
    assert clips.class_names == ["fencing", "kick_ball"]
    assert clips[1].shape == (4, 3, 32, 32)
    assert clips.flip
    with pytest.raises(ValueError, match="no list is of part 'val'"):
        open_dataset(tmp_path, "hmdb51", "val", [other, path])


def test_published_classes_in_class_folders(files):
    classes = published_split("kinetics100").classes["val"]
    root = files(
        *(f"{part}_256/{name.replace(' ', '_')}/{i}.mp4" for name in classes for i, part in enumerate(("train", "val")))
    )
    clips = open_dataset(root, "kinetics100", "val")
    assert clips.class_names == classes
    assert clips.labels == [label for label in range(12) for _ in range(2)]
    with pytest.raises(ValueError, match="24 of 24 classes.*list"):
        open_dataset(root, "kinetics100", "test")


def test_ssv2_flat_webm_files_with_numbered_classes(tmp_path, write_list):
    make_video(tmp_path / "195025.webm", n_frames=12)
    clips = open_dataset(tmp_path, "ssv2_full", "test", [write_list("test18/195025")], T=4)
    assert clips.class_names == ["test18"]
    assert clips[0].shape == (4, 3, 64, 96)
    assert not clips.flip


def test_ssv2_frame_folders_with_a_list_of_lengths(tmp_path, write_list):
    make_frame_folder(tmp_path / "20bn" / "195025", 9)
    make_frame_folder(tmp_path / "20bn" / "17", 10, ".png")
    clips = open_dataset(tmp_path, "ssv2_small", None, [write_list("20bn/195025 9 18", "20bn/17 10 2")], T=4)
    assert clips.class_names == ["2", "18"]
    assert clips[0].shape == (4, 3, 64, 96)


def test_frame_folders_in_parts(tmp_path):
    for part, name in (("train", "run"), ("test", "jump")):
        make_frame_folder(tmp_path / part / name / "v1", digits=8, prefix="")
    assert open_dataset(tmp_path, split="train").class_names == ["run"]
    assert open_dataset(tmp_path, split="test", T=3)[0].shape == (3, 3, 64, 96)


def test_a_plain_folder_is_split_by_seed_and_the_split_is_kept(files, tmp_path):
    root = files(*(f"videos/class {i}/{n}.mp4" for i in range(10) for n in range(2))) / "videos"
    assert len(open_dataset(root).class_names) == 10
    assert open_dataset(root, split="train").class_names == split_classes(open_dataset(root).class_names)["train"]
    parts = {part: open_dataset(root, split=part, split_file=tmp_path / "s.json") for part in ("train", "val", "test")}
    assert sorted(name for clips in parts.values() for name in clips.class_names) == [f"class {i}" for i in range(10)]
    assert {part: clips.class_names for part, clips in parts.items()} == load_split(tmp_path / "s.json")
    files("videos/class 10/1.mp4")  # a class that arrives later changes nothing
    assert open_dataset(root, split="train", split_file=tmp_path / "s.json").paths == parts["train"].paths
    with pytest.raises(ValueError, match="'dev'"):
        open_dataset(root, split="dev")
    for split in (None, "train"):
        with pytest.raises(ValueError, match="nowhere is no folder"):
            open_dataset(tmp_path / "nowhere", split=split)
