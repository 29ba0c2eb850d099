"""Figures, tested on what they draw: pixels of the strips, shares, positions, labels, limits."""

from __future__ import annotations

import base64
import io

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from taskadapter_lite import figures
from taskadapter_lite.figures.clips import as_frames, film_strip

B, T, SIDE, HEADS, S = 7, 4, 2, 3, 5  # five support videos, two queries
LABELS = np.array([0, 1, 2, 3, 4, 2, 0])
NAMES = ["left", "right", "up", "down", "turn"]


@pytest.fixture(autouse=True)
def _style():
    figures.use_style()
    yield
    plt.close("all")


@pytest.fixture
def clips():
    return np.random.default_rng(0).integers(0, 256, (B, T, 3, 6, 8), dtype=np.uint8)


@pytest.fixture
def weights():
    """Random task attention (T, N, heads, B, B) under the mask: support sees support, a query also itself."""
    mask = np.eye(B, dtype=bool)
    mask[:, :S] = True
    logits = np.where(mask, np.random.default_rng(1).normal(size=(T, 1 + SIDE**2, HEADS, B, B)), -np.inf)
    return torch.softmax(torch.from_numpy(logits), dim=-1).numpy()


# clips and episodes


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
    image = Image.open(io.BytesIO(figures.animation_bytes(np.stack([clip, clip]), fps=5, height=16)))
    assert (image.n_frames, image.size, image.info["duration"], image.info["loop"]) == (T, (32, 16), 200, 0)
    for t in range(T):
        image.seek(t)
        assert abs(image.convert("L").getpixel((3, 3)) - 60 * t) <= 2


def test_contact_sheet_fills_rows_and_cuts_long_names(clips):
    sheet = figures.contact_sheet(clips[:3], ["short", "a very long name " * 9, "third"], columns=2, height=40)
    strip = film_strip(as_frames(clips[0]))
    width = round(strip.shape[1] * 40 / strip.shape[0])
    assert sheet.size == (2 * (width + 8) + 8, 2 * (40 + 22) + 8)
    pixels = np.asarray(sheet)
    assert pixels[8 + 62 : 8 + 102, 8 : 8 + width].std() > 10  # the third strip begins the second row
    assert (pixels[8 + 62 : 8 + 102, 16 + width :] == 255).all()  # nothing beside it
    assert (pixels[:, -8:] == 255).all()  # no name runs over the edge


def test_play_clip_embeds_a_small_moving_image(clips):
    data, _ = figures.play_clip(clips[0])._repr_mimebundle_()
    assert len(data["image/gif"]) < 10_000
    with Image.open(io.BytesIO(base64.b64decode(data["image/gif"]))) as image:
        assert image.n_frames == len(clips[0])
    with pytest.raises(ValueError, match="0"):
        figures.play_clip(clips[0], fps=0)


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


# attention


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


def test_own_class_mass_by_hand(weights):
    """One place, one head: a query of class 1 pays 0.1, 0.3 to support of classes 0, 1 and 0.6 to itself: 0.3 / 0.4."""
    by_hand = np.array([[0.5, 0.5, 0], [0.5, 0.5, 0], [0.1, 0.3, 0.6]])[None, None, None]
    mass = figures.own_class_mass(by_hand, [0, 1, 1], n_support=2, tokens=slice(None))
    np.testing.assert_allclose(mass, [[0.75]])
    loop = np.empty((HEADS, 2))
    for head in range(HEADS):
        for q in range(2):
            row = weights[:, 1:, head, S + q, :S].mean(axis=(0, 1))
            loop[head, q] = row[LABELS[:S] == LABELS[S + q]].sum() / row.sum()
    np.testing.assert_allclose(figures.own_class_mass(weights, LABELS, S), loop)


def test_own_class_mass_is_chance_for_equal_shares_and_nan_where_no_support_is_seen():
    equal = np.full((1, 5, 1, B, B), 1 / B)
    np.testing.assert_allclose(figures.own_class_mass(equal, LABELS, S), 1 / 5)
    assert np.isnan(figures.own_class_mass(np.tile(np.eye(B), (1, 5, 1, 1, 1)), LABELS, S)).all()


def test_cross_video_attention_draws_the_shares_of_the_query(weights, clips):
    axes = figures.plot_cross_video_attention(weights, clips, LABELS, NAMES, query=5, token=(1, 2))
    strips, bars, lines = axes
    order = [2, 0, 1, 3, 4, 5]  # own class first, the query last; the other query is not visible
    maps = figures.query_maps(weights, 5)
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


# results


def test_ladder_draws_percent_means_and_intervals():
    ax = figures.plot_ladder(
        ["frozen", "adapted"], [0.4, 0.7], [0.02, 0.01], 600, chance=0.2, seeds=[[0.4], [0.69, 0.71]]
    )
    bars = [container.lines[2][0].get_segments()[0] for container in ax.containers]
    np.testing.assert_allclose(bars[0], [[38, 0], [42, 0]])
    np.testing.assert_allclose(bars[1], [[69, 1], [71, 1]])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["frozen", "adapted"]
    assert "600 episodes" in ax.get_xlabel()
    assert "95%" in ax.get_xlabel()
    assert ax.get_ylim() == (1.5, -0.75)  # the first model on top
    assert "70.0 ± 1.0" in [text.get_text() for text in ax.texts]


def test_learning_curves_smooth_at_the_middle_of_the_window():
    history = [{"step": i, "loss": float(i**2)} for i in range(5)] + [{"step": 5, "accuracy": 0.5}]
    ax = figures.plot_learning_curves({"a": history}, window=3)
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [1, 2, 3])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [5 / 3, 14 / 3, 29 / 3])
    with pytest.raises(ValueError, match="top5"):
        figures.plot_learning_curves({"a": history}, y="top5")


def test_scope_masks_show_the_masks():
    inductive = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 0, 1]], dtype=torch.bool)
    axes = figures.plot_scope_masks({"joint": np.ones((4, 4), bool), "inductive": inductive}, n_support=2)
    np.testing.assert_array_equal(axes[1].images[0].get_array(), inductive.numpy())
    assert [label.get_text() for label in axes[1].get_yticklabels()] == ["S1", "S2", "Q1", "Q2"]
    assert axes[1].get_title(loc="left") == "inductive"


# matrices and features


def test_video_matrix_orders_support_and_queries_by_class(weights):
    shares, order = figures.video_matrix(weights, [3, 1, 1, 0, 2, 2, 0], n_support=5, head=1)
    assert order.tolist() == [3, 1, 2, 4, 0, 6, 5]
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert shares[0, 4] == pytest.approx(weights[:, 1:, 1, 3, 0].mean())


def test_plotted_video_matrix_frames_the_pairs_of_one_class_and_hides_the_forbidden(weights):
    ax = figures.plot_video_matrix(weights, LABELS, NAMES, n_support=5)
    shares, order = figures.video_matrix(weights, LABELS, 5)
    np.testing.assert_allclose(ax.images[0].get_array().filled(0), 100 * shares)
    assert ax.images[0].get_array().mask.sum() == 5 * 2 + 2  # support sees no query, queries no other query
    frames = {(patch.get_x() + 0.5, patch.get_y() + 0.5) for patch in ax.patches}
    seen = {(float(x), float(y)) for y in range(B) for x in range(B) if shares[y, x] > 0}
    same = {(x, y) for x, y in seen if LABELS[order[int(x)]] == LABELS[order[int(y)]]}
    assert frames == same
    assert ax.get_yticklabels()[6].get_text() == "up  Q2"


def test_every_block_and_head_has_its_own_class_mass_above(weights):
    axes = figures.plot_video_matrices({4: weights, 5: weights[..., ::-1, :, :]}, LABELS, n_support=5)
    mass = figures.own_class_mass(weights, LABELS, 5).mean(axis=1)
    assert axes.shape == (2, HEADS)
    assert [ax.get_title(loc="left") for ax in axes[0]] == [f"own class {share:.0%}" for share in mass]
    assert axes[0, 0].images[0].get_clim() == axes[1, 2].images[0].get_clim()  # one scale
    assert axes[1, 0].get_ylabel() == "block 5"


def test_own_class_mass_chart_has_the_interval_over_episodes():
    values = np.random.default_rng(2).random((9, 2, HEADS))
    ax = figures.plot_own_class_mass({"trained": values, "untrained": values / 2}, blocks=[4, 5], chance=0.2)
    points, _, (bars,) = ax.containers[0].lines
    np.testing.assert_allclose(points.get_ydata(), 100 * values.mean(axis=0).ravel())
    low, high = bars.get_segments()[4][:, 1]
    assert high - low == pytest.approx(2 * 1.96 * 100 * values[:, 1, 1].std(ddof=1) / 3)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["block 4", "block 5"]


def test_token_attention_draws_the_row_of_the_token(clips):
    rng = np.random.default_rng(3)
    weights = rng.dirichlet(np.ones(5), size=(T, HEADS, 5))
    ax = figures.plot_token_attention(clips[0], weights, n=3, head=1)
    maps = figures.token_maps(weights[:, 1, 3])
    np.testing.assert_allclose(ax.images[0].get_array(), film_strip(figures.lit_frames(clips[0], maps, maps.max())))
    assert [patch.get_xy() for patch in ax.patches] == [(t - 0.5, 0.0) for t in range(T)]  # row 1, column 0 of 2 x 2


def test_confusion_is_in_percent_of_rows_with_reversed_pairs_framed():
    ax = figures.plot_confusion([[3, 1, 0], [0, 2, 0], [0, 0, 0]], ["a", "b", "c"], pairs=[(0, 1)])
    np.testing.assert_allclose(ax.images[0].get_array(), [[75, 25, 0], [0, 100, 0], [0, 0, 0]])
    assert {(patch.get_x() + 0.5, patch.get_y() + 0.5) for patch in ax.patches} == {(1, 0), (0, 1)}
    assert "75" in [text.get_text() for text in ax.texts]


def test_parameters_chart_sets_the_untrained_model_apart():
    ax = figures.plot_parameters(["frozen", "adapted"], [0, 1000], [0.4, 0.7], [0.02, 0.01], 600)
    assert [container.lines[0].get_ydata()[0] for container in ax.containers] == [40, 70]
    assert [container.lines[0].get_xdata()[0] for container in ax.containers] == [100, 1000]
    assert "none" in [text.get_text() for text in ax.texts]


def test_principal_plane_keeps_distances_of_features_that_lie_in_a_plane():
    angles = np.array([0.1, 0.7, 2.0, 4.0])
    basis = np.linalg.qr(np.random.default_rng(4).normal(size=(9, 9)))[0][:2]
    features = 3 * np.stack([np.cos(angles), np.sin(angles)], axis=1) @ basis
    places, variance = figures.principal_plane(features)
    unit = features / 3
    np.testing.assert_allclose(
        np.linalg.norm(places[:, None] - places[None], axis=-1), np.linalg.norm(unit[:, None] - unit[None], axis=-1)
    )
    assert variance.sum() == pytest.approx(1)


def test_feature_shift_counts_queries_with_their_prototype_nearest():
    support = np.eye(6)[[0, 0, 1, 1]]
    query = np.array([[1, 0.2, 0, 0, 0, 0], [1, 0.5, 0, 0, 0, 0], [0, 1, 0, 0, 0, 1]])
    labels = np.array([0, 0, 1, 1, 0, 1, 1])
    axes = figures.plot_feature_shift({"before": np.concatenate([support, query])}, labels, 4, ["a", "b"])
    assert axes[0].get_title(loc="left") == "before: 2 of 3 right"
    assert "% of variance" in axes[0].get_xlabel()


def test_alignment_draws_similarity_and_discs_by_weight(clips):
    distances, weights = np.linspace(0, 2, 16).reshape(4, 4), np.diag([1.0, 0.5, 0, 1.0])
    ax = figures.plot_alignment(distances, weights, clips[0], clips[1], title="OTAM")
    np.testing.assert_allclose(ax.images[0].get_array(), 1 - distances)
    discs = ax.collections[0]
    np.testing.assert_allclose(discs.get_offsets(), [[0, 0], [1, 1], [3, 3]])
    np.testing.assert_allclose(discs.get_sizes() / discs.get_sizes().max(), [1, 0.5, 1])
    strips = [other for other in ax.figure.axes if other is not ax and other.images and not other.get_label()]
    np.testing.assert_allclose(strips[0].images[0].get_array()[:, 8:16], clips[1, 1].transpose(1, 2, 0) / 255)
    np.testing.assert_allclose(strips[1].images[0].get_array()[6:12], clips[0, 1].transpose(1, 2, 0) / 255)
