"""Fifty real clips to train on -> frozen, fine-tuned and adapted models on the other classes of the same set.

A regime of very few data: the paper says that full fine-tuning overfits where adapters do not; here that can be looked
at. Settings are those of `sim_to_real` and are not tuned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from taskadapter_lite.cache import PrefixCache
from taskadapter_lite.data.labelled import FileClips
from taskadapter_lite.episodes import EpisodeSampler, check_disjoint
from taskadapter_lite.evaluation import evaluate
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.results import RunResult, comparison_table, saved_results
from taskadapter_lite.studies import sim_to_real
from taskadapter_lite.studies.ladder import AIM, TUNED_RATE, file_name, wanted
from taskadapter_lite.studies.sim_to_real import (
    EPISODE_SEED,
    REAL,
    TEMPERATURES,
    TEST_SPEC,
    TRAINING_SPEC,
    Rung,
    SimBudget,
    open_real,
)
from taskadapter_lite.training.checkpoints import load_checkpoint
from taskadapter_lite.training.loop import TrainConfig, train

METRIC = "otam"
PARTS = ("training classes", "other classes")
SPRITES_RUN = "with_time_otam_seed{}"  # the folder of `sim_to_real` whose adapters one rung starts from


@dataclass(frozen=True)
class RealRung:
    """One row.

    Attributes:
        name: of the row.
        axes: what is adapted.
        trainable: "adapters", "all", or None where nothing is trained.
        rate: the learning rate.
        from_sprites: start from adapters that were trained on rendered sprites.
    """

    name: str
    axes: tuple[str, ...] = AIM
    trainable: str | None = "adapters"
    rate: float = 1e-3
    from_sprites: bool = False


RUNGS = (
    RealRung("Frozen", (), None),
    RealRung("Adapters trained on sprites alone", trainable=None, from_sprites=True),
    RealRung("Adapters"),
    RealRung("Adapters, started from those of sprites", from_sprites=True),
    RealRung("Full fine-tuning", (), "all", TUNED_RATE),
)


@dataclass(frozen=True)
class RealBudget:
    """What every row gets.

    Attributes:
        n_steps: training episodes, 5-way 1-shot with one query a class.
        n_test: episodes of each test.
        views: random readings of a training clip.
        depth: adapted blocks.
        backbone: a name that `load_backbone` knows.
        size: side of the frames in pixels.
        device: where.
    """

    n_steps: int = 60
    n_test: int = 120
    views: int = 2
    depth: int = 2
    backbone: str = "dinov2_small"
    size: int = 112
    device: str = "cpu"


def training_classes(name: str, class_names: Sequence[str]) -> list[str]:
    """The five classes to train on: the toy set's own part, and every second sign."""
    return [c for c in class_names if c.startswith("train")] if name == "ssv2_toy" else list(class_names[::2])


def open_parts(root: Path, name: str, size: int) -> dict[str, FileClips]:
    """A real set in two: the classes that are trained on, and the others."""
    clips = open_real(root, name, size)
    trained = training_classes(name, clips.class_names)
    other = [c for c in clips.class_names if c not in trained]
    check_disjoint(training=trained, test=other)
    return {PARTS[0]: clips.subset(trained), PARTS[1]: clips.subset(other)}


def build(rung: RealRung, budget: RealBudget, seed: int, sprites: Path | None) -> TaskAdapterViT:
    """The rung's model at its start.

    Raises:
        ValueError: it starts from adapters of sprites, and no folder of `sim_to_real` is given.
    """
    same = SimBudget(depth=budget.depth, backbone=budget.backbone, size=budget.size, device=budget.device)
    model = sim_to_real.build(Rung(rung.name, rung.axes), same, seed)
    if rung.from_sprites:
        if sprites is None:
            raise ValueError(f"{rung.name!r} needs --start DIR, the folder of --tasks sim-to-real with its runs")
        load_checkpoint(sprites / "runs" / SPRITES_RUN.format(seed) / "adapters.safetensors", model)
    return model


def train_rung(
    model: TaskAdapterViT, rung: RealRung, budget: RealBudget, seed: int, clips: FileClips, out: Path
) -> None:
    """Train the model in place; frozen tokens are kept in `out`."""
    if rung.trainable is None:
        return
    config = TrainConfig.recommended(
        n_steps=budget.n_steps,
        learning_rate=rung.rate,
        trainable=rung.trainable,
        metric=METRIC,
        temperature=TEMPERATURES[METRIC],
        views=budget.views,
        precision="bf16",
        validation_every=0,
        seed=seed,
    )
    episodes = EpisodeSampler(clips.labels, TRAINING_SPEC, budget.n_steps, seed, clips.class_names, clips.groups)
    train(model, clips, episodes, config, cache=out / "tokens", name=rung.name)


def run_real_training(
    budget: RealBudget,
    seeds: Sequence[int],
    root: Path,
    out: Path,
    only: Sequence[str] = (),
    sprites: Path | None = None,
) -> None:
    """Train and test each rung on each real set; what `out` holds already is not done again.

    Args:
        budget: what every row gets.
        seeds: of training; a frozen rung has one.
        root: folder of the real sets.
        out: folder of results and tokens.
        only: names of rungs, or words that they hold, see `wanted`; none means all.
        sprites: folder of `sim_to_real` whose adapters some rungs start from.
    """
    for seed in seeds:
        for name in REAL:
            parts = open_parts(root, name, budget.size)
            for rung in wanted(RUNGS, only):
                if rung.trainable is not None or rung.from_sprites or seed == seeds[0]:
                    _run_rung(rung, budget, seed, name, parts, out, sprites)


def _run_rung(
    rung: RealRung,
    budget: RealBudget,
    seed: int,
    name: str,
    parts: dict[str, FileClips],
    out: Path,
    sprites: Path | None,
) -> None:
    files = {part: out / f"{file_name(f'{rung.name} {name} {part} seed {seed}')}.json" for part in PARTS}
    if all(file.exists() for file in files.values()):
        return
    model = build(rung, budget, seed, sprites)
    train_rung(model, rung, budget, seed, parts[PARTS[0]], out)
    for part, file in files.items():
        result = evaluate_part(model, parts[part], rung, budget, out)
        result.seeds |= {"training": seed}
        result.metadata |= {"set": name, "part": part, "learning_rate": rung.rate if rung.trainable else None}
        result.metadata |= {"training_steps": budget.n_steps if rung.trainable else 0}
        result.save(file)


def evaluate_part(model: TaskAdapterViT, clips: FileClips, rung: RealRung, budget: RealBudget, out: Path) -> RunResult:
    """One evaluation, always on the same episodes of a part."""
    kept = None
    if rung.trainable != "all":  # else the frozen blocks are not those of other rungs, and not worth keeping
        kept = PrefixCache.in_folder(out / "tokens", model, clips, dtype=torch.bfloat16, precision="bf16")
    episodes = EpisodeSampler(clips.labels, TEST_SPEC, budget.n_test, EPISODE_SEED, clips.class_names, clips.groups)
    return evaluate(model, clips, episodes, METRIC, cache=kept, keep_queries=True, batch_size=2, name=rung.name)


def load_real_training(out: Path) -> Iterator[RunResult]:
    """All results of a folder, in the order of the rows."""
    return saved_results(out, [rung.name for rung in RUNGS])


def real_training_table(results: Sequence[RunResult], name: str, part: str) -> pd.DataFrame:
    """The rows of one set and part in percent, as `comparison_table`, each beside the frozen backbone."""
    rows = [r for r in results if (r.metadata["set"], r.metadata["part"]) == (name, part)]
    baseline = "Frozen" if any(row.name == "Frozen" for row in rows) else None
    return comparison_table(rows, baseline=baseline)
