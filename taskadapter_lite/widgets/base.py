"""Controls -> a figure as PNG: drawn when a control moves, kept once drawn, shown without widgets as well."""

from __future__ import annotations

import gc
import html
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import DisplayHandle, display
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from taskadapter_lite.data.labelled import LabelledClips
from taskadapter_lite.episodes import Episode
from taskadapter_lite.figures import plot_learning_curves
from taskadapter_lite.figures.clips import STYLE
from taskadapter_lite.figures.pictures import Picture
from taskadapter_lite.model import TaskAdapterViT

Draw = Callable[..., Any]  # fills the empty figure that it gets as `figure`
Mark = Callable[[Any], Sequence[Artist]]  # adds artists to what a Draw returned
PAGE = 1000  # pixels that a page of JupyterLab is wide on a laptop
KEPT = 64  # pictures of one widget; moving back to one of them costs nothing
STILL = {"width": 760, "quality": 60}  # pixels and JPEG quality of what stays in the file of a notebook
WIDE = widgets.Layout(width="450px")
WARNING = "var(--jp-error-color1, #B34400)"  # readable on a light and on a dark page
LABELS = {"description_width": "140px"}


class Drawing:
    """A figure drawn once, on which small marks are put, and taken off again, without drawing the rest anew.

    The figure is not registered anywhere (no pyplot), so it can't leak.

    Args:
        draw: fills the empty figure that it gets as `figure`; what it returns is kept as `axes`.

    It is drawn at 96 dots an inch, or as many as fit into a page: a browser that shrinks it makes its text too small.
    """

    def __init__(self, draw: Draw) -> None:
        self.canvas = FigureCanvasAgg(Figure())
        with plt.style.context(STYLE):
            self.axes = draw(figure=self.canvas.figure)
            self.canvas.figure.set_dpi(min(96, PAGE / self.canvas.figure.get_figwidth()))
            self.canvas.draw()
        self._plain = self.canvas.copy_from_bbox(self.canvas.figure.bbox)

    def pixels(self, mark: Mark | None = None) -> np.ndarray:
        """RGB (height, width, 3), uint8, with the artists that `mark` adds to `axes`."""
        self.canvas.restore_region(self._plain)
        with plt.style.context(STYLE):
            artists = mark(self.axes) if mark else []
            for artist in artists:
                self.canvas.figure.draw_artist(artist)
        pixels = np.array(self.canvas.buffer_rgba())[..., :3]
        for artist in artists:
            artist.remove()
        return pixels


def png_bytes(pictures: Sequence[np.ndarray]) -> bytes:
    """Pictures (height, width, 3) one below the other as one PNG: side by side they would be shrunk to fit the page."""
    if not pictures:
        return b""
    width = max(picture.shape[1] for picture in pictures)
    pictures = [np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0)), constant_values=255) for p in pictures]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(pictures)).save(buffer, "PNG", compress_level=1)
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

    title = ""  # what the picture shows, in a line: its text where it can't be seen
    _held = False  # True while several controls are moved at once
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
        """What fills the figures of the present state, one or several."""
        raise NotImplementedError

    def describe(self) -> str:
        """HTML beside the picture: what it shows, in numbers."""
        return ""

    def refresh(self, _change: Any = None) -> None:
        """Show the picture of the present state."""
        if self._held:
            return
        try:
            with young_garbage():
                self.picture.value, self.note.value = self._show(*self.state())
            self.picture.layout.display = None if self.picture.value else "none"  # no picture is no broken picture
            self.error.value = ""
        except (ValueError, OSError) as error:
            self.error.value = sentence(error)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict:
        data = super()._repr_mimebundle_(**kwargs)
        if picture := self.picture.value or self._png():
            data["text/html"] = self._still(picture)._repr_html_()
        return data

    def _still(self, png: bytes) -> Picture:
        """The picture as a small JPEG with its words: what stays in the file of a notebook."""
        image = Image.open(io.BytesIO(png)).convert("RGB")
        image.thumbnail((STILL["width"], image.height), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=STILL["quality"], optimize=True)
        return Picture(buffer.getvalue(), "jpeg", f"{self.title}. {plain_text(self.note.value)}", *image.size)

    @contextmanager
    def hold_updates(self) -> Iterator[None]:
        """Change several controls, then draw once."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        self.refresh()

    def _png(self) -> bytes:
        return png_bytes([Drawing(draw).pixels() for draw in self.draws()])


def plain_text(written: str) -> str:
    """HTML -> the words in it."""
    return html.unescape(" ".join(re.sub(r"<[^>]*>", " ", written).split()))


def sentence(error: Exception) -> str:
    """An error as one line of HTML, announced by screen readers."""
    return f'<div role="alert" style="color:{WARNING}">{html.escape(str(error))}</div>'


def slider(name: str, options: Sequence[Any], value: Any = None) -> widgets.SelectionSlider:
    """A slider over named or plain options, answered when it is let go."""
    chosen = {} if value is None else {"value": value}
    return widgets.SelectionSlider(
        options=options, description=name, continuous_update=False, style=LABELS, layout=WIDE, **chosen
    )


def choice(name: str, options: Sequence[Any]) -> widgets.Dropdown:
    """A list to choose from."""
    return widgets.Dropdown(options=options, description=name, style=LABELS, layout=WIDE)


def places(name: str, grid: tuple[int, int]) -> widgets.Widget:
    """A patch of a frame, n = 1..h * w row by row: a frame to click, or a slider where anywidget is not installed."""
    h, w = grid
    middle = 1 + (h // 2) * w + w // 2
    try:
        from taskadapter_lite.widgets.frame_picker import FramePicker
    except ModuleNotFoundError:
        every = [(f"row {row}, column {column}", 1 + row * w + column) for row in range(h) for column in range(w)]
        return slider(name, every, middle)
    return FramePicker(grid, middle, name)


def table(head: Sequence[str], rows: Sequence[Sequence[Any]], bold: Sequence[int] = ()) -> str:
    """Rows as an HTML table; those numbered in `bold` stand out."""
    cells = "".join(f"<th style='text-align:left;padding:0 14px 0 0'>{html.escape(name)}</th>" for name in head)
    body = ""
    for number, row in enumerate(rows):
        weight = "bold" if number in bold else "normal"
        tds = "".join(f"<td style='padding:0 14px 0 0'>{html.escape(str(cell))}</td>" for cell in row)
        body += f"<tr style='font-weight:{weight}'>{tds}</tr>"
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"


def by_name(models: TaskAdapterViT | Mapping[str, TaskAdapterViT]) -> dict[str, TaskAdapterViT]:
    """Name -> model; a model alone is "this model"."""
    return dict(models) if isinstance(models, Mapping) else {"this model": models}


def names_of(clips: LabelledClips, episode: Episode) -> list[str]:
    """The names of an episode's classes, by label."""
    return [clips.class_names[c] for c in episode.classes.tolist()]


class LiveCurves:
    """Give it to `train(..., on_log=LiveCurves())`: loss and accuracy, drawn anew with each row of the history.

    A drawing takes about a tenth of a second.

    Attributes:
        rows: the history so far.
        picture: what was drawn last, with alt text; None before. It stays in the page when training is over.
    """

    def __init__(self) -> None:
        self.rows: list[dict] = []
        self.picture: Picture | None = None
        self._place: DisplayHandle | None = None

    def __call__(self, row: dict) -> None:
        """Take one row of the history, as `train` gives it."""
        self.rows.append(row)
        self.picture = self._draw()
        if len(self.rows) == 1:
            self._place = display(self.picture, display_id=True)
        elif self._place is not None:  # None outside of a notebook
            self._place.update(self.picture)

    def _draw(self) -> Picture:
        figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
        for ax, y, scale in zip(axes, ("loss", "accuracy"), (1, 100), strict=True):
            plot_learning_curves({"training": self.rows}, y=y, scale=scale, ax=ax)
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=96)
        plt.close(figure)
        first, last = self.rows[0], self.rows[-1]
        alt = f"""Loss and accuracy of training up to step {last["step"]}: the loss goes from {first["loss"]:.2f} to
        {last["loss"]:.2f}, the accuracy from {first["accuracy"]:.0%} to {last["accuracy"]:.0%}."""
        return Picture(png.getvalue(), "png", alt, *Image.open(png).size)
