"""Clips and episodes (uint8 arrays) -> film strips, grids and small animations."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from einops import rearrange
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from taskadapter_lite.figures.pictures import Picture

OWN, OTHER, QUERY = "#D55E00", "#0072B2", "#222222"  # own class, other classes, the query: the same in every figure
GREY = "#555555"  # what is there to be compared with, such as chance
DOTTED: dict[str, Any] = {"color": GREY, "linestyle": ":", "linewidth": 1.2}
STYLE = Path(__file__).with_name("figures.mplstyle")
COLOURS = 64  # of an animation: an eighth of the bytes that 256 dithered ones take on noisy backgrounds
MARKERS = "osD^vPX*"  # a class is told apart by its marker as well as by its colour
FPS = 6  # frames a second of an animation
GAP = 0.06  # white between two frames of a strip, as a share of a frame's width


def use_style() -> None:
    """Make every later figure use the library's style file (Okabe-Ito colours, viridis)."""
    plt.style.use(STYLE)


def as_array(values: Any) -> np.ndarray:
    """A numpy array of `values`: an array, a list, or a torch tensor on any device, with or without gradient."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def as_frames(clip: Any) -> np.ndarray:
    """A clip (T, 3, H, W), uint8 or float RGB in [0, 1], as frames for drawing: float (T, H, W, 3) in [0, 1].

    Raises:
        ValueError: the clip is not (T, 3, H, W), or its floats leave [0, 1].
    """
    frames = as_array(clip)
    if frames.ndim != 4 or frames.shape[1] != 3:
        raise ValueError(f"a clip has the shape (T, 3, H, W), this one has {frames.shape}")
    frames = frames / 255.0 if frames.dtype == np.uint8 else frames.astype(float)
    if frames.min() < 0 or frames.max() > 1:
        raise ValueError(f"a float clip is RGB in [0, 1], this one spans [{frames.min():.3g}, {frames.max():.3g}]")
    return rearrange(frames, "t c h w -> t h w c")


def film_strip(frames: np.ndarray) -> np.ndarray:
    """Frames (T, H, W, 3) side by side on white, a small gap between them: (H, T * W + gaps, 3)."""
    T, H, W, _ = frames.shape
    gap = np.ones((T, H, max(1, round(GAP * W)), 3))
    strip = rearrange(np.concatenate([frames, gap], axis=2), "t h w c -> h (t w) c")
    return strip[:, : -gap.shape[2]]


def place_strip(ax: Axes, frames: np.ndarray, y: float = 0) -> None:
    """Draw frames (T, H, W, 3) so that frame t (from 0) spans x = t - 0.5 .. t + 0.5, in the row y - 0.5 .. y + 0.5."""
    T, H, W, _ = frames.shape
    gap = max(1, round(GAP * W)) / W / 2
    ax.imshow(film_strip(frames), extent=(-0.5 + gap, T - 0.5 - gap, y + 0.5 - gap, y - 0.5 + gap), aspect="auto")


def draw_strip(ax: Axes, frames: np.ndarray) -> None:
    """Draw one strip of frames (T, H, W, 3), and nothing else, into `ax`."""
    T, H, W, _ = frames.shape
    place_strip(ax, frames)
    ax.set(xlim=(-0.5, T - 0.5), ylim=(0.5, -0.5), aspect=H / W, yticks=[])
    hide_frame(ax)


def hide_frame(ax: Axes) -> None:
    """Take away spines and the lines of ticks; their labels stay."""
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


def show_clip(clip: Any, ax: Axes | None = None, title: str | None = None, frames: Sequence[int] | None = None) -> Axes:
    """A clip as a film strip, time from left to right.

    Args:
        clip: (T, 3, H, W), uint8 or float RGB in [0, 1].
        frames: which frames to show (0-based); all by default. The numbers below the strip are those of the clip.

    A strip shows order but hides speed: clips of different length look alike once T frames are drawn from each.
    """
    images = as_frames(clip)
    chosen = list(range(len(images))) if frames is None else list(frames)
    if ax is None:
        ax = plt.subplots(figsize=(1.25 * len(chosen), 1.6))[1]
    draw_strip(ax, images[chosen])
    ax.set_xticks(range(len(chosen)), [str(t) for t in chosen])
    ax.set_xlabel("frame t")
    if title:
        ax.set_title(plain(title))
    return ax


def animation_bytes(clips: Any) -> bytes:
    """An endless GIF of one clip (T, 3, H, W), or of several of equal shape (B, T, 3, H, W) side by side.

    Args:
        clips: uint8 or float RGB in [0, 1].
    """
    stack = as_array(clips)
    strips = [as_frames(clip) for clip in (stack if stack.ndim == 5 else stack[None])]
    joined = rearrange(np.stack(strips), "b t h w c -> t h (b w) c")
    pixels = (255 * joined).round().astype(np.uint8)
    palette = Image.fromarray(rearrange(pixels, "t h w c -> (t h) w c")).quantize(COLOURS)  # shared: no flicker
    images = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in pixels]
    buffer = io.BytesIO()
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], duration=round(1000 / FPS), loop=0)
    return buffer.getvalue()


def play_clip(clips: Any, height: int = 128, alt: str = "") -> Picture:
    """One clip, or several side by side, moving: a GIF, which plays without widgets or network, also in saved pages.

    Args:
        clips: (T, 3, H, W) or (B, T, 3, H, W), uint8 or float RGB in [0, 1].
        height: pixels on the screen; the file keeps the clip's own size (8 frames of 64 x 64: some kilobytes).
        alt: what happens in the clips, for those who can't see them; their number by default.
    """
    shape = as_array(clips).shape
    count = f"{shape[0]} clips, playing side by side" if len(shape) == 5 else "a clip, playing"
    width = round(height * shape[-1] / shape[-2] * (shape[0] if len(shape) == 5 else 1))
    return Picture(animation_bytes(clips), "gif", alt or count, width, height)


def contact_sheet(clips: Any, names: Sequence[str]) -> Image.Image:
    """Many clips as small film strips with their names below, filled row by row.

    Args:
        clips: (n, T, 3, H, W), uint8 or float RGB in [0, 1].
        names: n names; long ones are cut.
    """
    strips = [Image.fromarray((255 * film_strip(as_frames(clip))).round().astype(np.uint8)) for clip in clips]
    columns, height, line, font = 4, 40, 16, ImageFont.load_default(11)
    width = round(strips[0].width * height / strips[0].height)
    rows = -(-len(strips) // columns)
    sheet = Image.new("RGB", (columns * (width + 8) + 8, rows * (height + line + 6) + 8), "white")
    pen = ImageDraw.Draw(sheet)
    for i, (strip, name) in enumerate(zip(strips, names, strict=True)):
        x, y = 8 + i % columns * (width + 8), 8 + i // columns * (height + line + 6)
        sheet.paste(strip.resize((width, height), Image.Resampling.LANCZOS), (x, y))
        while font.getlength(name) > width:
            name = name.removesuffix("…")[:-1] + "…"
        pen.text((x, y + height + 1), name, fill="black", font=font)
    return sheet


def show_episode(
    support: Any,
    query: Any,
    support_labels: Any,
    query_labels: Any,
    class_names: Sequence[str],
    predictions: Any = None,
    figure: Figure | None = None,
    frames: int | None = None,
) -> np.ndarray:
    """An episode as a grid: a row a class, its support clips left of the line, its query clips right of it.

    Args:
        support: (S, T, 3, H, W) clips; query: (Q, T, 3, H, W) clips.
        support_labels: (S,) labels in 0..n_way-1; query_labels: (Q,).
        class_names: the n_way names, by label.
        predictions: (Q,) predicted labels; each query then says what it was taken for, a cross before a wrong name.
        frames: how many evenly spaced frames of each clip to show; as many as fit by default.

    Returns:
        Axes (n_way, most shots + most queries); a cell without a clip is empty.

    Frames left out are not shown: a class can look ambiguous here and be clear in motion (`play_clip`).
    """
    support_labels, query_labels = as_array(support_labels), as_array(query_labels)
    support_of, query_of = (
        [np.flatnonzero(labels == label) for label in range(len(class_names))]
        for labels in (support_labels, query_labels)
    )
    k_shot, n_query = max(map(len, support_of)), max(map(len, query_of))
    T, _, H, W = support.shape[1:]
    frames = frames or max(2, min(T, 12 // (k_shot + n_query)))
    shown = np.floor((np.arange(frames) + 0.5) * T / frames).astype(int)
    left, width, gap = 1.8, 10.0, 0.1 if predictions is None else 0.26  # inches: a page's width at 100 dots an inch
    row = (width - left - 0.4) / (k_shot + n_query) / frames * H / W
    figure = figure or plt.figure()
    figure.set_size_inches(width, len(class_names) * (row + gap) + 0.5)
    axes = figure.subplots(len(class_names), k_shot + n_query, squeeze=False)
    top = 1 - (gap + 0.3) / figure.get_figheight()
    figure.subplots_adjust(left=left / width, right=0.995, top=top, bottom=0.01, wspace=0.08, hspace=gap / row)
    for ax in axes.flat:
        ax.axis("off")
    for label, name in enumerate(class_names):
        for column, i in enumerate(support_of[label]):
            draw_strip(axes[label, column], as_frames(support[i])[shown])
        for column, i in enumerate(query_of[label]):
            draw_strip(axes[label, k_shot + column], as_frames(query[i])[shown])
            if predictions is not None:
                _mark_prediction(axes[label, k_shot + column], int(as_array(predictions)[i]), label, class_names)
        axes[label, 0].text(-0.04, 0.5, wrap(name, 22), transform=axes[label, 0].transAxes, ha="right", va="center")
    for column, part in ((0, "support"), (k_shot, "query")):
        axes[0, column].set_title(part, pad=20 if predictions is not None else 6)
    return axes


def _mark_prediction(ax: Axes, predicted: int, label: int, class_names: Sequence[str]) -> None:
    sign, colour = ("✓", OTHER) if predicted == label else ("✗", OWN)
    text = f"{sign} {plain(class_names[predicted])}"
    points = 72 * ax.bbox.width / ax.figure.dpi
    size = max(6, min(9, points / (0.56 * len(text))))  # names of neighbours don't touch: a letter is some 0.56 em
    ax.text(0, 1.03, text, transform=ax.transAxes, fontsize=size, color=colour)


def wrap(text: str, width: int) -> str:
    """A label broken into lines of at most `width` characters, drawn as it is written."""
    return plain("\n".join(textwrap.wrap(text, width, break_on_hyphens=False)) or text)


def plain(text: str) -> str:
    """A label for matplotlib that is drawn as it is written: two `$` would make mathematics of what is between them."""
    return text.replace("$", r"\$")
