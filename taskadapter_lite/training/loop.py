"""Model + training episodes -> trained adapters: the loop over steps, what is logged, validated and kept on disk.

`train` is the loop; `TrainingRun` is the state between two steps; one step itself is in `step`.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

from torch import Tensor

from taskadapter_lite.backbone import weights_file
from taskadapter_lite.bars import progress_bar
from taskadapter_lite.cache import PrefixCache
from taskadapter_lite.data.labelled import LabelledClips
from taskadapter_lite.episodes import Episodes, episode_hash
from taskadapter_lite.evaluation import evaluate
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.results import RunResult, accuracy_interval, environment, peak_memory
from taskadapter_lite.text import TextFeatures
from taskadapter_lite.training.checkpoints import (
    KEEP_LAST,
    OLD_AGGREGATION,
    CheckpointError,
    check_writable,
    load_checkpoint,
    newest_usable,
    read_checkpoint,
    save_checkpoint,
    save_training_checkpoint,
    training_checkpoints,
    without_prefix,
)
from taskadapter_lite.training.config import TrainConfig
from taskadapter_lite.training.distributed import Team
from taskadapter_lite.training.step import StepResult, Trainer, remember_settings

MAY_CHANGE = ("time_limit_s", "checkpoint_every", "workers")  # settings that may differ when a run is resumed
SAVED_VALUES = ("step", "seconds", "window", "history", "best_accuracies")  # of a run, beside its tensors


def train(
    model: TaskAdapterViT,
    clips: LabelledClips | PrefixCache,
    episodes: Episodes,
    config: TrainConfig | None = None,
    validation: tuple[LabelledClips | PrefixCache, Episodes] | None = None,
    resume: str | Path | None = None,
    *,
    out: str | Path | None = None,
    text: TextFeatures | None = None,
    cache: str | Path | None = None,
    on_log: Callable[[dict], None] | None = None,
    progress: bool = True,
    name: str = "train",
) -> RunResult:
    """Train the adapters of `model` in place, on one episode after the other.

    With `validation` the model ends with the adapters that did best there, without it with the last ones. Ctrl-C ends
    after the current step in the same way, with a checkpoint and a partial result. A run that was killed and resumed
    ends, on a CPU, with the same adapters and history to the last bit (the seconds in the history aside). A call that
    ends with an error leaves the model's scope, mode and what is trainable as they were; one that refuses to begin
    leaves its weights, too.

    Args:
        model: its adapters are trained on the device where they are.
        clips: training clips, or a `PrefixCache` of them with `config.views` views, to train several times from
            the same tokens; random views are drawn from (config.seed, number of the episode) alone.
        episodes: a sampler or a list; step s uses episodes s * E .. (s + 1) * E - 1.
        config: default `TrainConfig.recommended()`.
        validation: clips of validation classes, or their `PrefixCache`, and a fixed list of episodes; never the test
            classes.
        resume: None starts afresh, "auto" continues from the newest checkpoint in `out` if there is one, a path from
            that checkpoint.
        out: folder for checkpoints, `adapters.safetensors` and `result.json`; None writes nothing.
        text: features of the class names of training and validation; scores by name are fused with those by sight.
        cache: folder that keeps frozen tokens from run to run, named by all that changes them; None keeps them in
            memory. With `precision="bf16"` they are computed and kept in bfloat16.
        on_log: called with each new row of the history.
        progress: show a progress bar with loss, accuracy and time left.
        name: of the result.

    Returns:
        Configuration, history (a row every `log_every` steps) and validation accuracies of the adapters kept.

    Raises:
        ValueError: too few episodes for `n_steps`, a loss that is not finite (names the episode and the seed), or a
            cache of another model or of other views.
        CheckpointError: the checkpoint is damaged or belongs to another run.
        OSError: `out` can't be written.
    """
    restore_settings = remember_settings(model)
    try:
        run = TrainingRun(model, clips, episodes, config or TrainConfig.recommended(), validation, out, text, cache)
        run.prepare(resume)
        shown = progress and run.team.is_main
        with (
            _asked_to_stop() as asked,
            progress_bar(total=run.n_steps, initial=run.step, unit="step", disable=not shown) as bar,
        ):
            while not run.ended and not run.stopped:
                run.advance(asked.is_set())
                bar.update()
                if run.due(run.config.log_every) or run.due(run.config.validation_every):
                    row = run.log()
                    bar.set_postfix(loss=f"{row['loss']:.3f}", accuracy=f"{row['accuracy']:.1%}")
                    if on_log is not None:
                        on_log(row)
                if run.due(run.config.checkpoint_every) or run.stopped:
                    run.save()
        return run.finish(name)
    except Exception:
        restore_settings()
        raise


class TrainingRun:
    """A run between two steps: how far it is, what it has seen, and how that is kept."""

    def __init__(
        self,
        model: TaskAdapterViT,
        clips: LabelledClips | PrefixCache,
        episodes: Episodes,
        config: TrainConfig,
        validation: tuple[LabelledClips | PrefixCache, Episodes] | None,
        out: str | Path | None,
        text: TextFeatures | None,
        cache: str | Path | None = None,
    ) -> None:
        self.model, self.episodes, self.config = model, episodes, config
        self.clips, kept = (clips.clips, clips) if isinstance(clips, PrefixCache) else (clips, None)
        self.out = None if out is None else Path(out)
        self.n_steps = config.n_steps or len(episodes) // config.episodes_per_step
        if not 0 < self.n_steps * config.episodes_per_step <= len(episodes):
            raise ValueError(
                f"n_steps {self.n_steps} x episodes_per_step {config.episodes_per_step} must be from 1 to the number "
                f"of episodes, {len(episodes)}"
            )
        self.team = Team()
        self.trainer = Trainer(model, self.clips, episodes, config, self.team, text, cache, kept)
        self.text = text
        self.validation = None if validation is None else (self._tokens_of(validation[0], cache), validation[1])
        self.stopped = False
        self.clock = time.perf_counter()
        self.pending: list[StepResult] = []  # steps whose losses are still on the device
        # what a checkpoint keeps beside tensors
        self.step, self.seconds = 0, 0.0
        self.window = [0.0, 0.0, 0]  # sums of loss and accuracy, and episodes, since the last row of the history
        self.history: list[dict] = []
        self.best: dict[str, Tensor] = {}
        self.best_accuracies: list[float] = []

    def _tokens_of(self, clips: LabelledClips | PrefixCache, folder: str | Path | None) -> LabelledClips | PrefixCache:
        """The tokens of validation clips where they can be kept, else the clips."""
        if isinstance(clips, PrefixCache):
            self.trainer.check_cache(clips)
        elif self.trainer.prefix_is_fixed:
            return self.trainer.token_cache(folder, clips, None)
        return clips

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
        self.pending.append(self.trainer.step(range(self.step * E, (self.step + 1) * E), rate))
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
            "learning_rate": self.trainer.optimizer.param_groups[0]["lr"],
            "temperature": self.trainer.objective.log_temperature.exp().item(),
            "seconds": round(self.seconds, 3),
        }
        if self.validation is not None and self.due(self.config.validation_every):
            row |= self._validate(*self.validation)
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

    def _validate(self, clips: LabelledClips | PrefixCache, episodes: Episodes) -> dict:
        """Accuracy on the validation episodes, shared over the processes; the best adapters are remembered."""
        own = evaluate(
            self.model,
            clips,
            self.team.share(episodes),
            self.trainer.objective.metric,
            text=self.text,
            fusion=self.config.fusion,
            temperature=self.trainer.objective.log_temperature.exp().item(),
            workers=self.config.workers,
            progress=False,
        )
        accuracies = self.team.gather(own.accuracies)
        mean, half_width = accuracy_interval(accuracies)
        if not self.best or mean > accuracy_interval(self.best_accuracies)[0]:
            self.best = {name: value.detach().cpu().clone() for name, value in self.trainer.trained().items()}
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
            n_bytes = sum(4 * parameter.numel() for parameter in self.trainer.parameters)
            check_writable(self.out, (KEEP_LAST + 1) * 4 * n_bytes)  # weights, the best weights, two moments of each
        path = newest_usable(found) if resume == "auto" else resume
        if path is not None:
            self._restore(Path(path))
        self.clock = time.perf_counter()
        self.team.copy_from_main(self.trainer.trained().values())

    def save(self) -> None:
        """Write a checkpoint, in rank 0 alone."""
        self._flush()
        if self.out is None or not self.team.is_main:
            return
        kept = {name: getattr(self, name) for name in SAVED_VALUES}
        best = {f"best.{name}": value for name, value in self.best.items()}
        state = {**kept, **best, **self.trainer.state()}
        save_training_checkpoint(self.out, self.step, self.model, state, {"run": self._identity})

    def _restore(self, path: Path) -> None:
        stored, own = read_checkpoint(path)[1], self._identity
        if stored["training_state"] is None or "step" not in stored["training_state"]:
            raise CheckpointError(f"{path} holds adapters but no training state: it can't be resumed")
        for key, value in own.items():
            found = stored["metadata"].get("run", {}).get(key)
            if key == "aggregation" and value is not None:
                found = found or OLD_AGGREGATION
            if found != value:
                raise CheckpointError(f"{path} belongs to another run: its {key} is {found!r}, here it is {value!r}")
        state = load_checkpoint(path, self.model)["training_state"]
        for name in SAVED_VALUES:
            setattr(self, name, state[name])
        self.best = without_prefix(state, "best.")
        self.trainer.load_state(state)

    @cached_property
    def _identity(self) -> dict:
        """What must agree for a checkpoint to continue this run."""
        some = [*self.episodes[:8], *self.episodes[-8:]]
        return {
            **{name: value for name, value in asdict(self.config).items() if name not in MAY_CHANGE},
            "aggregation": self.config.shot_aggregation,
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
            self.trainer.load_trained(self.best)
        self.model.trained_with = {
            "metric": self.config.metric,
            "aggregation": self.config.shot_aggregation,
            "temperature": self.trainer.objective.log_temperature.exp().item(),
        }
        result = self._result(name)
        if self.out is not None and self.team.is_main:
            beside = {f"objective.{key}": value for key, value in self.trainer.objective.kept_state().items()}
            about = {"run": self._identity, "class_names": list(self.clips.class_names)}
            save_checkpoint(self.out / "adapters.safetensors", self.model, beside, about)
            result.save(self.out / "result.json")
        return result

    def _result(self, name: str) -> RunResult:
        spec, seed = getattr(self.episodes, "spec", None), getattr(self.episodes, "seed", None)
        about = {}
        if self.validation is not None:
            clips, episodes = self.validation
            clips = clips.clips if isinstance(clips, PrefixCache) else clips
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
                "weights": weights_file(self.model.backbone),
                "aggregation": self.config.shot_aggregation,
                "training": asdict(self.config) | {"aggregation": self.config.shot_aggregation},
                "n_steps": self.n_steps,
            },
            history=self.history,
            seconds=round(self.seconds, 3),
            peak_memory=peak_memory(self.trainer.device),
            trainable_parameters=sum(p.numel() for p in self.model.trainable_parameters()),
            interrupted=not self.ended,
            metadata=about,
            **environment(self.trainer.device),
        )


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C (or a notebook's stop button) into a wish that is granted after the current step."""
    asked = threading.Event()

    def note(*_) -> None:
        if asked.is_set():
            raise KeyboardInterrupt  # asked twice: at once
        asked.set()

    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread alone
        yield asked
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
