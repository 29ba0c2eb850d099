"""Small models and clips to explore, and a spy on what the widgets hand to the figures."""

import matplotlib

matplotlib.use("Agg")

import pytest
import torch
from tiny_run import ColouredClips, T, tiny_backbone

from taskadapter_lite.episodes import EpisodeSampler, EpisodeSpec
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.widgets import browser, explorers, playground


@pytest.fixture(scope="module")
def clips():
    return ColouredClips()


@pytest.fixture(scope="module")
def episodes(clips):
    return EpisodeSampler(clips.labels, EpisodeSpec(3, 1, 1), 4, seed=5)[:]


@pytest.fixture(scope="module")
def models():
    trained = TaskAdapterViT(tiny_backbone(), depth=2, T=T)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(1)
        for parameter in trained.trainable_parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return {"trained": trained, "untrained": TaskAdapterViT(tiny_backbone(), depth=2, T=T)}


@pytest.fixture
def drawn(monkeypatch):
    """What the explorers hand to the figures: a list of (name, arguments, keyword arguments)."""
    calls = []
    for module in (browser, explorers, playground):
        for name in ("plot_cross_video_attention", "mark_token", "plot_alignment", "show_episode"):
            if not hasattr(module, name):
                continue
            real = getattr(module, name)

            def spy(*args, real=real, name=name, **kwargs):
                calls.append((name, args, kwargs))
                return real(*args, **kwargs)

            monkeypatch.setattr(module, name, spy)
    return calls
