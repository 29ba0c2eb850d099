"""Video-by-video matrices and masks: values, order, frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_episode import HEADS, LABELS, NAMES, B, S

from taskadapter_lite import figures


def test_own_class_mass_by_hand(weights):
    """One place, one head: a query of class 1 pays 0.1, 0.3 to support of classes 0, 1 and 0.6 to itself: 0.3 / 0.4."""
    patch = np.array([[0.5, 0.5, 0], [0.5, 0.5, 0], [0.1, 0.3, 0.6]])[None]
    class_token = np.full_like(patch, 1 / 3)  # does not count
    mass = figures.own_class_mass([[class_token, patch]], [0, 1, 1], n_support=2)
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


def test_scope_masks_show_the_masks():
    inductive = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 0, 1]], dtype=torch.bool)
    axes = figures.plot_scope_masks({"joint": np.ones((4, 4), bool), "inductive": inductive}, n_support=2)
    np.testing.assert_array_equal(axes[1].images[0].get_array(), inductive.numpy())
    assert [label.get_text() for label in axes[1].get_yticklabels()] == ["S1", "S2", "Q1", "Q2"]
    assert axes[1].get_title(loc="left") == "inductive"


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
