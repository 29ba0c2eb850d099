"""A few steps of a run -> what the whole run will cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import torch

from taskadapter_lite.data.labelled import LabelledClips
from taskadapter_lite.episodes import Episodes
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.results import peak_memory
from taskadapter_lite.training.config import TrainConfig
from taskadapter_lite.training.distributed import Team
from taskadapter_lite.training.step import Trainer, remember_settings

MEASURED = 3  # steps of each kind


@dataclass(frozen=True)
class Estimate:
    """What a training run will cost on this machine, validation aside.

    Attributes:
        n_steps: optimiser steps.
        step_s: seconds of one step once the tokens of its clips are known.
        reading_s: seconds to read all clips that the run meets and to run them through the frozen blocks.
        memory: bytes at the peak, of the process (CPU) or of the accelerator.
        cache: bytes of frozen tokens that are kept, part of `memory` on a CPU.
    """

    n_steps: int
    step_s: float
    reading_s: float
    memory: int
    cache: int

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return self.n_steps * self.step_s + self.reading_s

    def __str__(self) -> str:
        return (
            f"{self.n_steps:,} steps of {self.step_s:.3f} s and {self.reading_s:,.0f} s of reading and frozen blocks: "
            f"about {self.seconds / 60:,.1f} minutes; memory {self.memory / 1e9:.2f} GB, of which kept tokens "
            f"{self.cache / 1e9:.2f} GB"
        )


def estimate_run(
    model: TaskAdapterViT,
    clips: LabelledClips,
    episodes: Episodes,
    config: TrainConfig,
    n_steps: int,
    cache: str | Path | None = None,
) -> Estimate:
    """Measure a few steps at learning rate 0 and extrapolate; the model stays as it is.

    What `cache`, the folder of `train`, holds already costs no reading.
    """
    restore_settings = remember_settings(model)
    try:
        return _measure(Trainer(model, clips, episodes, config, Team(), cache_folder=cache), n_steps)
    finally:
        restore_settings()


def _measure(trainer: Trainer, n_steps: int) -> Estimate:
    clips, episodes, config = trainer.clips, trainer.episodes, trainer.config
    E = config.episodes_per_step
    steps = [range(s * E, (s + 1) * E) for s in range(min(MEASURED + 1, n_steps))]
    times = [seconds(partial(trainer.step, numbers, learning_rate=0.0), trainer.device) for numbers in steps + steps]
    new, known = (half[-MEASURED:] for half in (times[: len(steps)], times[len(steps) :]))
    memory = peak_memory(trainer.device)
    B = len(episodes[0].clips)
    if trainer.cache is None:  # every step reads anew
        return Estimate(n_steps, median(new + known), 0.0, memory, 0)
    one = trainer.cache.clip_bytes
    readings = len(clips) * config.views  # drawn at random, so that some are met twice before all are met once
    met = readings * (1 - (1 - 1 / readings) ** (n_steps * E * B))
    reading_s = met * max(0.0, median(new) - median(known)) / (E * B)
    return Estimate(n_steps, median(known), reading_s, memory + int(met * one), int(met * one))


def seconds(action: Callable[[], object], device: str | torch.device) -> float:
    """Wall-clock seconds of one call, the device's work included."""
    start = time.perf_counter()
    action()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
