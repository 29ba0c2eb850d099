"""Accuracies and losses -> charts, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from taskadapter_lite.figures.clips import DOTTED, GREY, MARKERS, OTHER, OWN, as_array, plain, wrap

BEHIND_TEXT = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}  # a number on a grid line stays readable


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
    above = 0.75 if chance is None else 1.1  # rows above the first: room for its value, and for a word over that
    ax = ax or plt.subplots(figsize=(7.5, 0.48 + 0.42 * (len(names) + above)))[1]
    for y, name in enumerate(names):
        colour = OWN if name in highlight else OTHER
        ax.errorbar(means[y], y, xerr=half_widths[y], fmt="o", color=colour, capsize=4, elinewidth=2)
        if seeds is not None:
            ax.plot(100 * as_array(seeds[y]), np.full(len(seeds[y]), y + 0.22), "o", mfc="none", color=colour, ms=4)
        ax.annotate(f"{means[y]:.1f} ± {half_widths[y]:.1f}", (means[y], y), (0, 7), textcoords="offset points",
                    ha="center", fontsize=9, bbox=BEHIND_TEXT)  # fmt: skip
    if chance is not None:
        ax.axvline(100 * chance, **DOTTED)
        ax.annotate("chance", (100 * chance, -0.74), (3, 0), textcoords="offset points", fontsize=8.5, color=GREY)
    two_lines = max(34, *(len(name) // 2 + 8 for name in names))  # a third line would run into the row above
    ax.set_yticks(range(len(names)), [wrap(name, two_lines) for name in names])
    ax.set(ylim=(len(names) - 0.5, -above), xlabel=f"accuracy (%), mean and 95% interval over {n_episodes:,} episodes")
    ax.margins(x=0.12)
    ax.grid(axis="x")
    ax.tick_params(axis="y", length=0)
    return ax


def plot_differences(
    names: Sequence[str], means: Any, half_widths: Any, seeds: Sequence[Any], ax: Axes | None = None
) -> Axes:
    """Paired differences of accuracy, one a row from top to bottom, and whether each is shown.

    Args:
        names: one a comparison.
        means: differences in points.
        half_widths: of their 95% intervals.
        seeds: for each comparison the differences of single training runs, drawn as small open circles.

    Orange: above 0, blue: below 0, by interval and by every seed. Grey: not shown, since the interval holds 0 or seeds
    disagree in sign; that is not the same as no difference. With one seed alone the spread over seeds is unknown.
    """
    means, half_widths = as_array(means), as_array(half_widths)
    ax = ax or plt.subplots(figsize=(7.2, 0.9 + 0.44 * len(names)))[1]
    for y, (mean, half, single) in enumerate(zip(means, half_widths, map(as_array, seeds), strict=True)):
        clear = abs(mean) > half and (np.sign(single) == np.sign(mean)).all()
        colour = (OWN if mean > 0 else OTHER) if clear else "#777777"
        ax.errorbar(mean, y, xerr=half, fmt="o", color=colour, capsize=4, elinewidth=2)
        ax.plot(single, np.full(len(single), y + 0.24), "o", mfc="none", color=colour, ms=4)
        says = ("above" if mean > 0 else "below") if clear else "not shown"
        says += " (one seed)" if len(single) == 1 else ""
        ax.annotate(f"{round(mean, 1) + 0.0:+.1f} ± {half:.1f}  {says}", (1.02, y), xycoords=("axes fraction", "data"),
                    va="center", fontsize=9, color=colour)  # fmt: skip
    ax.axvline(0, **DOTTED)
    ax.set_yticks(range(len(names)), [wrap(name, 40) for name in names])
    ax.set(ylim=(len(names) - 0.5, -0.6), xlabel="difference of accuracy (points), mean and 95% interval, ○ a seed")
    ax.margins(x=0.08)
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
        views = np.lib.stride_tricks.sliding_window_view(points, min(window, len(points)), axis=0)
        smooth = views.mean(axis=-1)
        line = ax.plot(*smooth.T, marker=marker if len(smooth) <= 40 else None, label=plain(name))[0]
        if window > 1:
            ax.plot(*points.T, color=line.get_color(), alpha=0.2, linewidth=1)
    ax.set(xlabel=xlabel or x, ylabel=ylabel or (f"{y} (%)" if scale == 100 else y))
    ax.grid(axis="y")
    if len(histories) > 1:
        ax.legend()
    return ax


def plot_parameters(
    names: Sequence[str],
    parameters: Any,
    means: Any,
    half_widths: Any,
    n_episodes: int,
    chance: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Accuracy against the number of trained parameters (logarithmic; models that train nothing stand at the left).

    Args:
        names: one a model; parameters: how many each trains.
        means, half_widths, n_episodes, chance: as in `plot_ladder`.

    Few trained parameters do not mean few computations: the frozen blocks run as well.
    """
    parameters, means, half_widths = as_array(parameters), 100 * as_array(means), 100 * as_array(half_widths)
    zero = parameters[parameters > 0].min() / 10
    ax = ax or plt.subplots(figsize=(7, 4.2))[1]
    for i, name in enumerate(names):
        place, marker = (parameters[i] or zero, means[i]), MARKERS[i % len(MARKERS)]
        ax.errorbar(*place, yerr=half_widths[i], fmt=marker, color=f"C{i % 7}", capsize=4)
        ax.annotate(wrap(name, 24), place, (9, 3), textcoords="offset points", fontsize=9)
    if chance is not None:
        ax.axhline(100 * chance, **DOTTED)
    ax.set_xscale("log")
    ax.set_xlim(zero / 2, parameters.max() * 8)  # room for the names
    if (parameters == 0).any():
        ax.annotate("none", (zero, 0), (0, -13), xycoords=("data", "axes fraction"), textcoords="offset points",
                    ha="center", va="top", fontsize=9)  # fmt: skip
        ax.set_xticks([tick for tick in ax.get_xticks() if zero < tick / 2 and tick <= ax.get_xlim()[1]])
        ax.minorticks_off()  # between "none" and the first power of ten they would count something
    ax.set(xlabel="trained parameters", ylabel=f"accuracy (%), 95% interval\nover {n_episodes:,} episodes")
    ax.grid(axis="y")
    return ax


def plot_own_class_mass(
    masses: Mapping[str, Any], blocks: Sequence[int], chance: float, ax: Axes | None = None
) -> Axes:
    """Share of the queries' attention to support videos that goes to their own class, by block and head.

    Args:
        masses: model (such as "trained", "untrained") -> (episodes, blocks, heads) shares, one number an episode.
        blocks: their numbers.
        chance: 1 / n_way.

    A point is a head (from left to right 0, 1, ...), its bar the 95% interval over episodes; the dotted line is equal
    shares. Mass on the own class says that attention finds the class, not that the prediction needs it.
    """
    ax = ax or plt.subplots(figsize=(1.7 * len(blocks) + 3, 4))[1]
    for number, (name, values) in enumerate(masses.items()):
        values = 100 * as_array(values)
        n_episodes, _, heads = values.shape
        df = n_episodes - 1
        t = 1.96 + 2.372 / df + 2.822 / df**2 + 2.556 / df**3 + 1.589 / df**4  # Student's, to 1% from 3 episodes on
        mean, half = values.mean(axis=0), t * values.std(axis=0, ddof=1) / np.sqrt(n_episodes)
        places = np.arange(len(blocks))[:, None] + 0.7 * ((np.arange(heads) + 0.5) / heads - 0.5)
        places = places + 0.2 / heads * (number - (len(masses) - 1) / 2)
        style: dict[str, Any] = {"fmt": MARKERS[number], "markersize": 5, "capsize": 2, "elinewidth": 1.2}
        ax.errorbar(
            places.ravel(), mean.ravel(), yerr=half.ravel(), label=f"{plain(name)} ({n_episodes} episodes)", **style
        )
    ax.axhline(100 * chance, **DOTTED, label="equal shares")
    for edge in range(1, len(blocks)):
        ax.axvline(edge - 0.5, color="#DDDDDD", linewidth=1)
    ax.set_xticks(range(len(blocks)), [f"block {block}" for block in blocks])
    ax.set(xlim=(-0.5, len(blocks) - 0.5), ylabel="attention on the own class (%)\nmean and 95% interval")
    ax.tick_params(axis="x", length=0)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(masses) + 1)
    return ax


def plot_speedups(names: Sequence[str], ratios: Any, lows: Any, highs: Any, ax: Axes | None = None) -> Axes:
    """How many times faster than the first way, after each switch; a bar begins where the one before ended.

    Args:
        names: one a way, the published one first.
        ratios: median speed-ups over the rounds, 1 for the first.
        lows, highs: least and largest ratio of the rounds, drawn as whiskers.

    The axis is logarithmic: equal lengths are equal factors. The gain of a switch depends on those before it; in
    another order the bars would have other lengths. A bar to the left is a switch that costs time on this device.
    """
    ratios, lows, highs = as_array(ratios), as_array(lows), as_array(highs)
    ax = ax or plt.subplots(figsize=(7.5, 0.8 + 0.42 * len(names)))[1]
    for y in range(len(names)):
        before = ratios[y - 1] if y else 1.0
        colour = OTHER if ratios[y] >= before else OWN
        ax.barh(y, ratios[y] - before, left=before, height=0.55, color=colour)
        ax.plot([lows[y], highs[y]], [y, y], color="black", linewidth=1.2)
        ax.plot(ratios[y], y, "o", color="black", markersize=4)
        ax.annotate(f"{ratios[y]:.1f} x", (max(highs[y], before), y), (6, 0), textcoords="offset points", va="center")
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # powers of ten alone leave one tick or two
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_yticks(range(len(names)), [plain(name) for name in names])
    ax.set(ylim=(len(names) - 0.4, -0.6), xlabel="speed of a training step over the published way (times, logarithmic)")
    ax.margins(x=0.15)
    ax.tick_params(axis="y", length=0)
    return ax
