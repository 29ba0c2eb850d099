"""Lists of every kind that is about: the same clips, or one sentence that names the line."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskadapter_lite.data.checking import check_dataset
from taskadapter_lite.data.datasets import ListedClips, open_dataset
from taskadapter_lite.data.public import ListedClip, part_of_name, read_split_list

SAMPLES = Path(__file__).parents[3] / "shared" / "inputs" / "lists"


@pytest.fixture
def write(tmp_path):
    def write(*lines, name="list.txt"):
        (tmp_path / name).write_text("\n".join(lines), encoding="utf-8")
        return tmp_path / name

    return write


def read(path):
    return [(clip.path, clip.class_name) for clip in read_split_list(path)]


def test_ucf101_s_own_list(write):
    path = write("Archery/v_Archery_g01_c01.avi 1", "Biking/v_Biking_g01_c01.avi 2", "Biking/v_Biking_g01_c02.avi 2")
    assert read(path)[1] == ("Biking/v_Biking_g01_c01.avi", "Biking")
    assert read(path)[0] == ("Archery/v_Archery_g01_c01.avi", "Archery")
    assert read(write("Archery/v_Archery_g01_c01.avi")) == [("Archery/v_Archery_g01_c01.avi", "Archery")]  # testlist01


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples are not here")
def test_the_sample_of_ucf101_s_own_list():
    assert [class_name for _, class_name in read(SAMPLES / "trainlist01.txt")] == ["Archery", "Biking"]


@pytest.mark.parametrize(
    "lines, expected",
    [
        (["eat/v1 0", "eat/v2 0", "sit/v3 1"], [("eat/v1", "eat"), ("eat/v2", "eat"), ("sit/v3", "sit")]),
        (["20bn/17 3", "20bn/18 0"], [("20bn/17", "3"), ("20bn/18", "0")]),  # one folder of all classes
        (["17.webm 3", "18.webm 0"], [("17.webm", "3"), ("18.webm", "0")]),  # no folder at all
        (["a/eat/v 1.mp4\t5"], [("a/eat/v 1.mp4", "eat")]),
        (["v/1.mp4 eat", "v/2.mp4 hand stand"], [("v/1.mp4", "eat"), ("v/2.mp4", "hand stand")]),
        (
            ["eat/take 1", "eat/take 2", "sit/take 1"],
            [("eat/take 1", "eat"), ("eat/take 2", "eat"), ("sit/take 1", "sit")],
        ),
        (["eat/a.avi b.avi"], [("eat/a.avi b.avi", "eat")]),
        (["eat\\v 1.avi", "sit\\v2.avi"], [("eat/v 1.avi", "eat"), ("sit/v2.avi", "sit")]),
        (["eat\\v1.avi 0", "sit\\v2.avi 1"], [("eat/v1.avi", "eat"), ("sit/v2.avi", "sit")]),
        ([".\\eat\\v1.avi", "./sit/v2.avi"], [("eat/v1.avi", "eat"), ("sit/v2.avi", "sit")]),
        (["frames\\eat\\v1 9 0"], [("frames/eat/v1", "eat")]),
        (["test0//videos\\eat\\v1.avi"], [("videos/eat/v1.avi", "eat")]),
    ],
)
def test_paths_and_labels_in_every_spelling(write, lines, expected):
    assert read(write(*lines)) == expected


@pytest.mark.parametrize(
    "lines, reason",
    [
        (["eat/1.avi 0", "sit/2.avi"], r"line 2: 'sit/2.avi' is not <path> <label> as line 1 is"),
        (
            ["eat/1 9 0", "sit/2 9 1", "sit/3 nine 1 x/"],
            r"line 3: 'sit/3 nine 1 x/' is not <frame folder>.* as line 1 is",
        ),
        (["one", "eat/1"], r"line 1: 'one' is not <class>/<video> as line 2 is"),
        (["one", "two"], r"line 1: 'one' is none of test0//<path>, .*<class>/<video>"),
        (["path,label", "a;b"], "line 1: 'path,label' is none of"),
        (["eat/1.avi 0", "./eat/1.avi 0"], "lists 'eat/1.avi' twice"),
        (["..\\eat\\1.avi 0"], "line 1.*outside"),
        (["C:\\data\\eat\\1.avi 0"], "line 1.*outside"),
        (["\\data\\eat\\1.avi 0"], "line 1.*outside"),
        (["eat/."], "line 1: 'eat/.' names no video"),
    ],
)
def test_a_refusal_names_the_line(write, lines, reason):
    with pytest.raises(ValueError, match=reason):
        read_split_list(write(*lines))


def test_hmdb51_s_own_lists_number_parts(write):
    name = "brush_hair_test_split1.txt"
    with pytest.raises(ValueError, match="whose numbers are parts, not classes"):
        read_split_list(write("April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1", "b.avi 2", "c.avi 0", name=name))


@pytest.mark.parametrize(
    "name, part",
    [
        ("trainlist01", "train"),
        ("TrainList", "train"),
        ("kinetics_training", "train"),
        ("ssv2-validation", "val"),
        ("valid", "val"),
        ("dev.v2", "val"),
        ("VAL", "val"),
        ("testlist03", "test"),
        ("hmdb51TestSplit", "test"),
        ("constraint", None),
        ("strain_of_gymnasts", None),
        ("latest", None),
        ("interval", None),
        ("devices", None),
        ("trainval", None),
        ("train_or_test", None),
        ("01", None),
    ],
)
def test_whole_words_tell_the_part(name, part):
    assert part_of_name(name) == part


def test_the_part_of_a_list_with_a_misleading_name(write):
    lists = [write("eat/1", name="constraint.txt"), write("sit/1", name="latest_valid.txt")]
    with pytest.raises(ValueError, match="no list is of part 'train'"):
        open_dataset(lists[0].parent, split="train", lists=lists)


def test_lines_of_several_parts_are_told_apart(write, tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.mp4").touch()
    path = write("train0//0.mp4", "test0//1.mp4", "test1//2.mp4")
    assert open_dataset(tmp_path, split="test", lists=[path]).paths == ["1.mp4", "2.mp4"]
    assert set(check_dataset(tmp_path, "hmdb51", [path], min_clips=1, quick=True).videos) == {"train", "test"}


def test_two_names_of_one_file_are_refused_by_name(write, tmp_path):
    (tmp_path / "abseiling").mkdir()
    (tmp_path / "abseiling" / "abcdefghijk.mp4").touch()
    names = ["abseiling/abcdefghijk_000001_000011", "abseiling/abcdefghijk_000020_000030"]
    path = write(*names)
    for on_error in ("raise", "skip"):
        with pytest.raises(ValueError, match=f"'{names[0]}' and '{names[1]}' are listed as two.*abcdefghijk.mp4"):
            ListedClips(tmp_path, read_split_list(path), on_error=on_error)
    report = check_dataset(tmp_path, "kinetics100", [path], min_clips=1, quick=True)
    assert report.same_file == [(*names, "abseiling/abcdefghijk.mp4")]
    assert report.problems == ["1 files are listed twice, under two names or in two parts"]
    os.rename(tmp_path / "abseiling" / "abcdefghijk.mp4", tmp_path / f"{names[0]}.mp4")
    (tmp_path / f"{names[1]}.mp4").touch()  # both segments are there
    assert ListedClips(tmp_path, read_split_list(path)).paths == [f"{name}.mp4" for name in names]


def test_a_file_in_two_parts_is_found(write, tmp_path):
    (tmp_path / "eat").mkdir()
    (tmp_path / "eat" / "1.mp4").touch()
    lists = [write("eat/1", name="train.txt"), write("Eat/1.mp4", name="test.txt")]
    report = check_dataset(tmp_path, "hmdb51", lists, min_clips=1, quick=True)
    assert report.same_file == [("eat/1", "Eat/1.mp4", "eat/1.mp4")]
    assert report.shared_classes == ["eat = Eat"]
    assert len(report.problems) == 2


def test_files_that_differ_in_their_suffix_alone_are_two(tmp_path):
    (tmp_path / "eat").mkdir()
    for suffix in ("avi", "mp4"):
        (tmp_path / "eat" / f"1.{suffix}").touch()
    listed = [ListedClip("eat/1.mp4", "eat"), ListedClip("eat/1.avi", "eat")]
    assert ListedClips(tmp_path, listed).paths == ["eat/1.mp4", "eat/1.avi"]


WORDS = st.text("abcxyz", min_size=1, max_size=5)  # of letters: what a digit means depends on the format
CLIPS = st.lists(st.tuples(WORDS, WORDS), min_size=2, max_size=12, unique=True)
FORMS = {
    "class/video": lambda name, video, label: f"{name}/{video}",
    "with suffix": lambda name, video, label: f"{name}/{video}.avi",
    "numbered path": lambda name, video, label: f"val{label}//videos/{name}/{video}.avi",
    "frames": lambda name, video, label: f"{name}/{video} 12 {label}",
    "path label": lambda name, video, label: f"{name}/{video}.avi {label}",
}


@settings(max_examples=60, deadline=None)
@given(clips=CLIPS, form=st.sampled_from(sorted(FORMS)), spelling=st.sampled_from(["", "./", "\\"]), end=st.booleans())
def test_every_form_and_spelling_tells_class_and_video(tmp_path_factory, clips, form, spelling, end):
    labels = {name: i for i, name in enumerate(dict.fromkeys(name for name, _ in clips))}
    lines = [FORMS[form](name, video, labels[name]) for name, video in clips]
    if spelling == "./":
        lines = [line.replace("//", "//./") if "//" in line else f"./{line}" for line in lines]
    elif spelling:
        lines = [line.replace("//", "\0").replace("/", "\\").replace("\0", "//") for line in lines]
    path = tmp_path_factory.mktemp("lists") / "list.txt"
    path.write_bytes(("\r\n" if end else "\n").join(lines).encode("utf-8-sig" if end else "utf-8"))
    found = [(clip.class_name, clip.path.split("/")[-1].removesuffix(".avi")) for clip in read_split_list(path)]
    assert found == clips


@settings(max_examples=150, deadline=None)
@given(text=st.text(st.sampled_from("a1 /.\\\t\nétest0C:"), max_size=40))
def test_any_text_is_read_or_refused_in_a_sentence(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("lists") / "list.txt"
    path.write_text(text, encoding="utf-8")
    listed, refusal = [], ""
    try:
        listed = read_split_list(path)
    except ValueError as error:
        refusal = str(error)
    assert bool(listed) == (str(path) not in refusal)
    assert all(clip.class_name and ".." not in clip.path.split("/") for clip in listed)
    assert all(not clip.path.startswith("/") for clip in listed)
