"""Maps of attention, tested on what they draw: tints, shares, frames, order of strips."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from small_episode import HEADS, LABELS, NAMES, SIDE, B, T

from taskadapter_lite import figures
from taskadapter_lite.figures.clips import as_frames, film_strip


def test_token_maps_drop_the_class_token_and_keep_rows(clips):
    np.testing.assert_array_equal(figures.token_maps(np.arange(5)), [[1, 2], [3, 4]])
    with pytest.raises(ValueError, match="6"):
        figures.token_maps(np.arange(6))


def test_lit_frames_tint_each_patch_by_its_own_value():
    white = np.full((1, 3, 4, 4), 255, np.uint8)
    lit = figures.lit_frames(white, np.array([[[0.0, 0.25], [0.5, 1.0]]]), vmax=0.5)[0]
    tint = matplotlib.colormaps["OrRd"]
    for (row, column), share in {(0, 0): 0.0, (0, 1): 0.5, (1, 0): 1.0, (1, 1): 1.0}.items():
        np.testing.assert_allclose(lit[2 * row, 2 * column + 1], tint(share)[:3])
    assert lit[0, 0].mean() > lit[0, 2].mean() > lit[2, 0].mean()  # darker with the share: readable in grey


def test_query_maps_share_one_unit_of_attention_at_each_place(weights):
    maps = figures.query_maps(weights, query=5)
    assert maps.shape == (B, T, SIDE, SIDE)
    np.testing.assert_allclose(maps.sum(axis=0), 1)
    t, row, column, video = 2, 1, 0, 3
    assert maps[video, t, row, column] == pytest.approx(np.mean(weights[t, 1 + 2 * row + column, :, 5, video]))
    assert figures.query_maps(weights, 5, head=1)[3, 0, 0, 1] == weights[0, 2, 1, 5, 3]


def test_cross_video_attention_draws_the_shares_of_the_query(weights, clips):
    axes = figures.plot_cross_video_attention(weights, clips, LABELS, NAMES, query=5)
    strips, bars, lines = axes
    order = [2, 0, 1, 3, 4, 5]  # own class first, the query last; the other query is not visible
    maps = figures.query_maps(weights, 5)
    figures.mark_token(strips, maps[order], (1, 2))
    np.testing.assert_allclose(strips.images[0].get_array(), film_strip(as_frames(clips[5])))
    texts = {round(text.get_position()[1] - 0.44): text.get_text() for text in strips.texts if "%" in text.get_text()}
    for row, i in enumerate(order):
        lit = figures.lit_frames(clips[i], maps[i], vmax=maps.max())
        np.testing.assert_allclose(strips.images[1 + row].get_array(), film_strip(lit))
        assert np.mean(strips.images[1 + row].get_extent()[2:]) == pytest.approx(row)
        assert texts[row] == f"{100 * maps[i, 1, 0, 1]:.0f}%"
    np.testing.assert_allclose([bar.get_width() for bar in bars.patches], 100 * maps[order].mean(axis=(1, 2, 3)))
    assert sum(bar.get_width() for bar in bars.patches) == pytest.approx(100)
    np.testing.assert_allclose(bars.lines[0].get_xdata(), 100 / 6)
    assert bars.get_ylim() == strips.get_ylim()  # a bar lies beside its strip
    own, others, chance = lines.lines
    np.testing.assert_allclose(own.get_ydata(), 100 * maps[2].mean(axis=(1, 2)))
    np.testing.assert_allclose(others.get_ydata(), 100 * maps[[0, 1, 3, 4]].mean(axis=(0, 2, 3)))
    words = [text.get_text() for text in strips.texts if "%" not in text.get_text()]
    others = [NAMES[LABELS[i]] for i in order[1:-1]]
    assert words == ["up", "query", "up", "★ own class", *others, "up", "the query itself"]


def test_equal_shares_look_pale_and_unequal_ones_use_the_whole_scale():
    equal = np.full((4, 2, 2, 2), 1 / 4)
    assert figures.darkest_share(equal) == 0.5
    assert figures.darkest_share(np.concatenate([equal, 0 * equal])) == 0.5  # forbidden videos do not count
    equal[0, 0, 0, 0] = 0.9
    assert figures.darkest_share(equal) == 0.9


def test_cross_video_attention_of_one_head_and_chosen_videos(weights, clips):
    axes = figures.plot_cross_video_attention(weights, clips, LABELS, NAMES, 6, videos=[4, 0], head=2, title="Block 3")
    assert len(axes[0].images) == 3
    assert axes[0].get_title(loc="left") == f"Block 3, head 2 of {HEADS}"
    shares = figures.query_maps(weights, 6, head=2)[[4, 0]].mean(axis=(1, 2, 3))
    np.testing.assert_allclose([bar.get_width() for bar in axes[1].patches], 100 * shares)


def test_cross_video_attention_of_many_videos_draws_the_own_class_and_the_most_attended():
    B, query = 27, 26  # five classes of five support videos, two queries
    generator = np.random.default_rng(0)
    raw = generator.random((4, 5, 1, B, B)) * np.linspace(1, 3, B)
    labels = [*np.repeat(range(5), 5), 0, 1]
    raw[..., 25] = 0  # the other query is not visible
    weights = raw / raw.sum(axis=-1, keepdims=True)
    clips = generator.random((B, 4, 3, 8, 8))
    axes = figures.plot_cross_video_attention(weights, clips, labels, list("abcde"), query)
    shares = figures.query_maps(weights, query).mean(axis=(1, 2, 3))
    others = [i for i in np.argsort(-shares) if labels[i] != 1 and i != query][:6]  # 12 less own class and itself
    order = [*range(5, 10), *sorted(others), query]
    np.testing.assert_allclose([bar.get_width() for bar in axes[1].patches], 100 * shares[order])
    np.testing.assert_allclose(axes[1].lines[0].get_xdata(), 100 / 26)  # equal shares of all that it sees


def test_token_attention_draws_the_row_of_the_token(clips):
    rng = np.random.default_rng(3)
    weights = rng.dirichlet(np.ones(5), size=(T, HEADS, 5))
    ax = figures.plot_token_attention(clips[0], weights, n=3)
    maps = figures.token_maps(weights[:, :, 3].mean(axis=1))
    np.testing.assert_allclose(ax.images[0].get_array(), film_strip(figures.lit_frames(clips[0], maps, maps.max())))
    assert [patch.get_xy() for patch in ax.patches] == [(t - 0.5, 0.0) for t in range(T)]  # row 1, column 0 of 2 x 2
