"""Recorded attention weights -> maps over film strips, video-by-video matrices, mass on the own class.

Task attention compares videos at one and the same place: token n of frame t in one video attends to token n of frame t
in the others. At each of the T x h x w places a video therefore splits one unit of attention among the videos it may
see; these figures draw the shares. Compare with untrained adapters and with a backbone of random weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from einops import rearrange
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from taskadapter_lite.figures.clips import OTHER, OWN, QUERY, as_array, as_frames, draw_strip, place_strip, plain, wrap

TINT = "OrRd"  # lightness falls steadily: readable in grey and by the colour-blind
MOST_VIDEOS = 12  # strips in one figure, beside the query's own
QUERY_ROW = -1.3  # where the query's own strip lies above the rows 0, 1, ... of the videos that it attends to


def token_maps(values: Any) -> np.ndarray:
    """Values of one video's tokens (..., N), class token first, as maps (..., h, w) over its square grid of patches.

    Raises:
        ValueError: N - 1 is not a square.
    """
    values = as_array(values)
    side = math.isqrt(values.shape[-1] - 1)
    if side < 1 or side * side != values.shape[-1] - 1:
        raise ValueError(
            f"a class token and a square grid of patches need N = 1 + side**2 tokens, not {values.shape[-1]}"
        )
    return rearrange(values[..., 1:], "... (h w) -> ... h w", h=side)


def lit_frames(clip: Any, maps: Any, vmax: float) -> np.ndarray:
    """Frames (T, H, W, 3) as pencil outlines on patches tinted by `maps` (T, h, w): white at 0, darkest red at `vmax`.

    Outlines keep the tint free of the frame's own light and dark. Patches are not smoothed: a map says nothing finer.
    """
    frames, maps = as_frames(clip), as_array(maps).astype(float)
    _, H, W, _ = frames.shape
    edges = np.hypot(*np.gradient(frames.astype(np.float32), axis=(1, 2))).max(axis=-1)
    quiet, loud = np.quantile(edges, [0.8, 0.99])
    pencil = 1 - 0.75 * np.clip((edges - quiet) / max(loud - quiet, 1e-6), 0, 1)[..., None]
    rows, columns = np.arange(H) * maps.shape[1] // H, np.arange(W) * maps.shape[2] // W
    tint = colormaps[TINT](np.clip(maps / vmax, 0, 1))[:, rows][:, :, columns, :3]
    return tint * pencil


def query_maps(weights: Any, query: int, head: int | None = None) -> np.ndarray:
    """Where a video attends in every other: (B, T, h, w) shares, that sum to 1 over the B videos at each place.

    Args:
        weights: (T, N, heads, B, B) task attention of one block.
        query: the row, 0..B-1.
        head: one head; the mean over heads by default.
    """
    rows = of_head(as_array(weights)[..., query, :], head, axis=2)
    return token_maps(rearrange(rows, "t n b -> b t n"))


def of_head(shares: np.ndarray, head: int | None, axis: int) -> np.ndarray:
    """The shares of one head, or their mean over all heads along `axis`."""
    return shares.mean(axis=axis) if head is None else shares.take(head, axis=axis)


def darkest_share(maps: np.ndarray) -> float:
    """The share to draw darkest for maps (B, T, h, w): the largest one, or twice an equal share if that is more.

    So shares that are all about equal look pale, whatever their size.
    """
    return max(float(maps.max()), 2 / np.count_nonzero(maps.sum(axis=(1, 2, 3))))


def plot_cross_video_attention(
    weights: Any,
    clips: Any,
    labels: Any,
    class_names: Sequence[str],
    query: int,
    videos: Sequence[int] | None = None,
    head: int | None = None,
    vmax: float | None = None,
    title: str | None = None,
    figure: Figure | None = None,
    same: str = "own class",
) -> np.ndarray:
    """Where and when one query video attends in each video that it may see: the task attention of one block.

    Top: the query. Below: one strip a video, own class first, the query itself last. At every place (frame, patch) the
    query splits one unit of attention among these videos; the darker a patch, the larger its video's share. Right: the
    share of each video over all places. Bottom: the same shares frame by frame. Dashed: equal shares for all.

    Args:
        weights: (T, N, heads, B, B) task attention of one block, from `record_attention`.
        clips: (B, T, 3, H, W), uint8 or float RGB in [0, 1].
        labels: (B,) label of every video in 0..n_way-1; class_names: n_way names.
        query: which video asks, 0..B-1.
        videos: which videos to draw, in this order; by default all that the query attends to, or of more than 12 the
            own class and the most attended others (bars and chance stay those of all).
        head: one head; the mean over heads by default.
        vmax: the share drawn darkest, `darkest_share` by default. Give one value to compare two figures.
        title: what the weights come from (model, block, scope). figure: an empty figure to fill.
        same: what to call videos of the query's label, such as "predicted class" where labels are predictions.

    Returns:
        Axes (3,): strips (the query at y = -1.3, video i of `videos` at y = i), bars, frame-by-frame shares.

    Read it down a column: the same place in all videos. Strips say nothing about other places, for task attention never
    compares different places. A large share means similar content under the frozen attention, not that the prediction
    rests on it. The class token takes part too and is not drawn; in the last block only its attention reaches the head.
    """
    maps, labels = query_maps(weights, query, head), as_array(labels)
    visible = np.flatnonzero(maps.sum(axis=(1, 2, 3)) > 0)
    videos = drawn_videos(maps, labels, query) if videos is None else videos
    vmax = vmax or darkest_share(maps)
    chance = 1 / len(visible)
    _, T, _, H, W = as_array(clips).shape
    strips, bars, lines = axes = _attention_axes(len(videos), T, H / W, figure)
    place_strip(strips, as_frames(clips[query]), QUERY_ROW)
    _row_label(strips, QUERY_ROW, class_names[labels[query]], "query", QUERY)
    for y, i in enumerate(videos):
        place_strip(strips, lit_frames(clips[i], maps[i], vmax), y)
        role = "the query itself" if i == query else f"★ {same}" if labels[i] == labels[query] else ""
        _row_label(strips, y, class_names[labels[i]], role, _colour(i, query, labels))
    _share_bars(bars, maps[list(videos)].mean(axis=(1, 2, 3)), [_colour(i, query, labels) for i in videos], chance)
    _share_scale(bars, vmax, chance)
    _share_lines(lines, maps.mean(axis=(2, 3)), labels, query, visible, same)
    heads = as_array(weights).shape[2]
    which = f"mean of {heads} heads" if head is None else f"head {head} of {heads}"
    strips.set_title(f"{plain(title or 'Task attention of one query')}, {which}")
    return axes


def drawn_videos(maps: np.ndarray, labels: Any, query: int) -> list[int]:
    """The videos that one figure has room for, in the order of its strips: own class first, the query itself last."""
    labels, shares = as_array(labels), maps.mean(axis=(1, 2, 3))
    visible = np.flatnonzero(shares > 0).tolist()
    own_first = sorted(visible, key=lambda i: (labels[i] != labels[query], -shares[i]))
    chosen = {*own_first[:MOST_VIDEOS], query} & set(visible)
    return sorted(chosen, key=lambda i: (i == query, labels[i] != labels[query], i))


def mark_token(strips: Axes, maps: np.ndarray, token: tuple[int, int]) -> list[Artist]:
    """Frame the place `token` = (t, n) in the query's strip and in every video's, with the share of each video there.

    Args:
        strips: the first axes of `plot_cross_video_attention`.
        maps: (videos, T, h, w) of the videos that are drawn, in their order.
        token: the frame, and the patch from 1 on.

    Returns:
        What was added, so that it can be taken away again.
    """
    frames = [_frame_token(strips, token, maps.shape[2:], y) for y in (QUERY_ROW, *range(len(maps)))]
    return frames + [_write_share(strips, token, shares, y) for y, shares in enumerate(maps)]


def plot_token_attention(clip: Any, weights: Any, n: int, ax: Axes | None = None) -> Axes:
    """Where one token looks inside its own frame: space attention, a map a frame.

    Args:
        clip: (T, 3, H, W), uint8 or float RGB in [0, 1].
        weights: (T, heads, N, N) space attention of this clip in one block.
        n: the token that asks, 0 is the class token; a patch is framed.

    Shares are means over heads; those of a frame sum to 1 over its patches and the class token, which is not drawn.
    """
    maps = token_maps(as_array(weights)[:, :, n].mean(axis=1))
    ax = ax or plt.subplots(figsize=(1.25 * len(maps), 1.6))[1]
    draw_strip(ax, lit_frames(clip, maps, float(maps.max())))
    for t in range(len(maps) if n else 0):
        _frame_token(ax, (t, n), maps.shape[1:])
    ax.set_xticks(range(len(maps)))
    ax.set(xlabel="frame t", title="attention of the class token" if n == 0 else f"attention of token {n}")
    return ax


def _attention_axes(n_videos: int, T: int, aspect: float, figure: Figure | None) -> np.ndarray:
    """Strips, bars beside them and lines below, that share frames and rows; sizes in inches."""
    left, width, below, lines = 1.9, 6.75, 0.55, 1.05
    above, height = below + lines + 0.3, width / T * aspect * (n_videos - QUERY_ROW)  # a row more: room for the query
    places = (left, above, width, height), (left + width + 0.15, above, 1.55, height), (left, below, width, lines)
    figure = figure or plt.figure()
    figure.set_size_inches(10.4, above + height + 0.35)
    scale = np.array([10.4, figure.get_figheight()] * 2)
    axes = np.array([figure.add_axes(np.array(place) / scale) for place in places])
    for ax in axes[:2]:
        ax.set(ylim=(n_videos - 0.5, QUERY_ROW - 0.5), yticks=[])
    axes[0].set(xlim=(-0.5, T - 0.5), xticks=[])  # the lines below have the same frames
    axes[0].spines[:].set_visible(False)
    axes[2].set(xlim=(-0.5, T - 0.5), xticks=range(T))
    return axes


def _colour(i: int, query: int, labels: np.ndarray) -> str:
    return QUERY if i == query else OWN if labels[i] == labels[query] else OTHER


def _row_label(ax: Axes, y: float, name: str, role: str, colour: str) -> None:
    va = "bottom" if role else "center"
    ax.text(-0.6, y, wrap(name, 24), ha="right", va=va, color=colour, fontweight="bold", fontsize=8.5)
    if role:
        ax.text(-0.6, y + 0.06, plain(role), ha="right", va="top", color=colour, fontsize=8.5)


def _frame_token(ax: Axes, token: tuple[int, int], grid: tuple[int, int], y: float = 0) -> Artist:
    (t, n), (h, w) = token, grid
    row, column = divmod(n - 1, w)
    corner = (t - 0.5 + column / w, y - 0.5 + row / h)
    return ax.add_patch(Rectangle(corner, 1 / w, 1 / h, fill=False, edgecolor="black", linewidth=2))


def _write_share(ax: Axes, token: tuple[int, int], maps: np.ndarray, y: float) -> Artist:
    t, n = token
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.85}
    text = f"{100 * maps[t].flat[n - 1]:.0f}%"
    return ax.text(t, y + 0.44, text, ha="center", va="bottom", fontsize=8, fontweight="bold", bbox=box)


def _share_bars(ax: Axes, shares: np.ndarray, colours: list[str], chance: float) -> None:
    ax.barh(range(len(shares)), 100 * shares, height=0.45, color=colours)
    for y, share in enumerate(shares):
        place = (100 * max(share, chance), y)
        ax.annotate(f"{100 * share:.1f}%", place, (4, 0), textcoords="offset points", va="center", fontsize=9)
    ax.plot([100 * chance] * 2, [-0.5, len(shares) - 0.5], "--", color="#555555", linewidth=1)
    ax.text(100 * chance, -0.55, "equal\nshares", ha="center", va="bottom", fontsize=8, color="#555555")
    ax.set(xlim=(0, 155 * max(shares.max(), chance)), xlabel="share of attention (%)")
    ax.spines["left"].set_visible(False)


def _share_lines(ax: Axes, shares: np.ndarray, labels: np.ndarray, query: int, visible: np.ndarray, same: str) -> None:
    """Shares (B, T) frame by frame: of the mean video of the own class, and of the mean one of the other classes."""
    chance, others = 1 / len(visible), visible[visible != query]
    own = labels[others] == labels[query]
    for part, style, colour, name in ((own, "o-", OWN, plain(same)), (~own, "s-.", OTHER, "other classes")):
        if part.any():
            ax.plot(100 * shares[others[part]].mean(axis=0), style, color=colour, label=name)
    ax.axhline(100 * chance, color="#555555", linestyle="--", linewidth=1)
    ax.set(xlabel="frame t", ylabel="share\nof a video (%)", ylim=(0, max(ax.get_ylim()[1], 100 * chance) * 1.15))
    ax.legend(loc="upper left", bbox_to_anchor=(1.02, 0.72), handlelength=2.6)


def _share_scale(ax: Axes, vmax: float, chance: float) -> None:
    """The colours of a patch's share, beside the query's own strip."""
    rows = ax.get_ylim()[0] - QUERY_ROW + 0.5
    bar = ax.inset_axes((0.08, 1 - 0.62 / rows, 0.8, 0.14 / rows))
    bar.imshow(np.linspace(0, 1, 128)[None], cmap=TINT, aspect="auto", extent=(0, 100 * vmax, 0, 1))
    bar.axvline(100 * chance, color="#555555", linestyle="--", linewidth=1)
    bar.set(yticks=[], xticks=[0, 100 * vmax], xticklabels=["0", f"{100 * vmax:.0f}"])
    bar.set_title("share of a patch (%)", fontsize=8.5, fontweight="normal")
