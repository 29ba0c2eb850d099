"""Guess and truth beside each other."""

import pytest
import torch

from taskadapter_lite.course import reveal


@pytest.mark.parametrize(
    "guess, truth, unit, said",
    [
        (None, 78.7, "%", "it: 78.7 % (no guess yet: write one in the cell above, before you read on)"),
        (60, 78.74, "%", "it: your guess 60 %, the truth 78.7 %: 18.7 % apart"),
        (42504, 42_504, "sets", "it: your guess 42,504 sets, the truth 42,504 sets: exactly"),
        (0.5, torch.tensor(0.25), "", "it: your guess 0.500, the truth 0.250: 0.250 apart"),
        ("Clockwise", "clockwise", "", "it: your guess Clockwise, the truth clockwise: right"),
        ("left", "right", "", "it: your guess left, the truth right"),
        ("a lot", 3, "", "it: your guess a lot, the truth 3"),
        (1e4, 1234.5, "s", "it: your guess 10,000 s, the truth 1,234 s: 8,766 s apart"),
    ],
)
def test_reveal(guess, truth, unit, said, capsys):
    reveal("it", guess, truth, unit)
    assert capsys.readouterr().out == said + "\n"
