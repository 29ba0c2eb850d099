"""Bundled clips -> the frozen backbone and Task-Adapter on classes never trained on, in a few minutes: for the demo."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.cache import PrefixCache
from taskadapter_lite.data.labelled import LabelledClips
from taskadapter_lite.episodes import EpisodeSampler, EpisodeSpec
from taskadapter_lite.evaluation import evaluate
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.results import RunResult
from taskadapter_lite.sprites.render import partners
from taskadapter_lite.studies.ladder import saved_episodes
from taskadapter_lite.training.config import TrainConfig
from taskadapter_lite.training.loop import train

SPEC = EpisodeSpec(n_way=5, k_shot=1, n_query=3)  # of training
N_TEST = {1: 300, 5: 100}  # shots -> the first so many of the saved test episodes
DEPTH = 3
METRIC = "otam"  # keeps the order of the frames; the paper's mean over time loses it (see the ladder)
AGGREGATION = "prototype"  # as in the committed file of the demo, and better here with five shots (results/aggregation)
METRIC_NAMES = {"cosine": "cosine", "otam": "OTAM"}


def new_model(seed: int, device: torch.device) -> TaskAdapterViT:
    """Task-Adapter in the last blocks of the bundled backbone, at its start."""
    torch.manual_seed(seed)
    return TaskAdapterViT(load_backbone(), depth=DEPTH, temporal_std=0.5).to(device)


def score_frozen(clips: LabelledClips, device: torch.device, quick: bool) -> Iterator[RunResult]:
    """The bundled backbone with nothing added, by each metric."""
    for metric in METRIC_NAMES:
        model = TaskAdapterViT(load_backbone(), depth=0, axes=()).to(device)
        yield from score_shots(model, clips, "Frozen backbone", metric, quick)


def train_adapters(model: TaskAdapterViT, clips: LabelledClips, seed: int, quick: bool) -> RunResult:
    """As many steps as fit the demo's minutes on two cores."""
    n_steps = 20 if quick else 500
    config = TrainConfig.recommended(
        n_steps=n_steps,
        seed=seed,
        metric=METRIC,
        aggregation=AGGREGATION,
        temperature=2.0,
        validation_every=0,
        checkpoint_every=10**9,
    )
    return train(model, clips, EpisodeSampler.of(clips, SPEC, n_steps, seed), config, name="Task-Adapter")


def score_shots(
    model: TaskAdapterViT, clips: LabelledClips, method: str, metric: str, quick: bool, training_seconds: float = 0.0
) -> Iterator[RunResult]:
    """One result a number of shots."""
    cache = PrefixCache(model, clips)
    for shots, n_episodes in N_TEST.items():
        yield evaluate(
            model,
            cache,
            saved_episodes(shots, clips)[: 20 if quick else n_episodes],
            metric,
            aggregation=AGGREGATION,
            pairs=partners(),
            name=f"{method}, {METRIC_NAMES[metric]}, {shots}-shot",
            metadata={"method": method, "shots": shots, "training_seconds": round(training_seconds, 1)},
        )
