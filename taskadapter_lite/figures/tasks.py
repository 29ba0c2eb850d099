"""Tasks whose support tells what counts, and what it is worth to see it -> figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taskadapter_lite.figures.clips import DOTTED, GREY, MARKERS, OTHER, OWN, QUERY, as_array, as_frames, plain, wrap
from taskadapter_lite.figures.results import plot_ladder


def plot_two_tasks(
    query: Any,
    supports: Sequence[Any],
    scores: Sequence[Any],
    rules: Sequence[str],
    names: Sequence[str],
    means: Any,
    half_widths: Any,
    n_episodes: int,
    chance: float,
) -> Figure:
    """One query in several tasks, what a model says in each, and how often models are right in such tasks.

    Args:
        query: (T, 3, H, W) frames, of which the middle one is shown.
        supports: for each task (n_way, T, 3, H, W), one clip a class.
        scores: for each task the model's n_way scores, higher for more alike; its answer is framed.
        rules: for each task what counts there, as a word.
        names, means, half_widths, n_episodes, chance: of the models, as `plot_ladder` takes them.
    """
    n_way, n_tasks = len(scores[0]), len(supports)
    figure = plt.figure(figsize=(11, 1.7 * n_tasks), layout="constrained")
    grid = figure.add_gridspec(n_tasks, n_way + 4, width_ratios=[1.0] * (n_way + 1) + [1.3] * 3)
    for row, (support, values, rule) in enumerate(zip(supports, map(as_array, scores), rules, strict=True)):
        ax = figure.add_subplot(grid[row, 0])
        _place(ax, query, QUERY, 1.5)
        title = f"Task {row + 1}: the {plain(rule)} takes {n_way} values, the rest two, so the {plain(rule)} counts"
        ax.set_title(" ")  # keeps the height; the words run on above the support
        ax.text(0, 1.1, title, transform=ax.transAxes, weight="bold").set_in_layout(False)
        ax.set_xlabel("query", fontsize=9)
        for c in range(n_way):
            chosen = c == int(values.argmax())
            ax = figure.add_subplot(grid[row, c + 1])
            _place(ax, support[c], OWN if chosen else "#BBBBBB", 3.5 if chosen else 0.8)
            said = f"answer ({values[c]:.2f})" if chosen else f"{values[c]:.2f}"
            ax.set_xlabel(said, fontsize=9, color=OWN if chosen else GREY)
    ax = figure.add_subplot(grid[:, n_way + 1 :])
    plot_ladder([wrap(name, 20) for name in names], means, half_widths, n_episodes, chance, ax=ax)
    ax.set_xlabel(f"right answers (%), {n_episodes:,} such tasks,\nmean and 95% interval")
    return figure


def _place(ax: Axes, clip: Any, colour: str, width: float) -> None:
    frames = as_frames(clip)
    ax.imshow(frames[len(frames) // 2])
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(visible=True, color=colour, linewidth=width)


def plot_dose_response(
    doses: Any, runs: Mapping[str, Sequence[Any]], chance: float, ceiling: Any, ax: Axes | None = None
) -> Axes:
    """Accuracy against a dose, one line a model through the means of its training runs; runs are small open circles.

    Args:
        doses: shares in 0..1, such as of the tasks whose rule differs.
        runs: model -> for each dose the accuracies of its training runs, as shares in 0..1.
        chance: accuracy of guessing; a dotted line.
        ceiling: for each dose what the best fixed metric could reach, as shares; a dashed line.
    """
    doses, ceiling = 100 * as_array(doses), 100 * as_array(ceiling)
    ax = ax or plt.subplots(figsize=(6.5, 4.2))[1]
    for number, (name, values) in enumerate(runs.items()):
        colour = (OTHER, OWN, "#009E73")[number % 3]
        ax.plot(doses, [100 * np.mean(run) for run in values], marker=MARKERS[number], color=colour, label=plain(name))
        for dose, run in zip(doses, values, strict=True):
            ax.plot(
                np.full(len(run), dose), 100 * as_array(run), "o", mfc="none", color=colour, markersize=8, alpha=0.6
            )
    ax.plot(doses, ceiling, "--", color=GREY, linewidth=1.2)
    ax.annotate("a fixed metric that\nknows both attributes", (doses[-1], ceiling[-1]), (-4, 40),
                textcoords="offset points", ha="right", fontsize=8.5, color=GREY)  # fmt: skip
    ax.axhline(100 * chance, **DOTTED)
    ax.annotate("chance", (doses[-1], 100 * chance), (-4, 4), textcoords="offset points", ha="right", fontsize=8.5)
    ax.set(xlabel="tasks whose rule is drawn (%); the others have one rule", ylabel="accuracy (%)", ylim=(0, 100))
    ax.set_xticks(doses, [wrap(f"{dose:g}", 6) for dose in doses])
    ax.grid(axis="y")
    ax.legend(loc="lower left")
    return ax
