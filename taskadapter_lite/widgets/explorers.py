"""Attention and alignment of episodes: choose a query, a place, a class, a model, and see the figure for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from html import escape
from typing import Any

import ipywidgets as widgets
import numpy as np
import torch
from einops import rearrange

from taskadapter_lite.adapters import SCOPES
from taskadapter_lite.backbone import plain_blocks
from taskadapter_lite.data.labelled import LabelledClips
from taskadapter_lite.episodes import Episode
from taskadapter_lite.figures import (
    darkest_share,
    drawn_videos,
    mark_token,
    own_class_mass,
    plot_alignment,
    plot_cross_video_attention,
    query_maps,
)
from taskadapter_lite.metrics import alignment, bimhm_scores, otam_scores
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.prediction import Prediction, predict
from taskadapter_lite.widgets.base import (
    Draw,
    Drawing,
    FigureWidget,
    Mark,
    by_name,
    choice,
    names_of,
    places,
    png_bytes,
    slider,
    table,
)

KEPT_EPISODES = 16  # of which clips and features are held, so that moving back is fast


class AttentionExplorer(FigureWidget):
    """Choose a place in a query and see how it shares its attention among the other videos.

    Args:
        models: a model, or name -> model (such as trained and untrained), with task attention.
        clips: where the episodes' clips are read.
        episodes: what can be looked at, all of one size.

    A place is a frame and a patch: click the patch in the frame, or move by arrow keys. "Below it" puts a second view,
    another model or scope, below the first, on the same scale of colours.
    """

    title = "How a query's attention is shared among the videos of its episode, place by place"

    def __init__(
        self, models: TaskAdapterViT | Mapping[str, TaskAdapterViT], clips: LabelledClips, episodes: Sequence[Episode]
    ) -> None:
        self.models, self.clips, self.episodes = by_name(models), clips, episodes
        self._predictions = lru_cache(KEPT_EPISODES)(self._predict)
        self._clips = lru_cache(KEPT_EPISODES)(lambda number: clips.read_batch(episodes[number].clips))
        self._drawings = lru_cache(4)(lambda view, vmax, *others: Drawing(self._draw_of(view, vmax)))
        first = next(iter(self.models.values()))
        attention: Any = plain_blocks(first.backbone)[-1].attn
        blocks, heads = [int(block) for block in first.adapted], attention.num_heads
        scopes = sorted(SCOPES, key=lambda scope: scope != first.scope)
        views = [(f"{name}, scope {scope}", (name, scope)) for name in self.models for scope in scopes]
        self.view, self.below = choice("view", views), choice("below it", [("nothing", ""), *views[1:], views[0]])
        self.number = slider("episode", range(len(episodes)))
        self.query = slider("query", range(len(episodes[0].query)))
        self.block = slider("block", blocks, blocks[-2:][0])  # in the last block patches reach nothing
        self.head = slider("head", [("mean", -1), *((str(head), head) for head in range(heads))])
        self.frame = slider("frame", range(first.T), first.T // 2)
        self.patch = places("patch", first.backbone.patch_embed.grid_size)
        sliders = [self.number, self.query, self.block, self.head, self.frame]
        super().__init__([[self.view, self.below], [*sliders, self.patch]])
        self.children[1].children = [widgets.VBox(sliders), self.patch]  # the frame right of the sliders

    def refresh(self, change: Any = None) -> None:
        """The picture of the present state, and the frame in which its place is chosen."""
        super().refresh(change)
        if hasattr(self.patch, "show"):
            t = self.frame.value
            frame = self._clips(self.number.value)[self._row, t].numpy()
            self.patch.show(frame, f"frame {t} of query {self.query.value}")

    def draws(self) -> list[Draw]:
        return [self._draw_of(view, self._darkest()) for view in self._views]

    def _draw_of(self, view: tuple[str, str], vmax: float) -> Draw:
        number, block = self.number.value, self.block.value
        weights, names = self._predictions(view, number).weights[block], names_of(self.clips, self.episodes[number])
        what = (weights, self._clips(number), self._labels, names, self._row)
        title = f"{view[0]}, scope {view[1]}, block {block}"
        return partial(plot_cross_video_attention, *what, head=self._head, vmax=vmax, title=title)

    def _png(self) -> bytes:
        """Another place is another mark on the same figures; everything else draws them anew."""
        others = [control.value for control in (self.number, self.query, self.block, self.head)]
        drawings = [self._drawings(view, self._darkest(), *others) for view in self._views]
        marks = map(self._mark, self._maps())
        return png_bytes([drawing.pixels(mark) for drawing, mark in zip(drawings, marks, strict=True)])

    def _darkest(self) -> float:
        """One scale of colours for all that is shown."""
        return max(darkest_share(maps) for maps in self._maps())

    def _mark(self, maps: np.ndarray) -> Mark:
        token, videos = (self.frame.value, self.patch.value), drawn_videos(maps, self._labels, self._row)
        return lambda axes: mark_token(axes[0], maps[videos], token)

    def _maps(self) -> list[np.ndarray]:
        """The shares of the query shown, for each view (B, T, h, w)."""
        found = [self._predictions(view, self.number.value) for view in self._views]
        return [query_maps(one.weights[self.block.value], self._row, self._head) for one in found]

    def describe(self) -> str:
        number, q = self.number.value, self.query.value
        episode, names, rows = self.episodes[number], names_of(self.clips, self.episodes[number]), []
        for name, scope in self._views:
            found = self._predictions((name, scope), number)
            mass = own_class_mass(found.weights[self.block.value], self._labels, len(episode.support))[:, q]
            mass = mass.mean() if self._head is None else mass[self._head]
            text = "sees no support video" if np.isnan(mass) else f"{100 * mass:.1f}%"
            rows.append([f"{name}, scope {scope}", text, names[int(found.labels[q])]])
        share = f"own class's part of the attention to support videos (equal shares: {100 / len(names):.0f}%)"
        own = f"<p>query of class <b>{escape(names[int(episode.query_labels[q])])}</b></p>"
        return own + table(["view", share, "predicted"], rows)

    @property
    def _head(self) -> int | None:
        return None if self.head.value == -1 else self.head.value

    @property
    def _labels(self) -> torch.Tensor:
        """Of all videos, support first."""
        episode = self.episodes[self.number.value]
        return torch.cat([episode.support_labels, episode.query_labels])

    @property
    def _row(self) -> int:
        return len(self.episodes[self.number.value].support) + self.query.value

    @property
    def _views(self) -> list[tuple[str, str]]:
        """Model and scope of each figure."""
        return [self.view.value] + ([self.below.value] if self.below.value else [])

    def _predict(self, view: tuple[str, str], number: int) -> Prediction:
        name, scope = view
        model, labels = self.models[name], self.episodes[number].support_labels
        support, query = self._clips(number).tensor_split([len(labels)])
        own_scope, model.scope = model.scope, scope
        try:
            return predict(model, support, labels, query)
        finally:
            model.scope = own_scope


class AlignmentExplorer(FigureWidget):
    """Pick a query and a class: their frames against each other, what the metric counts, and the scores.

    Args:
        models: a model, trained or not, or name -> model (such as frozen and adapted), to be switched between.
        clips: where the episodes' clips are read.
        episodes: what can be looked at, all of one size.
    """

    title = "Similarity of the frames of a query and of a class, and the pairs of frames that the metric counts"

    def __init__(
        self, models: TaskAdapterViT | Mapping[str, TaskAdapterViT], clips: LabelledClips, episodes: Sequence[Episode]
    ) -> None:
        self.models, self.clips, self.episodes = by_name(models), clips, episodes
        self._features, self._clip = lru_cache(KEPT_EPISODES)(self._compute), lru_cache(KEPT_EPISODES)(clips.read)
        n_queries = episodes[0].shape[2]
        self.number, self.query = slider("episode", range(len(episodes))), slider("query", range(n_queries))
        self.support = choice("class", named(names_of(clips, episodes[0])))
        self.model = choice("features", list(self.models))
        self.metric = choice("metric", [("OTAM: keeps the order", "otam"), ("Bi-MHM: any order", "bimhm")])
        self.gamma = slider("softness gamma", [0.01, 0.03, 0.1, 0.3, 1.0], 0.1)
        self.metric.observe(lambda change: setattr(self.gamma, "disabled", change["new"] != "otam"), "value")
        self.number.observe(self._name_classes, "value")
        models_row = [self.model] if len(self.models) > 1 else []
        super().__init__([[self.number, self.query], [self.support, *models_row], [self.metric, self.gamma]])

    def _name_classes(self, change: Mapping[str, Any]) -> None:
        """Another episode has other classes; the n-th stays chosen."""
        with self.hold_updates():
            chosen = self.support.value
            self.support.options = named(names_of(self.clips, self.episodes[change["new"]]))
            self.support.value = chosen

    def _compute(self, model: str, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of an episode: support (n_way, k_shot, T, D'), query (Q, T, D')."""
        episode = self.episodes[number]
        parts = self.clips.read_batch(episode.support), episode.support_labels, self.clips.read_batch(episode.query)
        features = predict(self.models[model], *parts).features
        support = rearrange(features[: len(episode.support)], "(n k) t d -> n k t d", n=len(episode.classes))
        return support.float().cpu(), features[len(episode.support) :].float().cpu()

    @property
    def _chosen(self) -> tuple[Episode, tuple[torch.Tensor, torch.Tensor]]:
        """The episode shown, and its features."""
        return self.episodes[self.number.value], self._features(self.model.value, self.number.value)

    def draws(self) -> list[Draw]:
        episode, (support, query) = self._chosen
        c, q = self.support.value, self.query.value
        found = alignment(support[c].mean(0), query[q], self.metric.value, self.gamma.value)
        names = names_of(self.clips, episode)
        title = f"query: {names[int(episode.query_labels[q])]}\nclass: {names[c]}, distance {found.distance:.2f}"
        first = int(episode.support[episode.support_labels == c][0])
        query_clip, support_clip = self._clip(int(episode.query[q])), self._clip(first)
        return [partial(plot_alignment, found.distances, found.weights, query_clip, support_clip, title)]

    def describe(self) -> str:
        episode, (support, query) = self._chosen
        drawn = "prototype"  # the picture aligns the query with the mean of a class's clips, so that is scored
        otam = partial(otam_scores, gamma=self.gamma.value)
        metric: Callable[..., torch.Tensor] = otam if self.metric.value == "otam" else bimhm_scores
        (scores,) = metric(support, query[[self.query.value]], drawn)
        own, predicted, rows = int(episode.query_labels[self.query.value]), int(scores.argmax()), []
        for c, (name, score) in enumerate(zip(names_of(self.clips, episode), scores, strict=True)):
            marks = ["own class"] * (c == own) + ["predicted"] * (c == predicted)
            rows.append([name, f"{score:.3f}", ", ".join(marks)])
        return table(["class", "score (higher is closer)", ""], rows, bold=[predicted])


def named(names: Sequence[str]) -> list[tuple[str, int]]:
    """Names to choose from, and their numbers."""
    return [(name, c) for c, name in enumerate(names)]
