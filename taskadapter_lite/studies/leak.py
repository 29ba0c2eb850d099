"""The same trained model and the same tasks, another mix of queries -> what a scope gains from seeing the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from taskadapter_lite.cache import PrefixCache
from taskadapter_lite.episodes import Episode
from taskadapter_lite.evaluation import evaluate
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.results import RunResult
from taskadapter_lite.sprites.render import partners

QUERY_MIXES = ("balanced", "alone", "one class", "skewed")
ALPHA = 2.0  # concentration of "skewed"


def with_query_mix(episodes: Sequence[Episode], labels: Sequence[int], mix: str) -> list[Episode]:
    """Keep the support of every episode and change which queries are tested together.

    Args:
        episodes: balanced ones, with one query of each class.
        labels: data set class of each clip; further queries are drawn from the clips that the episode doesn't hold.
        mix: `"balanced"`: the episodes as they are, one query of each class, as in the published protocol;
            `"alone"`: the same queries, each in an episode of its own (n_way times as many episodes);
            `"one class"`: a query and n_way - 1 more clips of its class (episode i takes class i mod n_way);
            `"skewed"`: n_way queries, class shares from a symmetric Dirichlet distribution with alpha = 2 (Veilleux et
            al., "Realistic evaluation of transductive few-shot learning", NeurIPS 2021).

    Raises:
        ValueError: an unknown mix, episodes that are not balanced, or a class with too few clips.
    """
    if mix not in QUERY_MIXES:
        raise ValueError(f"mix is {mix!r}; it must be one of {', '.join(QUERY_MIXES)}")
    if any(not torch.equal(e.query_labels, torch.arange(len(e.classes))) for e in episodes):
        raise ValueError("every episode must hold one query of each class, class after class")
    if mix == "balanced":
        return list(episodes)
    if mix == "alone":
        return [
            replace(e, query=e.query[i : i + 1], query_labels=e.query_labels[i : i + 1])
            for e in episodes
            for i in range(len(e.query))
        ]
    class_of, changed = np.asarray(labels), []
    for number, episode in enumerate(episodes):
        rng, n_way = np.random.default_rng((0, number)), len(episode.classes)
        if mix == "one class":
            counts = np.bincount([number % n_way], minlength=n_way) * n_way
        else:
            counts = rng.multinomial(n_way, rng.dirichlet([ALPHA] * n_way))
        chosen = [_draw(episode, c, n, class_of, rng) for c, n in enumerate(counts)]
        query_labels = torch.from_numpy(np.repeat(np.arange(n_way), counts))
        changed.append(replace(episode, query=torch.cat(chosen), query_labels=query_labels))
    return changed


def _draw(episode: Episode, c: int, n: int, labels: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Clip indices (n,) of the episode's class c: its own query first, then others that the episode doesn't hold."""
    others = np.setdiff1d(np.flatnonzero(labels == int(episode.classes[c])), episode.clips.numpy())
    if len(others) < n - 1:
        raise ValueError(f"class {int(episode.classes[c])} has {len(others)} clips beside the episode's, not {n - 1}")
    return torch.cat([episode.query[c : c + 1], torch.from_numpy(rng.permutation(others))])[:n]


def measure_leak(
    model: TaskAdapterViT, cache: PrefixCache, episodes: Sequence[Episode], **about: Any
) -> dict[str, RunResult]:
    """Evaluate a model, in its own scope, with its queries in each mix.

    Args:
        model: trained, with task attention.
        cache: of the test clips.
        episodes: balanced ones, see `with_query_mix`.
        **about: `seeds`, `metadata` and `precision` of `evaluate`.

    Returns:
        Mix -> result. In the scope "inductive" the accuracies "alone" are those of "balanced", query for query
        (in "bf16" up to rounding).
    """
    results = {}
    for mix in QUERY_MIXES:
        changed = with_query_mix(episodes, cache.clips.labels, mix)
        name = f"{model.scope}, {mix}"
        results[mix] = evaluate(model, cache, changed, pairs=partners(), name=name, **about)
    return results
