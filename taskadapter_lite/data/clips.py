"""Video file or frame folder -> clip of T frames."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torchvision.transforms.v2 import functional as transforms

from taskadapter_lite.data.decoding import decode_frames


def sample_frames(
    n_total: int, T: int, mode: str = "middle", generator: torch.Generator | None = None
) -> torch.LongTensor:
    """Choose T of `n_total` frames, one in each of T equal segments (TSN sampling, Wang et al., ECCV 2016).

    Args:
        n_total: frames in the video; with fewer than T, frames repeat.
        T: frames wanted.
        mode: "middle", frame floor((i + 0.5) * n_total / T) of segment i, or "random", one draw a segment.
        generator: source of the random draws.

    Returns:
        (T,) ascending 0-based indices.

    Raises:
        ValueError: `n_total` or `T` is below 1, or `mode` is unknown.
    """
    _check_sampling(n_total, T, mode)
    return cast(torch.LongTensor, torch.tensor(_frames_at(_draw_places(T, mode, generator), n_total)))


def _draw_places(T: int, mode: str, generator: torch.Generator | None) -> torch.Tensor:
    """Where in its segment each frame lies, in [0, 1)."""
    if mode == "middle":
        return torch.full((T,), 0.5, dtype=torch.float64)
    return torch.rand(T, generator=generator, dtype=torch.float64)


def _frames_at(places: torch.Tensor, n_total: int) -> list[int]:
    T = len(places)
    return [min(int((i + place) * n_total / T), n_total - 1) for i, place in enumerate(places.tolist())]


def _check_sampling(n_total: int, T: int, mode: str) -> None:
    if n_total < 1 or T < 1:
        raise ValueError(f"a clip needs at least 1 frame, but n_total is {n_total} and T is {T}")
    if mode not in ("middle", "random"):
        raise ValueError(f'mode is "middle" or "random", not {mode!r}')


def read_clip(
    path: str | Path,
    T: int = 8,
    mode: str = "middle",
    size: int | None = None,
    generator: torch.Generator | None = None,
    resize: int | None = None,
    flip: bool = False,
) -> torch.Tensor:
    """Read T frames of a video file, or of a folder with one image a frame.

    Args:
        path: video file, or folder of jpg or png frames numbered with any padding.
        T: frames wanted.
        mode: "middle" takes each segment's middle frame and the centre crop; "random" one random frame a segment
            and one random crop for the whole clip.
        size: side of the square crop in pixels; None keeps frames as they are.
        generator: source of the random draws.
        resize: short side before the crop, at least `size` (default: `size`; published recipes use 256 for 224).
        flip: in "random" mode, mirror half of the clips; never where direction is a class.

    Returns:
        (T, 3, H, W) uint8 RGB.

    Raises:
        ClipError: the file is missing, damaged, truncated, without video, or of absurd size.
        ValueError: an argument is out of range.
    """
    _check_sampling(1, T, mode)
    places = _draw_places(T, mode, generator)  # drawn once, however often a decoder asks for the frames
    clip = decode_frames(Path(path), lambda n_total: _frames_at(places, n_total))
    return resize_and_crop(clip, mode, size, generator, resize, flip)


def read_frames(path: str | Path) -> torch.Tensor:
    """All frames of a short video or frame folder, (n_total, 3, H, W) uint8 RGB; raises as `read_clip` does."""
    return decode_frames(Path(path), lambda n_total: list(range(n_total)))


def resize_and_crop(
    clip: torch.Tensor,
    mode: str = "middle",
    size: int | None = None,
    generator: torch.Generator | None = None,
    resize: int | None = None,
    flip: bool = False,
) -> torch.Tensor:
    """The second half of `read_clip`, for frames that are at hand: (T, 3, H, W) uint8 -> (T, 3, size, size) uint8."""
    if size is not None:
        side = resize or size
        if side < size:
            raise ValueError(f"resize is the short side before the crop and can't be below size, but {side} < {size}")
        if min(clip.shape[-2:]) != side:
            clip = transforms.resize(clip, [side], antialias=True)
        clip = _crop(clip, size, mode, generator)
    if flip and mode == "random" and torch.rand((), generator=generator) < 0.5:
        clip = transforms.horizontal_flip(clip)
    return clip


def _crop(clip: torch.Tensor, size: int, mode: str, generator: torch.Generator | None) -> torch.Tensor:
    """One square crop for all frames: a crop drawn for each frame would be artificial camera shake."""
    if mode == "middle":
        return transforms.center_crop(clip, [size, size])
    height, width = clip.shape[-2:]
    top, left = (int(torch.randint(side - size + 1, (), generator=generator)) for side in (height, width))
    return transforms.crop(clip, top, left, size, size)
