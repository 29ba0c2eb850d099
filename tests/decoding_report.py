"""Frames right with an earlier reader and now, a kind of file at a time, and frames a second beside plain decoders.

PYTHONPATH=.:tests python tests/decoding_report.py --before 5302ced --out notebooks/results/decoding.json
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
from barcodes import GOPS, cut_by_copy, kinds, make_barcodes, numbers, shown_by_ffmpeg

from taskadapter_lite.data import decoding
from taskadapter_lite.data.clips import read_clip, read_frames, sample_frames
from taskadapter_lite.data.decoding import ClipError
from taskadapter_lite.files import write_json
from taskadapter_lite.results import environment

ROOT = Path(__file__).parents[1]
READER = """
import json, sys
from taskadapter_lite import clips
from barcodes import numbers
for path in sys.stdin.read().splitlines():
    found = []
    for T in (8, None):
        try:
            clip = clips.read_clip(path, T) if T else clips.read_frames(path)
            found.append(numbers(clip.permute(0, 2, 3, 1).numpy()))
        except clips.ClipError:
            found.append([])
    print(json.dumps(found))
"""


def right(found: list[int], expected: list[int]) -> int:
    """Frames that are the expected one at their place."""
    return sum(a == b for a, b in zip(found, expected, strict=False))


def read_before(paths: list[Path], commit: str, folder: Path) -> list[list[list[int]]]:
    """[numbers of 8 frames, numbers of all frames] of each file, by the reader of a commit."""
    archive = subprocess.run(["git", "archive", commit, "taskadapter_lite"], cwd=ROOT, capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    found = subprocess.run(
        [sys.executable, "-c", READER],
        cwd=folder,
        env={"PYTHONPATH": f"{folder}:{ROOT / 'tests'}", "PATH": "/usr/bin:/bin"},
        input="\n".join(map(str, paths)),
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in found.stdout.splitlines()]


def read_now(path: Path) -> list[list[int]]:
    """The same by the present reader."""
    found = []
    for read in (read_clip, read_frames):
        try:
            found.append(numbers(read(path).permute(0, 2, 3, 1).numpy()))
        except ClipError:
            found.append([])
    return found


def make_files(folder: Path) -> list[tuple[str, Path, list[int]]]:
    """(kind, file, numbers that a player shows) of the whole matrix and of files cut by copy."""
    files = []
    for i, (codec, gop, suffix, start) in enumerate(kinds()):
        path = make_barcodes(folder / f"{i}.{suffix}", codec, GOPS[codec][gop], 120, start=start)
        late = ", starts late" if start else ""
        files.append((f"{codec} {gop} in {suffix}{late}", path, list(range(120))))
        if suffix in ("mp4", "mov") and not start and codec in ("libx264", "libx265", "mpeg4") and gop != "refresh":
            cut = cut_by_copy(path, folder / f"{i} cut.{suffix}", 1.72, 2)
            files.append((f"{codec} {gop} in {suffix}, cut by copy", cut, shown_by_ffmpeg(cut)))
    return files


def compare(folder: Path, commit: str) -> list[dict]:
    """One row a kind: frames that are right, of 8 and of all, with the earlier reader and now."""
    files = make_files(folder)
    before = read_before([path for _, path, _ in files], commit, folder)
    rows = []
    for (kind, path, shown), (clip, whole) in zip(files, before, strict=True):
        wanted = [shown[i] for i in sample_frames(len(shown), 8)]
        clip_now, whole_now = read_now(path)
        of_8 = {"before": right(clip, wanted), "now": right(clip_now, wanted)}
        of_all = {"before": right(whole, shown), "now": right(whole_now, shown)}
        rows.append({"kind": kind, "shown": len(shown), "right_of_8": of_8, "right_of_all": of_all})
    return rows


def rates(folder: Path) -> list[dict]:
    """Frames a second, 8 of a clip of 320 x 240: plain decord, plain PyAV, `read_clip`; the fastest of 9 rounds."""
    rows = []
    for codec, gop, suffix in (("libx264", "B", "mp4"), ("mpeg4", "B", "avi"), ("libx265", "open", "mp4")):
        for n_frames in (30, 100, 300):
            path = folder / f"{codec} {n_frames}.{suffix}"
            make_barcodes(path, codec, GOPS[codec][gop], n_frames, sizes=((320, 240),))
            readers: dict[str, Callable[[Path], object]] = {"read_clip": read_clip, "PyAV": _plain_pyav}
            if decoding.decord is not None:
                readers["decord"] = _plain_decord
            seconds: dict[str, list[float]] = {name: [] for name in readers}
            for _ in range(9):
                for name, read in readers.items():
                    start = time.perf_counter()
                    read(path)
                    seconds[name].append(time.perf_counter() - start)
            speed = {name: round(8 / min(found)) for name, found in seconds.items()}
            rows.append({"kind": f"{codec} {gop} in {suffix}", "frames": n_frames, "frames_a_second": speed})
    return rows


def _plain_decord(path: Path) -> None:
    reader = decoding.decord.VideoReader(str(path), num_threads=1)
    reader.get_batch(sample_frames(len(reader), 8).tolist()).asnumpy()


def _plain_pyav(path: Path) -> None:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        wanted = set(sample_frames(stream.frames, 8).tolist())
        for i, frame in enumerate(container.decode(stream)):
            if i in wanted:
                frame.reformat(format="rgb24", threads=1).to_ndarray()
            if i == max(wanted):
                break


def main() -> None:
    """Make the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", default="5302ced", help="commit of the earlier reader")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    decoders = {module.__name__: module.__version__ for module in (av, decoding.decord) if module is not None}
    report = {**environment(), "before": arguments.before, "decoders": decoders}
    with tempfile.TemporaryDirectory() as name:
        report["kinds"] = compare(Path(name), arguments.before)
        report["rates"] = rates(Path(name))
    write_json(arguments.out, report, indent=1)


if __name__ == "__main__":
    main()
