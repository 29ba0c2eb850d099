"""Clips of several kinds -> frames a CPU second of `read_clip` beside a plain reader of each decoder.

A plain reader opens the file, takes the frames by number and checks nothing. PyAV in order is right on all of these
kinds. Seeking with decord is exact on H.264 whose keyframes are all IDR; on the others it is timed, not trusted.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pandas as pd

from taskadapter_lite.data.clips import read_clip, sample_frames
from taskadapter_lite.data.decoding import decord
from taskadapter_lite.results import markdown_table

T = 8
LENGTHS = (30, 100, 300)  # of a clip, in frames
SIDES = (320, 240)  # of a frame, as in UCF101


class Kind(NamedTuple):
    """How a clip is stored, and whether decord's seeking finds its frames."""

    name: str
    suffix: str
    codec: str
    options: dict[str, str]
    decord_is_right: bool = False


KINDS = (
    Kind("H.264, closed GOP, mp4", ".mp4", "libx264", {"g": "12", "bf": "2"}, True),
    Kind("H.264, open GOP, mp4", ".mp4", "libx264", {"g": "12", "bf": "2", "x264-params": "open-gop=1"}),
    Kind("HEVC, open GOP, mp4", ".mp4", "libx265", {"g": "12", "x265-params": "log-level=none"}),
    Kind("MPEG-4, B-frames, avi", ".avi", "mpeg4", {"g": "12", "bf": "2"}),
    Kind("MPEG-2, B-frames, mkv", ".mkv", "mpeg2video", {"g": "12", "bf": "2"}),
    Kind("VP9, webm", ".webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
)


def decoding_speed(repeats: int) -> list[dict]:
    """Frames a CPU second of reading T = 8 frames, the fastest of some rounds in which the readers take turns.

    Seconds of the processor, all threads together, and not of the clock: that is what a machine of which every core
    reads can do, and other work on it does not show.

    Returns:
        A row a kind and length: `kind`, `frames`, `rates` of "read_clip", "PyAV" and, where it is installed, "decord",
        and `ratio`: `read_clip` over the faster of the plain readers that are right. Kinds that nothing here can
        encode are left out.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number, kind in enumerate(KINDS):
            for n_frames in LENGTHS:
                path = Path(folder) / f"{number}_{n_frames}{kind.suffix}"
                try:
                    write_video(path, kind, n_frames)
                except (av.FFmpegError, ValueError):  # an FFmpeg that was built without the encoder
                    break
                rates = _rates(path, repeats)
                right = [rates["PyAV"]] + ([rates["decord"]] if kind.decord_is_right and "decord" in rates else [])
                row = {"kind": kind.name, "frames": n_frames, "decord_is_right": kind.decord_is_right}
                rows.append(row | {"rates": rates, "ratio": rates["read_clip"] / max(right)})
    return rows


def write_video(path: Path, kind: Kind, n_frames: int) -> None:
    """A video of a rolling smooth texture, so that there is something to predict and to correct."""
    width, height = SIDES
    coarse = np.random.default_rng(0).integers(0, 255, (height // 16, width // 16, 3)).astype(np.uint8)
    picture = coarse.repeat(16, axis=0).repeat(16, axis=1)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(kind.codec, rate=25, options=dict(kind.options))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(n_frames):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, (i, 3 * i), axis=(0, 1)), "rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _rates(path: Path, repeats: int) -> dict[str, float]:
    readers: dict[str, Callable[[Path], object]] = {"read_clip": read_clip, "PyAV": _plain_pyav}
    if decord is not None:
        decord.logging.set_level(decord.logging.QUIET)
        readers["decord"] = plain_decord
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(repeats):
        for name, read in readers.items():
            start = time.process_time()
            read(path)
            seconds[name].append(time.process_time() - start)
    return {name: T / min(found) for name, found in seconds.items()}


def _plain_pyav(path: Path) -> np.ndarray:
    """Decode in order up to the last frame wanted, and convert the wanted ones alone."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.thread_count = "SLICE", 1
        n_frames = stream.frames or round(float(container.duration or 0) / 1e6 * 25)  # webm and mkv do not say
        wanted, found = set(sample_frames(n_frames, T).tolist()), []
        for i, frame in enumerate(container.decode(stream)):
            if i in wanted:
                found.append(frame.reformat(format="rgb24", threads=1).to_ndarray())
            if i == max(wanted):
                break
    return np.stack(found)


def plain_decord(path: Path, T: int = T) -> np.ndarray:
    """T frames by number, as public code takes them."""
    reader = decord.VideoReader(str(path), num_threads=1)
    return reader.get_batch(sample_frames(len(reader), T).tolist()).asnumpy()


def decoding_table(rows: list[dict]) -> str:
    """The rows as Markdown: frames a CPU second, and how much of the faster right reader's rate is reached."""
    cells = []
    for row in rows:
        rates = {name: f"{rate:,.0f}" for name, rate in row["rates"].items()}
        doubt = "" if row["decord_is_right"] or "decord" not in rates else ", not trusted"
        by_decord = rates.get("decord", "-") + doubt
        cells.append([row["kind"], row["frames"], rates["read_clip"], rates["PyAV"], by_decord, f"{row['ratio']:.2f}"])
    names = ["kind", "frames", "read_clip", "plain PyAV", "plain decord", "of the faster right one"]
    return markdown_table(pd.DataFrame(cells, columns=names))
