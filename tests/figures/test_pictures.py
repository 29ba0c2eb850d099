"""Pictures in a page: alt text, size on the page, sharp letters, small files."""

import base64
import io
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from PIL import Image

from taskadapter_lite import figures


def decoded(shown):
    (data,) = re.findall('src="data:image/webp;base64,([^"]+)"', shown._repr_html_())
    return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")


def test_a_chart_is_sharp_small_and_as_wide_as_its_figure():
    open_before = plt.get_fignums()
    ax = plt.subplots(figsize=(7, 4))[1]
    ax.plot([1, 2, 3], label="a line")
    ax.legend()
    shown = figures.picture(ax, "a line\n  that goes up & up")
    image = decoded(shown)
    assert image.size == (shown.width, shown.height)
    assert 560 < shown.width <= 720  # 7 inches at 100 dpi, cut to what is drawn
    assert 'alt="a line that goes up &amp; up"' in shown._repr_html_()
    assert repr(shown) == "[picture: a line that goes up & up]"
    assert len(shown.data) < 15_000
    assert (0, 114, 178) in {colour for _, colour in image.getcolors(10**6)}  # the style's blue, not one near it
    assert plt.get_fignums() == open_before


def test_a_photograph_is_kept_small(clips):
    noise = np.random.default_rng(0).integers(0, 256, (100, 300, 3), dtype=np.uint8)
    shown = figures.picture(Image.fromarray(noise), "noise")
    assert len(shown.data) < 0.7 * noise.size
    assert shown.width == 300


def test_an_array_of_axes_stands_for_its_figure():
    assert figures.picture(plt.subplots(2, 2)[1], "four empty panels").width > 300
    with pytest.raises(ValueError, match="unpack"):
        figures.picture([plt.subplots()[1], plt.subplots()[1]], "two figures")


@pytest.mark.parametrize("alt", ["", "  \n"])
def test_a_picture_without_words_is_refused(alt):
    with pytest.raises(ValueError, match="needs alt text"):
        figures.picture(plt.figure(), alt)


def test_show_displays_at_once_and_only_once(monkeypatch):
    shell = InteractiveShell.instance()
    publisher = CapturingDisplayPublisher()
    monkeypatch.setattr(shell, "display_pub", publisher)
    figures.show(plt.subplots()[1], "an empty chart")
    InteractiveShell.clear_instance()
    (output,) = publisher.outputs
    assert set(output["data"]) == {"text/html", "text/plain"}
