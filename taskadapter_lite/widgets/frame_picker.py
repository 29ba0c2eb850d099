"""A frame -> one of its patches, chosen by a click or by arrow keys."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anywidget
import numpy as np
import traitlets

from taskadapter_lite.widgets.base import png_bytes


class FramePicker(anywidget.AnyWidget):
    """Shows a frame under the grid of its patches; `value` is the patch chosen, n = 1..h * w row by row.

    It is made with anywidget, which brings a few lines of JavaScript into JupyterLab, VS Code and Colab without a build
    of its own. A grid of buttons would be 256 of them at 16 x 16 patches.

    Args:
        grid: (h, w) patches of a frame.
        value: the patch chosen at first.
        description: the label.
    """

    _esm = Path(__file__).with_suffix(".js")
    grid = traitlets.Tuple(traitlets.Int(), traitlets.Int()).tag(sync=True)
    value = traitlets.Int(1).tag(sync=True)
    description = traitlets.Unicode("").tag(sync=True)
    frame = traitlets.Bytes(b"").tag(sync=True)  # PNG
    alt = traitlets.Unicode("").tag(sync=True)

    def __init__(self, grid: Sequence[int], value: int, description: str = "") -> None:
        super().__init__(grid=(int(grid[0]), int(grid[1])), value=value, description=description)

    @traitlets.validate("value")
    def _inside(self, proposal: traitlets.Bunch) -> int:
        h, w = self.grid
        if not 1 <= proposal["value"] <= h * w:
            raise traitlets.TraitError(f"patch is {proposal['value']}; it must be 1 to {h * w}")
        return int(proposal["value"])

    def show(self, frame: np.ndarray, alt: str) -> None:
        """Put a frame (3, H, W), uint8 RGB, under the grid, with a text for those who can't see it."""
        self.alt = alt
        self.frame = png_bytes([np.moveaxis(frame, 0, -1)])
