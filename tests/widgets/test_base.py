"""What all widgets share: one picture a state, drawn once, shown without widgets as well; nothing leaks."""

from __future__ import annotations

import base64
import gc
import io
import re
import warnings

import matplotlib.pyplot as plt
import nbformat
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from nbconvert import HTMLExporter
from PIL import Image

from taskadapter_lite import widgets
from taskadapter_lite.widgets import base as widgets_base
from taskadapter_lite.widgets.base import LiveCurves


def test_a_picture_is_the_figure_in_the_style_of_the_library():
    def line(figure: Figure):
        figure.set_size_inches(2, 1)
        figure.add_subplot().plot([0, 1])

    open_before = plt.get_fignums()
    data = widgets_base.png_bytes([widgets_base.Drawing(line).pixels()] * 2)
    picture = plt.imread(io.BytesIO(data))
    assert picture.shape[:2] == (192, 192)  # two of 2 x 1 inches, one below the other, at 96 dots an inch
    np.testing.assert_array_equal(picture[:96], picture[96:])
    blue = np.array([0x00, 0x72, 0xB2]) / 255
    assert (np.abs(picture[..., :3] - blue).max(axis=-1) < 0.02).any()
    assert plt.get_fignums() == open_before


def test_a_wide_figure_is_as_wide_as_a_page_and_its_text_is_not_shrunk():
    def wide(figure: Figure):
        figure.set_size_inches(13.5, 1)

    assert widgets_base.Drawing(wide).pixels().shape == (74, 1000, 3)


def test_without_widgets_the_same_picture_is_shown(clips, episodes, models):
    explorer = widgets.AlignmentExplorer(models["trained"], clips, episodes)
    bundle = explorer._repr_mimebundle_()
    alt, encoded = re.findall(r'alt="(.*?)".*base64,(.*?)"', bundle["text/html"])[0]
    assert alt.startswith("Similarity of the frames")
    assert "own class" in alt  # the table beside it, in words
    assert "&lt;" not in alt
    shown = Image.open(io.BytesIO(explorer.picture.value)).convert("RGB")
    still = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert len(encoded) < 80_000
    assert still.width <= 760
    assert abs(still.width / still.height - shown.width / shown.height) < 0.02
    difference = np.asarray(shown.resize(still.size, Image.Resampling.LANCZOS), float) - np.asarray(still, float)
    assert np.abs(difference).mean() < 4  # of 255
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert "text/html" in widgets.EpisodeBrowser(clips)._repr_mimebundle_()
    assert "text/html" not in widgets.FewShotPlayground(models["trained"])._repr_mimebundle_()


def test_a_page_made_of_a_notebook_shows_the_still_copy(clips, episodes, models):
    data = widgets.AttentionExplorer(models, clips, episodes)._repr_mimebundle_()
    output = nbformat.v4.new_output("display_data", data)
    cells = [nbformat.v4.new_code_cell("shown", outputs=[output])]
    page, _ = HTMLExporter().from_notebook_node(nbformat.v4.new_notebook(cells=cells))
    assert 'src="data:image/jpeg;base64' in page


class Line(widgets_base.FigureWidget):
    """The least that a figure widget can be."""

    def __init__(self):
        self.height = widgets_base.slider("height", range(200))
        super().__init__([[self.height]])

    def draws(self):
        return [self._draw]

    def _draw(self, figure):
        figure.set_size_inches(1, 0.5)
        figure.add_artist(Line2D([0, 1], [self.height.value / 200] * 2))


def test_two_hundred_changes_leak_no_figure_and_warn_about_nothing():
    line, open_before = Line(), plt.get_fignums()
    gc.collect()
    before = sum(type(thing) is Figure for thing in gc.get_objects())
    seen = set()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for height in range(200):
            line.height.value = height
            seen.add(line.picture.value)
    gc.collect()
    assert len(seen) > 20  # drawn anew
    assert sum(type(thing) is Figure for thing in gc.get_objects()) <= before
    assert plt.get_fignums() == open_before
    assert line._show.cache_info().currsize == widgets_base.KEPT


def test_it_draws_each_row_into_one_place_and_leaves_no_figure(monkeypatch):
    shown, updates = [], []
    handle = type("Handle", (), {"update": lambda self, picture: updates.append(picture)})()
    monkeypatch.setattr(widgets_base, "display", lambda picture, display_id: shown.append(picture) or handle)
    live, open_before = LiveCurves(), plt.get_fignums()
    for step in (10, 20, 30):
        live({"step": step, "loss": 3.0 / step, "accuracy": step / 100})
    assert (len(shown), len(updates)) == (1, 2)
    assert len({picture.data for picture in (*shown, *updates)}) == 3
    assert live.picture is updates[-1]
    assert Image.open(io.BytesIO(live.picture.data)).size == (live.picture.width, live.picture.height)
    assert "up to step 30: the loss goes from 0.30 to 0.10, the accuracy from 10% to 30%" in live.picture._repr_html_()
    assert [row["step"] for row in live.rows] == [10, 20, 30]
    assert plt.get_fignums() == open_before
