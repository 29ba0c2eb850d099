"""Rows of a training history -> a plot that grows in the notebook while `train` runs."""

from __future__ import annotations

from io import BytesIO

import ipywidgets
import matplotlib.pyplot as plt
from IPython.display import display

from taskadapter_lite.figures import plot_learning_curves


class LiveCurves:
    """Give it to `train(..., on_log=LiveCurves())`: loss and accuracy, drawn anew with each row of the history.

    Args:
        every: rows between two drawings; a drawing takes about a tenth of a second.

    Attributes:
        rows: the history so far.
        image: the widget that shows the plot; `image.value` holds the PNG.
    """

    def __init__(self, every: int = 1) -> None:
        if every < 1:
            raise ValueError(f"every is {every}; it must be at least 1 row")
        self.every, self.rows = every, []
        self.image = ipywidgets.Image(format="png", layout={"width": "640px"})
        self._shown = False

    def __call__(self, row: dict) -> None:
        """Take one row of the history, as `train` gives it."""
        self.rows.append(row)
        if not self._shown:
            display(self.image)
            self._shown = True
        if len(self.rows) % self.every == 0:
            self.image.value = self._draw()

    def _draw(self) -> bytes:
        figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
        for ax, y in zip(axes, ("loss", "accuracy"), strict=True):
            plot_learning_curves({"training": self.rows}, y=y, ax=ax)
        picture = BytesIO()
        figure.savefig(picture, format="png", dpi=80)
        plt.close(figure)
        return picture.getvalue()
