"""The README's numbers are those of the files it names, and its links lead somewhere."""

import re
from pathlib import Path

import pytest

from taskadapter_lite.results import RunResult, text_interval

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\|.*\]\((notebooks/results/\S+\.json)\) \|$", README, re.MULTILINE)


def test_results_name_their_files():
    assert len(ROWS) >= 3


@pytest.mark.parametrize("file", ROWS)
def test_each_row_says_what_its_file_says(file):
    (row,) = [line for line in README.splitlines() if f"({file})" in line and line.startswith("|")]
    result = RunResult.load(ROOT / file)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert text_interval(result.accuracies) in cells
    assert f"{len(result.accuracies):,}" in cells
    assert (result.scope or "-") in cells
    assert f"{result.trainable_parameters:,}" in cells
    share, half = result.pair_accuracy
    assert f"{100 * share:.1f} +- {100 * half:.1f}" in cells


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        if not link.startswith("http"):
            assert (ROOT / link).exists(), link


def test_the_two_commands_are_those_of_the_makefile():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"`?make ([a-z-]+)", README)) <= set(targets)


def test_the_ten_lines_run(monkeypatch):
    """The README's example, with two training steps and two episodes instead of 200."""
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(example.strip().splitlines()) <= 12
    said = []
    exec(re.sub(r"=200\b", "=2", example), {"print": said.append})
    assert "2 episodes" in said[0]
