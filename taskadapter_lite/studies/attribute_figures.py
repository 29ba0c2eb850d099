"""Results of "which attribute counts" -> the two pictures of the results page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from taskadapter_lite import figures
from taskadapter_lite.results import RunResult
from taskadapter_lite.studies.attribute_controls import AS_TRAINED
from taskadapter_lite.studies.which_attribute import RULES, which_attribute_table

PLAIN, WITH_TASK = "Space + joint", "+ task, inductive"


def draw_rows(results: Sequence[RunResult], path: Path) -> None:
    """Every model and control on unseen values, with the accuracies of single seeds."""
    table = which_attribute_table(results)
    rows = table[table["values"] == "unseen values"]
    names, seeds = [], []
    for row in rows.itertuples():
        names.append(str(row.model) if row.control == AS_TRAINED else f"{row.model}: {row.control}")
        seeds.append(
            [fmean(r.accuracies) for r in results if _is(r, str(row.model), "unseen values", str(row.control))]
        )
    figures.use_style()
    ax = figures.plot_ladder(
        names, rows.accuracy / 100, rows.interval / 100, int(rows.episodes.iloc[0]), 0.2, seeds, highlight=(WITH_TASK,)
    )
    _save(ax, path)


def draw_dial(results: Sequence[RunResult], path: Path) -> None:
    """Accuracy with and without task attention against the share of tasks whose rule is drawn.

    Raises:
        ValueError: fewer than two mixes.
    """
    runs = [r for r in results if _is(r, r.name, "unseen values", AS_TRAINED) and r.name in (PLAIN, WITH_TASK)]
    mixes = sorted({float(r.metadata["mix"]) for r in runs})
    if len(mixes) < 2:
        raise ValueError(f"the mixes are {mixes}; a curve needs at least two")
    names = {PLAIN: "without task attention", WITH_TASK: "with task attention, inductive"}
    lines = {
        shown: [[fmean(r.accuracies) for r in runs if r.name == name and r.metadata["mix"] == mix] for mix in mixes]
        for name, shown in names.items()
    }
    figures.use_style()
    ax = figures.plot_dose_response(mixes, lines, 0.2, [1 - mix * (1 - 1 / len(RULES)) for mix in mixes])
    _save(ax, path)


def _is(result: RunResult, name: str, values: str, control: str) -> bool:
    about = result.metadata
    return (result.name, about["values"], about["control"]) == (name, values, control)


def _save(ax: Axes, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.savefig(path, dpi=100)
    plt.close(figure)
