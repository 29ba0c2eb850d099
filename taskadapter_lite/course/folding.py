"""A long table -> one line that opens on a click, so that the page shows the verdict first."""

from __future__ import annotations

import html

from IPython.display import display


class Folded:
    """Text that a page shows as one line until it is clicked; where there is no page, both are printed.

    Args:
        summary: the line.
        text: what it hides, set in columns as it is.
    """

    def __init__(self, summary: str, text: str) -> None:
        self.summary, self.text = summary, text

    def __repr__(self) -> str:
        return f"{self.summary}\n{self.text}"

    def _repr_html_(self) -> str:
        said, hidden = html.escape(self.summary), html.escape(self.text)
        return f'<details><summary>{said}</summary><pre style="overflow-x:auto">{hidden}</pre></details>'


def fold(summary: str, text: str) -> None:
    """Show `text` folded under a line; see `Folded`."""
    display(Folded(summary, text))
