"""Choosing a patch: what Python sends to the page and takes from it. The page itself is driven in tests/browser."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
import traitlets
from PIL import Image

from taskadapter_lite.widgets import base
from taskadapter_lite.widgets.frame_picker import FramePicker


def test_a_frame_is_sent_as_it_is():
    frame = np.arange(3 * 4 * 6, dtype=np.uint8).reshape(3, 4, 6)
    picker = FramePicker((2, 3), 5, "patch")
    picker.show(frame, "frame 1")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(picker.frame))), frame.transpose(1, 2, 0))
    assert picker.alt == "frame 1"
    assert "ArrowLeft" in picker._esm


def test_a_patch_that_is_not_there_is_refused():
    picker = FramePicker((16, 16), 256)
    for patch in (0, 257):
        with pytest.raises(traitlets.TraitError, match=f"patch is {patch}; it must be 1 to 256"):
            picker.value = patch
    assert picker.value == 256


def test_without_anywidget_places_are_a_slider(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.delitem(sys.modules, "taskadapter_lite.widgets.frame_picker", raising=False)
    slider = base.places("patch", (14, 14))
    assert slider.options[15] == ("row 1, column 1", 16)
    assert slider.value == 1 + 7 * 14 + 7
