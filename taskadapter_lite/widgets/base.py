"""Controls -> a figure as PNG: drawn when a control moves, kept once drawn, shown without widgets as well."""

from __future__ import annotations

import base64
import gc
import html
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import ipywidgets
import ipywidgets as widgets
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from taskadapter_lite.figures import plot_learning_curves
from taskadapter_lite.figures.clips import STYLE

Draw = Callable[..., Any]  # fills the empty figure that it gets as `figure`
Mark = Callable[[Any], Sequence[Artist]]  # adds artists to what a Draw returned
KEPT = 64  # pictures of one widget; moving back to one of them costs nothing
SCREEN_DPI = 72
STILL = {"width": 560, "quality": 60}  # pixels and JPEG quality of what stays in the file of a notebook
WIDE = widgets.Layout(width="450px")
LABELS = {"description_width": "140px"}


@lru_cache(maxsize=1)
def _style() -> mpl.RcParams:
    style = mpl.rc_params_from_file(Path(STYLE), use_default_template=False)
    style["savefig.bbox"] = None  # cropping draws everything twice
    return style


class Drawing:
    """A figure drawn once, on which small marks are put, and taken off again, without drawing the rest anew.

    The figure is not registered anywhere (no pyplot), so it can't leak.

    Args:
        draw: fills the empty figure that it gets as `figure`; what it returns is kept as `axes`.
    """

    def __init__(self, draw: Draw) -> None:
        self.canvas = FigureCanvasAgg(Figure())
        with mpl.rc_context(_style()):
            self.axes = draw(figure=self.canvas.figure)
            self.canvas.figure.set_dpi(SCREEN_DPI)
            self.canvas.draw()
        self._plain = self.canvas.copy_from_bbox(self.canvas.figure.bbox)

    def pixels(self, mark: Mark | None = None) -> np.ndarray:
        """RGB (height, width, 3), uint8, with the artists that `mark` adds to `axes`."""
        self.canvas.restore_region(self._plain)
        with mpl.rc_context(_style()):
            artists = mark(self.axes) if mark else []
            for artist in artists:
                self.canvas.figure.draw_artist(artist)
        pixels = np.array(self.canvas.buffer_rgba())[..., :3]
        for artist in artists:
            artist.remove()
        return pixels


def png_bytes(pictures: Sequence[np.ndarray]) -> bytes:
    """Pictures (height, width, 3) side by side, tops aligned, as one PNG."""
    if not pictures:
        return b""
    height = max(len(picture) for picture in pictures)
    pictures = [np.pad(p, ((0, height - len(p)), (0, 0), (0, 0)), constant_values=255) for p in pictures]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(pictures, axis=1)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


@contextmanager
def young_garbage() -> Iterator[None]:
    """Free what is made inside as soon as it is done with.

    A figure is thousands of objects that refer to each other. Left to the garbage collector, they age until it searches
    everything that Python holds, torch included: a third of a second, in the middle of an answer, now and then.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
        gc.collect(0)


class FigureWidget(widgets.VBox):
    """Controls above a picture. Subclasses say what is drawn and what is written beside it.

    A control that moves calls `refresh`. What a user can get wrong becomes a sentence under the controls; the picture
    stays. Where widgets do not run (a rendered page, a test) the notebook shows a small copy of the same picture.

    Args:
        rows: the controls that move the picture, in rows.
        above: what stands above them and does not.
    """

    pictured = True  # False: the note shows everything, the picture is for where widgets do not run

    def __init__(self, rows: Sequence[Sequence[widgets.Widget]], above: Sequence[widgets.Widget] = ()) -> None:
        self.note, self.error = widgets.HTML(), widgets.HTML()
        sharp = widgets.Layout(max_width="100%", width="auto", align_self="flex-start")  # never larger than drawn
        self.picture = widgets.Image(format="png", layout=sharp)
        self._show = lru_cache(KEPT)(lambda *state: (self._png() if self.pictured else b"", self.describe()))
        boxes = [widgets.HBox(row, layout=widgets.Layout(flex_flow="row wrap")) for row in rows]
        super().__init__([*above, *boxes, self.error, self.note, *([self.picture] if self.pictured else [])])
        self._controls = [control for row in rows for control in row if hasattr(control, "value")]
        for control in self._controls:
            control.observe(self.refresh, names="value")
        self.refresh()

    def state(self) -> tuple:
        """The values of all controls: one picture for each."""
        return tuple(control.value for control in self._controls)

    def draws(self) -> list[Draw]:
        """What fills the figures of the present state, one or several side by side."""
        raise NotImplementedError

    def describe(self) -> str:
        """HTML beside the picture: what it shows, in numbers."""
        return ""

    def refresh(self, _change: Any = None) -> None:
        """Show the picture of the present state."""
        try:
            with young_garbage():
                self.picture.value, self.note.value = self._show(*self.state())
            self.error.value = ""
        except (ValueError, OSError) as error:
            self.error.value = sentence(error)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict:
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        picture = self.picture.value or self._png()
        if picture:
            data["image/jpeg"] = base64.b64encode(still_copy(picture)).decode()
        return bundle

    def _png(self) -> bytes:
        return png_bytes([Drawing(draw).pixels() for draw in self.draws()])


def still_copy(png: bytes) -> bytes:
    """The picture as a small JPEG: what stays in the file of a notebook."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.thumbnail((STILL["width"], picture.height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=STILL["quality"], optimize=True)
    return buffer.getvalue()


def sentence(error: Exception) -> str:
    """An error as one line of HTML, announced by screen readers."""
    return f'<div role="alert" style="color:#B34400">{html.escape(str(error))}</div>'


def slider(name: str, options: Sequence[Any], value: Any = None) -> widgets.SelectionSlider:
    """A slider over named or plain options, answered when it is let go."""
    options = list(options)
    value = value if value is not None else options[0][1] if isinstance(options[0], tuple) else options[0]
    return widgets.SelectionSlider(
        options=options, value=value, description=name, continuous_update=False, style=LABELS, layout=WIDE
    )


def choice(name: str, options: Sequence[Any]) -> widgets.Dropdown:
    """A list to choose from."""
    return widgets.Dropdown(options=options, description=name, style=LABELS, layout=WIDE)


def places(name: str, grid: tuple[int, int]) -> widgets.Widget:
    """A patch of a frame, n = 1..h * w row by row: buttons that lie as the patches do, or a slider for many."""
    h, w = grid
    options = [(f"row {row}, column {column}", 1 + row * w + column) for row in range(h) for column in range(w)]
    middle = 1 + (h // 2) * w + w // 2
    if w > 8:
        return slider(name, options, middle)
    options = [(str(n), n) for _, n in options]
    layout = widgets.Layout(width=f"{42 * w + 6}px")  # so that a row of buttons is a row of patches
    return widgets.ToggleButtons(
        options=options, value=middle, description=name, layout=layout, style={"button_width": "38px"}
    )


def table(head: Sequence[str], rows: Sequence[Sequence[Any]], bold: Sequence[int] = ()) -> str:
    """Rows as an HTML table; those numbered in `bold` stand out."""
    cells = "".join(f"<th style='text-align:left;padding:0 14px 0 0'>{html.escape(name)}</th>" for name in head)
    body = ""
    for number, row in enumerate(rows):
        weight = "bold" if number in bold else "normal"
        tds = "".join(f"<td style='padding:0 14px 0 0'>{html.escape(str(cell))}</td>" for cell in row)
        body += f"<tr style='font-weight:{weight}'>{tds}</tr>"
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"


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
        self.every = every
        self.rows: list[dict] = []
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
