"""A bar where somebody watches, lines in a log."""

import sys
import time

from tqdm import notebook

from taskadapter_lite import bars
from taskadapter_lite.bars import progress_bar


def test_a_log_gets_a_line_at_first_now_and_then_and_at_last(capsys, monkeypatch):
    monkeypatch.setattr(bars, "SECONDS", 0.05)
    for _ in progress_bar(range(40), desc="reading", unit="clip"):
        time.sleep(0.01)
    lines = capsys.readouterr().err.splitlines()
    assert 3 <= len(lines) <= 12  # not one a clip
    assert all(line.startswith("reading: ") and "clip/s" in line for line in lines[1:])
    assert "0/40" in lines[0]
    assert "40/40" in lines[-1]
    assert "<" in lines[1]  # 00:00<00:00: time gone, time left


def test_a_terminal_gets_one_bar_that_is_drawn_again(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    for _ in progress_bar(range(3), desc="reading"):
        pass
    said = capsys.readouterr().err
    assert "\rreading" in said
    assert said.count("\n") == 1


def test_a_bar_that_is_switched_off_says_nothing(capsys):
    list(progress_bar(range(3), disable=True))
    assert capsys.readouterr().err == ""


def test_a_notebook_gets_a_bar_for_long_work_only(monkeypatch):
    """What is shown stays in the saved file, and no page made of it can draw a bar's widget."""
    shown = []
    monkeypatch.setattr(bars, "tqdm", notebook.tqdm)
    monkeypatch.setattr(notebook, "display", shown.append)
    for _ in progress_bar(range(3)):
        pass
    assert not shown
    monkeypatch.setattr(bars, "SHORT", 0.02)
    for _ in progress_bar(range(30), mininterval=0.0):
        time.sleep(0.005)
    assert len(shown) == 1
