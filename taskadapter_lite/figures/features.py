"""Frame features -> how two videos are aligned frame by frame."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taskadapter_lite.figures.clips import as_array, as_frames, hide_frame, plain


def plot_alignment(
    distances: Any,
    weights: Any = None,
    query_clip: Any = None,
    support_clip: Any = None,
    title: str | None = None,
    figure: Figure | None = None,
    limits: tuple[float, float] | None = None,
) -> Axes:
    """Frame-by-frame similarity of two clips, and which pairs of frames a metric counts.

    Args:
        distances: (T, T) 1 - cosine, rows are query frames, columns are support frames, in [0, 2].
        weights: (T, T) how much each pair counts, 0 or above (`metrics.alignment`); discs have that area.
        query_clip, support_clip: (T, 3, H, W), drawn along the margins.
        limits: similarities drawn darkest and brightest, for figures to be compared; by default the matrix's own.

    Returns:
        The Axes of the matrix; those of the two film strips are in its figure.

    Discs along the falling diagonal: both clips run in the same order. A diagonal in the similarity needs no discs, and
    the other way round: the metric chooses the cheapest order it allows, even where all frames look alike.
    """
    similarity = 1 - as_array(distances).astype(float)
    rows, columns = similarity.shape
    figure = figure or plt.figure()
    figure.set_size_inches(7.2, 6.6)
    ax = figure.add_axes((0.2, 0.09, 0.62, 0.676))
    image = ax.imshow(similarity, cmap="viridis", aspect="auto", clim=limits)
    if weights is not None:
        weights = as_array(weights).astype(float)
        y, x = np.nonzero(weights > 0.01 * weights.max())
        ax.scatter(x, y, s=260 * weights[y, x] / weights.max(), color="white", edgecolor="black", linewidth=1.2)
    ax.set(xticks=range(columns), yticks=range(rows), xlabel="support frame t", ylabel="query frame t")
    hide_frame(ax)
    bar = figure.colorbar(image, cax=figure.add_axes((0.85, 0.09, 0.022, 0.676)))
    bar.set_label("cosine similarity of two frames")
    bar.outline.set_visible(False)
    if support_clip is not None:
        _margin(figure, (0.2, 0.775, 0.62, 0.62 / columns * 7.2 / 6.6), as_frames(support_clip), axis=1)
    if query_clip is not None:
        _margin(figure, (0.055, 0.09, 0.085, 0.676), as_frames(query_clip), axis=0)
    top = 0.775 if support_clip is None else 0.875
    figure.text(0.2, top, plain(title or ""), fontweight="bold", fontsize=10, va="bottom", linespacing=1.4)
    return ax


def _margin(figure: Figure, place: tuple[float, float, float, float], frames: np.ndarray, axis: int) -> None:
    ax = figure.add_axes(place)
    ax.imshow(np.concatenate(list(frames), axis=axis), aspect="auto")
    for t in range(1, len(frames)):
        edge = t * frames.shape[1 + axis] - 0.5
        (ax.axvline if axis else ax.axhline)(edge, color="white", linewidth=2)
    ax.axis("off")
