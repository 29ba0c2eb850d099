"""studies/attribute_results.py: the pictures hold the rows and runs of the results."""

from dataclasses import replace
from pathlib import Path

import pytest

from taskadapter_lite import figures
from taskadapter_lite.results import RunResult
from taskadapter_lite.studies.attribute_controls import AS_TRAINED, NEUTRAL, OFF
from taskadapter_lite.studies.attribute_results import draw_dial, draw_rows, which_attribute_table

SAVED = Path(__file__).parents[2] / "notebooks" / "results" / "which_attribute"


def result(name, seed, accuracies, mix=1.0, control="as trained", values="unseen values"):
    about = {"rung": name, "mix": mix, "values": values, "control": control}
    return RunResult(name, accuracies=accuracies, seeds={"training": seed}, metadata=about)


def test_each_model_and_control_is_a_row_with_its_seeds(tmp_path, monkeypatch):
    given = []
    draw = figures.plot_ladder
    monkeypatch.setattr(figures, "plot_ladder", lambda *a, **k: given.append(a) or draw(*a, **k))
    results = [result("Frozen", 0, [0.4, 0.6]), result("Frozen", 0, [0.9, 0.7], values="seen values")]
    results += [result("+ task, inductive", seed, [0.8, 1.0 - seed / 5]) for seed in range(2)]
    results += [result("+ task, inductive", 0, [0.2, 0.4], control="task attention off")]
    draw_rows(results, tmp_path / "new" / "rows.png")
    names, means, _, n_episodes, _, seeds = given[0]
    assert names == ["Frozen", "+ task, inductive", "+ task, inductive: task attention off"]
    assert list(means) == pytest.approx([0.5, 0.85, 0.3])
    assert [list(run) for run in seeds] == [[0.5], [0.9, 0.8], [pytest.approx(0.3)]]
    assert n_episodes == 2
    assert (tmp_path / "new" / "rows.png").stat().st_size > 5000


def test_the_dial_takes_runs_as_trained_at_each_mix_and_the_best_fixed_metric(tmp_path, monkeypatch):
    given = []
    draw = figures.plot_dose_response
    monkeypatch.setattr(figures, "plot_dose_response", lambda *a: given.append(a) or draw(*a))
    results = [
        result(n, 0, [a, a], mix) for n, a in (("Space + joint", 0.9), ("+ task, inductive", 0.8)) for mix in (0, 1)
    ]
    results += [result("+ task, inductive", 0, [0.1, 0.1], 1.0, control="task attention off")]
    results += [result("Frozen", 0, [0.3, 0.3])]
    draw_dial(results, tmp_path / "dial.png")
    mixes, lines, chance, ceiling = given[0]
    assert (mixes, chance, ceiling) == ([0, 1], 0.2, [1.0, 0.5])
    assert list(lines.values()) == [[[0.9], [0.9]], [[0.8], [0.8]]]
    with pytest.raises(ValueError, match="a curve needs at least two"):
        draw_dial(results[1:2], tmp_path / "dial.png")


def test_a_control_is_paired_with_the_model_as_trained_and_other_tasks_are_not():
    """No look misleads: those are tasks of their own, even where there are as many of them."""
    trained = RunResult.load(SAVED / "space_with_joint_mix_1_unseen_values_as_trained_seed_0.json")
    half = [right / 2 for right in trained.accuracies]
    results = [trained] + [
        replace(trained, accuracies=half, metadata=trained.metadata | {"control": control})
        for control in (OFF, NEUTRAL)
    ]
    change = which_attribute_table(results).set_index("control")["change"]
    assert change[OFF].startswith(f"{-100 * sum(half) / len(half):.1f} +- ")
    assert change[AS_TRAINED] == change[NEUTRAL] == ""
