"""Episodes in which only the other videos tell what counts -> what task attention is worth there, with its controls.

The data are constructed, see `taskadapter_lite.data.which_attribute`. Here the clips have one frame and the rules are
colour and form: a fixed metric that knew both attributes would be right in half of the episodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import pandas as pd
import torch

from taskadapter_lite.adapters import Adapter
from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.cache import PrefixCache
from taskadapter_lite.data.which_attribute import AttributeClips, AttributeEpisodes
from taskadapter_lite.episodes import Episode, EpisodeSpec
from taskadapter_lite.evaluation import evaluate
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.results import RunResult, accuracy_interval
from taskadapter_lite.studies.ladder import file_name
from taskadapter_lite.training.config import TrainConfig
from taskadapter_lite.training.loop import train

RULES = ("colour", "form")
SPEC = EpisodeSpec(n_way=5, k_shot=1, n_query=1)
DEPTH = 3
CONTROLS = ("as trained", "one query alone", "task attention off")


@dataclass(frozen=True)
class TaskRung:
    """One row: the axes that are adapted, who attends to whom, and whether anything is trained."""

    name: str
    axes: tuple[str, ...]
    scope: str = "inductive"
    trained: bool = True


RUNGS = (
    TaskRung("Frozen", (), trained=False),
    TaskRung("Space + joint", ("space", "joint")),
    TaskRung("+ task, inductive", ("space", "task", "joint")),
    TaskRung("+ task, split", ("space", "task", "joint"), "split"),
    TaskRung("+ task, joint scope", ("space", "task", "joint"), "joint"),
)


@dataclass(frozen=True)
class TaskBudget:
    """What every row gets.

    Attributes:
        n_steps: optimiser steps, of `episodes_per_step` episodes each.
        episodes_per_step: episodes whose losses are averaged.
        learning_rate: of all rows; taken from a first trial and not tuned.
        n_test: episodes of each test.
        mix: share of episodes whose rule is drawn evenly, in training and at test; the others have the rule colour.
        device: where.
    """

    n_steps: int = 1500
    episodes_per_step: int = 8
    learning_rate: float = 3e-3
    n_test: int = 2000
    mix: float = 1.0
    device: str = "cpu"


def run_which_attribute(
    budget: TaskBudget, seeds: Sequence[int], out: Path, rungs: Sequence[TaskRung] = RUNGS, progress: bool = True
) -> None:
    """Train and test each row with each seed; what `out` holds already is not done again."""
    for seed in seeds:
        for rung in rungs:
            if not _file(out, rung, budget, "seen values", CONTROLS[0], seed).exists():
                _run_rung(rung, budget, seed, out, progress)


def _run_rung(rung: TaskRung, budget: TaskBudget, seed: int, out: Path, progress: bool) -> None:
    torch.manual_seed(seed)
    model = TaskAdapterViT(load_backbone(), DEPTH if rung.axes else 0, T=1, axes=rung.axes, scope=rung.scope)
    model.to(budget.device)
    clips = {part: AttributeClips(part, n_draws=2, n_actions=8, T=1) for part in ("train", "test")}
    about = {"rung": rung.name, "mix": budget.mix, "data": "constructed", "training_seconds": 0.0}
    if rung.trained:
        training = _train(model, clips["train"], budget, seed, progress)
        about |= {"training_seconds": round(training.seconds, 1), "training": training.config}
    for part, values, episode_seed in (("test", "unseen values", 1_000_001), ("train", "seen values", 1_000_002)):
        cache = PrefixCache(model, clips[part])
        episodes = AttributeEpisodes(clips[part], SPEC, budget.n_test, episode_seed, RULES, budget.mix)
        for control in CONTROLS if "task" in rung.axes and part == "test" else CONTROLS[:1]:
            tested = without_task_attention(model) if control == "task attention off" else model
            asked = one_query_alone(episodes) if control == "one query alone" else episodes
            result = evaluate(tested, clips[part], asked, "cosine", cache=cache, name=rung.name, progress=progress)
            result.seeds |= {"training": seed, "episodes": episode_seed}
            result.metadata |= about | {"values": values, "control": control}
            result.save(_file(out, rung, budget, values, control, seed))


def _train(model: TaskAdapterViT, clips: AttributeClips, budget: TaskBudget, seed: int, progress: bool) -> RunResult:
    n_episodes = budget.n_steps * budget.episodes_per_step
    episodes = AttributeEpisodes(clips, SPEC, n_episodes, seed, RULES, budget.mix)
    config = TrainConfig.recommended(
        n_steps=budget.n_steps,
        episodes_per_step=budget.episodes_per_step,
        learning_rate=budget.learning_rate,
        warmup_steps=min(50, budget.n_steps),
        views=1,
        auxiliary_weight=0.0,  # a class of these episodes exists in its episode alone
        validation_every=0,
        log_every=50,
        seed=seed,
    )
    return train(model, clips, episodes, config, progress=progress)


def one_query_alone(episodes: Sequence[Episode]) -> list[Episode]:
    """The same tasks asked one query at a time: as many episodes a task as it has queries, in order."""
    return [
        Episode(e.support, e.query[q : q + 1], e.support_labels, e.query_labels[q : q + 1], e.classes)
        for e in episodes
        for q in range(len(e.query))
    ]


def without_task_attention(model: TaskAdapterViT) -> TaskAdapterViT:
    """A copy whose task adapters add nothing; all else stays as trained."""
    copied = deepcopy(model)
    for block in copied.adapted.values():
        task = dict(block.named_children()).get("task")
        if isinstance(task, Adapter):
            with torch.no_grad():
                task.up.weight.zero_()
                task.up.bias.zero_()
    return copied


def _file(out: Path, rung: TaskRung, budget: TaskBudget, values: str, control: str, seed: int) -> Path:
    return out / f"{file_name(f'{rung.name} mix {budget.mix:g} {values} {control} seed {seed}')}.json"


def load_which_attribute(out: Path) -> Iterator[RunResult]:
    """All results of a folder, in the order of the rows."""
    found = [RunResult.load(file) for file in sorted(out.glob("*.json"))]
    for rung in RUNGS:
        yield from (result for result in found if result.metadata["rung"] == rung.name)


def which_attribute_table(results: Sequence[RunResult]) -> pd.DataFrame:
    """A row for each model, values and control, in percent.

    Columns: `accuracy`: mean over seeds; `interval`: half width of the 95% interval over seeds and episodes taken
    together; `lowest` and `highest` single seed; `seeds`: how many; `episodes`: of each seed. Queries of a task that
    are asked alone count as one episode, since they share their support.
    """
    keys = list(dict.fromkeys(_row_key(result) for result in results))
    rows = []
    for key in keys:
        same = [result for result in results if _row_key(result) == key]
        tasks = [_task_accuracies(result) for result in same]
        means = [100 * fmean(result.accuracies) for result in same]
        every = [value for run in tasks for value in run]
        half = accuracy_interval(every)[1]
        rows.append((*key, fmean(means), half, min(means), max(means), len(same), len(tasks[0])))
    columns = ["model", "mix", "values", "control", "accuracy", "interval", "lowest", "highest", "seeds", "episodes"]
    return pd.DataFrame(rows, columns=columns)


def _task_accuracies(result: RunResult) -> list[float]:
    """Accuracy of each task in percent."""
    n = SPEC.n_way * SPEC.n_query if result.metadata["control"] == "one query alone" else 1
    return [100 * fmean(result.accuracies[i : i + n]) for i in range(0, len(result.accuracies), n)]


def _row_key(result: RunResult) -> tuple[str, float, str, str]:
    return result.name, result.metadata["mix"], result.metadata["values"], result.metadata["control"]
