"""A model and one episode -> what it answers, and a picture of what a query attends to in the support videos."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import torch

from taskadapter_lite import figures
from taskadapter_lite.data.labelled import LabelledClips
from taskadapter_lite.episodes import Episode
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.prediction import Prediction, fixed_metric, predict


def answer(model: TaskAdapterViT, clips: LabelledClips, episode: Episode) -> Prediction:
    """What the model says of an episode's queries, by `fixed_metric`."""
    support, query = clips.read_batch(episode.clips).tensor_split([len(episode.support)])
    return predict(model, support, episode.support_labels, query, fixed_metric(model))


def first_right(model: TaskAdapterViT, clips: LabelledClips, episodes: list[Episode]) -> Episode:
    """The first episode whose first query the model gets right (the first one if none is)."""
    for episode in episodes:
        if int(answer(model, clips, episode).labels[0]) == int(episode.query_labels[0]):
            return episode
    return episodes[0]


def draw_attention(
    model: TaskAdapterViT, clips: LabelledClips, episode: Episode, out: Path, block: int | None = None
) -> None:
    """What the episode's first query attends to, in one block (default: the last but one), as a picture file.

    Raises:
        ValueError: the model has no task attention, or the block is not adapted.
    """
    weights = answer(model, clips, episode).weights
    if not weights:
        raise ValueError("these adapters have no task attention, so there is nothing to draw across videos")
    block = sorted(weights)[-2:][0] if block is None else block
    if block not in weights:
        raise ValueError(f"block is {block}, but task attention is in blocks {', '.join(map(str, sorted(weights)))}")
    figures.use_style()
    figure = plt.figure(figsize=(10, 8))
    figures.plot_cross_video_attention(
        weights[block].cpu(),
        clips.read_batch(episode.clips).cpu(),
        torch.cat([episode.support_labels, episode.query_labels]),
        [clips.class_names[c] for c in episode.classes],
        len(episode.support),
        title=f"Task attention of block {block}: what one query sees in the support videos",
        figure=figure,
    )
    figure.savefig(out)
    plt.close(figure)
