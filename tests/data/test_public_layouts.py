"""Every public layout, as a replica of a few clips: trained and evaluated through the command line."""

import shutil
from pathlib import Path

import av
import pytest
from PIL import Image

from taskadapter_lite.__main__ import main
from taskadapter_lite.files import data_dir
from taskadapter_lite.results import RunResult

PARTS = ("train", "test")
NAMES = {"train": ("brush hair, slowly", "pull (up)"), "test": ("café au lait", "kick_ball")}
SMALL = ["--random-weights", "--frames", "2", "--device", "cpu", "--n-way", "2", "--n-query", "1"]


def videos() -> dict[str, list[Path]]:
    """Two bundled clips for each of the four classes."""
    folders = iter(sorted((data_dir() / "clips" / "train").iterdir()))
    return {name: sorted(next(folders).iterdir())[:2] for part in PARTS for name in NAMES[part]}


def as_frames(video: Path, folder: Path, pattern: str) -> int:
    """Write the frames of a video as pictures; returns how many."""
    folder.mkdir(parents=True)
    with av.open(str(video)) as container:
        for number, frame in enumerate(container.decode(video=0), 1):
            Image.fromarray(frame.reformat(format="rgb24", threads=1).to_ndarray()).save(
                folder / pattern.format(number)
            )
    return number


def trx(root: Path) -> dict[str, list[str]]:
    """`class/video_id`; videos in class folders."""
    lines = {part: [] for part in PARTS}
    for part in PARTS:
        for name in NAMES[part]:
            (root / name).mkdir()
            for i, video in enumerate(videos()[name]):
                shutil.copy(video, root / name / f"v_{i} [x].mp4")
                lines[part].append(f"{name}/v_{i} [x]")
    return lines


def numbered(root: Path) -> dict[str, list[str]]:
    """`test18/195025`, as SSv2-Small: numbered classes, all videos in one folder."""
    lines, video_id = {part: [] for part in PARTS}, 195000
    for part in PARTS:
        for number, name in enumerate(NAMES[part]):
            for video in videos()[name]:
                shutil.copy(video, root / f"{video_id}.mp4")
                lines[part].append(f"{part}{number}/{video_id}")
                video_id += 1
    return lines


def hyrsm(root: Path) -> dict[str, list[str]]:
    """`test0//videos/fencing/<name>.mp4`: part and class number, then a path."""
    lines = {part: [] for part in PARTS}
    for part in PARTS:
        for number, name in enumerate(NAMES[part]):
            (root / "videos" / name).mkdir(parents=True)
            for i, video in enumerate(videos()[name]):
                shutil.copy(video, root / "videos" / name / f"{i}.mp4")
                lines[part].append(f"{part}{number}//videos/{name}/{i}.mp4")
    return lines


def task_adapter(root: Path) -> dict[str, list[str]]:
    """`<frame_dir> <n_frames> <label>`, frames `img_00001.jpg`."""
    lines = {part: [] for part in PARTS}
    for part in PARTS:
        for label, name in enumerate(NAMES[part]):
            for i, video in enumerate(videos()[name]):
                n_frames = as_frames(video, root / name / f"clip{i}", "img_{:05d}.jpg")
                lines[part].append(f"{name}/clip{i} {n_frames} {label}")
    return lines


def parts_of_frames(root: Path) -> dict:
    """`<split>/<class>/<video>/00000001.png`, no list."""
    for part in PARTS:
        for name in NAMES[part]:
            for i, video in enumerate(videos()[name]):
                as_frames(video, root / part / name / f"clip{i}", "{:08d}.png")
    return {}


def parts_of_videos(root: Path) -> dict:
    """`<split>/<class>/<video>.mp4`, no list."""
    for part in PARTS:
        for name in NAMES[part]:
            (root / part / name).mkdir(parents=True)
            for i, video in enumerate(videos()[name]):
                shutil.copy(video, root / part / name / f"{i}.mp4")
    return {}


@pytest.mark.parametrize("layout", [trx, numbered, hyrsm, task_adapter, parts_of_frames, parts_of_videos])
def test_trains_and_evaluates(layout, tmp_path):
    root, run = tmp_path / "data", tmp_path / "run"
    root.mkdir()
    lists = {}
    for part, lines in layout(root).items():
        lists[part] = ["--list", str(tmp_path / f"{part}list01.txt")]
        Path(lists[part][1]).write_text("\n".join(lines) + "\n", encoding="utf-8")
    train = ["train", "--data", str(root), *lists.get("train", []), *SMALL, "--depth", "1", "--axes", "task"]
    train += ["--n-steps", "2", "--views", "1", "--validation-episodes", "0", "--out", str(run)]
    assert main(train) == 0
    trained = RunResult.load(run / "result.json")
    assert trained.history[-1]["step"] == 2
    out = tmp_path / "test.json"
    evaluate = ["evaluate", "--data", str(root), *lists.get("test", []), *SMALL, "--part", "test"]
    assert main([*evaluate, "--n-episodes", "3", "--out", str(out)]) == 0
    result = RunResult.load(out)
    assert len(result.accuracies) == 3
    assert len(result.class_names) == 2
    if layout is not numbered:
        assert set(result.class_names) == set(NAMES["test"])
    assert result.dataset != trained.dataset
