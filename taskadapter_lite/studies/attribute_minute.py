"""Portraits with known attributes -> the study of "which attribute counts" in about a minute: for the demo.

Frozen, adapted without and with task attention; tested on colours and forms that training never showed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.cache import PrefixCache
from taskadapter_lite.data.which_attribute import AttributeEpisodes, AttributePortraits
from taskadapter_lite.episodes import Episode, EpisodeSpec
from taskadapter_lite.evaluation import evaluate
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.results import RunResult
from taskadapter_lite.training.checkpoints import save_checkpoint
from taskadapter_lite.training.config import TrainConfig
from taskadapter_lite.training.loop import train

SPEC = EpisodeSpec(n_way=5, k_shot=1, n_query=1)
WITHOUT, WITH = "Task-Adapter without task attention", "Task-Adapter with task attention"
ROWS = {"Frozen backbone": (), WITHOUT: ("space", "joint"), WITH: ("space", "task", "joint")}
N_STEPS, EPISODES_PER_STEP, N_TEST = 600, 8, 500
LEARNING_RATE = 5e-3
TEST_SEED = 1_000_001


def run_in_a_minute(
    device: torch.device, seed: int, out: Path, quick: bool = False, progress: bool = True
) -> tuple[list[RunResult], TaskAdapterViT]:
    """Train and test each row; `out` gets the adapters with task attention.

    Returns:
        one result a row, and the model with task attention.
    """
    pools = {part: AttributePortraits(part) for part in ("train", "test")}
    episodes = AttributeEpisodes(pools["test"], SPEC, 20 if quick else N_TEST, TEST_SEED)
    results = []
    for name, axes in ROWS.items():
        torch.manual_seed(seed)
        model = TaskAdapterViT(load_backbone(), 3 if axes else 0, T=1, axes=axes).to(device)
        trained = _train(model, pools["train"], seed, 10 if quick else N_STEPS, name, progress) if axes else None
        cache = PrefixCache(model, pools["test"])
        result = evaluate(model, cache, episodes, "cosine", name=name, progress=progress)
        result.seeds |= {"training": seed}
        result.metadata |= {"data": "constructed", "training_seconds": 0.0 if trained is None else trained.seconds}
        result.config |= {"training": None if trained is None else trained.config}
        results.append(result)
    save_checkpoint(out / "which_attribute.safetensors", model, metadata={"trained_on": pools["train"].fingerprint})
    return results, model


def _train(
    model: TaskAdapterViT, pool: AttributePortraits, seed: int, n_steps: int, name: str, progress: bool
) -> RunResult:
    episodes = AttributeEpisodes(pool, SPEC, n_steps * EPISODES_PER_STEP, seed)
    config = TrainConfig.recommended(
        n_steps=n_steps,
        episodes_per_step=EPISODES_PER_STEP,
        learning_rate=LEARNING_RATE,
        warmup_steps=min(50, n_steps),
        views=1,
        auxiliary_weight=0.0,  # a class of these episodes exists in its episode alone
        validation_every=0,
        log_every=50,
        seed=seed,
    )
    return train(model, pool, episodes, config, progress=progress, name=name)


def queries_in_two_tasks(episodes: AttributeEpisodes) -> Iterator[tuple[int, list[Episode]]]:
    """Clips that are asked under each of two rules: the clip's number, and two tasks cut to that one query.

    The tasks are in the order of `episodes.rules`.
    """
    asked: dict[int, dict[str, Episode]] = {}
    for i, e in enumerate(episodes):
        rule = episodes.rule_of(i)
        for q, clip in enumerate(e.query.tolist()):
            found = asked.setdefault(clip, {})
            if rule in found:
                continue
            found[rule] = Episode(e.support, e.query[q : q + 1], e.support_labels, e.query_labels[q : q + 1], e.classes)
            if len(found) == 2:
                yield clip, [found[name] for name in episodes.rules if name in found]
