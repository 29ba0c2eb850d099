"""Attention along three axes against explicit loops, and the masks by hand."""

import pytest
import torch

from taskadapter_lite.adapters import Adapter, attend_along, scope_mask


def test_scope_masks_by_hand():
    split = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    inductive = [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 0, 1]]
    assert scope_mask(2, 2, "split").int().tolist() == split
    assert scope_mask(2, 2, "inductive").int().tolist() == inductive
    assert scope_mask(2, 1, "joint").all()


def test_unknown_scope_and_axis_are_refused():
    with pytest.raises(ValueError, match="'both'.*split, joint, inductive"):
        scope_mask(2, 2, "both")
    with pytest.raises(ValueError, match="'depth'.*time, space, task"):
        attend_along("depth", torch.nn.Identity(), torch.zeros(1, 1, 1, 1))


def test_adapter_has_the_published_number_of_parameters():
    assert sum(p.numel() for p in Adapter(768).parameters()) == 295_872
