"""Model + episodes -> result."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby, islice

import torch
from einops import rearrange
from torch import Tensor, nn

from taskadapter_lite.adapters import check_scope
from taskadapter_lite.backbone import in_precision, weights_file
from taskadapter_lite.bars import progress_bar
from taskadapter_lite.cache import FeatureCache, PrefixCache, read_clips
from taskadapter_lite.data.labelled import LabelledClips
from taskadapter_lite.episodes import Episode, EpisodeList, Episodes, episode_bytes
from taskadapter_lite.metrics import METRICS, Scorer, scores_of
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.results import RunResult, environment, peak_memory
from taskadapter_lite.text import FUSIONS, PUBLISHED_TEMPERATURE, TextFeatures, fuse_scores, semantic_scores


def evaluate(
    model: TaskAdapterViT,
    clips: LabelledClips | PrefixCache,
    episodes: Episodes,
    metric: str | Scorer | None = None,
    *,
    scope: str | None = None,
    aggregation: str | None = None,
    cache: PrefixCache | None = None,
    text: TextFeatures | None = None,
    fusion: str = "product",
    temperature: float | None = None,
    pairs: Mapping[str, str] | None = None,
    batch_size: int = 16,
    workers: int = 0,
    precision: str = "fp32",
    keep_queries: bool = False,
    progress: bool = True,
    name: str = "evaluation",
    seeds: Mapping[str, int] | None = None,
    metadata: Mapping | None = None,
) -> RunResult:
    """Classifies the queries of every episode by the class with the highest score.

    Features of a model without task attention don't depend on the episode: they are computed once a clip. Ctrl-C
    ends the run early and returns what was done.

    Args:
        model: with `depth=0` or `axes=()` the frozen baseline.
        clips: test clips, or their `PrefixCache`.
        episodes: a sampler or a list.
        metric: a name in `METRICS`, or a scorer such as a trained `TRX`; None is the metric that the adapters were
            trained with, where the model knows it (`model.trained_with`), else cosine.
        scope: who attends to whom; None keeps the model's own. The model has its own scope again afterwards.
        aggregation: "prototype" or "per_shot", for metrics given by name; None is that of training where the metric
            is, else the metric's own (see `METRICS`).
        cache: frozen tokens of `clips`, kept from call to call.
        text: features of the class names; the result then holds visual, semantic and fused accuracies side by side
            in `variants`, and the fused ones in `accuracies`. Needs the metric "cosine".
        fusion: how scores are fused, see `fuse_scores`.
        temperature: of the fusion; None is that of training, where the model knows it, else that of `fuse_scores`.
        pairs: class name -> its reversed partner, for `RunResult.pair_accuracy`.
        batch_size: episodes in one pass.
        workers: threads that read clips; 0 reads them in turn.
        precision: "fp32", or "bf16" for the adapted blocks of a model with task attention; scores are in 32 bit always.
        keep_queries: whether the result says of each query which clips it met and whether it was right, so that an
            interval over clips can be had (`clip_interval`).
        name, seeds, metadata: stored in the result.

    Raises:
        ValueError: an unknown metric, scope, fusion or precision, an untrained metric, scores that are not finite, or a
            cache of another model or other clips. The model is then as it was.
    """
    if isinstance(clips, PrefixCache):
        cache, clips = clips, clips.clips
    if cache is not None:
        cache.check_fits(model, clips)
    metric_name, scorer, aggregation = _scorer(model, metric, aggregation)
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"precision is {precision!r}, but must be 'fp32' or 'bf16'")
    if fusion not in FUSIONS or (text is not None and metric_name != "cosine"):
        raise ValueError(f"fusion is {fusion!r} of {metric_name}; {' or '.join(FUSIONS)} of cosine scores is possible")
    temperature = temperature or (model.trained_with or {}).get("temperature", PUBLISHED_TEMPERATURE)
    names = None if text is None else text.for_classes(clips.class_names)
    tally = Tally(clips.class_names, pairs, names, fusion, temperature)
    check_scope(scope or model.scope)
    device = next(model.parameters()).device
    result = RunResult(
        name,
        metric=metric_name,
        dataset=clips.fingerprint,
        spec=_spec(episodes),
        seeds={**({"episodes": episodes.seed} if isinstance(episodes, EpisodeList) else {}), **(seeds or {})},
        config={"aggregation": aggregation, "batch_size": batch_size, "precision": precision},
        skipped=[str(path) for path, _ in clips.skipped],
        trainable_parameters=sum(p.numel() for p in model.trainable_parameters()),
        metadata=dict(metadata or {}),
        **environment(device),
    )
    if text is not None:
        result.config |= {"fusion": fusion, "temperature": temperature, "text": text.source}
    with _evaluating(model, scope, result):
        if isinstance(scorer, nn.Module):
            scorer.to(device).eval()
        features_of = _features(model, clips, cache, workers, precision)
        for batch in _batches(episodes, batch_size, progress, name):
            tally.add(batch, features_of(batch), scorer)
    if not tally.accuracies:
        raise KeyboardInterrupt
    tally.write(result)
    result.queries = tally.queries if keep_queries else {}
    return result


class Tally:
    """Counts right answers, episode after episode; the arguments are those of `evaluate`, text as (classes, D)."""

    def __init__(
        self,
        class_names: list[str],
        pairs: Mapping[str, str] | None,
        text: Tensor | None,
        fusion: str,
        temperature: float,
    ) -> None:
        number = {name: c for c, name in enumerate(class_names)}
        self.partner = torch.full((len(class_names),), -1)
        for one, other in (pairs or {}).items():
            if one in number and other in number:
                self.partner[number[one]] = number[other]
        self.class_names, self.text, self.fusion, self.temperature = class_names, text, fusion, temperature
        self.accuracies: dict[str, list[float]] = {}
        self.confusion = torch.zeros(len(class_names), len(class_names), dtype=torch.long)
        self.pairs = torch.zeros(3, dtype=torch.long)  # right, partner, total
        self.digest = hashlib.sha256()
        self.queries: dict[str, list] = {"clip": [], "support": [], "right": []}  # a row a query

    def add(self, episodes: list[Episode], features: Tensor, scorer: Scorer) -> None:
        """Scores E episodes of equal shape from their features (E, B, T, D), the support first."""
        n_way, k_shot, _ = episodes[0].shape
        support, query = features.float().tensor_split([n_way * k_shot], dim=1)
        support = rearrange(support, "e (way shot) t d -> e way shot t d", way=n_way)
        scores = {"visual": scorer(support, query)}
        classes = torch.stack([e.classes for e in episodes])
        if self.text is not None:
            scores["semantic"] = semantic_scores(query, self.text.to(query.device)[classes.to(query.device)])
            scores["fused"] = fuse_scores(scores["visual"], scores["semantic"], self.fusion, self.temperature)
        labels = torch.stack([e.query_labels for e in episodes])
        for name, values in scores.items():
            if not values.isfinite().all():
                raise ValueError(f"the {name} scores are not finite: the features or the metric have overflowed")
            predicted = values.argmax(-1).cpu()  # (E, Q); equal scores count for the first class
            right = (predicted == labels).sum(-1)
            self.accuracies.setdefault(name, []).extend((right.double() / labels.shape[1]).tolist())
        for episode in episodes:
            self.digest.update(episode_bytes(episode))
        for episode, answers in zip(episodes, predicted == labels, strict=True):
            own = episode.support.view(n_way, k_shot)[episode.query_labels]  # the support clips of its own class
            for name, values in (("clip", episode.query), ("support", own), ("right", answers.int())):
                self.queries[name].extend(values.tolist())
        self._count(classes.gather(1, labels), classes.gather(1, predicted), classes)

    def _count(self, true: Tensor, predicted: Tensor, classes: Tensor) -> None:
        """true, predicted: (E, Q) data set classes; classes: (E, n_way)."""
        n = len(self.class_names)
        self.confusion += (true * n + predicted).flatten().bincount(minlength=n * n).view(n, n)
        partner = self.partner[true]
        present = (partner[..., None] == classes[:, None]).any(-1)
        counts = [(predicted == true) & present, (predicted == partner) & present, present]
        self.pairs += torch.stack([c.sum() for c in counts])

    def write(self, result: RunResult) -> None:
        """Puts the counts into a result."""
        result.accuracies = list(self.accuracies.values())[-1]
        result.variants = self.accuracies if self.text is not None else {}
        result.episodes = self.digest.hexdigest()[:16]  # as `episode_hash`, without drawing all episodes again
        result.class_names, result.confusion = list(self.class_names), self.confusion.tolist()
        if (self.partner >= 0).any():
            result.pairs = dict(zip(("right", "partner", "total"), self.pairs.tolist(), strict=True))


def depends_on_episode(model: TaskAdapterViT) -> bool:
    """True where clips attend to each other, so that a clip's features depend on the others of its episode."""
    return model.depth > 0 and "task" in model.axes


def _scorer(
    model: TaskAdapterViT, metric: str | Scorer | None, aggregation: str | None
) -> tuple[str, Scorer, str | None]:
    """Name, scorer and aggregation; what is not chosen is what the adapters were trained with."""
    if metric is not None and not isinstance(metric, str):
        if aggregation is not None:
            raise ValueError(f"aggregation is {aggregation!r}, but a metric given as a scorer has its own: give None")
        function = getattr(metric, "func", metric)  # the scorers of the registry are partial functions
        own = getattr(metric, "keywords", {}).get("aggregation")
        return getattr(function, "__name__", type(function).__name__.lower()).removesuffix("_scores"), metric, own
    name, aggregation = scores_of(model.trained_with, metric, aggregation)
    if METRICS[name].has_parameters:
        raise ValueError(f"metric {name!r} has trained parameters: pass the trained module instead of its name")
    return name, METRICS[name].build(model.feature_dim, model.T, aggregation), aggregation


def _features(
    model: TaskAdapterViT, clips: LabelledClips, cache: PrefixCache | None, workers: int, precision: str
) -> Callable[[list[Episode]], Tensor]:
    """episodes of equal shape -> (E, B, T, D'), with as little repeated work as the model allows."""
    if not depends_on_episode(model):
        table = FeatureCache(model, clips, cache, workers=workers)
        return lambda episodes: table.features(torch.stack([e.clips for e in episodes]))
    if model.temporal_place == "input":  # nothing can be kept: the trained part starts below the prefix
        device = next(model.parameters()).device

        def whole(episodes: list[Episode]) -> Tensor:
            with in_precision(model.backbone, precision):
                read = (read_clips(clips, e.clips.tolist(), None, workers) for e in episodes)
                pairs = zip(read, episodes, strict=True)
                return torch.stack([model(c.to(device), len(e.support), len(e.classes)) for c, e in pairs])

        return whole
    cache = cache or PrefixCache(model, clips, workers=workers)

    def adapted(episodes: list[Episode]) -> Tensor:
        with in_precision(model.backbone, precision):
            first = episodes[0]
            return model.adapt(cache.episode_tokens(episodes), len(first.support), len(first.classes))

    return adapted


def _batches(episodes: Episodes, batch_size: int, progress: bool, name: str) -> Iterator[list[Episode]]:
    """Runs of at most `batch_size` neighbours of equal shape."""
    with progress_bar(total=len(episodes), unit="episode", disable=not progress, desc=name) as bar:
        for _, run in groupby(episodes, key=lambda e: e.shape):
            while batch := list(islice(run, batch_size)):
                yield batch
                bar.update(len(batch))


def _spec(episodes: Episodes) -> dict[str, int]:
    if len(episodes) == 0:
        raise ValueError("the list of episodes is empty")
    return dict(zip(("n_way", "k_shot", "queries"), episodes[0].shape, strict=True))


@contextmanager
def _evaluating(model: TaskAdapterViT, scope: str | None, result: RunResult) -> Iterator[None]:
    """The model in eval mode and in `scope`, as it was afterwards; time, memory and Ctrl-C go into the result."""
    own_scope, was_training, start = model.scope, model.training, time.perf_counter()
    device = next(model.parameters()).device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        model.scope = scope or own_scope
        model.eval()
        result.scope = model.scope if depends_on_episode(model) else None
        result.config |= {"model": dict(model.config), "weights": weights_file(model.backbone)}
        with torch.no_grad():
            yield
    except KeyboardInterrupt:
        result.interrupted = True
    finally:
        model.scope = own_scope
        model.train(was_training)
        result.seconds, result.peak_memory = round(time.perf_counter() - start, 3), peak_memory(device)
