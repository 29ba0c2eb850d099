"""A reader's answer -> one line if it is right, otherwise an error that says what is wrong and how to go on."""

from __future__ import annotations

import linecache
import traceback
from pathlib import Path
from typing import Any

from taskadapter_lite.course.exercises import ExerciseError, exercises
from taskadapter_lite.course.progress import passed

PACKAGE = Path(__file__).parents[1]


def check(name: str, answer: Any) -> None:
    """Say that an answer is right, and remember it for `progress`; otherwise say what is wrong.

    Args:
        name: of the exercise.
        answer: what the reader wrote: a function, a class or a value.

    Raises:
        ExerciseError: what is wrong with the answer, and a hint.
        ValueError: there is no such exercise.
    """
    known = {e.name: e for e in exercises()}
    if name not in known:
        raise ValueError(f"there is no exercise {name!r}; there are {', '.join(known) or 'none'}")
    found = known[name]
    try:
        found.judge(answer)
    except ExerciseError:
        raise
    except NotImplementedError:
        raise ExerciseError(f"{name} is not written yet. A first hint: {found.hint}") from None
    except Exception as error:
        raise ExerciseError(f"{name} stopped with {type(error).__name__}: {error}{_place(error)}") from None
    passed(found.lesson, name)
    print(f"right: {name} does what the library does")


def _place(error: Exception) -> str:
    """The innermost line of the reader's own code that an error went through."""
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        if not Path(code.co_filename).is_relative_to(PACKAGE) and "site-packages" not in code.co_filename:
            text = linecache.getline(code.co_filename, line).strip()
            place = f" (line {line - code.co_firstlineno + 1} of {code.co_name}: `{text}`)" if text else ""
    return place
