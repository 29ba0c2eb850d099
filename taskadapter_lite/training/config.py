"""How to train: the settings of a run, the published ones and ours."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from taskadapter_lite.adapters import SCOPES
from taskadapter_lite.metrics import AGGREGATIONS, METRICS
from taskadapter_lite.text import FUSIONS


class PublishedSchedule(NamedTuple):
    """What the paper trains on one data set: the number of adapted blocks, epochs, and episodes in an epoch."""

    depth: int
    epochs: int
    episodes: int


PUBLISHED = {
    "hmdb51": PublishedSchedule(depth=6, epochs=10, episodes=200),
    "ucf101": PublishedSchedule(depth=6, epochs=10, episodes=200),
    "kinetics100": PublishedSchedule(depth=6, epochs=10, episodes=200),
    "ssv2_small": PublishedSchedule(depth=6, epochs=20, episodes=1000),
    "ssv2_full": PublishedSchedule(depth=6, epochs=50, episodes=1000),
}


@dataclass(frozen=True)
class TrainConfig:
    """The settings of a training run; the defaults are this project's recommended recipe.

    Attributes:
        optimizer: "adamw" or "sgd"; `momentum` is used by "sgd" alone.
        schedule: "cosine" (to zero) or "constant", after a linear warm-up over `warmup_steps`.
        n_steps: optimiser steps; None takes as many as the episodes allow.
        episodes_per_step: step s uses episodes s * E .. (s + 1) * E - 1; their losses are averaged.
        views: random readings (frames, crop) of a clip that training draws from; the frozen prefix of each is computed
            once and kept. 0 reads a new one every time and keeps nothing.
        scope: who attends to whom during training, "split", "joint" or "inductive"; None keeps the model's.
        trainable: "adapters", or "all" for full fine-tuning of the backbone with them.
        metric: a name in `METRICS`; parameters of the metric are trained too.
        aggregation: "prototype" (the mean of a class's support clips is compared) or "per_shot" (each of them is, and
            the scores are averaged); None is the metric's own: "per_shot" for OTAM and Bi-MHM, as published, and
            "prototype" for cosine and Euclid. Results and checkpoints record what it came to.
        temperature: the scores are multiplied by it before the softmax; `learn_temperature` starts from it.
        fusion: how scores by class names are added where `train` is given `text`, see `fuse_scores`.
        auxiliary_weight: weight of the loss of a linear classifier over the training classes, on the mean over time of
            every clip's features; 0 switches it off. The classifier is thrown away after training.
        clip_norm: largest norm of the gradient; None does not clip.
        precision: "fp32", or "bf16" for the transformer's blocks; scores and losses are in 32 bit always.
        validation_every: steps between validations; 0 validates at the end alone.
        log_every: steps between rows of the history.
        checkpoint_every: steps between checkpoints.
        workers: threads that read clips, a step ahead where none are kept; 0 reads them in turn. It changes no number.
        time_limit_s: seconds, validation included, after which the schedule has run down, whatever the step. The
            learning rate then depends on the speed of the machine, so that a run can't be repeated bit for bit: off by
            default.
        seed: of the views drawn and of the auxiliary classifier's start. Episodes carry their own seed.

    Raises:
        ValueError: a setting out of its range.
    """

    optimizer: str = "adamw"
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    momentum: float = 0.0
    schedule: str = "cosine"
    warmup_steps: int = 20
    n_steps: int | None = None
    episodes_per_step: int = 1
    views: int = 4
    scope: str | None = None
    trainable: str = "adapters"
    metric: str = "cosine"
    aggregation: str | None = None
    temperature: float = 16.0
    learn_temperature: bool = True
    fusion: str = "product"
    auxiliary_weight: float = 0.5
    clip_norm: float | None = 1.0
    precision: str = "fp32"
    validation_every: int = 200
    log_every: int = 10
    checkpoint_every: int = 100
    workers: int = 0
    time_limit_s: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        choices = {
            "optimizer": ("adamw", "sgd"),
            "schedule": ("cosine", "constant"),
            "scope": (None, *SCOPES),
            "trainable": ("adapters", "all"),
            "metric": tuple(METRICS),
            "aggregation": (None, *AGGREGATIONS),
            "fusion": FUSIONS,
            "precision": ("fp32", "bf16"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, not {getattr(self, name)!r}")
        for name in ("learning_rate", "temperature", "episodes_per_step", "log_every", "checkpoint_every"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        for name in ("clip_norm", "n_steps", "time_limit_s"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0 or None, not {getattr(self, name)}")
        counts = ("warmup_steps", "views", "validation_every", "workers")
        for name in ("weight_decay", "momentum", "auxiliary_weight", *counts):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")
        if self.aggregation is not None and METRICS[self.metric].has_parameters:
            raise ValueError(
                f"aggregation is {self.aggregation!r}, but {self.metric} compares all shots at once: give None"
            )

    @property
    def shot_aggregation(self) -> str | None:
        """How the shots of a class are brought together: `aggregation`, or what None stands for."""
        return self.aggregation or METRICS[self.metric].aggregation

    @classmethod
    def recommended(cls, **changes) -> TrainConfig:
        """This project's recipe: AdamW, cosine schedule, learnt temperature, auxiliary loss.

        Use it with several queries a class (`EpisodeSpec(n_query=3)`): more examples for the price of one support set.
        """
        return cls(**changes)

    @classmethod
    def published(cls, dataset: str, **changes) -> TrainConfig:
        """The paper's recipe for one of the five data sets (Task-Adapter, arXiv 2408.00249, and its public code).

        SGD 1e-3 without momentum, one episode a step, temperature 64, scope "split". With it belong
        `EpisodeSpec(n_query=1)`, `depth=PUBLISHED[dataset].depth` and, with CLIP, `train(..., text=...)`.

        The recipe is published, the preparation of clips is ours: the public code squashes every frame to 257 x 257
        whatever its shape and draws a crop for each *frame*; here a clip keeps its aspect and its frames share one
        crop.

        Raises:
            ValueError: a data set that the paper does not use.
        """
        if dataset not in PUBLISHED:
            raise ValueError(f"no published recipe for {dataset!r}: choose one of {', '.join(PUBLISHED)}")
        schedule = PUBLISHED[dataset]
        recipe = cls(
            optimizer="sgd",
            learning_rate=1e-3,
            weight_decay=0.0,
            schedule="constant",
            warmup_steps=0,
            n_steps=schedule.epochs * schedule.episodes,
            views=0,
            scope="split",
            temperature=64.0,
            learn_temperature=False,
            auxiliary_weight=0.0,
            clip_norm=None,
            validation_every=schedule.episodes,
        )
        return replace(recipe, **changes)

    def learning_rate_at(self, step: int, n_steps: int, seconds: float = 0.0) -> float:
        """Learning rate of step 0..n_steps-1: warm-up x schedule; progress is the larger of step and time share."""
        warmup = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        share = max(step / n_steps, seconds / self.time_limit_s if self.time_limit_s else 0.0)
        decay = 0.5 * (1 + math.cos(math.pi * min(1.0, share))) if self.schedule == "cosine" else 1.0
        return self.learning_rate * warmup * decay
