"""`ladder --tasks which-attribute`: on the caller's device, without options that say nothing there."""

import pytest
import torch

from taskadapter_lite.__main__ import main


@pytest.mark.parametrize("option", ["--n-steps", "--n-episodes", "--depth"])
def test_an_option_that_says_nothing_is_refused(option, tmp_path, capsys):
    assert main(["ladder", "--tasks", "which-attribute", option, "5", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err.strip()
    assert f"{option} says nothing" in said
    assert len(said.splitlines()) == 1


def test_constructed_tasks_run_on_the_device_of_the_caller(tmp_path, monkeypatch, capsys):
    budgets = []
    monkeypatch.setattr(
        "taskadapter_lite.commands.ladder.run_which_attribute", lambda budget, *_: budgets.append(budget)
    )
    monkeypatch.setattr("taskadapter_lite.commands.ladder.chosen_device", lambda args: torch.device("cuda:3"))
    assert main(["ladder", "--tasks", "which-attribute", "--out", str(tmp_path)]) == 0
    assert [budget.device for budget in budgets] == ["cuda:3"]
