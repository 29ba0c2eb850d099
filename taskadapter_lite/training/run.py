"""A training run between two steps: how far it is, what it has seen, and how that is kept on disk."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

from torch import Tensor

from taskadapter_lite.cache import PrefixCache
from taskadapter_lite.data.labelled import LabelledClips
from taskadapter_lite.episodes import Episodes, episode_hash
from taskadapter_lite.evaluation import evaluate
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.results import RunResult, accuracy_interval, environment, peak_memory
from taskadapter_lite.text import TextFeatures
from taskadapter_lite.training.checkpoints import (
    KEPT,
    CheckpointError,
    check_writable,
    load_checkpoint,
    newest_usable,
    part,
    read_checkpoint,
    save_checkpoint,
    save_training_checkpoint,
    training_checkpoints,
)
from taskadapter_lite.training.config import TrainConfig
from taskadapter_lite.training.distributed import Team
from taskadapter_lite.training.step import Learner, Step

FREE = ("time_limit_s", "checkpoint_every", "workers")  # settings that may change when a run is resumed
KEPT_VALUES = ("step", "seconds", "window", "history", "best_accuracies")  # of a run, beside its tensors


class TrainingRun:
    """A run between two steps: how far it is, what it has seen, and how that is kept."""

    def __init__(
        self,
        model: TaskAdapterViT,
        clips: LabelledClips,
        episodes: Episodes,
        config: TrainConfig,
        validation: tuple[LabelledClips, Episodes] | None,
        out: str | Path | None,
        text: TextFeatures | None,
    ) -> None:
        self.model, self.clips, self.episodes, self.config = model, clips, episodes, config
        self.out = None if out is None else Path(out)
        self.n_steps = config.n_steps or len(episodes) // config.episodes_per_step
        if not 0 < self.n_steps * config.episodes_per_step <= len(episodes):
            raise ValueError(
                f"n_steps {self.n_steps} x episodes_per_step {config.episodes_per_step} must be from 1 to the number "
                f"of episodes, {len(episodes)}"
            )
        self.team = Team()
        self.learner = Learner(model, clips, episodes, config, self.team, text)
        self.validation, self.text = validation, text
        if validation is not None:
            self.validation_cache = (
                PrefixCache(model, validation[0], workers=config.workers) if self.learner.prefix_is_fixed else None
            )
        self.stopped = False
        self.clock = time.perf_counter()
        self.pending: list[Step] = []  # steps whose losses are still on the device
        # what a checkpoint keeps beside tensors
        self.step, self.seconds = 0, 0.0
        self.window = [0.0, 0.0, 0]  # sums of loss and accuracy, and episodes, since the last row of the history
        self.history: list[dict] = []
        self.best: dict[str, Tensor] = {}
        self.best_accuracies: list[float] = []

    @property
    def ended(self) -> bool:
        """True when the schedule has run down."""
        limit = self.config.time_limit_s
        return self.step >= self.n_steps or (limit is not None and self.seconds >= limit)

    def due(self, every: int) -> bool:
        """True after every `every`-th step and after the last one of the schedule."""
        return self.ended or (every > 0 and self.step % every == 0)

    def advance(self, stop: bool = False) -> None:
        """Take one step; `stop` in any process ends the run after it in all of them."""
        E = self.config.episodes_per_step
        rate = self.config.learning_rate_at(self.step, self.n_steps, self.seconds)
        self.pending.append(self.learner.step(range(self.step * E, (self.step + 1) * E), rate))
        self.step += 1
        before, self.clock = self.clock, time.perf_counter()  # validation and saving since the last step count too
        self.seconds, stopped = self.team.combine([self.seconds + self.clock - before, stop], max)
        self.stopped = bool(stopped)

    def log(self) -> dict:
        """Append a row to the history, with a validation if one is due, and return it."""
        self._flush()
        loss, accuracy, n_episodes = self.window
        self.window = [0.0, 0.0, 0]
        row = {
            "step": self.step,
            "loss": loss / max(n_episodes, 1),
            "accuracy": accuracy / max(n_episodes, 1),
            "learning_rate": self.learner.optimizer.param_groups[0]["lr"],
            "temperature": self.learner.objective.log_temperature.exp().item(),
            "seconds": round(self.seconds, 3),
        }
        if self.validation is not None and self.due(self.config.validation_every):
            row |= self._validate()
        self.history.append(row)
        return row

    def _flush(self) -> None:
        """Fetch the losses since the last time from the device, all at once, and refuse one that is not finite."""
        sums = [0.0, 0.0, 0]
        for taken in self.pending:
            for number, loss, accuracy in zip(
                taken.numbers, taken.losses.tolist(), taken.accuracies.tolist(), strict=True
            ):
                self._refuse_unless_finite(f"the loss of episode {number}", number, loss)
                sums = [sums[0] + loss, sums[1] + accuracy, sums[2] + 1]
            for number in taken.numbers[:1]:
                self._refuse_unless_finite(f"the gradient from episode {number} on", number, taken.norm.item())
        self.pending = []
        self.window = [a + b for a, b in zip(self.window, self.team.combine(sums, sum), strict=True)]

    def _refuse_unless_finite(self, what: str, number: int, value: float) -> None:
        if not math.isfinite(value):
            step, seed = number // self.config.episodes_per_step, getattr(self.episodes, "seed", None)
            raise ValueError(
                f"{what} (step {step}, seed {seed}) is {value}: look at episodes[{number}], lower learning_rate or set "
                "clip_norm; the last checkpoint is from before"
            )

    def _validate(self) -> dict:
        """Accuracy on the validation episodes, shared over the processes; the best adapters are remembered."""
        clips, episodes = self.validation
        own = evaluate(
            self.model,
            clips,
            self.team.share(episodes),
            self.learner.objective.metric,
            cache=self.validation_cache,
            text=self.text,
            fusion=self.config.fusion,
            workers=self.config.workers,
            progress=False,
        )
        accuracies = self.team.gather(own.accuracies)
        mean, half_width = accuracy_interval(accuracies)
        if not self.best or mean > accuracy_interval(self.best_accuracies)[0]:
            self.best = {name: value.detach().cpu().clone() for name, value in self.learner.trained().items()}
            self.best_accuracies = accuracies
        return {"validation": mean, "validation_interval": half_width}

    # ---- on disk

    def prepare(self, resume: str | Path | None) -> None:
        """Check the folder, take up a checkpoint or start afresh, with the same weights in every process."""
        found = training_checkpoints(self.out) if self.out is not None else []
        if resume is None and found:
            raise ValueError(f"{self.out} already holds a run: continue it with resume='auto' or choose another folder")
        if resume == "auto" and self.out is None:
            raise ValueError("resume='auto' looks for checkpoints in `out`, so `out` must name a folder")
        if self.out is not None and self.team.is_main:
            n_bytes = sum(4 * parameter.numel() for parameter in self.learner.parameters)
            check_writable(self.out, (KEPT + 1) * 4 * n_bytes)  # weights, the best weights, two moments of each
        path = newest_usable(found) if resume == "auto" else resume
        if path is not None:
            self._restore(Path(path))
        self.clock = time.perf_counter()
        self.team.copy_from_main(self.learner.trained().values())

    def save(self) -> None:
        """Write a checkpoint, in rank 0 alone."""
        self._flush()
        if self.out is None or not self.team.is_main:
            return
        kept = {name: getattr(self, name) for name in KEPT_VALUES}
        best = {f"best.{name}": value for name, value in self.best.items()}
        state = {**kept, **best, **self.learner.state()}
        save_training_checkpoint(self.out, self.step, self.model, state, {"run": self._identity})

    def _restore(self, path: Path) -> None:
        stored, own = read_checkpoint(path)[1], self._identity
        if stored["training_state"] is None or "step" not in stored["training_state"]:
            raise CheckpointError(f"{path} holds adapters but no training state: it can't be resumed")
        for key, value in own.items():
            if (found := stored["metadata"].get("run", {}).get(key)) != value:
                raise CheckpointError(f"{path} belongs to another run: its {key} is {found!r}, here it is {value!r}")
        state = load_checkpoint(path, self.model)["training_state"]
        for name in KEPT_VALUES:
            setattr(self, name, state[name])
        self.best = part(state, "best.")
        self.learner.load_state(state)

    @cached_property
    def _identity(self) -> dict:
        """What must agree for a checkpoint to continue this run."""
        some = [*self.episodes[:8], *self.episodes[-8:]]
        return {
            **{name: value for name, value in self.config.as_dict().items() if name not in FREE},
            "scope": self.model.scope,
            "T": self.model.T,
            "n_steps": self.n_steps,
            "text": None if self.text is None else self.text.source,
            "clips": self.clips.fingerprint,
            "episodes": f"{len(self.episodes)}, {episode_hash(some)}",
        }

    def finish(self, name: str) -> RunResult:
        """Put the best adapters into the model, write them and the result, and return the result."""
        if self.stopped and not self.ended:
            self.log()  # a row for the partial result alone: the checkpoint was written before it
        if self.best:
            self.learner.put(self.best)
        self.model.trained_with = {
            "metric": self.config.metric,
            "aggregation": self.config.shot_aggregation,
            "temperature": self.learner.objective.log_temperature.exp().item(),
        }
        result = self._result(name)
        if self.out is not None and self.team.is_main:
            beside = {f"objective.{key}": value for key, value in self.learner.objective.kept_state().items()}
            about = {"run": self._identity, "class_names": list(self.clips.class_names)}
            save_checkpoint(self.out / "adapters.safetensors", self.model, beside, about)
            result.save(self.out / "result.json")
        return result

    def _result(self, name: str) -> RunResult:
        spec, seed = getattr(self.episodes, "spec", None), getattr(self.episodes, "seed", None)
        about = {}
        if self.validation is not None:
            clips, episodes = self.validation
            about = {"validation": {"dataset": clips.fingerprint, "episodes": episode_hash(episodes)}}
        return RunResult(
            name=name,
            accuracies=self.best_accuracies,
            metric=self.config.metric,
            scope=self.model.scope,
            dataset=self.clips.fingerprint,
            spec=asdict(spec) if spec is not None else {},
            seeds={"training": self.config.seed} | ({} if seed is None else {"episodes": seed}),
            config={
                "model": self.model.config,
                "aggregation": self.config.shot_aggregation,
                "training": self.config.as_dict(),
                "n_steps": self.n_steps,
            },
            history=self.history,
            seconds=round(self.seconds, 3),
            peak_memory=peak_memory(self.learner.device),
            trainable_parameters=sum(p.numel() for p in self.model.trainable_parameters()),
            interrupted=not self.ended,
            metadata=about,
            **environment(self.learner.device),
        )
