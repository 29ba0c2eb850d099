"""Video file or frame folder -> pixels of chosen frames, or a ClipError that says what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from einops import rearrange
from PIL import Image

try:  # no wheel on Linux aarch64: PyAV reads there
    import decord
except ImportError:
    decord = None

_OLDER = (".mpg", ".mpeg", ".wmv", ".3gp", ".flv", ".ts")
VIDEO_SUFFIXES = (".avi", ".mp4", ".webm", ".mkv", ".mov", ".m4v", *_OLDER)
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
MAX_PIXELS = 2**25  # a frame: 8K video fits; a damaged header easily claims more
MAX_FRAMES = 10**6  # a clip; nine hours at 30 frames a second

Choose = Callable[[int], list[int]]  # number of frames -> T ascending frame indices


class ClipError(ValueError):
    """A video or frame folder that can't be read: `path` names it, `reason` says why."""

    def __init__(self, path: str | Path, reason: str = "") -> None:
        super().__init__(
            f"{path}: {reason}" if reason else str(path)
        )  # one argument: as a DataLoader worker rebuilds it
        self.path, self.reason = str(path), reason


def decode_frames(path: Path, choose: Choose) -> torch.Tensor:
    """Decode some frames of a video file or frame folder.

    Args:
        path: video file, or folder of jpg or png frames numbered with any padding.
        choose: from the number of frames there to the ascending indices of the T frames wanted.

    Returns:
        (T, 3, H, W) uint8 RGB.

    Raises:
        ClipError: the file is missing, damaged, truncated, without video, or of absurd size.
    """
    frames = torch.from_numpy(_decode_array(path, choose))
    return rearrange(frames, "t h w c -> t c h w").contiguous()


def _decode_array(path: Path, choose: Choose) -> np.ndarray:
    with _as_clip_error(path):
        if not path.exists():
            raise ClipError(path, "no such file")
        if path.is_dir():
            return _read_images(path, choose)
        if not path.is_file():
            raise ClipError(path, "is neither a file nor a folder")
        with path.open("rb") as file:  # a missing permission shows here, under its own name
            if not file.read(1):
                raise ClipError(path, "the file is empty")
        header = _read_header(path)
        frames = None
        if decord:
            with suppress(RuntimeError, decord.DECORDError):  # its thread reads ahead, and may trip over later damage
                frames = _read_with_decord(path, choose, header)
        return _read_with_pyav(path, choose, header) if frames is None else frames


@contextmanager
def _as_clip_error(path: Path) -> Iterator[None]:
    """Decoders raise exceptions of many families (decord's DECORDError is not even a RuntimeError)."""
    try:
        yield
    except ClipError:
        raise
    except PermissionError:
        raise ClipError(path, "no permission to read it") from None
    except Exception as error:
        lines = str(getattr(error, "strerror", None) or error).strip().splitlines() or [type(error).__name__]
        raise ClipError(path, f"can't be decoded ({lines[-1][:160]})") from error


def _read_images(folder: Path, choose: Choose) -> np.ndarray:
    images = list_frames(folder)
    if not images:
        raise ClipError(folder, "is a folder without jpg or png frames")
    wanted = choose(len(images))
    frames = {}
    for index in set(wanted):
        with _as_clip_error(images[index]), Image.open(images[index]) as image:
            _check_size(images[index], *image.size)
            frames[index] = np.asarray(image.convert("RGB"))
    if len({frame.shape for frame in frames.values()}) > 1:
        raise ClipError(folder, "its frames have different sizes")
    return np.stack([frames[index] for index in wanted])


@dataclass(frozen=True)
class _Header:
    """What the container promises; 0 where it does not say. Edit lists (of trimmed mp4 files) hide some frames."""

    frames: int
    seconds: float
    has_edit_lists: bool

    def check(self, path: Path, frames: int, seconds: float) -> None:
        """Refuse a cut file that a decoder reads to its early end without an error.

        Intact files of public data sets miss a frame or two of what they declare: 5% and 2 frames are allowed.
        """
        if frames < 1:
            raise ClipError(path, "holds no video frame")
        if frames > MAX_FRAMES:
            raise ClipError(path, f"claims {frames:,} frames, more than {MAX_FRAMES:,}")
        by_time = self.has_edit_lists or not self.frames
        if not by_time and frames < 0.95 * self.frames - 2:
            raise ClipError(path, f"is truncated: {frames} of {self.frames} frames are there")
        if by_time and seconds < 0.95 * self.seconds - 2 * seconds / frames:
            raise ClipError(path, f"is truncated: {seconds:.2f} of {self.seconds:.2f} seconds are there")


def _read_header(path: Path) -> _Header:
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ClipError(path, "has no video, at most sound")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise ClipError(path, "has a video codec that nothing here can decode")
        _check_size(path, stream.width, stream.height)
        return _Header(stream.frames, _declared_seconds(container, stream), "mp4" in container.format.name)


def _declared_seconds(container: av.container.InputContainer, stream: av.VideoStream) -> float:
    """Length of the video track; webm keeps it in a tag such as 00:00:01.600000000."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    clock = re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", ""))
    if clock:
        hours, minutes, seconds = map(float, clock.groups())
        return 3600 * hours + 60 * minutes + seconds
    only_stream = len(container.streams) == 1 and container.duration is not None
    return container.duration / 1e6 if only_stream else 0.0


def _check_size(path: Path, width: int, height: int) -> None:
    if not 0 < width * height <= MAX_PIXELS:
        raise ClipError(path, f"claims frames of {width} x {height} pixels, the limit is {MAX_PIXELS:,} pixels")


def _read_with_decord(path: Path, choose: Choose, header: _Header) -> np.ndarray | None:
    """The chosen frames, or None where there are not as many as declared: PyAV knows which frames are hidden."""
    decord.logging.set_level(decord.logging.QUIET)  # what is wrong is said once, by the ClipError
    reader = decord.VideoReader(str(path), num_threads=1)
    n_frames = len(reader)
    if n_frames < 1 or header.frames not in (0, n_frames):
        return None
    header.check(path, n_frames, float(reader.get_frame_timestamp(n_frames - 1)[1]))
    return reader.get_batch(choose(n_frames)).asnumpy()


def _read_with_pyav(path: Path, choose: Choose, header: _Header) -> np.ndarray:
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size and not packet.is_discard]
        ends = [float((p.pts + (p.duration or 0)) * p.time_base) for p in packets if p.pts is not None]
    header.check(path, len(packets), max(ends, default=0.0))
    wanted = choose(len(packets))
    frames = {}
    with av.open(str(path)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index in wanted:
                frames[index] = _upright(frame)
            if index >= wanted[-1]:
                break
    if len(frames) < len(set(wanted)):
        raise ClipError(path, f"is damaged: frame {wanted[-1]} of {len(packets)} can't be decoded")
    return np.stack([frames[index] for index in wanted])


def _upright(frame: av.VideoFrame) -> np.ndarray:
    """Pixels of a frame the way a player shows it: phones store portraits lying on their side (decord sees to that)."""
    quarter_turns = round(getattr(frame, "rotation", 0) / 90)
    return np.rot90(frame.to_ndarray(format="rgb24"), quarter_turns)


def list_frames(folder: str | Path) -> list[Path]:
    """Image files of a frame folder in the order of the last number in their names, whatever its zero-padding."""
    images = [entry for entry in Path(folder).iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES]
    return sorted(images, key=lambda image: (int((re.findall(r"\d+", image.stem) or [0])[-1]), image.name))
