"""Clips and attention of one small episode; every figure is closed after its test."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from small_episode import HEADS, SIDE, B, S, T

from taskadapter_lite import figures


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
