"""The live plot: one picture, drawn anew with each row, no figure left open."""

import matplotlib.pyplot as plt
import pytest

from taskadapter_lite.widgets.base import LiveCurves


def test_it_draws_each_row_into_one_widget_and_leaves_no_figure():
    live, pictures, open_before = LiveCurves(), set(), plt.get_fignums()
    for step in (10, 20, 30):
        live({"step": step, "loss": 3.0 / step, "accuracy": step / 100})
        pictures.add(bytes(live.image.value))
    assert len(pictures) == 3
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    assert [row["step"] for row in live.rows] == [10, 20, 30]
    assert plt.get_fignums() == open_before


def test_it_draws_every_second_row_if_asked():
    live = LiveCurves(every=2)
    live({"step": 1, "loss": 1.0, "accuracy": 0.5})
    assert bytes(live.image.value) == b""
    live({"step": 2, "loss": 0.5, "accuracy": 0.6})
    assert live.image.value
    with pytest.raises(ValueError, match="every is 0"):
        LiveCurves(every=0)
