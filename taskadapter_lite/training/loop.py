"""Model + training episodes -> trained adapters."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path

from tqdm.auto import tqdm

from taskadapter_lite.data.labelled import LabelledClips
from taskadapter_lite.episodes import Episodes
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.results import RunResult
from taskadapter_lite.text import TextFeatures
from taskadapter_lite.training.config import PUBLISHED, TrainConfig
from taskadapter_lite.training.run import TrainingRun

__all__ = ["PUBLISHED", "TrainConfig", "train"]


def train(
    model: TaskAdapterViT,
    clips: LabelledClips,
    episodes: Episodes,
    config: TrainConfig | None = None,
    validation: tuple[LabelledClips, Episodes] | None = None,
    resume: str | Path | None = None,
    *,
    out: str | Path | None = None,
    text: TextFeatures | None = None,
    on_log: Callable[[dict], None] | None = None,
    progress: bool = True,
    name: str = "train",
) -> RunResult:
    """Train the adapters of `model` in place, on one episode after the other.

    With `validation` the model ends with the adapters that did best there, without it with the last ones. Ctrl-C ends
    after the current step in the same way, with a checkpoint and a partial result. A run that was killed and resumed
    ends, on a CPU, with the same adapters and history to the last bit (the seconds in the history aside).

    Args:
        model: its adapters are trained on the device where they are.
        clips: training clips; random views are drawn from (config.seed, number of the episode) alone.
        episodes: a sampler or a list; step s uses episodes s * E .. (s + 1) * E - 1.
        config: default `TrainConfig.recommended()`.
        validation: clips of validation classes and a fixed list of episodes; never the test classes.
        resume: None starts afresh, "auto" continues from the newest checkpoint in `out` if there is one, a path from
            that checkpoint.
        out: folder for checkpoints, `adapters.safetensors` and `result.json`; None writes nothing.
        text: features of the class names of training and validation; scores by name are fused with those by sight.
        on_log: called with each new row of the history.
        progress: show a progress bar with loss, accuracy and time left.
        name: of the result.

    Returns:
        Configuration, history (a row every `log_every` steps) and validation accuracies of the adapters kept.

    Raises:
        ValueError: too few episodes for `n_steps`, or a loss that is not finite (names the episode and the seed).
        CheckpointError: the checkpoint is damaged or belongs to another run.
        OSError: `out` can't be written.
    """
    run = TrainingRun(model, clips, episodes, config or TrainConfig.recommended(), validation, out, text)
    run.prepare(resume)
    shown = progress and run.team.is_main
    with (
        _StopOnInterrupt() as interrupt,
        tqdm(total=run.n_steps, initial=run.step, unit="step", disable=not shown) as bar,
    ):
        while not run.ended and not run.stopped:
            run.advance(interrupt.seen)
            bar.update()
            if run.due(run.config.log_every) or run.due(run.config.validation_every):
                row = run.log()
                bar.set_postfix(loss=f"{row['loss']:.3f}", accuracy=f"{row['accuracy']:.1%}")
                if on_log is not None:
                    on_log(row)
            if run.due(run.config.checkpoint_every) or run.stopped:
                run.save()
    return run.finish(name)


class _StopOnInterrupt:
    """Turn the first Ctrl-C (or a notebook's stop button) into a wish that is granted after the current step."""

    def __init__(self) -> None:
        self.seen = False

    def __enter__(self) -> _StopOnInterrupt:
        self.listens = threading.current_thread() is threading.main_thread()  # signals reach the main thread alone
        if self.listens:
            self.before = signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, *_) -> None:
        if self.seen:
            raise KeyboardInterrupt  # asked twice: at once
        self.seen = True

    def __exit__(self, *_) -> None:
        if self.listens:
            signal.signal(signal.SIGINT, self.before)
