"""Features and alignment: distances, counts, discs."""

from __future__ import annotations

import numpy as np
import pytest

from taskadapter_lite import figures


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


def test_alignments_to_be_compared_share_a_colour_scale():
    similar, different = 1 - 0.5 * np.eye(4), 1 - 0.2 * np.eye(4)
    scales = [figures.plot_alignment(d, limits=(0, 0.6)).images[0].get_clim() for d in (similar, different)]
    assert scales == [(0, 0.6)] * 2
    assert figures.plot_alignment(different).images[0].get_clim() == pytest.approx((0, 0.2))
