"""The exercises of the course, by lesson, and what their checks use to say what is wrong."""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

Check = Callable[[Any], None]


class ExerciseError(Exception):
    """What is wrong with an answer, in words. A notebook shows these words alone, without the lines they came from."""

    def _render_traceback_(self) -> list[str]:
        return textwrap.wrap(f"not yet: {self}", 100, break_long_words=False, break_on_hyphens=False)


@dataclass(frozen=True)
class Exercise:
    """One exercise of a lesson.

    Attributes:
        name: what the reader writes, such as "attend_along".
        lesson: two digits.
        judge: takes the reader's answer and raises an ExerciseError if it is wrong.
        hint: how to begin, for a reader who has not written anything.
    """

    name: str
    lesson: str
    judge: Check
    hint: str


_EXERCISES: dict[str, Exercise] = {}


def exercise(name: str, lesson: str) -> Callable[[Check], Check]:
    """Register the decorated function as the check of an exercise.

    Its docstring is the first hint: what a reader is told who has not written anything yet.

    Args:
        name: what the reader writes; no other exercise of the course has this name.
        lesson: two digits, such as "06".

    Raises:
        ValueError: the name is taken, or the check has no docstring.
    """

    def register(judge: Check) -> Check:
        if not judge.__doc__:
            raise ValueError(f"the check of {name!r} needs a docstring: the first hint")
        known = _EXERCISES.get(name)
        if known is not None and known.judge.__module__ != judge.__module__:
            raise ValueError(f"there is an exercise {name!r} in lesson {known.lesson} already")
        _EXERCISES[name] = Exercise(name, lesson, judge, " ".join(judge.__doc__.split()))
        return judge

    return register


def exercises(lesson: str | None = None) -> list[Exercise]:
    """The exercises of one lesson or of all, in the order of the course."""
    for path in Path(__file__).parent.glob("lesson_*.py"):
        importlib.import_module(f"{__package__}.{path.stem}")
    found = sorted(_EXERCISES.values(), key=lambda e: e.lesson)  # stable: within a lesson as its module has them
    return [e for e in found if lesson in (None, e.lesson)]


def expect_shape(got: Any, shape: Sequence[int], what: str, hint: str = "") -> None:
    """Raise an ExerciseError unless `got` is an array or tensor of this shape.

    Args:
        got: what the reader's function returned.
        shape: sizes of its axes; () for one number.
        what: a name for it, such as "the result for one query".
        hint: a sentence on the usual mistake.
    """
    if got is None:
        raise ExerciseError(f"{what} is None: does the function end with return?")
    if not hasattr(got, "shape") and not isinstance(got, (int, float)):
        raise ExerciseError(_joined(f"{what} is a {type(got).__name__}; a tensor {_sizes(shape)} is wanted", hint))
    found = tuple(getattr(got, "shape", ()))
    if found != tuple(shape):
        raise ExerciseError(_joined(f"{what} has the shape {_sizes(found)}; {_sizes(shape)} is wanted", hint))


def expect_close(
    got: Any, wanted: Any, what: str, hint: str = "", tolerance: float = 1e-4, mistakes: Mapping[str, Any] | None = None
) -> None:
    """Raise an ExerciseError unless `got` has the shape and the values of `wanted`.

    The message says at how many places they differ, shows the place where they differ most, and ends with the hint.

    Args:
        got: what the reader's function returned.
        wanted: what is right.
        what: a name for it, such as "the attention of the query".
        hint: a sentence on what is right.
        tolerance: allowed difference, relative for values above 1.
        mistakes: as in `refuse_mistakes`; tried first.
    """
    refuse_mistakes(got, wanted, mistakes or {}, tolerance)
    right = _array(wanted)
    expect_shape(got, right.shape, what, hint)
    found = _array(got)
    apart = np.abs(found - right)
    wrong = ~(apart <= tolerance * np.maximum(1, np.abs(right)))  # so that nan counts as wrong
    if not wrong.any():
        return
    worst = np.unravel_index(int(np.argmax(np.nan_to_num(apart, nan=np.inf))), right.shape)
    where = f"at {[int(i) for i in worst]} it is" if right.ndim else "it is"
    count = f"differs at {int(wrong.sum())} of {right.size} places; " if right.ndim else "differs: "
    raise ExerciseError(_joined(f"{what} {count}{where} {found[worst]:.4g}, {right[worst]:.4g} is wanted", hint))


def refuse_mistakes(got: Any, wanted: Any, mistakes: Mapping[str, Any], tolerance: float = 1e-4) -> None:
    """Raise an ExerciseError if `got` is what a usual mistake gives, unless it is right all the same.

    Args:
        got, wanted, tolerance: as in `expect_close`.
        mistakes: the mistake in words, which the error repeats -> what it gives.
    """
    if not mistakes or agree(got, wanted, tolerance):
        return
    for words, mistake in mistakes.items():
        if agree(got, mistake, tolerance):
            raise ExerciseError(words)


def agree(got: Any, other: Any, tolerance: float = 1e-4) -> bool:
    """Whether `got` has the shape and the values of `other`."""
    try:
        expect_close(got, other, "", tolerance=tolerance)
    except ExerciseError:
        return False
    return True


def _array(values: Any) -> np.ndarray:
    return torch.as_tensor(values).detach().cpu().double().numpy()


def _sizes(shape: Sequence[int]) -> str:
    return str(tuple(shape)) if len(shape) else "of one number"


def _joined(fact: str, hint: str) -> str:
    return f"{fact}. {hint}" if hint else fact
