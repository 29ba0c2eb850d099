"""Alignment: distances, discs, scales."""

from __future__ import annotations

import numpy as np
import pytest

from taskadapter_lite import figures


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
