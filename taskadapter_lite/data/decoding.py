"""Video file or frame folder -> pixels of chosen frames, or a ClipError that says what is wrong with it.

The rule: frames are those that a player shows, in the order in which it shows them, whichever decoder is installed.
PyAV reads every file from its first packet to its last; frames hidden by an edit list are neither counted nor given.
decord seeks, which is exact only for H.264 in mp4 or mov whose keyframes are all IDR, with square pixels, nothing
hidden, turned or tagged with colours: where it is installed it reads such a file if it is long, with the same pixels.
Pixels are turned, mirrored and stretched as a player does; a cut file or one whose size changes is a ClipError.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import PIL
import torch
from av.video.reformatter import VideoReformatter
from PIL import Image, ImageOps

try:  # no wheel on Linux aarch64: PyAV reads there
    import decord
except ImportError:
    decord = None

_OLDER = (".mpg", ".mpeg", ".wmv", ".3gp", ".flv", ".ts")
VIDEO_SUFFIXES = (".avi", ".mp4", ".webm", ".mkv", ".mov", ".m4v", *_OLDER)
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
MAX_PIXELS = 2**25  # a frame: 8K video fits; a damaged header easily claims more
LONG = 250  # packets; below, reading in order is as fast as seeking
MAX_FRAMES = 10**6  # a clip; nine hours at 30 frames a second

Choose = Callable[[int], list[int]]  # number of frames -> T ascending frame indices


class ClipError(ValueError):
    """A video or frame folder that can't be read: `path` names it, `reason` says why."""

    def __init__(self, path: str | Path, reason: str = "") -> None:
        # one argument: as a DataLoader worker rebuilds it
        super().__init__(f"{path}: {reason}" if reason else str(path))
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
    return torch.from_numpy(_decode(path, choose)).permute(0, 3, 1, 2)  # a view: colours stay innermost


def _decode(path: Path, choose: Choose) -> np.ndarray:
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
        with av.open(str(path)) as container:  # opened once: on short clips, opening costs as much as decoding
            packets = _read_packets(path, container)
            header = _read_header(container, packets)
            header.check(path)
            if decord is not None and header.pixel_aspect == 1 and _can_seek(container, packets) and _is_plain(path):
                with suppress(RuntimeError, decord.DECORDError):  # its thread reads ahead, and may trip over damage
                    return _read_with_decord(path, choose, header)
            return _read_with_pyav(path, choose, header, packets)


def decoders() -> list[str]:
    """What reads files here, with versions: part of the key of whatever is kept of their pixels."""
    found = [f"av {av.__version__}", f"pillow {PIL.__version__}"]
    return found if decord is None else [*found, f"decord {decord.__version__}"]


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
            frames[index] = _rgb(image)
    if len({frame.shape for frame in frames.values()}) > 1:
        raise ClipError(folder, "its frames have different sizes")
    return np.stack([frames[index] for index in wanted])


def _rgb(image: Image.Image) -> np.ndarray:
    """Pixels as a viewer shows them: upright as EXIF says, 16 bits scaled to 8 (Pillow's own conversion clips)."""
    deep = image.mode == "I" or image.mode.startswith("I;16")
    image = ImageOps.exif_transpose(image)
    if not deep:
        return np.array(image.convert("RGB"))  # a copy: tensors do not like read-only pixels
    grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


@dataclass(frozen=True)
class _Header:
    """What the container promises, 0 where it does not say, and what its packets hold."""

    declared_frames: int
    declared_seconds: float
    by_time: bool  # edit lists hide frames of an mp4, an avi counts empty packets: the end of the last frame tells
    packets: int  # that are shown
    end: float  # seconds
    starts_with_keyframe: bool
    pixel_aspect: float

    def check(self, path: Path) -> None:
        """Refuse a cut file that a decoder reads to its early end without an error.

        Intact files of public data sets miss a frame or two of what they declare: 5% and 2 frames are allowed.
        """
        if self.packets < 1:
            raise ClipError(path, "holds no video frame")
        if self.packets > MAX_FRAMES:
            raise ClipError(path, f"claims {self.packets:,} frames, more than {MAX_FRAMES:,}")
        enough_frames = self.packets >= 0.95 * self.declared_frames - 2
        enough_time = self.end >= 0.95 * self.declared_seconds - 2 * self.end / self.packets
        if not self.by_time and not enough_frames:
            raise ClipError(path, f"is truncated: {self.packets} of {self.declared_frames} frames are there")
        if self.by_time and not enough_time:
            raise ClipError(path, f"is truncated: {self.end:.2f} of {self.declared_seconds:.2f} seconds are there")
        if not self.starts_with_keyframe:
            raise ClipError(path, "does not begin with a keyframe, so its first frames can't be shown")


def _read_packets(path: Path, container: av.container.InputContainer) -> list[av.Packet]:
    if not container.streams.video:
        raise ClipError(path, "has no video, at most sound")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise ClipError(path, "has a video codec that nothing here can decode")
    _check_size(path, round(stream.width * max(float(stream.sample_aspect_ratio or 1), 1)), stream.height)
    stream.thread_type, stream.thread_count = "SLICE", 1  # threads cost more than they save on small frames
    return [packet for packet in container.demux(stream) if packet.size]


def _read_header(container: av.container.InputContainer, packets: list[av.Packet]) -> _Header:
    stream = container.streams.video[0]
    shown = [packet for packet in packets if not packet.is_discard]
    keys = [packet.is_keyframe for packet in packets]
    ends = [packet.pts + (packet.duration or 0) for packet in shown if packet.pts is not None]
    return _Header(
        declared_frames=stream.frames,
        declared_seconds=_declared_seconds(container, stream),
        by_time="mp4" in container.format.name or container.format.name == "avi" or not stream.frames,
        packets=len(shown),
        end=max(ends, default=0) * float(stream.time_base or 0),
        starts_with_keyframe=not any(keys) or keys[0],
        pixel_aspect=float(stream.sample_aspect_ratio or 1),
    )


def _can_seek(container: av.container.InputContainer, packets: list[av.Packet]) -> bool:
    """Whether every keyframe of an H.264 mp4 or mov file is an IDR: no frame after it needs one before it."""
    stream = container.streams.video[0]
    if (
        len(packets) < LONG
        or "mp4" not in container.format.name
        or stream.codec_context.name != "h264"
        or len(packets) != stream.frames
    ):
        return False
    times = [packet.pts for packet in packets if packet.pts is not None and not packet.is_discard]
    if len(times) < len(packets) or min(times) != 0:
        return False
    prefix = ((stream.codec_context.extradata or b"\0" * 5)[4] & 3) + 1  # avcC: bytes of the length before a unit
    kinds = [_units(bytes(packet), prefix) for packet in packets if packet.is_keyframe]
    return packets[0].is_keyframe and all(5 in units and 7 not in units for units in kinds)  # 7: a new size, maybe


def _units(data: bytes, prefix: int) -> set[int]:
    """Kinds of the NAL units of an H.264 packet (ITU-T H.264, table 7-1): 5 is an IDR picture, 7 its parameters."""
    kinds, position = set(), 0
    while position + prefix < len(data):
        kinds.add(data[position + prefix] & 31)
        position += prefix + int.from_bytes(data[position : position + prefix], "big")
    return kinds


def _is_plain(path: Path) -> bool:
    """Whether the first frame is not turned and has no colour tags: decord's older converter reads those otherwise."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0), None)
        if frame is None or _display_matrix(frame) is not None or frame.format.name != "yuv420p":
            return False
        return frame.colorspace == 2 and frame.color_range == 0 and not frame.interlaced_frame


def _declared_seconds(container: av.container.InputContainer, stream: av.VideoStream) -> float:
    """Length of the video track; webm keeps it in a tag such as 00:00:01.600000000, avi as a number of frames."""
    if container.format.name == "avi":  # the duration that FFmpeg gives is shortened to the bytes that are there
        return stream.frames * float(stream.time_base or 0)
    if stream.duration is not None:
        return stream.duration * float(stream.time_base or 0)
    clock = re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", ""))
    if clock:
        hours, minutes, seconds = map(float, clock.groups())
        return 3600 * hours + 60 * minutes + seconds
    only_stream = len(container.streams) == 1
    return (container.duration or 0) / 1e6 if only_stream else 0.0


def _check_size(path: Path, width: int, height: int) -> None:
    if not 0 < width * height <= MAX_PIXELS:
        raise ClipError(path, f"claims frames of {width} x {height} pixels, the limit is {MAX_PIXELS:,} pixels")


def _read_with_decord(path: Path, choose: Choose, header: _Header) -> np.ndarray:
    decord.logging.set_level(decord.logging.QUIET)  # what is wrong is said once, by the ClipError
    reader = decord.VideoReader(str(path), num_threads=1)
    if len(reader) != header.packets:
        raise RuntimeError("another number of frames")  # PyAV reads it then
    return cast(np.ndarray, reader.get_batch(choose(len(reader))).asnumpy())


def _read_with_pyav(path: Path, choose: Choose, header: _Header, packets: list[av.Packet]) -> np.ndarray:
    """Every frame decoded, the chosen ones kept; again where packets were no frames (VP8's hidden ones, lost ones)."""
    wanted = choose(header.packets)
    clip, n_frames = _decode_in_order(path, wanted, header, packets)
    if n_frames != header.packets:
        wanted = choose(n_frames)
        clip, _ = _decode_in_order(path, wanted, header, packets)
    if len(clip) != len(wanted):
        raise ClipError(path, f"is damaged: {len(clip)} of the {len(wanted)} frames wanted can be decoded")
    return clip


def _decode_in_order(
    path: Path, wanted: list[int], header: _Header, packets: list[av.Packet]
) -> tuple[np.ndarray, int]:
    """The wanted frames that are there, and the number of frames; damage behind the last wanted one is let pass."""
    clip, n_kept, n_frames, size = np.empty(0, np.uint8), 0, 0, None
    codec = packets[0].stream.codec_context
    codec.flush_buffers()  # a second reading begins anew
    reformatter = VideoReformatter()  # one for all frames: each new one sets its tables up again
    try:
        for frame in (frame for packet in (*packets, None) for frame in codec.decode(packet)):
            size = size or (frame.width, frame.height)
            if size != (frame.width, frame.height):
                now = f"{frame.width} x {frame.height}"
                raise ClipError(path, f"changes its size at frame {n_frames} from {size[0]} x {size[1]} to {now}")
            if n_kept < len(wanted) and wanted[n_kept] == n_frames:
                pixels = _as_shown(frame, header.pixel_aspect, reformatter)
                clip = clip if n_kept else np.empty((len(wanted), *pixels.shape), np.uint8)
                while n_kept < len(wanted) and wanted[n_kept] == n_frames:
                    clip[n_kept] = pixels  # copied at once, so that the converted frame's memory serves the next one
                    n_kept += 1
            n_frames += 1
    except av.FFmpegError:
        if n_frames <= wanted[-1]:
            raise
        n_frames = header.packets
    hidden = codec.name in ("vp8", "vp9", "av1")  # packets that only later frames are made from
    if n_frames < (0.5 if hidden else 0.95) * header.packets - 2 or not n_frames:
        raise ClipError(path, f"is damaged: {n_frames} of {header.packets} frames can be decoded")
    return clip[:n_kept], n_frames


def _as_shown(frame: av.VideoFrame, pixel_aspect: float, reformatter: VideoReformatter) -> np.ndarray:
    """Pixels of a frame the way a player shows it: square, upright, mirrored where the file says so."""
    width, matrix = max(1, round(frame.width * pixel_aspect)), _display_matrix(frame)
    stretch: dict[str, Any] = (
        {} if width == frame.width else {"width": width, "height": frame.height, "interpolation": "BICUBIC"}
    )
    # one thread: with more, a frame that is freed in a forked worker waits for threads that exist in the parent alone
    (plane,) = reformatter.reformat(frame, format="rgb24", threads=1, **stretch).planes
    rows = np.frombuffer(cast(Any, plane), np.uint8).reshape(plane.height, plane.line_size)
    pixels = rows[:, : 3 * plane.width].reshape(plane.height, plane.width, 3)  # a view, without the bytes that pad
    if matrix is None:
        return pixels
    a, b, c, d = matrix  # a pixel at x, y is shown at a x + c y, b x + d y, moved back into the picture
    if abs(b) > abs(a):
        pixels, a, d = pixels.transpose(1, 0, 2), c, b
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int] | None:
    """The turning part of a frame's display matrix, None where it changes nothing."""
    side_data = cast(Any, frame.side_data.get("DISPLAYMATRIX"))  # typed as any object
    if side_data is None:
        return None
    a, b, _, c, d = struct.unpack("=5i", bytes(side_data)[:20])
    return None if a > 0 and d > 0 and b == c == 0 else (a, b, c, d)


_FLOW = re.compile(r"flow_[xy]_?\d+", re.IGNORECASE)
_EXPORT_SUFFIX = re.compile(r"_(?:jpe?g|png)\.rf\.\w+$", re.IGNORECASE)  # Roboflow's hash of the image


def list_frames(folder: str | Path) -> list[Path]:
    """Image files of a frame folder in the order of the one number that varies in their names, whatever its padding.

    Hidden files and the ``._`` twins that macOS leaves are no frames; beside an RGB series, TSN's optical flow is none.

    Raises:
        ClipError: none or several numbers vary, so that the order can't be told.
    """
    images = [
        entry
        for entry in Path(folder).iterdir()
        if entry.suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith(".")
    ]
    rgb = [image for image in images if not _FLOW.fullmatch(image.stem)]
    images = sorted(rgb or images)
    if len(images) < 2:
        return images
    names = [_EXPORT_SUFFIX.sub("", image.stem).casefold() for image in images]
    orders = [order for number in (r"\d+", r"\d+\.\d+") if (order := _order(names, number))]
    if not orders or any(order != orders[0] for order in orders):
        raise ClipError(
            folder, f"its frames can't be put in order: not one number alone varies, as in {images[0].name}"
        )
    return [images[index] for index in orders[0]]


def _order(names: list[str], number: str) -> list[int] | None:
    """Indices of the names sorted by the one number that varies, None where it is not one or where two are equal."""
    if len({re.sub(number, "0", name) for name in names}) > 1:
        return None
    columns = [[float(value) for value in found] for found in zip(*(re.findall(number, n) for n in names), strict=True)]
    varying = [column for column in columns if len(set(column)) > 1]
    if len(varying) != 1 or len(set(varying[0])) < len(names):
        return None
    return sorted(range(len(names)), key=varying[0].__getitem__)
