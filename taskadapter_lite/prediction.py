"""A few named clips and some queries -> scores, attention, and whether the clips look familiar."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from taskadapter_lite.adapters import class_slots
from taskadapter_lite.attention import record_attention
from taskadapter_lite.data.labelled import LabelledClips
from taskadapter_lite.evaluation import depends_on_episode
from taskadapter_lite.metrics import METRICS, scores_of
from taskadapter_lite.model import TaskAdapterViT

KNOWN = 200  # known clips at most that others are compared with
FAMILIAR = 0.99  # share of the known clips that count as familiar


@dataclass(frozen=True)
class Prediction:
    """What a model says about the queries of one task.

    Attributes:
        scores: (Q, n_way), higher for more alike.
        features: (B, T, D') frame features, support first.
        weights: block -> (T, N, heads, B, B) task attention; empty for a model without it.
    """

    scores: Tensor
    features: Tensor
    weights: dict[int, Tensor]

    @property
    def labels(self) -> Tensor:
        """(Q,) the class with the highest score."""
        return self.scores.argmax(dim=1)


@torch.no_grad()
def predict(
    model: TaskAdapterViT, support: Tensor, support_labels: Tensor, query: Tensor, metric: str = "cosine"
) -> Prediction:
    """Classify queries by the clips of each class, of which classes may have different numbers.

    Shots are brought together as in training where `metric` is that of training, else as is the metric's own.

    Args:
        model: trained or not; its scope says whether queries see each other.
        support: (S, T, 3, H, W), uint8 or float RGB in [0, 1].
        support_labels: (S,) in 0..n_way-1, each label at least once.
        query: (Q, T, 3, H, W).
        metric: a name in `METRICS` that needs no training.

    Raises:
        ValueError: a label without a clip, fewer than 2 classes, no query, a metric that has to be trained, or, for a
            model with class_mark=True, clips that do not lie class after class, equally many of each.
    """
    support_labels = torch.as_tensor(support_labels)
    n_way = int(support_labels.max()) + 1 if len(support_labels) else 0
    missing = sorted(set(range(n_way)) - set(support_labels.tolist()))
    if n_way < 2 or missing:
        raise ValueError(f"labels are {support_labels.tolist()}; at least two classes need a clip each, none left out")
    if len(query) == 0:
        raise ValueError("there are 0 queries; at least 1 clip has to be asked about")
    if metric not in METRICS or METRICS[metric].has_parameters:
        names = [name for name, entry in METRICS.items() if not entry.has_parameters]
        raise ValueError(f"metric is {metric!r}; it must be one of {', '.join(names)}")
    if model.class_mark and support_labels.tolist() != class_slots(len(support_labels), n_way).tolist():
        raise ValueError(f"labels are {support_labels.tolist()}; class_mark=True needs equally many, class after class")
    device = next(model.parameters()).device
    with record_attention(model, axes=["task"] if depends_on_episode(model) else []) as record:
        features = model(torch.cat([support, query]).to(device), len(support), n_way)
    shots, queries = features[: len(support)], features[len(support) :]
    score = METRICS[metric].build(features.shape[-1], model.T, scores_of(model.trained_with, metric)[1])
    classes = [shots[support_labels.to(device) == c] for c in range(n_way)]
    if METRICS[metric].across_classes:  # of classes with different numbers of clips their means
        scores = score(torch.stack([clips.mean(0, keepdim=True) for clips in classes]), queries)
    else:
        scores = torch.cat([score(clips[None], queries) for clips in classes], dim=1)
    return Prediction(scores, features, record.weights.get("task", {}))


def fixed_metric(model: TaskAdapterViT) -> str:
    """The metric that the adapters were trained with; cosine where none is known or it has parameters of its own."""
    name, _ = scores_of(model.trained_with)
    return "cosine" if METRICS[name].has_parameters else name


class Familiarity:
    """How far clips lie from what a frozen model is known to read: 1 - cosine to the nearest known clip.

    A clip is unfamiliar when it lies farther from all known clips than 99% of these do from each other. That is
    a warning about pixels, not a promise: a familiar clip may still show an action that the model can't tell.

    Args:
        model: its frozen part describes a clip (tokens averaged over frames and places).
        clips: known clips, such as the bundled training clips; at least 3. At most 200 are used, evenly spread.

    Raises:
        ValueError: fewer than 3 known clips.
    """

    def __init__(self, model: TaskAdapterViT, clips: LabelledClips) -> None:
        if len(clips) < 3:
            raise ValueError(f"there are {len(clips)} known clips; familiarity needs at least 3")
        chosen = torch.linspace(0, len(clips) - 1, min(KNOWN, len(clips))).long().tolist()
        self.model = model
        self.known = torch.cat(
            [self._describe(clips.read_batch(chosen[i : i + 32])) for i in range(0, len(chosen), 32)]
        )
        distances = 1 - self.known @ self.known.T
        distances.fill_diagonal_(float("inf"))
        self.limit = distances.amin(dim=1).quantile(FAMILIAR).item()

    def distances(self, clips: Tensor) -> Tensor:
        """(B, T, 3, H, W) clips -> (B,) distances in [0, 2]; above `limit` is unfamiliar."""
        return (1 - self._describe(clips) @ self.known.T).amin(dim=1)

    @torch.no_grad()
    def _describe(self, clips: Tensor) -> Tensor:
        tokens = self.model.prefix(clips.to(next(self.model.parameters()).device))
        return F.normalize(tokens.mean(dim=(1, 2)).float(), dim=-1)
