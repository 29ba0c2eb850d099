"""Who may attend to whom, and who does -> matrices with their margins named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from taskadapter_lite.figures.attention import of_head
from taskadapter_lite.figures.clips import OTHER, OWN, as_array, hide_frame, plain, wrap


def plot_scope_masks(masks: Mapping[str, Any], n_support: int, figure: Figure | None = None) -> np.ndarray:
    """Who may attend to whom in each scope, a panel a scope.

    Args:
        masks: scope -> bool (B, B), True where the row may attend to the column.
        n_support: S; the first S of the B videos are support.

    Returns:
        Axes (number of scopes,). Read a row: filled cells are the videos that this video sees.
    """
    figure = figure or plt.figure(figsize=(3.6 * len(masks), 3.9))
    axes = figure.subplots(1, len(masks), squeeze=False)[0]
    figure.subplots_adjust(left=0.09, right=0.99, top=0.86, bottom=0.14, wspace=0.3)
    for ax, (scope, mask) in zip(axes, masks.items(), strict=True):
        mask = as_array(mask)
        ax.imshow(mask, cmap=ListedColormap(["#F2F2F2", OTHER]), vmin=0, vmax=1)
        _grid_lines(ax, len(mask), n_support)
        names = _video_names(len(mask), n_support)
        every = max(1, len(mask) // 12)
        ax.set_xticks(range(0, len(mask), every), names[::every])
        ax.set_yticks(range(0, len(mask), every), names[::every])
        ax.set(title=plain(scope), xlabel="may see this video")
    axes[0].set_ylabel("this video")
    return axes


def _video_names(size: int, n_support: int) -> list[str]:
    return [f"S{i + 1}" if i < n_support else f"Q{i + 1 - n_support}" for i in range(size)]


def _grid_lines(ax: Axes, size: int, n_support: int, colour: str = "white") -> None:
    for edge in np.arange(0.5, size - 1):
        ax.axhline(edge, color=colour, linewidth=0.8)
        ax.axvline(edge, color=colour, linewidth=0.8)
    ax.axhline(n_support - 0.5, color="black", linewidth=1.5)
    ax.axvline(n_support - 0.5, color="black", linewidth=1.5)
    hide_frame(ax)
    ax.tick_params(labelsize=8)


def own_class_mass(weights: Any, labels: Any, n_support: int) -> np.ndarray:
    """Of the attention that each query pays to support videos, the share that goes to videos of its own class.

    Args:
        weights: (T, N, heads, B, B) task attention of one block, row attends to column, support first.
        labels: (B,) label of every video in 0..n_way-1.
        n_support: S, the first S of the B videos.

    Returns:
        (heads, Q) shares over all patches, in [0, 1]; chance is 1 / n_way. nan where a query sees no support video
        (scope "split").
    """
    weights, labels = as_array(weights)[:, 1:], as_array(labels)
    shares = weights.mean(axis=(0, 1))[:, n_support:, :n_support]  # (heads, Q, S)
    own = labels[n_support:, None] == labels[None, :n_support]
    total = shares.sum(-1)
    return np.divide((shares * own).sum(-1), total, out=np.full_like(total, np.nan), where=total > 0)


def video_matrix(weights: Any, labels: Any, n_support: int, head: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Shares of attention between videos, averaged over all patches, support and queries each ordered by class.

    Args:
        weights, labels, n_support: as in `own_class_mass`.
        head: one head; the mean over heads by default.

    Returns:
        Shares (B, B), rows sum to 1; order (B,): which video each row is.
    """
    labels = as_array(labels)
    order = np.lexsort((np.arange(len(labels)), labels, np.arange(len(labels)) >= n_support))
    shares = of_head(as_array(weights)[:, 1:].mean(axis=(0, 1)), head, axis=0)
    return shares[order][:, order], order


def plot_video_matrix(
    weights: Any,
    labels: Any,
    class_names: Sequence[str],
    n_support: int,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Which video attends to which: the share of its attention that each row pays to each column.

    Args:
        weights, labels, n_support: as in `own_class_mass`.
        class_names: n_way names.

    Shares are means over patches and heads; a row sums to 100%. Orange frames hold the pairs of one class; pale grey is
    what the scope forbids. Equal shares are one over the number of videos that the row may see: with few videos all
    shares are large.
    """
    ax = ax or plt.subplots(figsize=(8.2, 5.6))[1]
    shares, order = video_matrix(weights, labels, n_support)
    labels = as_array(labels)[order]
    brightest = float(shares.max())
    _draw_shares(ax, shares, labels, n_support, brightest)
    names = _video_names(len(labels), n_support)
    if len(labels) <= 12:
        for (row, column), share in np.ndenumerate(shares):
            if share > 0:
                colour = "black" if share > 0.6 * brightest else "white"  # dark on what is bright
                ax.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=9, color=colour)
    every = max(1, len(labels) // 15)
    ax.set_xticks(range(0, len(labels), every), names[::every])
    rows = [f"{wrap(class_names[c], 26)}  {name}" for c, name in zip(labels, names, strict=True)]
    ax.set_yticks(range(0, len(labels), every), rows[::every])
    ax.set(xlabel="attends to this video", title=plain(title or "task attention between videos"))
    bar = ax.figure.colorbar(ax.images[0], ax=ax, fraction=0.045, pad=0.02)
    bar.set_label("share of attention (%)")
    bar.outline.set_visible(False)
    return ax


def plot_video_matrices(
    weights: Mapping[int, Any], labels: Any, n_support: int, figure: Figure | None = None
) -> np.ndarray:
    """The video-by-video matrix of every block (rows) and head (columns), on one scale.

    Args:
        weights: block -> (T, N, heads, B, B) task attention.
        labels, n_support: as in `own_class_mass`.

    Returns:
        Axes (blocks, heads). Above each: the share of the queries' attention to support videos that goes to their own
        class, which is 1 / n_way for equal shares. Order and frames as in `plot_video_matrix`.
    """
    labels, heads = as_array(labels), as_array(next(iter(weights.values()))).shape[2]
    brightest = max(as_array(block)[:, 1:].mean(axis=(0, 1)).max() for block in weights.values())
    figure = figure or plt.figure(figsize=(2.3 * heads + 0.8, 2.55 * len(weights) + 0.3))
    axes = figure.subplots(len(weights), heads, squeeze=False)
    height = figure.get_figheight()
    figure.subplots_adjust(left=0.07, right=0.99, top=1 - 0.6 / height, bottom=0.15 / height, wspace=0.08, hspace=0.22)
    for row, (block, recorded) in zip(axes, weights.items(), strict=True):
        mass = np.nanmean(own_class_mass(recorded, labels, n_support), axis=1) if n_support < len(labels) else None
        for head, ax in enumerate(row):
            shares, order = video_matrix(recorded, labels, n_support, head)
            _draw_shares(ax, shares, labels[order], n_support, brightest)
            ax.set(xticks=[], yticks=[])
            if mass is not None and np.isfinite(mass[head]):
                ax.set_title(f"own class {mass[head]:.0%}", fontsize=9, fontweight="normal")
        row[0].set_ylabel(f"block {block}", fontweight="bold")
    for head, ax in enumerate(axes[0]):
        ax.text(0.5, 1.16, f"head {head}", transform=ax.transAxes, ha="center", fontweight="bold")
    return axes


def _draw_shares(ax: Axes, shares: np.ndarray, labels: np.ndarray, n_support: int, brightest: float) -> None:
    ax.set_facecolor("#E6E6E6")
    ax.imshow(100 * np.ma.masked_equal(shares, 0), cmap="viridis", vmin=0, vmax=100 * brightest)
    _grid_lines(ax, len(labels), n_support, "#FFFFFF55")
    is_query = np.arange(len(labels)) >= n_support
    for rows, columns, c in product((False, True), (False, True), np.unique(labels)):
        y, x = (np.flatnonzero((labels == c) & (is_query == side)) for side in (rows, columns))
        if shares[np.ix_(y, x)].any():
            ax.add_patch(Rectangle((x[0] - 0.5, y[0] - 0.5), len(x), len(y), fill=False, ec=OWN, lw=2))
