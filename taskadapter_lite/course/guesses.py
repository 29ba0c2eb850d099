"""A guess that was written down before -> guess and truth beside each other."""

from __future__ import annotations

import math
from typing import Any


def reveal(what: str, guess: Any, truth: Any, unit: str = "") -> None:
    """Print what is true, and beside it what was guessed.

    Args:
        what: the question, such as "accuracy of the frozen model".
        guess: what the reader wrote before seeing it; None for nothing.
        truth: a number or a word.
        unit: of both, such as "%".
    """
    if guess is None:
        print(f"{what}: {_said(truth, unit)} (no guess yet: write one in the cell above, before you read on)")
        return
    print(f"{what}: your guess {_said(guess, unit)}, the truth {_said(truth, unit)}{_verdict(guess, truth, unit)}")


def _number(value: Any) -> float | None:
    try:
        return None if isinstance(value, (str, bool)) else float(value)
    except (TypeError, ValueError):
        return None


def _said(value: Any, unit: str) -> str:
    number = _number(value)
    if number is None or not math.isfinite(number):
        return str(value)
    digits = 0 if number == round(number) or abs(number) >= 1000 else 1 if abs(number) >= 1 else 3
    text = f"{number:,.{digits}f}"
    return f"{text} {unit}".rstrip()


def _verdict(guess: Any, truth: Any, unit: str) -> str:
    first, second = _number(guess), _number(truth)
    if first is not None and second is not None:
        apart = abs(first - second)
        return ": exactly" if apart <= 1e-9 * max(1, abs(second)) else f": {_said(apart, unit)} apart"
    return ": right" if str(guess).strip().casefold() == str(truth).strip().casefold() else ""
