"""Episodes in which only the other videos tell what counts -> what task attention is worth there, with its controls.

The data are constructed, see `taskadapter_lite.data.which_attribute`. The main setting has clips of one frame and the
rules colour and form: a fixed metric that knew both attributes would be right in half of the episodes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.cache import PrefixCache, prefix_key
from taskadapter_lite.data.which_attribute import AttributeClips, AttributeEpisodes
from taskadapter_lite.episodes import EpisodeSpec
from taskadapter_lite.evaluation import evaluate
from taskadapter_lite.metrics import METRICS, Scorer
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.results import RunResult
from taskadapter_lite.studies.attribute_controls import (
    ALONE,
    AS_TRAINED,
    CONTROLS,
    NEUTRAL,
    NOBODY,
    OFF,
    OTHER_RULE,
    REPLACED,
    SAME_RULE,
    beside_other_support,
    each_clip_alone,
    no_look_misleads,
    one_query_alone,
    one_support_clip_replaced,
    with_accuracies,
    without_task_attention,
)
from taskadapter_lite.studies.ladder import TUNED_RATE, file_name
from taskadapter_lite.training.checkpoints import load_checkpoint, without_prefix
from taskadapter_lite.training.config import TrainConfig
from taskadapter_lite.training.loop import train

RULES = ("colour", "form")
SPEC = EpisodeSpec(n_way=5, k_shot=1, n_query=1)
DEPTH = 3
RATES = (1e-3, 3e-3, 1e-2)
TUNED = ("Space + joint", "+ task, inductive")
PARTS = {"unseen values": ("test", 1_000_001), "seen values": ("train", 1_000_002)}


@dataclass(frozen=True)
class TaskRung:
    """One row: the axes that are adapted beside time, who attends to whom, the head, what is trained.

    A row whose `trainable` is "all" trains every weight of the backbone, at a learning rate of its own.
    """

    name: str
    axes: tuple[str, ...]
    scope: str = "inductive"
    metric: str = "cosine"
    trainable: str = "adapters"

    @property
    def trained(self) -> bool:
        """False for a frozen backbone with a head that has no parameters."""
        return bool(self.axes) or self.trainable == "all"


_ORDER_BLIND, _TASK = ("space", "joint"), ("space", "task", "joint")
RUNGS = (
    TaskRung("Frozen", ()),
    TaskRung("Frozen, OTAM", (), metric="otam"),
    TaskRung("Frozen, centred", (), metric="centred"),
    TaskRung("Frozen, ridge", (), metric="ridge"),
    TaskRung("Full fine-tuning", (), trainable="all"),
    TaskRung("Space + joint", _ORDER_BLIND),
    TaskRung("Space + joint, centred", _ORDER_BLIND, metric="centred"),
    TaskRung("Space + joint, ridge", _ORDER_BLIND, metric="ridge"),
    TaskRung("Space + joint, FEAT", _ORDER_BLIND, metric="feat"),
    TaskRung("Space + joint, OTAM", _ORDER_BLIND, metric="otam"),
    TaskRung("Space + joint, TRX", _ORDER_BLIND, metric="trx"),
    TaskRung("+ task, inductive", _TASK),
    TaskRung("+ task, inductive, OTAM", _TASK, metric="otam"),
    TaskRung("+ task, inductive, TRX", _TASK, metric="trx"),
    TaskRung("+ task, split", _TASK, "split"),
    TaskRung("+ task, joint scope", _TASK, "joint"),
)
ALIGNED = tuple(rung.name for rung in RUNGS if rung.metric in ("otam", "trx"))  # say nothing of clips of one frame


@dataclass(frozen=True)
class TaskBudget:
    """What every row gets.

    Attributes:
        n_steps: optimiser steps, of `episodes_per_step` episodes each.
        episodes_per_step: episodes whose losses are averaged.
        learning_rate: of all rows but full fine-tuning, which has `TUNED_RATE`.
        n_test: episodes of each test.
        mix: share of episodes whose rule is drawn evenly, in training and at test; the others have the first rule.
        frames: frames a clip; above 1 every trained row attends over time as well, and all actions occur.
        rules: the attributes that may count.
        start: folder of an earlier run whose adapters of one frame the same row and seed starts from; None starts
            afresh.
        device: where.
    """

    n_steps: int = 1500
    episodes_per_step: int = 8
    learning_rate: float = 3e-3
    n_test: int = 2000
    mix: float = 1.0
    frames: int = 1
    rules: tuple[str, ...] = RULES
    start: Path | None = None
    device: str = "cpu"

    @property
    def setting(self) -> str:
        """What was varied, for names of files."""
        video = f" {self.frames} frames" if self.frames > 1 else ""
        rules = f" {' '.join(self.rules)}" if self.rules != RULES else ""
        first = " neutral actions first" if self.actions_beside_looks else ""
        return f"mix {self.mix:g}{video}{rules}{first}"

    @property
    def actions_beside_looks(self) -> bool:
        """True on video where actions are one rule among several: then a row is trained twice, see `learn`."""
        return self.frames > 1 and len(self.rules) > 1 and "action" in self.rules


@dataclass
class Pool:
    """Clips and their frozen tokens, shared by all rows and runs of a folder.

    Attributes:
        frames: of a clip.
        folder: of the tokens.
        rules: the attributes that may count.
        caches: the tokens that are open.
    """

    frames: int
    folder: Path
    rules: tuple[str, ...] = RULES
    caches: dict[tuple[str, str], PrefixCache] = field(default_factory=dict)

    def clips(self, part: str) -> AttributeClips:
        """The "train", "val" or "test" clips: of one frame from eight actions, of more from all; with places fewer.

        Two clips of each combination, unless there are many of these and a query never looks as its class does.
        """
        places, one_rule = "place" in self.rules, len(self.rules) == 1
        n_actions = (4 if places else 8) if self.frames == 1 else (8 if places else None)
        n_draws = 2 if one_rule or (self.frames == 1 and not places) else 1
        return AttributeClips(part, n_draws, n_actions, self.frames, places)

    def tokens(self, part: str, model: TaskAdapterViT) -> PrefixCache:
        """Their tokens for models as deep as this one."""
        key = (part, prefix_key(model))
        if key not in self.caches:
            clips = self.clips(part)
            views = 1 if part == "train" else None
            self.caches[key] = PrefixCache.in_folder(self.folder, model, clips, views=views)
        return self.caches[key]


def run_which_attribute(
    budget: TaskBudget, seeds: Sequence[int], out: Path, rungs: Sequence[TaskRung] = RUNGS, progress: bool = True
) -> None:
    """Train and test each row with each seed; what `out` holds already is not done again.

    Adapters are kept in the folder `trained` of `out` and frozen tokens in `tokens`, so that a run that was cut off
    goes on, and a further control needs no training. Rows without training are tested once.
    """
    pool = Pool(budget.frames, out / "tokens", budget.rules)
    for seed in seeds:
        for rung in rungs:
            if rung.name in ALIGNED and budget.frames == 1:
                continue
            if rung.trained or seed == seeds[0]:
                _run_rung(rung, budget, seed, pool, out, progress)


def what_is_tested(rung: TaskRung, budget: TaskBudget) -> list[tuple[str, str]]:
    """Values and control of each test of a row.

    Where clips attend to each other, what goes around the queries is changed; other mixes are tested as trained alone.
    Where actions may count among others, they are also asked for without a look that misleads.
    """
    if budget.mix < 1:
        return [("unseen values", AS_TRAINED)]
    changed: Sequence[str] = ()
    if "task" in rung.axes:
        changed = CONTROLS[1:] if rung.scope == "inductive" and rung.metric == "cosine" else (ALONE, OFF)
        changed = (OFF,) if budget.frames > 1 else changed  # the others are dear there and say the same
    neutral = (NEUTRAL,) if "action" in budget.rules and len(budget.rules) > 1 else ()
    unseen = [("unseen values", control) for control in (AS_TRAINED, *neutral, *changed)]
    return [*unseen, *(("seen values", control) for control in (AS_TRAINED, *neutral))]


def _run_rung(rung: TaskRung, budget: TaskBudget, seed: int, pool: Pool, out: Path, progress: bool) -> None:
    missing = [key for key in what_is_tested(rung, budget) if not result_file(out, rung, budget, *key, seed).exists()]
    if not missing:
        return
    model, scorer, about = trained_rung(rung, budget, seed, pool, out, progress)
    for values, control in missing:
        result = _tested(model, scorer, rung, budget, pool, values, control, progress)
        result.seeds |= {"training": seed}
        result.metadata |= about | {"values": values, "control": control}
        result.metadata |= {"rules": ["action"]} if control == NEUTRAL else {}
        result.save(result_file(out, rung, budget, values, control, seed))


def trained_rung(
    rung: TaskRung, budget: TaskBudget, seed: int, pool: Pool, out: Path, progress: bool
) -> tuple[TaskAdapterViT, str | Scorer, dict]:
    """The row's model, trained now or before, its head, and what results say about it."""
    torch.manual_seed(seed)
    model = new_model(rung, budget)
    about: dict = {"rung": rung.name, "mix": budget.mix, "frames": budget.frames, "rules": list(budget.rules)}
    about |= {"data": "constructed", "training_seconds": 0.0}
    if not rung.trained:
        return model, rung.metric, about
    name = file_name(f"{rung.name} {budget.setting} seed {seed}")
    folder = out / "trained" / name
    if not (folder / "result.json").exists() or RunResult.load(folder / "result.json").interrupted:
        learn(model, rung, budget, seed, pool, folder, progress)
    training = RunResult.load(folder / "result.json")
    about |= {"training_seconds": round(training.seconds, 1), "training": training.config}
    about |= {"start": None if budget.start is None else "adapters of the main setting"}
    about |= {"neutral_in_training": neutral_shares(budget)}
    state = load_checkpoint(folder / "adapters.safetensors", model)["training_state"] or {}
    scorer: str | Scorer = rung.metric
    if METRICS[rung.metric].has_parameters:
        scorer = METRICS[rung.metric].build(model.feature_dim, model.T)
        assert isinstance(scorer, nn.Module)
        scorer.load_state_dict(without_prefix(state, "objective.metric."))
    return model, scorer, about


def new_model(rung: TaskRung, budget: TaskBudget) -> TaskAdapterViT:
    """A row's model at its start."""
    axes = ("time", *rung.axes) if rung.axes and budget.frames > 1 else rung.axes
    depth = DEPTH if rung.axes else 0
    return TaskAdapterViT(load_backbone(), depth, T=budget.frames, axes=axes, scope=rung.scope).to(budget.device)


def learn(
    model: TaskAdapterViT, rung: TaskRung, budget: TaskBudget, seed: int, pool: Pool, folder: Path, progress: bool
) -> None:
    """Train a row's model, from adapters of one frame where the budget names them.

    Each part of `neutral_shares` is a training of `n_steps`, which goes on from the one before. A head that has
    parameters starts anew.

    Raises:
        KeyboardInterrupt: training was stopped; the next call goes on from there.
    """
    if budget.start is not None:
        start_from(model, budget.start, rung, seed)
    *earlier, last = neutral_shares(budget)
    for i, shares in enumerate(earlier, 1):
        if _train(model, rung, budget, seed + 100 * i, pool, folder / f"part_{i}", progress, shares).interrupted:
            raise KeyboardInterrupt
    if _train(model, rung, budget, seed, pool, folder, progress, last).interrupted:
        raise KeyboardInterrupt


def neutral_shares(budget: TaskBudget) -> list[dict[str, float]]:
    """Share of training tasks in which nothing misleads, rule -> share, for each part of training; not at test.

    With more than two rules the loss stays at that of guessing where every look misleads. Where actions count beside
    looks, in all tasks about actions, then in half of them; else in half of all tasks.
    """
    if budget.actions_beside_looks:
        return [{"action": 1.0}, {"action": 0.5}]
    return [dict.fromkeys(budget.rules, 0.5) if len(budget.rules) > 2 else {}]


def start_from(model: TaskAdapterViT, start: Path, rung: TaskRung, seed: int) -> None:
    """Give a model the adapters that the same row and seed had learnt from clips of one frame, below `start`.

    Attention over time and its embedding stay at their own start.
    """
    budget, name = TaskBudget(), rung.name.removesuffix(", OTAM").removesuffix(", TRX")
    taught = new_model(rung, budget)
    folder = file_name(f"{name} {budget.setting} seed {seed}")
    load_checkpoint(start / "trained" / folder / "adapters.safetensors", taught)
    kept = taught.adapter_state()
    del kept["temporal"]
    device = next(model.parameters()).device
    model.load_adapter_state(model.adapter_state() | {name: v.to(device) for name, v in kept.items()})


def _train(
    model: TaskAdapterViT,
    rung: TaskRung,
    budget: TaskBudget,
    seed: int,
    pool: Pool,
    folder: Path | None,
    progress: bool,
    neutral: Mapping[str, float] | None = None,
) -> RunResult:
    n_episodes = budget.n_steps * budget.episodes_per_step
    clips = pool.clips("train")
    episodes = AttributeEpisodes(clips, SPEC, n_episodes, seed, budget.rules, budget.mix, neutral or {})
    config = TrainConfig.recommended(
        n_steps=budget.n_steps,
        episodes_per_step=budget.episodes_per_step,
        learning_rate=TUNED_RATE if rung.trainable == "all" else budget.learning_rate,
        trainable=rung.trainable,
        metric=rung.metric,
        temperature=16 / budget.frames if rung.metric == "otam" else 16.0,  # OTAM sums two distances a frame
        warmup_steps=min(50, budget.n_steps),
        views=1,
        auxiliary_weight=0.0,  # a class of these episodes exists in its episode alone
        validation_every=0,
        log_every=50,
        seed=seed,
    )
    return train(
        model,
        clips,
        episodes,
        config,
        resume=None if folder is None else "auto",
        out=folder,
        cache=pool.folder,
        progress=progress,
        name=rung.name,
    )


def _tested(
    model: TaskAdapterViT,
    scorer: str | Scorer,
    rung: TaskRung,
    budget: TaskBudget,
    pool: Pool,
    values: str,
    control: str,
    progress: bool,
) -> RunResult:
    part, episode_seed = PARTS[values]
    cache = pool.tokens(part, model)
    assert isinstance(cache.clips, AttributeClips)
    episodes = AttributeEpisodes(cache.clips, SPEC, budget.n_test, episode_seed, budget.rules, budget.mix)
    changed: dict[str, Callable] = {ALONE: one_query_alone, REPLACED: one_support_clip_replaced}
    changed |= {NEUTRAL: no_look_misleads}
    asked = changed[control](episodes) if control in changed else episodes
    tested = without_task_attention(model) if control == OFF else model
    result = evaluate(tested, cache, asked, scorer, name=rung.name, progress=progress)
    result.seeds |= {"episodes": episode_seed}
    if control in (SAME_RULE, OTHER_RULE, NOBODY):
        start, given = time.perf_counter(), (model, cache, episodes)
        accuracies = (
            each_clip_alone(*given) if control == NOBODY else beside_other_support(*given, control == SAME_RULE)
        )
        return with_accuracies(result, accuracies, time.perf_counter() - start)
    return result


def tune_which_attribute(budget: TaskBudget, out: Path, progress: bool = True) -> list[RunResult]:
    """Train the rows of `TUNED` with each rate, seed 0, and score them on values of validation; kept in `out`."""
    pool, results = Pool(budget.frames, out / "tokens", budget.rules), []
    for rung in (rung for rung in RUNGS if rung.name in TUNED):
        for rate in RATES:
            file = out / "learning_rates" / f"{file_name(f'{rung.name} {budget.setting}')}_{rate:g}.json"
            if not file.exists():
                torch.manual_seed(0)
                model, given = new_model(rung, budget), replace(budget, learning_rate=rate)
                training = _train(model, rung, given, 0, pool, None, progress)
                cache = pool.tokens("val", model)
                assert isinstance(cache.clips, AttributeClips)
                episodes = AttributeEpisodes(cache.clips, SPEC, 500, 1_000_003, budget.rules, budget.mix)
                name = f"{rung.name}, learning rate {rate:g}"
                result = evaluate(model, cache, episodes, rung.metric, name=name, progress=progress)
                about = {"rung": rung.name, "learning_rate": rate, "mix": budget.mix, "values": "validation values"}
                result.metadata |= about | {"training": training.config, "control": AS_TRAINED}
                result.history = training.history
                result.save(file)
            results.append(RunResult.load(file))
    return results


def result_file(out: Path, rung: TaskRung, budget: TaskBudget, values: str, control: str, seed: int) -> Path:
    """Where a result lies."""
    return out / f"{file_name(f'{rung.name} {budget.setting} {values} {control} seed {seed}')}.json"
