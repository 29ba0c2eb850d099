"""Results of "which attribute counts" -> their table and the two pictures of the results page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from statistics import fmean

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from taskadapter_lite import figures
from taskadapter_lite.data.which_attribute import AttributeEpisodes
from taskadapter_lite.results import RunResult, accuracy_interval, saved_results
from taskadapter_lite.studies.attribute_controls import AS_TRAINED, NEUTRAL, task_accuracies
from taskadapter_lite.studies.which_attribute import PARTS, RULES, RUNGS, SPEC, Pool

PLAIN, WITH_TASK = "Space + joint", "+ task, inductive"


def load_which_attribute(out: Path) -> Iterator[RunResult]:
    """All results of a folder, in the order of the rows."""
    return saved_results(out, [rung.name for rung in RUNGS])


def of_main_setting(results: Iterable[RunResult]) -> list[RunResult]:
    """Those of clips of one frame with the rules colour and form, whatever the mix."""
    settings = [(r, (r.metadata.get("frames", 1), tuple(r.metadata.get("rules", RULES)))) for r in results]
    return [result for result, setting in settings if setting == (1, RULES)]


def which_attribute_table(results: Sequence[RunResult]) -> pd.DataFrame:
    """A row for each model, setting, values and control, in percent.

    Columns: `accuracy`: mean over seeds; `interval`: half width of its 95% interval over the draw of episodes, each
    the mean over seeds; `lowest` and `highest` single seed; `seeds`: how many; `episodes`: of each seed; `by rule`: the
    accuracy in the tasks of each rule; `change`: how many points a control lies above the same seeds as trained, with
    its 95% interval over tasks. Queries of a task that are asked alone count as one episode, since they share their
    support.
    """
    same: dict[tuple, list[RunResult]] = {}
    for result in results:
        same.setdefault(_row_key(result), []).append(result)
    tasks = {key: [task_accuracies(result, SPEC.n_way * SPEC.n_query) for result in runs] for key, runs in same.items()}
    over_seeds = {key: [fmean(task) for task in zip(*runs, strict=True)] for key, runs in tasks.items()}
    rows = []
    for key, runs in same.items():
        means = [100 * fmean(result.accuracies) for result in runs]
        half = accuracy_interval(over_seeds[key])[1]
        by_rule = accuracies_by_rule(list(zip(rules_of_tasks(runs[0]), over_seeds[key], strict=True)))
        words = ", ".join(f"{rule} {accuracy:.1f}" for rule, accuracy in by_rule.items())
        before, after, change = over_seeds.get((*key[:-1], AS_TRAINED), []), over_seeds[key], ""
        if key[-1] not in (AS_TRAINED, NEUTRAL) and len(before) == len(after):
            changes = [own - trained for own, trained in zip(after, before, strict=True)]
            change = "{:.1f} +- {:.1f}".format(*accuracy_interval(changes))
        numbers = (fmean(means), half, min(means), max(means), len(runs), len(tasks[key][0]), words, change)
        rows.append((*key, *numbers))
    columns = ["model", "mix", "frames", "rules", "start", "values", "control"]
    columns += ["accuracy", "interval", "lowest", "highest", "seeds", "episodes", "by rule", "change"]
    return pd.DataFrame(rows, columns=columns)


def rules_of_tasks(result: RunResult) -> list[str]:
    """The attribute that counts in each task of a result."""
    about, n_queries = result.metadata, SPEC.n_way * SPEC.n_query
    rules = tuple(about.get("rules", RULES))
    n_tasks = len(task_accuracies(result, n_queries))
    return _rules(n_tasks, about["values"], about.get("frames", 1), rules, about["mix"])


@lru_cache(maxsize=64)
def _rules(n_tasks: int, values: str, frames: int, rules: tuple[str, ...], mix: float) -> list[str]:
    part, seed = PARTS[values]
    episodes = AttributeEpisodes(Pool(frames, Path(), rules).clips(part), SPEC, n_tasks, seed, rules, mix)
    return [episodes.rule_of(i) for i in range(n_tasks)]


def accuracies_by_rule(tasks: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Rule -> mean accuracy of its tasks, of pairs of a task's rule and its accuracy; rules in alphabetic order."""
    return {rule: fmean(a for found, a in tasks if found == rule) for rule in sorted({rule for rule, _ in tasks})}


def _row_key(result: RunResult) -> tuple[str, float, int, str, str, str, str]:
    about = result.metadata
    rules = " or ".join(about.get("rules", RULES))
    start = about.get("start") or "afresh"
    return result.name, about["mix"], about.get("frames", 1), rules, start, about["values"], about["control"]


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
    runs = [r for r in of_main_setting(results) if _is(r, r.name, "unseen values", AS_TRAINED)]
    runs = [r for r in runs if r.name in (PLAIN, WITH_TASK)]
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
