"""Episodes -> loss -> one optimiser step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from taskadapter_lite.backbone import in_precision
from taskadapter_lite.cache import PrefixCache, ReadAhead, read_clips
from taskadapter_lite.data.labelled import LabelledClips
from taskadapter_lite.episodes import Episode, Episodes
from taskadapter_lite.metrics import METRICS
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.text import TextFeatures, fuse_scores, semantic_scores
from taskadapter_lite.training.checkpoints import without_prefix
from taskadapter_lite.training.config import TrainConfig
from taskadapter_lite.training.distributed import Team

# The temporal embedding and the temperature are few numbers that start far from where they end: they learn faster.
FAST_FACTOR = 3.0


class Objective(nn.Module):
    """Features of episodes -> loss and accuracy; holds what is trained beside the adapters.

    Args:
        config: metric, aggregation, temperature, fusion and auxiliary weight are read from it.
        feature_dim, T: width and number of the frame features.
        n_classes: number of training classes (for the auxiliary classifier).
    """

    def __init__(self, config: TrainConfig, feature_dim: int, T: int, n_classes: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.metric: Callable = METRICS[config.metric].build(feature_dim, T, config.shot_aggregation)
            self.classifier = nn.Linear(feature_dim, n_classes) if config.auxiliary_weight else None
        self.log_temperature = nn.Parameter(torch.tensor(math.log(config.temperature)), config.learn_temperature)
        self.auxiliary_weight, self.fusion = config.auxiliary_weight, config.fusion

    def forward(
        self, features: Tensor, n_way: int, query_labels: Tensor, class_ids: Tensor, text: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Compare queries with support clips, in 32 bit.

        Args:
            features: (E, B, T, D), the support clips first, class after class.
            n_way: classes in an episode.
            query_labels: (E, Q), in 0..n_way-1.
            class_ids: (E, B) training class of every clip.
            text: (E, n_way, D) features of the class names, fused with what is seen; None goes without.

        Returns:
            loss (E,) and accuracy (E,) of each episode.
        """
        E, Q = query_labels.shape
        features, temperature = features.float(), self.log_temperature.exp()
        support, query = features[:, :-Q], features[:, -Q:]
        scores = self.metric(
            rearrange(support, "e (way shot) t d -> e way shot t d", way=n_way), query
        )  # (E, Q, n_way)
        if text is None:
            logits = temperature * scores
        else:
            logits = fuse_scores(scores, semantic_scores(query, text), self.fusion, temperature)
        loss = F.cross_entropy(logits.mT, query_labels, reduction="none").mean(dim=-1)
        if self.classifier is not None:
            guesses = self.classifier(features.mean(dim=-2))  # (E, B, classes)
            loss = loss + self.auxiliary_weight * F.cross_entropy(guesses.mT, class_ids, reduction="none").mean(dim=-1)
        return loss, (logits.argmax(dim=-1) == query_labels).float().mean(dim=-1)

    def kept_state(self) -> dict[str, Tensor]:
        """What evaluation needs of it: the metric's parameters and the temperature, not the auxiliary classifier."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("classifier.")}


def build_optimizer(
    config: TrainConfig, slow: Iterable[nn.Parameter], fast: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """Two parameter groups; `fast` ones have three times the learning rate and no weight decay."""
    groups = [{"params": list(slow), "factor": 1.0}, {"params": list(fast), "factor": FAST_FACTOR, "weight_decay": 0.0}]
    if config.optimizer == "sgd":  # the published recipe: one rate for everything
        groups[1]["factor"] = 1.0
        return torch.optim.SGD(groups, config.learning_rate, config.momentum, weight_decay=config.weight_decay)
    return torch.optim.AdamW(groups, config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay)


class StepResult(NamedTuple):
    """What one step saw; tensors are still on the device, so that nothing waits for it."""

    numbers: list[int]  # the E episodes of this process
    losses: Tensor  # (E,)
    accuracies: Tensor  # (E,) in 0..1
    norm: Tensor  # of the gradient of all processes, before clipping


class Trainer:
    """A model with all that is trained in and beside it, and how to take one step.

    Args:
        model, clips, episodes, config, text: as `train` takes them.
        team: the processes that share each step's episodes.
        cache_folder: keeps frozen tokens from run to run.
        kept: tokens of the clips, if there are some.

    Raises:
        ValueError: nothing to train, or tokens that do not fit.
    """

    def __init__(
        self,
        model: TaskAdapterViT,
        clips: LabelledClips,
        episodes: Episodes,
        config: TrainConfig,
        team: Team,
        text: TextFeatures | None = None,
        cache_folder: str | Path | None = None,
        kept: PrefixCache | None = None,
    ) -> None:
        self.model, self.clips, self.episodes, self.config, self.team = model, clips, episodes, config, team
        if config.scope is not None:
            model.scope = config.scope
        if config.trainable == "all":
            model.backbone.requires_grad_(True)
        self.labels = torch.tensor(clips.labels)
        self.device = next(model.parameters()).device
        self.text = None if text is None else text.for_classes(clips.class_names).to(self.device)
        self.objective = Objective(config, model.feature_dim, model.T, len(clips.class_names)).to(self.device)
        self.parameters = [p for p in [*model.parameters(), *self.objective.parameters()] if p.requires_grad]
        if not self.parameters:
            raise ValueError(f"a model of depth {model.depth} and this configuration leave nothing to train")
        fast = [p for p in (model.temporal, self.objective.log_temperature) if p is not None and p.requires_grad]
        self.optimizer = build_optimizer(config, [p for p in self.parameters if not any(p is q for q in fast)], fast)
        trains_backbone = any(p.requires_grad for p in model.backbone.parameters())
        self.prefix_is_fixed = not trains_backbone and model.temporal_place != "input"
        self.reader = ReadAhead(self._read, config.workers > 0)
        self.cache = kept
        if kept is not None:
            self.check_cache(kept)
            if kept.views != config.views or not config.views:
                raise ValueError(f"the cache holds {kept.views} random views of a clip, but views is {config.views}")
        elif self.prefix_is_fixed and config.views:
            self.cache = self.token_cache(cache_folder, clips, config.views)

    def token_cache(self, folder: str | Path | None, clips: LabelledClips, views: int | None) -> PrefixCache:
        """Frozen tokens of clips, in the run's precision, in memory or in a folder."""
        precision, workers = self.config.precision, self.config.workers
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        options: dict[str, Any] = {"views": views, "dtype": dtype, "workers": workers, "precision": precision}
        if folder is None:
            return PrefixCache(self.model, clips, **options)
        return PrefixCache.in_folder(folder, self.model, clips, **options)

    def check_cache(self, cache: PrefixCache) -> None:
        """Refuse tokens that the model would not make now, or that training changes.

        Raises:
            ValueError: the tokens do not fit.
        """
        if not self.prefix_is_fixed:
            raise ValueError("this run trains what lies below the tokens, so they can't be kept: give the clips")
        cache.check_fits(self.model, cache.clips)

    def step(self, numbers: Sequence[int], learning_rate: float) -> StepResult:
        """Take one optimiser step on the mean loss of episodes `numbers`, of which this process runs its share."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group["factor"]
        self.optimizer.zero_grad()
        own = [(number, self.episodes[number]) for number in self.team.share(numbers)]
        if self.cache is None:
            after = range(numbers[-1] + 1, min(numbers[-1] + 1 + len(numbers), len(self.episodes)))
            self.reader.expect([*self.team.share(numbers), *self.team.share(after)])
        outcomes = [torch.zeros(2, 0, device=self.device)]
        for _, alike in groupby(own, key=lambda pair: pair[1].shape):
            loss, accuracy = self._loss(*zip(*alike, strict=True))
            (loss.sum() / len(numbers)).backward()
            outcomes.append(torch.stack([loss.detach(), accuracy]))
        losses, accuracies = torch.cat(outcomes, dim=1)
        self.team.sum_gradients(self.parameters)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm or math.inf)
        self.optimizer.step()
        return StepResult([number for number, _ in own], losses, accuracies, norm)

    def _loss(self, numbers: Sequence[int], episodes: Sequence[Episode]) -> tuple[Tensor, Tensor]:
        """Loss (E,) and accuracy (E,) of episodes of equal shape, in one pass of the adapted blocks."""
        n_way, k_shot, _ = episodes[0].shape
        with in_precision(self.model.backbone, self.config.precision):
            tokens = torch.stack([self._tokens(e, n) for e, n in zip(episodes, numbers, strict=True)])
            features = self.model.adapt(tokens, n_way * k_shot, n_way)
        query_labels = torch.stack([e.query_labels for e in episodes]).to(self.device, non_blocking=True)
        class_ids = torch.stack([self.labels[e.clips] for e in episodes]).to(self.device, non_blocking=True)
        text = None if self.text is None else self.text[torch.stack([e.classes for e in episodes]).to(self.device)]
        return self.objective(features, n_way, query_labels, class_ids, text)

    def _tokens(self, episode: Episode, number: int) -> Tensor:
        """Tokens (B, T, N, D) of an episode's clips, in random views that depend on (seed, number) alone."""
        if self.cache is not None:
            return self.cache.tokens(episode.clips, self._views(episode, number))
        # with gradient where it is needed
        return self.model.below(self.reader(number).to(self.device, non_blocking=True))

    def _views(self, episode: Episode, number: int) -> list[int]:
        rng = np.random.default_rng((self.config.seed, number, 1))  # (seed, number) draws an episode's clips
        return rng.integers(self.config.views or 2**31, size=len(episode.clips)).tolist()

    def _read(self, number: int) -> Tensor:
        """Pixels (B, T, 3, H, W) of the clips of episode `number`."""
        episode = self.episodes[number]
        clips = read_clips(self.clips, episode.clips.tolist(), self._views(episode, number), self.config.workers)
        return clips.pin_memory() if self.device.type == "cuda" else clips

    # ---- what a checkpoint holds

    def trained(self) -> dict[str, Tensor]:
        """Name -> tensor that training changes: the tensors themselves, not copies."""
        named = {f"model.{name}": p for name, p in self.model.named_parameters() if p.requires_grad}
        return named | {f"objective.{name}": value for name, value in self.objective.state_dict().items()}

    @torch.no_grad()
    def load_trained(self, values: dict[str, Tensor]) -> None:
        """Overwrite what is trained by a copy made from `trained`."""
        for name, tensor in self.trained().items():
            tensor.copy_(values[name])

    def state(self) -> dict[str, Tensor]:
        """Tensors of everything but the adapters: objective, optimiser, random numbers."""
        moments = {
            f"optimizer.{number}.{name}": value
            for number, entries in self.optimizer.state_dict()["state"].items()
            for name, value in entries.items()
            if value is not None
        }
        objective = {f"objective.{name}": value for name, value in self.objective.state_dict().items()}
        return {**objective, **moments, "random": torch.get_rng_state()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take up what `state` gave."""
        self.objective.load_state_dict(without_prefix(state, "objective."))
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in without_prefix(state, "optimizer.").items():
            number, name = key.split(".", 1)
            moments.setdefault(int(number), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        torch.set_rng_state(state["random"])


def remember_settings(model: TaskAdapterViT) -> Callable[[], None]:
    """Remember what training changes in a model beside its weights; the function returned puts it back."""
    scope, trained_with = model.scope, model.trained_with
    modes = [(module, module.training) for module in model.modules()]
    trainable = [(parameter, parameter.requires_grad) for parameter in model.parameters()]

    def restore() -> None:
        model.scope, model.trained_with = scope, trained_with
        for module, mode in modes:
            module.training = mode
        for parameter, trains in trainable:
            parameter.requires_grad_(trains)

    return restore
