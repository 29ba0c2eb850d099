"""Checks that passed -> a small file in the user's folder, and a table of what is done and what is left."""

from __future__ import annotations

import html
import json
import os
from pathlib import Path

from platformdirs import user_data_dir

from taskadapter_lite.course.exercises import exercises
from taskadapter_lite.files import write_json

DONE, OPEN = "✓", "·"


def progress_path() -> Path:
    """Where progress is kept: $TASKADAPTER_PROGRESS, or a file in the user's data folder."""
    given = os.environ.get("TASKADAPTER_PROGRESS")
    return Path(given) if given else Path(user_data_dir("taskadapter_lite", appauthor=False)) / "progress.json"


def _read() -> dict[str, list[str]]:
    """Names of the exercises that passed, by lesson. A file that can't be read counts as none: a lesson goes on."""
    try:
        data = json.loads(progress_path().read_text(encoding="utf-8"))
        return {str(lesson): [str(name) for name in names] for lesson, names in data["passed"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def passed(lesson: str, name: str) -> None:
    """Remember that an exercise was solved; says so where that can't be written, and goes on."""
    done = _read()
    if name in done.get(lesson, []):
        return
    done.setdefault(lesson, []).append(name)
    try:
        write_json(progress_path(), {"format": 1, "passed": done}, indent=1)
    except OSError as error:
        print(f"(progress is not kept: {error.strerror} for {progress_path()})")


class Progress:
    """What is solved and what is left, as a table. `solved` and `total` are counts of exercises.

    Args:
        lesson: two digits for the exercises of one lesson, None for all lessons.
    """

    def __init__(self, lesson: str | None = None) -> None:
        done, found = _read(), exercises(lesson)
        if lesson is not None and not found:
            raise ValueError(f"lesson {lesson!r} has no exercises to check")
        states = [(e.lesson, e.name, e.name in done.get(e.lesson, [])) for e in found]
        self.solved, self.total = sum(state[2] for state in states), len(states)
        self.rows = [(name, DONE if ok else OPEN) for _, name, ok in states]
        if lesson is None:
            lessons = dict.fromkeys(state[0] for state in states)
            marks = {key: [ok for other, _, ok in states if other == key] for key in lessons}
            self.rows = [(f"lesson {key}", (DONE * sum(oks)).ljust(len(oks), OPEN)) for key, oks in marks.items()]

    def __repr__(self) -> str:
        width = max((len(name) for name, _ in self.rows), default=0)
        return "\n".join([*(f"{name:{width}}  {marks}" for name, marks in self.rows), self._summary()])

    def _repr_html_(self) -> str:
        """Colours are the page's own, so that it reads on dark pages too."""
        cell = 'style="text-align:left;padding:2px 16px 2px 0"'
        rows = "".join(
            f"<tr><td {cell}>{html.escape(name)}</td><td {cell}>{html.escape(marks)}</td></tr>"
            for name, marks in self.rows
        )
        return f"<table>{rows}</table><p>{self._summary()}</p>"

    def _summary(self) -> str:
        left = self.total - self.solved
        if not left:
            return f"all {self.total} exercises solved" if self.total != 1 else "the exercise is solved"
        return f"{self.solved} of {self.total} exercises solved"


def progress(lesson: str | None = None) -> Progress:
    """What is solved and what is left: of one lesson, such as "06", or of the whole course.

    Raises:
        ValueError: there are no exercises in this lesson.
    """
    return Progress(lesson)
