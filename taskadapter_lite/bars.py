"""Progress of long work -> a bar in a terminal or a notebook, a line now and then in a log file."""

from __future__ import annotations

import sys
from typing import Any

from tqdm.auto import tqdm

SECONDS = 30.0  # between two lines of a log
SHORT = 3.0  # seconds that a bar of a notebook waits: what is done by then leaves no widget in the saved file


class Lines:
    """Standard error, with a line of its own for each state of a bar: a log file has no cursor to move back."""

    def write(self, text: str) -> None:
        """Write a state that tqdm would draw over the one before; the line's end that it adds at last is not needed."""
        if said := text.strip("\r\n "):
            sys.stderr.write(f"{said}\n")

    def flush(self) -> None:
        """Write out what is waiting."""
        sys.stderr.flush()


def progress_bar(*args: Any, **options: Any) -> tqdm:
    """Make a tqdm bar with the time left; where nobody watches a terminal, it is a line at first, at last and between.

    In a notebook it appears when the work has lasted longer than `SHORT`.

    Args:
        *args: as tqdm takes them.
        **options: as tqdm takes them.
    """
    if _is_widget():
        options.setdefault("delay", SHORT)
    elif not sys.stderr.isatty():
        options |= {"mininterval": SECONDS, "maxinterval": 2 * SECONDS, "file": Lines(), "ncols": 100, "ascii": True}
    return tqdm(*args, **options)


def _is_widget() -> bool:
    """True in a notebook, where tqdm draws bars of ipywidgets."""
    return any(base.__module__ == "tqdm.notebook" for base in tqdm.__mro__)
