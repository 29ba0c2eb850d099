"""A trained model and its tasks -> the same tasks with one thing changed: what the answers rest on.

Each control has a direction that was written down before it was measured, see `PREDICTIONS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from statistics import fmean

import torch
from torch import Tensor

from taskadapter_lite.adapters import Adapter
from taskadapter_lite.cache import PrefixCache
from taskadapter_lite.data.which_attribute import AttributeEpisodes
from taskadapter_lite.episodes import Episode
from taskadapter_lite.metrics import cosine_scores
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.results import RunResult

AS_TRAINED, ALONE, OFF = "as trained", "one query alone", "task attention off"
SAME_RULE, OTHER_RULE = "beside a support of the same rule", "beside a support of the other rule"
REPLACED, NOBODY = "one support clip replaced", "each clip sees itself alone"
PREDICTIONS = {
    ALONE: "inductive: no answer changes; the other scopes lose",
    OFF: "falls to what adapters without task attention reach, or below",
    NOBODY: "falls to what adapters without task attention reach, or below",
    SAME_RULE: "falls little: other values, but they tell the same rule",
    OTHER_RULE: "falls to guessing or below: the query is told to keep what misleads it",
    REPLACED: "falls little: four of five clips still tell the rule",
}
CONTROLS = (AS_TRAINED, *PREDICTIONS)
NEUTRAL = "no look misleads"  # of tasks about actions: what the model knows of these at all


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


def one_support_clip_replaced(episodes: AttributeEpisodes) -> list[Episode]:
    """Tasks whose first class is shown by a clip with other values of every rule; its own queries are left out.

    The values of the new clip occur nowhere else in the task. Way 5: queries of four classes, five answers to choose
    from.
    """
    clips, n_query = episodes.clips, episodes.spec.n_query
    replaced = []
    for i, e in enumerate(episodes):
        values = clips.values[e.support[0]].clone()
        for attribute, size in enumerate(clips.sizes):
            used = set(clips.values[e.clips, attribute].tolist())
            if len(used) > 1 and (free := [v for v in range(size) if v not in used]):
                values[attribute] = free[i % len(free)]
        support = e.support.clone()
        support[: episodes.spec.k_shot] = clips.find(values.tolist(), 0)
        replaced.append(Episode(support, e.query[n_query:], e.support_labels, e.query_labels[n_query:], e.classes))
    return replaced


def no_look_misleads(episodes: AttributeEpisodes) -> list[Episode]:
    """The tasks whose rule is action, with one colour and form in the support and another one in all queries.

    So no support clip looks like a query, and a model that knows actions at all can show it.
    """
    neutral = []
    for i, e in enumerate(episodes):
        if episodes.rule_of(i) == "action":
            support, query = (_in_one_look(episodes, numbers) for numbers in (e.support, e.query))
            neutral.append(replace(e, support=support, query=query))
    return neutral


def _in_one_look(episodes: AttributeEpisodes, numbers: Tensor) -> Tensor:
    values = episodes.clips.values[numbers].clone()
    values[:, 1:] = values[0, 1:]
    return torch.tensor([episodes.clips.find(row, 0) for row in values.tolist()])


def companions(episodes: AttributeEpisodes, same_rule: bool) -> list[int]:
    """For each task the number of the next one, in a circle, whose rule is the same or another one.

    Raises:
        ValueError: there is none.
    """
    rules, n = [episodes.rule_of(i) for i in range(len(episodes))], len(episodes)
    found = []
    for i in range(n):
        number = next((j % n for j in range(i + 1, i + n) if (rules[j % n] == rules[i]) == same_rule), None)
        if number is None:
            raise ValueError(f"no episode beside number {i} has {'the same' if same_rule else 'another'} rule")
        found.append(number)
    return found


@torch.no_grad()
def beside_other_support(
    model: TaskAdapterViT, cache: PrefixCache, episodes: AttributeEpisodes, same_rule: bool, batch_size: int = 16
) -> list[float]:
    """Accuracy of each task when its queries attend to the support clips of another task.

    The support's features are those beside its own queries, as ever; only what the queries see is foreign. In the
    inductive scope nothing else changes.
    """
    others, accuracies, n_way = companions(episodes, same_rule), [], episodes.spec.n_way
    n_support = n_way * episodes.spec.k_shot
    for start in range(0, len(episodes), batch_size):
        own = episodes[start : start + batch_size]
        seen = [_with_support(e, episodes[j]) for e, j in zip(own, others[start : start + batch_size], strict=True)]
        support = model.adapt(cache.episode_tokens(own), n_support, n_way)[:, :n_support]
        query = model.adapt(cache.episode_tokens(seen), n_support, n_way)[:, n_support:]
        accuracies += _shares(_scores(support, query, n_way), own)
    return accuracies


@torch.no_grad()
def each_clip_alone(
    model: TaskAdapterViT, cache: PrefixCache, episodes: Sequence[Episode], batch_size: int = 16
) -> list[float]:
    """Accuracy of each task when every clip attends to itself alone: the same weights, and nobody to look at."""
    accuracies = []
    for start in range(0, len(episodes), batch_size):
        own = episodes[start : start + batch_size]
        tokens, n_support = cache.episode_tokens(own), len(own[0].support)
        features = model.adapt(tokens.flatten(0, 1).unsqueeze(1), 1, 1).unflatten(0, tokens.shape[:2])[:, :, 0]
        scores = _scores(features[:, :n_support], features[:, n_support:], len(own[0].classes))
        accuracies += _shares(scores, own)
    return accuracies


def _shares(scores: Tensor, episodes: Sequence[Episode]) -> list[float]:
    """Share of right answers of each task."""
    right = scores.argmax(-1).cpu() == torch.stack([e.query_labels for e in episodes])
    return right.double().mean(-1).tolist()


def _with_support(episode: Episode, other: Episode) -> Episode:
    return replace(episode, support=other.support)


def _scores(support: Tensor, query: Tensor, n_way: int) -> Tensor:
    return cosine_scores(support.unflatten(1, (n_way, -1)), query)


def with_accuracies(result: RunResult, accuracies: list[float], seconds: float) -> RunResult:
    """A result of the same model and tasks, with the accuracies of a control."""
    return replace(deepcopy(result), accuracies=accuracies, confusion=[], seconds=round(seconds, 3))


def task_accuracies(result: RunResult, queries_a_task: int = 1) -> list[float]:
    """Accuracy of each task in percent; queries that were asked alone are brought together again."""
    n = queries_a_task if result.metadata["control"] == ALONE else 1
    return [100 * fmean(result.accuracies[i : i + n]) for i in range(0, len(result.accuracies), n)]
