"""Accuracies, losses, masks and similarities -> charts with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from taskadapter_lite.figures_clips import OTHER, OWN, as_array, wrap

MARKERS = "osD^vPX*"  # a class is told apart by its marker as well as by its colour


def plot_ladder(
    names: Sequence[str],
    means: Any,
    half_widths: Any,
    n_episodes: int,
    chance: float | None = None,
    seeds: Sequence[Any] | None = None,
    highlight: Sequence[str] = (),
    ax: Axes | None = None,
) -> Axes:
    """Accuracies of several models, one a row from top to bottom, with 95% intervals.

    Args:
        names: one a model.
        means, half_widths: accuracies and half-widths of their 95% intervals, as shares in 0..1.
        n_episodes: how many episodes each interval is over.
        chance: accuracy of guessing, 1 / n_way; a dotted line.
        seeds: for each model the accuracies of single training runs, drawn as small open circles.
        highlight: names drawn in the accent colour.

    The interval covers the draw of episodes only; training seeds add a spread of their own. Overlapping intervals can
    hide a significant difference when both models saw the same episodes: compare the paired differences.
    """
    means, half_widths = 100 * as_array(means), 100 * as_array(half_widths)
    ax = ax or plt.subplots(figsize=(7.5, 0.8 + 0.42 * len(names)))[1]
    for y, name in enumerate(names):
        colour = OWN if name in highlight else OTHER
        ax.errorbar(means[y], y, xerr=half_widths[y], fmt="o", color=colour, capsize=4, elinewidth=2)
        if seeds is not None:
            ax.plot(100 * as_array(seeds[y]), np.full(len(seeds[y]), y + 0.22), "o", mfc="none", color=colour, ms=4)
        ax.annotate(f"{means[y]:.1f} ± {half_widths[y]:.1f}", (means[y], y), (0, 7), textcoords="offset points",
                    ha="center", fontsize=9)  # fmt: skip
    if chance is not None:
        ax.axvline(100 * chance, color="#555555", linestyle=":", linewidth=1.2)
        ax.annotate("chance", (100 * chance, -0.6), (3, 0), textcoords="offset points", fontsize=8.5, color="#555555")
    ax.set_yticks(range(len(names)), [wrap(name, 34) for name in names])
    ax.set(ylim=(len(names) - 0.5, -0.75), xlabel=f"accuracy (%), mean and 95% interval over {n_episodes:,} episodes")
    ax.margins(x=0.12)
    ax.grid(axis="x")
    ax.tick_params(axis="y", length=0)
    return ax


def plot_learning_curves(
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
    y: str = "loss",
    x: str = "step",
    window: int = 1,
    scale: float = 1,
    xlabel: str | None = None,
    ylabel: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A quantity over training, one line a run.

    Args:
        histories: name of a run -> its history, a list of dicts; entries without `y` are skipped.
        y, x: keys of the history.
        window: mean over this many entries (drawn at their middle); the single entries stay visible in pale.
        scale: 100 turns shares into percents.
        xlabel, ylabel: quantity and unit; the keys by default.

    A training loss says little about new classes: look at the accuracy on validation classes.
    """
    ax = ax or plt.subplots()[1]
    for number, (name, history) in enumerate(histories.items()):
        points = np.array([(entry[x], scale * entry[y]) for entry in history if entry.get(y) is not None], dtype=float)
        if not len(points):
            raise ValueError(f"no entry of the run {name!r} has the key {y!r}")
        marker = MARKERS[number % len(MARKERS)]
        smooth = _moving_mean(points, min(window, len(points)))
        line = ax.plot(*smooth.T, marker=marker if len(smooth) <= 40 else None, label=name)[0]
        if window > 1:
            ax.plot(*points.T, color=line.get_color(), alpha=0.2, linewidth=1)
    ax.set(xlabel=xlabel or x, ylabel=ylabel or (f"{y} (%)" if scale == 100 else y))
    ax.grid(axis="y")
    if len(histories) > 1:
        ax.legend()
    return ax


def _moving_mean(points: np.ndarray, window: int) -> np.ndarray:
    kernel = np.ones(window) / window
    return np.stack([np.convolve(column, kernel, mode="valid") for column in points.T], axis=1)


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
        names = [f"S{i + 1}" if i < n_support else f"Q{i + 1 - n_support}" for i in range(len(mask))]
        every = max(1, len(mask) // 12)
        ax.set_xticks(range(0, len(mask), every), names[::every])
        ax.set_yticks(range(0, len(mask), every), names[::every])
        ax.set(title=scope, xlabel="may see this video")
    axes[0].set_ylabel("this video")
    return axes


def _grid_lines(ax: Axes, size: int, n_support: int) -> None:
    for edge in np.arange(0.5, size - 1):
        ax.axhline(edge, color="white", linewidth=0.8)
        ax.axvline(edge, color="white", linewidth=0.8)
    ax.axhline(n_support - 0.5, color="black", linewidth=1.5)
    ax.axvline(n_support - 0.5, color="black", linewidth=1.5)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0, labelsize=8)
