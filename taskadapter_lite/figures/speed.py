"""Ratios of a benchmark -> a waterfall: what each switch gains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from taskadapter_lite.figures.clips import as_array


def plot_speedups(
    names: Sequence[str], ratios: Any, lows: Any, highs: Any, what: str = "training step", ax: Axes | None = None
) -> Axes:
    """How many times faster than the first way, after each switch; a bar begins where the one before ended.

    Args:
        names: one a way, the published one first.
        ratios: median speed-ups over the rounds, 1 for the first.
        lows, highs: least and largest ratio of the rounds, drawn as whiskers.
        what: what was timed, for the label.

    The axis is logarithmic: equal lengths are equal factors. The gain of a switch depends on those before it; in
    another order the bars would have other lengths. A bar to the left is a switch that costs time on this device.
    """
    ratios, lows, highs = as_array(ratios), as_array(lows), as_array(highs)
    ax = ax or plt.subplots(figsize=(7.5, 0.8 + 0.42 * len(names)))[1]
    for y in range(len(names)):
        before = ratios[y - 1] if y else 1.0
        colour = "#0072B2" if ratios[y] >= before else "#D55E00"
        ax.barh(y, ratios[y] - before, left=before, height=0.55, color=colour)
        ax.plot([lows[y], highs[y]], [y, y], color="black", linewidth=1.2)
        ax.plot(ratios[y], y, "o", color="black", markersize=4)
        ax.annotate(f"{ratios[y]:.1f} x", (max(highs[y], before), y), (6, 0), textcoords="offset points", va="center")
    ax.set_xscale("log")
    ax.set_yticks(range(len(names)), names)
    ax.set(ylim=(len(names) - 0.4, -0.6), xlabel=f"speed of a {what} over the published way (times, logarithmic)")
    ax.margins(x=0.15)
    ax.tick_params(axis="y", length=0)
    return ax
