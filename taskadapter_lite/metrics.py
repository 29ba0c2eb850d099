"""Frame features of support and query -> scores.

Every metric takes support (..., n_way, k_shot, T, D) and query (..., Q, T, D), with any leading batch axes (one an
episode), and returns float32 scores (..., Q, n_way), higher for more alike. With `aggregation="prototype"` a class is
the mean of its support clips; with "per_shot" its score is the mean over its clips. Means of features are the head of
prototypical networks and of Task-Adapter, so cosine and Euclid start from them. OTAM and Bi-MHM align two clips, and as
published they average the distances of a class's clips; a mean of clips has frames that no clip has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from math import log, sqrt

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

AGGREGATIONS = ("prototype", "per_shot")
EPSILON = 1e-6  # keeps the gradient of a normalised zero vector finite


def _classes_as_shots(support: Tensor, aggregation: str) -> Tensor:
    """(..., n_way, shots, T, D) in float32: all k_shot clips, or their mean alone."""
    if aggregation not in AGGREGATIONS:
        raise ValueError(f"aggregation is {aggregation!r}; it must be one of {', '.join(AGGREGATIONS)}")
    return support.float() if aggregation == "per_shot" else support.float().mean(-3, keepdim=True)


def cosine_scores(support: Tensor, query: Tensor, aggregation: str = "prototype") -> Tensor:
    """Cosine of time-averaged features: the head of Task-Adapter. Average first, then normalise.

    Args:
        support: (..., n_way, k_shot, T, D).
        query: (..., Q, T, D).

    Returns:
        (..., Q, n_way) in [-1, 1].
    """
    s = F.normalize(_classes_as_shots(support, aggregation).mean(-2), dim=-1, eps=EPSILON)
    q = F.normalize(query.float().mean(-2), dim=-1, eps=EPSILON)
    return torch.einsum("...qd,...wkd->...qwk", q, s).mean(-1)


def euclidean_scores(support: Tensor, query: Tensor, aggregation: str = "prototype") -> Tensor:
    """Minus the squared distance of time-averaged features.

    Snell, Swersky, Zemel, "Prototypical networks for few-shot learning", NeurIPS 2017, equations 1 and 2.
    Shapes as in `cosine_scores`; scores are 0 or below.
    """
    s, q = _classes_as_shots(support, aggregation).mean(-2), query.float().mean(-2)
    difference = q[..., :, None, None, :] - s[..., None, :, :, :]
    return -difference.square().sum(-1).mean(-1)


def centred_scores(support: Tensor, query: Tensor, aggregation: str = "prototype") -> Tensor:
    """Cosine after the mean of the support is taken from every feature: what all classes share no longer counts.

    Shapes as in `cosine_scores`.
    """
    s = _classes_as_shots(support, aggregation).mean(-2)
    centre = s.mean(-3, keepdim=True)  # (..., 1, shots, D)
    q = F.normalize(query.float().mean(-2)[..., None, :] - centre, dim=-1, eps=EPSILON)
    return torch.einsum("...qkd,...wkd->...qwk", q, F.normalize(s - centre, dim=-1, eps=EPSILON)).mean(-1)


def ridge_scores(support: Tensor, query: Tensor, aggregation: str = "prototype", strength: float = 0.1) -> Tensor:
    """What a ridge regression from features to classes says, fitted on the support alone: a metric of each episode.

    Bertinetto et al., "Meta-learning with differentiable closed-form solvers", ICLR 2019, on normalised and centred
    features. Directions in which the support varies much are shrunk, as by whitening. Shapes as in `cosine_scores`.

    Args:
        support, query, aggregation: as `cosine_scores` takes them.
        strength: of the penalty, in units of the mean square of the support's features.
    """
    s = F.normalize(_classes_as_shots(support, aggregation).mean(-2), dim=-1, eps=EPSILON).transpose(-2, -3)
    q = F.normalize(query.float().mean(-2), dim=-1, eps=EPSILON)[..., None, :, :]  # (..., 1, Q, D)
    centre = s.mean(-2, keepdim=True)  # s is (..., shots, n_way, D)
    s, q = s - centre, q - centre
    gram = s @ s.mT
    penalty = strength * gram.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None] + EPSILON
    weights = torch.linalg.solve(gram + penalty * torch.eye(gram.shape[-1], device=gram.device), s)
    return (q @ weights.mT).mean(-3)


def frame_distances(support: Tensor, query: Tensor, aggregation: str = "prototype") -> Tensor:
    """1 - cosine of each query frame and each support frame: (..., Q, n_way, shots, T, T) in [0, 2]."""
    s = F.normalize(_classes_as_shots(support, aggregation), dim=-1, eps=EPSILON)
    q = F.normalize(query.float(), dim=-1, eps=EPSILON)
    return 1 - torch.einsum("...qld,...wkmd->...qwklm", q, s)


def otam_distances(distances: Tensor, gamma: float = 0.1) -> Tensor:
    """Cost of the best alignment of columns to rows, softened: maps p with p(m + 1) - p(m) in {0, 1}, ends free.

    Cao et al., "Few-shot video classification via temporal alignment", CVPR 2020, in one direction.
    The table is filled column by column, all rows at once; softmin(a, b) = -gamma log(exp(-a/gamma) + exp(-b/gamma))
    lies below the minimum, so the smoothed cost is below the true one and may be negative.

    Args:
        distances: (..., rows, columns), 0 or above; the result is (...).
        gamma: width of the softened minimum, above 0.
    """
    if gamma <= 0:
        raise ValueError(f"gamma is {gamma}; the softened minimum needs a positive width")
    energy = -distances.float() / gamma  # in units of -gamma every step is a sum or a logaddexp
    cells = [energy[..., 0, 0]]  # column 1: a path starts at any row at no cost (left, diagonal) or comes from above
    for row in range(1, energy.shape[-2]):
        cells.append(energy[..., row, 0] + torch.logaddexp(cells[-1], torch.full_like(cells[-1], log(2))))
    column = torch.stack(cells, -1)
    for step in energy.unbind(-1)[1:]:
        stay, advance = column[..., 1:], column[..., :-1]
        column = step + torch.cat([column[..., :1], torch.logaddexp(stay, advance)], -1)
    # last column: softmin is associative, so its chain down the rows is one sum over all its entries
    return -gamma * torch.cat([column, column[..., :-1]], -1).logsumexp(-1)


def _otam_pair(distances: Tensor, gamma: float) -> Tensor:
    return otam_distances(distances, gamma) + otam_distances(distances.transpose(-1, -2), gamma)


def bimhm_distances(distances: Tensor) -> Tensor:
    """Bidirectional mean Hausdorff distance, (..., T, T) -> (...): each frame meets its nearest, whatever the order.

    Wang et al., "Hybrid relation guided set matching for few-shot action recognition", CVPR 2022, with
    means in both directions.
    """
    distances = distances.float()
    return distances.amin(-1).mean(-1) + distances.amin(-2).mean(-1)


def otam_scores(support: Tensor, query: Tensor, aggregation: str = "per_shot", gamma: float = 0.1) -> Tensor:
    """Minus the OTAM cost, both directions summed, averaged over shots; shapes as in `cosine_scores`."""
    return -_otam_pair(frame_distances(support, query, aggregation), gamma).mean(-1)


def otam_minus_mean_scores(support: Tensor, query: Tensor, aggregation: str = "per_shot") -> Tensor:
    """`otam_scores` after each clip's mean over its frames is taken from its features.

    What all frames of a clip share, its look, no longer counts; how frames differ from each other does. That helps
    where the look belongs to the thing or the person and not to the class, and hurts where it names the class.
    """
    s, q = (x.float() - x.float().mean(-2, keepdim=True) for x in (support, query))
    return otam_scores(s, q, aggregation)


def bimhm_scores(support: Tensor, query: Tensor, aggregation: str = "per_shot") -> Tensor:
    """Minus the Bi-MHM distance, in [-4, 0], averaged over shots; shapes as in `cosine_scores`."""
    return -bimhm_distances(frame_distances(support, query, aggregation)).mean(-1)


@dataclass(frozen=True)
class Alignment:
    """How two clips were compared: rows are query frames, columns are support frames.

    Attributes:
        distances: (T, T) frame distances.
        weights: (T, T) how much each pair of frames counts: the derivative of the clip distance by the frame distance.
        distance: the clip distance.
    """

    distances: Tensor
    weights: Tensor
    distance: float


def alignment(support: Tensor, query: Tensor, metric: str = "otam", gamma: float = 0.1) -> Alignment:
    """The alignment behind a score of two clips, for drawing.

    Both distances choose among sums of frame distances, so their gradient is 1 (or a share) where a pair was chosen.

    Args:
        support: (T, D) features of one support clip or one prototype.
        query: (T, D) features of one query clip.
        metric: "otam" or "bimhm".
    """
    aligners: dict[str, Callable[[Tensor], Tensor]] = {
        "otam": partial(_otam_pair, gamma=gamma),
        "bimhm": bimhm_distances,
    }
    if metric not in aligners:
        raise ValueError(f"metric is {metric!r}; alignments exist for {', '.join(aligners)}")
    with torch.enable_grad():
        distances = frame_distances(support[None, None], query[None])[0, 0, 0].detach().requires_grad_()
        total = aligners[metric](distances)
        (weights,) = torch.autograd.grad(total, distances)
    return Alignment(distances.detach(), weights, total.item())


class TRX(nn.Module):
    """Query tuples rebuilt from the ordered frame tuples of a class, by learnt attention.

    Perrett et al., "Temporal-relational CrossTransformers for few-shot action recognition", CVPR 2021,
    without dropout. All shots of a class enter one softmax, so there is no `aggregation` to choose.

    Args:
        dim: D, the width of a frame feature.
        T: frames a clip.
        cardinalities: sizes of the ordered tuples, each at most T.
        key_dim: width of keys and values.
    """

    position: Tensor

    def __init__(self, dim: int, T: int = 8, cardinalities: tuple[int, ...] = (2, 3), key_dim: int = 1152) -> None:
        super().__init__()
        if not cardinalities or not all(1 <= c <= T for c in cardinalities):
            raise ValueError(f"cardinalities are {cardinalities}; tuples hold at least 1 and at most T = {T} frames")
        self.T, self.cardinalities, self.key_dim = T, tuple(cardinalities), key_dim
        self.to_key = nn.ModuleList(nn.Linear(c * dim, key_dim) for c in cardinalities)
        self.to_value = nn.ModuleList(nn.Linear(c * dim, key_dim) for c in cardinalities)
        self.key_norm = nn.ModuleList(nn.LayerNorm(key_dim) for _ in cardinalities)
        self.register_buffer("position", 0.1 * sinusoidal_position(T, dim), persistent=False)
        for c in cardinalities:
            self.register_buffer(f"tuples_{c}", torch.tensor(list(combinations(range(T), c))), persistent=False)

    def _project(self, features: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """(..., T, D) -> keys and values (..., tuples, key_dim).

        A linear map of concatenated frames is a sum of maps of single frames: a frame is projected once for each place
        in a tuple instead of once for each tuple.
        """
        frames, tuples = features.float() + self.position, getattr(self, f"tuples_{self.cardinalities[level]}")

        def project(linear: nn.Module) -> Tensor:
            places = rearrange(linear.get_parameter("weight"), "k (c d) -> c k d", c=tuples.shape[1])
            parts = [F.linear(frames, place)[..., chosen, :] for place, chosen in zip(places, tuples.T, strict=True)]
            return sum(parts) + linear.get_parameter("bias")

        return self.key_norm[level](project(self.to_key[level])), project(self.to_value[level])

    def forward(self, support: Tensor, query: Tensor) -> Tensor:
        """support (..., n_way, k_shot, T, D), query (..., Q, T, D) -> scores (..., Q, n_way), 0 or below."""
        if {support.shape[-2], query.shape[-2]} != {self.T}:
            raise ValueError(
                f"features have {support.shape[-2]} and {query.shape[-2]} frames; TRX was made for {self.T}"
            )
        return -torch.stack([self._distances(support, query, i) for i in range(len(self.cardinalities))]).mean(0)

    def _distances(self, support: Tensor, query: Tensor, level: int) -> Tensor:
        s_keys, s_values = (rearrange(x, "... k s d -> ... (k s) d") for x in self._project(support, level))
        q_keys, q_values = self._project(query, level)
        logits = torch.einsum("...qud,...wsd->...qwus", q_keys, s_keys) / sqrt(self.key_dim)
        prototypes = torch.einsum("...qwus,...wsd->...qwud", logits.softmax(-1), s_values)
        return (q_values.unsqueeze(-3) - prototypes).square().sum(-1).mean(-1)


class FEAT(nn.Module):
    """Class prototypes that attend to each other, then cosine: a set transformer on finished features.

    Ye et al., "Few-shot learning via embedding adaptation with set-to-set functions", CVPR 2020: one layer of one head,
    without dropout; its last map starts at zero, so that prototypes start as they are, up to the normalisation.

    Args:
        dim: D, the width of a feature.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.to_query, self.to_key, self.to_value = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.out, self.norm = nn.Linear(dim, dim), nn.LayerNorm(dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, support: Tensor, query: Tensor) -> Tensor:
        """support (..., n_way, k_shot, T, D), query (..., Q, T, D) -> scores (..., Q, n_way) in [-1, 1]."""
        prototypes = support.float().mean((-3, -2))
        weights = self.to_query(prototypes) @ self.to_key(prototypes).mT / sqrt(prototypes.shape[-1])
        adapted = self.norm(prototypes + self.out(weights.softmax(-1) @ self.to_value(prototypes)))
        return cosine_scores(adapted[..., None, None, :], query)


def sinusoidal_position(T: int, dim: int) -> Tensor:
    """(T, dim): sines in even channels, cosines in odd ones, wavelengths from 2 pi to 20,000 pi frames."""
    rate = torch.exp(torch.arange(0, dim, 2) * (-log(10_000.0) / dim))
    angle = torch.arange(T)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[:, :dim]


Scorer = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Metric:
    """An entry of the registry.

    Attributes:
        name: how the command line calls it.
        has_parameters: True where `build` returns a module that has to be trained.
        order_aware: True where scores change when the frames of the support are shuffled.
        build: (dim, T, aggregation) -> scorer(support, query).
        aggregation: how shots are brought together unless the caller chooses; None where there is no choice.
        across_classes: True where the score of a class depends on which other classes there are.
    """

    name: str
    has_parameters: bool
    order_aware: bool
    build: Callable[..., Scorer]
    aggregation: str | None
    across_classes: bool = False


def _plain(
    name: str, order_aware: bool, scores: Callable[..., Tensor], aggregation: str, across_classes: bool = False
) -> Metric:
    def build(dim: int, T: int, aggregation: str | None = None) -> Scorer:
        return partial(scores, aggregation=aggregation or METRICS[name].aggregation)

    return Metric(name, False, order_aware, build, aggregation, across_classes)


def _build_trx(dim: int, T: int, aggregation: str | None = None) -> TRX:
    return TRX(dim, T, tuple(c for c in (2, 3) if c <= T) or (1,))


def _build_feat(dim: int, T: int, aggregation: str | None = None) -> FEAT:
    return FEAT(dim)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _plain("cosine", False, cosine_scores, "prototype"),
        _plain("euclidean", False, euclidean_scores, "prototype"),
        _plain("otam", True, otam_scores, "per_shot"),
        _plain("otam_minus_mean", True, otam_minus_mean_scores, "per_shot"),
        _plain("bimhm", False, bimhm_scores, "per_shot"),
        Metric("trx", True, True, _build_trx, None),
        _plain("centred", False, centred_scores, "prototype", across_classes=True),
        _plain("ridge", False, ridge_scores, "prototype", across_classes=True),
        Metric("feat", True, False, _build_feat, None, across_classes=True),
    )
}


def scores_of(
    trained_with: Mapping | None, metric: str | None = None, aggregation: str | None = None
) -> tuple[str, str | None]:
    """Metric and aggregation: the caller's choice, else that of training, else cosine and the metric's own.

    An aggregation belongs to its metric: that of training holds only where the metric is that of training.

    Args:
        trained_with: as `TaskAdapterViT.trained_with`.

    Raises:
        ValueError: a metric that is not in `METRICS`.
    """
    trained = trained_with or {}
    metric = metric or trained.get("metric", "cosine")
    if metric not in METRICS:
        raise ValueError(f"metric is {metric!r}; it must be one of {', '.join(METRICS)}")
    as_trained = trained.get("aggregation") if metric == trained.get("metric") else None
    return metric, aggregation or as_trained or METRICS[metric].aggregation
