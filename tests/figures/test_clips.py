"""Film strips, grids and animations: the pixels, their order and their names."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image
from small_episode import LABELS, NAMES, T

from taskadapter_lite import figures
from taskadapter_lite.figures.clips import as_frames, film_strip


def test_a_strip_holds_the_pixels_of_its_frames_in_order(clips):
    strip = film_strip(as_frames(clips[0]))
    assert strip.shape == (6, T * 8 + (T - 1), 3)
    for t in range(T):
        np.testing.assert_allclose(strip[:, 9 * t : 9 * t + 8], clips[0, t].transpose(1, 2, 0) / 255)
    assert (strip[:, 8::9] == 1).all()


def test_show_clip_numbers_the_frames_that_it_shows(clips):
    ax = figures.show_clip(torch.from_numpy(clips[0]), title="one clip", frames=[1, 3])
    drawn = ax.images[0].get_array()
    np.testing.assert_allclose(drawn[:, :8], clips[0, 1].transpose(1, 2, 0) / 255)
    np.testing.assert_allclose(drawn[:, 9:], clips[0, 3].transpose(1, 2, 0) / 255)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "3"]
    assert ax.get_title(loc="left") == "one clip"


@pytest.mark.parametrize(
    "clip, word",
    [(np.zeros((4, 8, 8, 3), np.uint8), "shape"), (np.full((2, 3, 4, 4), 200.0), r"\[0, 1\]")],
)
def test_a_clip_of_wrong_shape_or_range_is_refused(clip, word):
    with pytest.raises(ValueError, match=word):
        figures.show_clip(clip)


def test_an_animation_has_every_frame_for_its_time():
    clip = np.stack([np.full((3, 8, 8), 60 * t, np.uint8) for t in range(T)])
    image = Image.open(io.BytesIO(figures.animation_bytes(np.stack([clip, clip]))))
    assert (image.n_frames, image.size, image.info["duration"], image.info["loop"]) == (T, (16, 8), 160, 0)
    for t in range(T):
        image.seek(t)
        assert abs(image.convert("L").getpixel((3, 3)) - 60 * t) <= 2


def test_contact_sheet_fills_rows_and_cuts_long_names(clips):
    sheet = figures.contact_sheet(clips[:5], ["short", "a very long name " * 9, "third", "fourth", "fifth"])
    strip = film_strip(as_frames(clips[0]))
    width = round(strip.shape[1] * 40 / strip.shape[0])
    assert sheet.size == (4 * (width + 8) + 8, 2 * (40 + 22) + 8)
    pixels = np.asarray(sheet)
    assert pixels[8 + 62 : 8 + 102, 8 : 8 + width].std() > 10  # the fifth strip begins the second row
    assert (pixels[8 + 62 : 8 + 102, 16 + width :] == 255).all()  # nothing beside it
    assert (pixels[:, -8:] == 255).all()  # no name runs over the edge


def test_play_clip_embeds_a_small_moving_image_with_words_for_it(clips):
    shown = figures.play_clip(clips[0], height=60)._repr_html_()
    (data,) = re.findall('src="data:image/gif;base64,([^"]+)"', shown)
    assert 'alt="a clip, playing" width="80" height="60"' in shown  # the frames are 8 x 6
    assert len(data) < 14_000
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.n_frames == len(clips[0])
    assert 'alt="2 clips, playing side by side" width="160"' in figures.play_clip(clips[:2], height=60)._repr_html_()
    assert 'alt="up &amp; down"' in figures.play_clip(clips, alt="up & down")._repr_html_()


def test_an_episode_has_each_clip_in_the_row_of_its_class(clips):
    support, query = clips[:5], clips[5:]
    axes = figures.show_episode(support, query, LABELS[:5], LABELS[5:], NAMES, predictions=[2, 1], frames=T)
    assert axes.shape == (5, 2)
    for row in range(5):
        np.testing.assert_allclose(axes[row, 0].images[0].get_array(), film_strip(as_frames(support[row])))
        assert axes[row, 0].texts[0].get_text() == NAMES[row]
    np.testing.assert_allclose(axes[2, 1].images[0].get_array(), film_strip(as_frames(query[0])))
    assert not axes[1, 1].images  # no query of the class "right"
    assert (axes[2, 1].texts[0].get_text(), axes[0, 1].texts[-1].get_text()) == ("✓ up", "✗ right")


def test_long_names_of_two_queries_beside_each_other_do_not_touch(clips):
    name = "Something circling something clockwise"
    axes = figures.show_episode(clips[:1], clips[1:3], [0], [0, 0], [name], predictions=[0, 0], frames=3)
    axes[0, 0].figure.canvas.draw()
    first, second = (axes[0, column].texts[0].get_window_extent() for column in (1, 2))
    assert first.x1 + 6 < second.x0  # at full size 3 dots were between them
