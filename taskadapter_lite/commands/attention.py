"""`attention`: saved adapters and one episode -> a picture of what a query attends to in the support videos."""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from taskadapter_lite import figures
from taskadapter_lite.attention import record_attention
from taskadapter_lite.data.datasets import bundled_clips
from taskadapter_lite.data.labelled import LabelledClips
from taskadapter_lite.episodes import Episode, load_episodes
from taskadapter_lite.files import data_dir
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.training.checkpoints import load_model

HELP = "draw what a query video attends to in the support videos"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `attention`."""
    parser.add_argument("adapters", nargs="?", type=Path, help="file of adapters (default: the bundled ones)")
    parser.add_argument("--episode", type=int, help="of the saved 1-shot test list (default: the first one got right)")
    parser.add_argument("--block", type=int, help="counted from 0 in the backbone (default: the last but one)")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/cross_video_attention.png"), help="(default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Draw and save."""
    model, clips = load_model(args.adapters or data_dir() / "task_adapter.safetensors"), bundled_clips("test")
    episodes = load_episodes(data_dir() / "episodes" / "test_5way_1shot.json", clips)
    if args.episode is not None and not 0 <= args.episode < len(episodes):
        raise ValueError(f"--episode is {args.episode}, but the list holds episodes 0 to {len(episodes) - 1}")
    episode = first_right(model, clips, episodes[:20]) if args.episode is None else episodes[args.episode]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    figures.use_style()
    draw_attention(model, clips, episode, args.out, args.block)
    print(f"what the first query of the episode attends to: {args.out}")
    return 0


@torch.no_grad()
def first_right(model: TaskAdapterViT, clips: LabelledClips, episodes: list[Episode]) -> Episode:
    """The first 1-shot episode whose first query the model gets right (the first one if none is)."""
    for episode in episodes:
        features = model(read(model, clips, episode), len(episode.support)).mean(1)
        scores = torch.cosine_similarity(features[: len(episode.support)], features[len(episode.support)], dim=-1)
        if int(scores.argmax()) == int(episode.query_labels[0]):
            return episode
    return episodes[0]


def read(model: TaskAdapterViT, clips: LabelledClips, episode: Episode) -> Tensor:
    """Clips of an episode, on the model's device."""
    return clips.read_batch(episode.clips).to(next(model.parameters()).device)


def draw_attention(
    model: TaskAdapterViT, clips: LabelledClips, episode: Episode, out: Path, block: int | None = None
) -> None:
    """What the episode's first query attends to, in one block (default: the last but one), as a picture file.

    Raises:
        ValueError: the model has no task attention, or the block is not adapted.
    """
    frames, n_support = read(model, clips, episode), len(episode.support)
    if "task" not in model.config["axes"]:
        raise ValueError("these adapters have no task attention, so there is nothing to draw across videos")
    block = sorted(map(int, model.adapted))[-2:][0] if block is None else block
    with torch.no_grad(), record_attention(model, blocks=[block], axes=["task"]) as record:
        model(frames, n_support)
    names = [clips.class_names[c] for c in episode.classes]
    labels = torch.cat([episode.support_labels, episode.query_labels])
    title = f"Task attention of block {block}: what one query sees in the support videos"
    figure = plt.figure(figsize=(10, 8))
    weights = record.weights["task"][block].cpu()
    figures.plot_cross_video_attention(weights, frames.cpu(), labels, names, n_support, title=title, figure=figure)
    figure.savefig(out, bbox_inches="tight")
    plt.close(figure)
