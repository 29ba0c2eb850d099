"""`ladder --tasks which-attribute`: on the caller's device, without options that say nothing there."""

from pathlib import Path

import pytest
import torch

from taskadapter_lite.__main__ import main
from taskadapter_lite.studies import which_attribute
from taskadapter_lite.studies.which_attribute import TaskBudget


@pytest.mark.parametrize("option", ["--n-episodes", "--depth"])
def test_an_option_that_says_nothing_is_refused(option, tmp_path, capsys):
    assert main(["ladder", "--tasks", "which-attribute", option, "5", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err.strip()
    assert f"{option} says nothing" in said
    assert len(said.splitlines()) == 1


def test_constructed_tasks_run_on_the_device_of_the_caller(tmp_path, monkeypatch, capsys):
    budgets = []
    monkeypatch.setattr(which_attribute, "run_which_attribute", lambda budget, *_: budgets.append(budget))
    monkeypatch.setattr("taskadapter_lite.commands.shared.options.chosen_device", lambda args: torch.device("cuda:3"))
    assert main(["ladder", "--tasks", "which-attribute", "--out", str(tmp_path)]) == 0
    assert [budget.device for budget in budgets] == ["cuda:3"]


def test_what_the_options_change_is_in_the_budget(tmp_path, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(
        "taskadapter_lite.studies.which_attribute.run_which_attribute", lambda *given: calls.append(given)
    )
    options = ["--mix", "0.5", "--frames", "4", "--rules", "colour", "action", "--n-steps", "7", "--start", "before"]
    options += ["--only", "Space + joint", "OTAM", "--device", "cpu", "--out", str(tmp_path)]
    assert main(["ladder", "--tasks", "which-attribute", *options]) == 0
    budget, seeds, out, rungs = calls[0]
    assert budget == TaskBudget(n_steps=7, mix=0.5, frames=4, rules=("colour", "action"), start=Path("before"))
    asked = ["Frozen, OTAM", "Space + joint", "Space + joint, OTAM", "+ task, inductive, OTAM"]
    assert [rung.name for rung in rungs] == asked
    assert (seeds, out) == ([0, 1, 2], tmp_path)


def test_choices_of_constructed_tasks_are_refused_with_plain_ones(tmp_path, capsys):
    assert main(["ladder", "--mix", "0.5", "--table", "--out", str(tmp_path)]) == 2
    assert "--mix is for --tasks which-attribute" in capsys.readouterr().err
