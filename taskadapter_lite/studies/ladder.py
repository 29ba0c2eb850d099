"""Rungs -> results: the same backbone, episodes and budget for every way of using it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any, TypeVar

import pandas as pd
import torch
from torch import Tensor

from taskadapter_lite.backbone import BUNDLED, load_backbone
from taskadapter_lite.cache import PrefixCache
from taskadapter_lite.data.datasets import SpriteClips, bundled_clips
from taskadapter_lite.data.labelled import LabelledClips
from taskadapter_lite.episodes import Episode, EpisodeSampler, EpisodeSpec, load_episodes
from taskadapter_lite.evaluation import evaluate
from taskadapter_lite.files import data_dir
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.results import RunResult, comparison_table
from taskadapter_lite.sprites.render import partners
from taskadapter_lite.training.checkpoints import load_checkpoint, load_model, save_checkpoint
from taskadapter_lite.training.loop import TrainConfig, train

NamedRung = TypeVar("NamedRung", bound=Any)  # of this ladder or another: it has a name
AIM = ("time", "space", "joint")
ALL = ("time", "space", "task", "joint")


@dataclass(frozen=True)
class Rung:
    """One row of the ladder.

    Attributes:
        name: of the row.
        model: arguments of `TaskAdapterViT` beside the backbone.
        training: settings that differ from the budget's; None: nothing is trained.
        metric: compares features, in training and at test.
        n_query: training queries a class.
        rendered: train on so many freshly rendered clips a class instead of the bundled ones.
        shuffled: destroy the order of the frames at test (a control).
        weights: name of another rung whose trained model is used instead of training anew.
        group: "main", or the name of an ablation.
    """

    name: str
    model: dict = field(default_factory=dict)
    training: dict | None = field(default_factory=dict)
    metric: str = "cosine"
    n_query: int = 3
    rendered: int | None = None
    shuffled: bool = False
    weights: str | None = None
    group: str = "main"


FROZEN = {"depth": 0, "axes": ()}
TUNED = {"trainable": "all"}  # every weight of the backbone
TUNED_RATE = 3e-4  # of full fine-tuning where none has been chosen: pre-trained weights do not survive the adapters'
OTAM = {"metric": "otam", "temperature": 2.0}  # a sum over 16 frame distances, so a lower temperature to start from
RUNGS = (
    Rung("Frozen, cosine", FROZEN, None),
    Rung("Frozen, OTAM", FROZEN, None, metric="otam"),
    Rung("Frozen, Bi-MHM", FROZEN, None, metric="bimhm"),
    Rung("Full fine-tuning", FROZEN, TUNED),
    Rung("Full fine-tuning, OTAM", FROZEN, TUNED | OTAM, metric="otam"),
    Rung("Space + joint (order-blind)", {"axes": ("space", "joint"), "temporal_embedding": None}),
    Rung("+ time", {"axes": AIM}),
    Rung("+ task, split (published)", {"axes": ALL, "scope": "split"}),
    Rung("+ task, joint", {"axes": ALL, "scope": "joint"}),
    Rung("+ task, inductive", {"axes": ALL, "scope": "inductive"}),
    Rung("+ task, inductive, frames shuffled", {"axes": ALL}, shuffled=True, weights="+ task, inductive"),
    Rung("+ time, OTAM", {"axes": AIM}, OTAM, metric="otam"),
    Rung("+ task, inductive, OTAM", {"axes": ALL, "scope": "inductive"}, OTAM, metric="otam"),
    Rung(
        "+ task, inductive, OTAM, frames shuffled",
        {"axes": ALL},
        metric="otam",
        shuffled=True,
        weights="+ task, inductive, OTAM",
    ),
    Rung(
        "Trained with cosine, tested with OTAM", {"axes": ALL}, metric="otam", weights="+ task, inductive", group="head"
    ),
    Rung("Trained with OTAM, tested with cosine", {"axes": ALL}, weights="+ task, inductive, OTAM", group="head"),
    Rung(
        "Order-blind, OTAM", {"axes": ("space", "joint"), "temporal_embedding": None}, OTAM, metric="otam", group="head"
    ),
    Rung("Task adapter's start not zero", {"axes": ALL, "zero_init": False}, group="start"),
    Rung("Embedding at the input", {"axes": ALL, "temporal_embedding": "input"}, group="start"),
    Rung("Embedding starts at zero", {"axes": ALL, "temporal_std": 0.0}, group="start"),
    Rung("+ task, inductive, all frames", {"axes": ALL, "task_frames": "all"}, group="what task attention sees"),
    Rung("+ task, inductive, class mark", {"axes": ALL, "class_mark": True}, group="what task attention sees"),
    *(Rung(f"L = {depth}", {"axes": ALL, "depth": depth}, group="depth") for depth in (1, 2, 3, 5, 6)),
    *(Rung(f"{n} queries a class", {"axes": ALL}, n_query=n, group="queries") for n in (1, 5)),
    Rung("4 episodes a step", {"axes": ALL}, {"episodes_per_step": 4}, group="recipe"),
    Rung("120 rendered clips a class", {"axes": ALL}, rendered=120, group="recipe"),
    Rung("No auxiliary loss", {"axes": ALL}, {"auxiliary_weight": 0.0}, group="recipe"),
    Rung("Fixed temperature 64", {"axes": ALL}, {"temperature": 64.0, "learn_temperature": False}, group="recipe"),
    Rung("SGD 1e-3", {"axes": ALL}, {"optimizer": "sgd", "learning_rate": 1e-3}, group="recipe"),
)


# Learning rates tried on the validation classes, as carefully for full fine-tuning as for adapters
RATES = {
    "Full fine-tuning": (1e-4, 3e-4, 1e-3, 3e-3),
    "Full fine-tuning, OTAM": (1e-4, 3e-4, 1e-3),
    "+ task, inductive": (1e-3, 3e-3, 1e-2),
    "+ time, OTAM": (1e-3, 3e-3, 1e-2),
    "+ task, inductive, OTAM": (1e-3, 3e-3, 1e-2),
}
VALIDATION = (EpisodeSpec(n_way=5, k_shot=1, n_query=1), 1000, 12_345)  # size, number, seed of the choosing episodes


@dataclass(frozen=True)
class Budget:
    """What every rung gets.

    Attributes:
        n_steps: training episodes.
        depth: adapted blocks; 3 was chosen on the validation classes among 3, 4 and 5 (notebooks/results/depth).
        temporal_std: spread of the temporal embedding's start.
        test_episodes: the first so many of the saved list; None: all 2,000.
        precision: "fp32" or "bf16".
        device: where.
        rendered: train on so many freshly rendered clips a class; None: on the bundled clips.
        level: of the clips in training and at test, "plain" or "cluttered".
        size: side of the frames in pixels.
        views: fixed readings of a training clip.
        backbone: the bundled one or a timm name.
        weights: a .safetensors file with the weights of that backbone.
        backbone_depth: its first so many blocks alone; None: all.
    """

    n_steps: int = 500
    depth: int = 3
    temporal_std: float = 0.5
    test_episodes: int | None = None
    precision: str = "fp32"
    device: str = "cpu"
    rendered: int | None = None
    level: str = "plain"
    size: int = 64
    views: int = 4
    backbone: str = BUNDLED
    weights: Path | None = None
    backbone_depth: int | None = None


class ShuffledFrames(LabelledClips):
    """The same clips with the frames of each in an order drawn from its number."""

    def __init__(self, clips: LabelledClips):
        super().__init__(clips.paths, clips.labels, clips.class_names, clips.T, clips.seed)
        self._clips = clips

    def read(self, index: int, view: int | None = None) -> Tensor:
        """Frames of clip `index`, uint8 (T, 3, H, W), shuffled."""
        order = torch.randperm(self.T, generator=torch.Generator().manual_seed(index))
        return self._clips.read(index, view)[order]


def build(rung: Rung, budget: Budget, seed: int) -> TaskAdapterViT:
    """The rung's model at its start."""
    torch.manual_seed(seed)
    size: dict[str, Any] = {} if budget.backbone == BUNDLED else {"img_size": budget.size}
    size |= {} if budget.backbone_depth is None else {"depth": budget.backbone_depth}
    architecture = budget.backbone if budget.weights else None
    backbone = load_backbone(budget.weights or budget.backbone, architecture=architecture, **size)
    arguments = {"depth": budget.depth, "temporal_std": budget.temporal_std} | rung.model
    return TaskAdapterViT(backbone, **arguments).to(budget.device)


def train_rung(
    rung: Rung, budget: Budget, seed: int, clips: LabelledClips, rate: float | None = None, progress: bool = True
) -> tuple[TaskAdapterViT, RunResult]:
    """Train a rung's model with its own learning rate, else with `rate`, else with the recipe's."""
    model = build(rung, budget, seed)
    config = TrainConfig.recommended(
        n_steps=budget.n_steps,
        seed=seed,
        precision=budget.precision,
        views=budget.views,
        validation_every=0,
        checkpoint_every=10**9,
    )
    training = rung.training or {}
    if rate is None and training.get("trainable") == "all":
        rate = TUNED_RATE
    chosen: dict[str, Any] = {"learning_rate": rate or config.learning_rate, "metric": rung.metric}
    config = replace(config, **(chosen | training))
    config = replace(config, n_steps=max(1, budget.n_steps // config.episodes_per_step))  # the same episodes in all
    spec = EpisodeSpec(n_way=5, k_shot=1, n_query=rung.n_query)
    episodes = EpisodeSampler.of(clips, spec, budget.n_steps, seed)
    return model, train(model, clips, episodes, config, progress=progress, name=rung.name)


def open_part(split: str, budget: Budget, rendered: int | None = None) -> LabelledClips:
    """The bundled clips; rendered ones where another number a class, another level or another size is asked for."""
    bundled = bundled_clips(split)
    if rendered is None and (budget.level, budget.size) == ("plain", 64):
        return bundled
    n = rendered or len(bundled) // len(bundled.class_names)
    return SpriteClips(split, n, size=budget.size, level=budget.level, device=budget.device)


def trained_rung(rung: Rung, budget: Budget, seed: int, out: Path, progress: bool) -> tuple[TaskAdapterViT, dict]:
    """The rung's trained model and how it was trained; trained only if `out` does not hold it yet."""
    if rung.training is None:
        return build(rung, budget, seed), {}
    file = out / "adapters" / f"{file_name(rung.weights or rung.name)}_seed{seed}.safetensors"
    if not file.exists():
        if rung.weights:
            raise ValueError(
                f"{rung.name!r} uses the model of {rung.weights!r}, which has not been trained: run that first"
            )
        rate = chosen_rate(rung, out)
        clips = open_part("train", budget, rung.rendered or budget.rendered)
        model, training = train_rung(rung, budget, seed, clips, rate, progress)
        file.parent.mkdir(parents=True, exist_ok=True)
        about = {"config": training.config, "seconds": round(training.seconds, 1), "seed": seed}
        about["history"] = training.history
        save_checkpoint(file, model, metadata=about)
    model = load_model(file).to(budget.device)
    return model, load_checkpoint(file, model)["metadata"]


def run_rung(rung: Rung, budget: Budget, seed: int, shots: tuple[int, ...], out: Path, progress: bool = True) -> None:
    """Train and test one rung with one seed; what is already in `out` is not done again."""
    files = {k: out / f"{file_name(rung.name)}_{k}shot_seed{seed}.json" for k in shots}
    if all(file.exists() for file in files.values()):
        return
    model, trained = trained_rung(rung, budget, seed, out, progress)
    test = open_part("test", budget)
    clips = ShuffledFrames(test) if rung.shuffled else test
    source = PrefixCache(model, clips) if caches(model, rung) else clips
    about = {"training_seconds": trained.get("seconds", 0.0), "group": rung.group, "shuffled": rung.shuffled}
    for k, file in files.items():
        result = evaluate(
            model,
            source,
            saved_episodes(k, test)[: budget.test_episodes],
            rung.metric,
            pairs=partners(),
            batch_size=4,
            precision=budget.precision,
            progress=progress,
            name=rung.name,
            seeds={"training": seed},
            metadata=about | {"shots": k},
        )
        result.config |= {"training": trained.get("config")}
        result.history = [] if rung.weights else trained.get("history", [])
        result.dataset = test.fingerprint
        result.save(file)


def run_ladder(budget: Budget, seeds: Sequence[int], shots: tuple[int, ...], out: Path, rungs: Sequence[Rung]) -> None:
    """Run every rung with every seed, a frozen one once; what is already in `out` is not done again."""
    for seed in seeds:
        for rung in rungs:
            if rung.training is not None or seed == seeds[0]:
                run_rung(rung, budget, seed, shots, out)


def wanted(rungs: Sequence[NamedRung], words: Sequence[str] | None) -> list[NamedRung]:
    """The rungs that are asked for; no words mean all of them.

    A word that is the whole name of a rung means that one alone; others mean all names that hold them.
    """
    if not words:
        return list(rungs)
    full = {rung.name for rung in rungs}
    return [rung for rung in rungs if any(w == rung.name if w in full else w in rung.name for w in words)]


def tune_rungs(names: Sequence[str], budget: Budget, out: Path) -> Iterator[RunResult]:
    """Each of these rungs with each of its learning rates, on the validation classes."""
    if unknown := sorted(set(names) - set(RATES)):
        raise ValueError(f"no learning rates are listed for {unknown[0]!r}, but for {', '.join(RATES)}")
    for name in names:
        yield from tune(name, budget, out)


def tune(name: str, budget: Budget, out: Path) -> list[RunResult]:
    """Train the rung `name` with each of its `RATES`, seed 0, and score it on validation classes; kept in `out`."""
    rung = next(rung for rung in RUNGS if rung.name == name)
    clips, training_clips = open_part("val", budget), open_part("train", budget, budget.rendered)
    spec, n_episodes, seed = VALIDATION
    episodes = EpisodeSampler.of(clips, spec, n_episodes, seed)
    results = []
    for rate in RATES[name]:
        file = out / "learning_rates" / f"{file_name(name)}_{rate:g}.json"
        if file.exists():
            results.append(RunResult.load(file))
            continue
        model, training = train_rung(rung, budget, 0, training_clips, rate)
        about = {"rung": name, "learning_rate": rate, "training_seconds": round(training.seconds, 1)}
        label = f"{name}, learning rate {rate:g}"
        result = evaluate(model, clips, episodes, rung.metric, pairs=partners(), name=label, metadata=about)
        result.config |= {"training": training.config}
        result.save(file)
        results.append(result)
    return results


def chosen_rate(rung: Rung, out: Path) -> float | None:
    """The learning rate that did best on the validation classes for the rung, or for the nearest one tried.

    Nearest: with the same head, else with the cosine head; adapters and full fine-tuning apart. None: nothing tried.
    """
    training = rung.training or {}
    basis = "Full fine-tuning" if training.get("trainable") == "all" else "+ task, inductive"
    same_head = [f"{basis}, OTAM"] if training.get("metric") == "otam" else []
    for name in (rung.name, *same_head, basis):
        files = (out / "learning_rates").glob(f"{file_name(name)}_*.json")
        tried = [result for file in files if (result := RunResult.load(file)).metadata["rung"] == name]
        if tried:
            return max(tried, key=lambda result: fmean(result.accuracies)).metadata["learning_rate"]
    return None


def caches(model: TaskAdapterViT, rung: Rung) -> bool:
    """True where a clip's prefix does not depend on what is trained."""
    return model.config["temporal_embedding"] != "input" and (rung.training or {}).get("trainable") != "all"


def saved_episodes(shots: int, clips: LabelledClips) -> list[Episode]:
    """The saved list of test episodes that all rungs share; of clips with other pixels, the same places in the list."""
    plain = clips.fingerprint == bundled_clips("test").fingerprint
    return load_episodes(data_dir() / "episodes" / f"test_5way_{shots}shot.json", clips if plain else clips.labels)


def file_name(name: str) -> str:
    """A row's name as a file name."""
    words = "".join(c if c.isalnum() else " " for c in name.lower().replace("+", "with")).split()
    return "_".join(words)


def load_results(folder: Path) -> Iterator[RunResult]:
    """All results of a ladder's folder, in the order of the rungs."""
    for rung in RUNGS:
        for file in sorted(folder.glob(f"{file_name(rung.name)}_?shot_seed*.json")):
            yield RunResult.load(file)


def ladder_table(results: Sequence[RunResult], shots: int) -> pd.DataFrame:
    """The rows of one number of shots in percent, as `comparison_table`, and what each took.

    Further columns: `pairs`: share of right answers among those that name a query's class or its reversed partner
    (50 is a coin); `parameters`: trained ones; `seconds`: of training, median over seeds; `group` of the rung.
    """
    rows = [result for result in results if result.metadata["shots"] == shots]
    names = list(dict.fromkeys(result.name for result in rows))
    table = comparison_table(rows, baseline="Frozen, cosine" if "Frozen, cosine" in names else None)
    runs = [[result for result in rows if result.name == name] for name in names]
    right, partner = ([sum(run.pairs[key] for run in same) for same in runs] for key in ("right", "partner"))
    table["pairs"] = [100 * r / (r + p) if r + p else math.nan for r, p in zip(right, partner, strict=True)]
    table["parameters"] = [same[0].trainable_parameters for same in runs]
    table["seconds"] = [median(run.metadata["training_seconds"] for run in same) for same in runs]
    table["group"] = [same[0].metadata["group"] for same in runs]
    return table
