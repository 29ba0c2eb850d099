"""`attention`: saved adapters and one episode -> a picture of what a query attends to in the support videos."""

from __future__ import annotations

import argparse
from pathlib import Path

from taskadapter_lite.commands.shared import objects, options
from taskadapter_lite.data.labelled import LabelledClips
from taskadapter_lite.episodes import Episode, EpisodeSampler, EpisodeSpec
from taskadapter_lite.files import data_dir
from taskadapter_lite.studies.cross_video import draw_attention, first_right
from taskadapter_lite.studies.ladder import saved_episodes

HELP = "draw what a query video attends to in the support videos"
N_EPISODES, SEED = 100, 0  # of the list drawn from a data set of one's own
TRIED = 20  # the first so many are looked through for one that the model gets right


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `attention`."""
    parser.add_argument("adapters", nargs="?", type=Path, help="file of adapters (default: the bundled ones)")
    text = "of the saved 1-shot test list, or of 100 drawn from --data (default: the first one got right)"
    parser.add_argument("--episode", type=int, help=text)
    parser.add_argument("--block", type=int, help="counted from 0 in the backbone (default: the last but one)")
    parser.add_argument("--n-way", type=int, default=5, help="classes of an episode from --data")
    options.add_device_argument(parser)
    options.add_data_arguments(parser, random_views=False)
    options.add_part_argument(parser)
    parser.add_argument("--out", type=Path, default=Path("runs/cross_video_attention.png"), help="the picture")


def run(args: argparse.Namespace) -> int:
    """Draw and save."""
    args.adapters = args.adapters or data_dir() / "task_adapter.safetensors"
    model = objects.open_adapters(args).to(options.chosen_device(args))
    clips = objects.open_clips(args, args.part, objects.frame_side(model.backbone))
    episodes = open_episodes(args, clips)
    if args.episode is not None and not 0 <= args.episode < len(episodes):
        raise ValueError(f"--episode is {args.episode}, but the list holds episodes 0 to {len(episodes) - 1}")
    episode = first_right(model, clips, episodes[:TRIED]) if args.episode is None else episodes[args.episode]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    draw_attention(model, clips, episode, args.out, args.block)
    print(f"what the first query of the episode attends to: {args.out}")
    return 0


def open_episodes(args: argparse.Namespace, clips: LabelledClips) -> list[Episode]:
    """The saved list of the bundled test clips, or one drawn from other clips."""
    if args.data == "bundled" and args.part == "test" and args.n_way == 5:
        return saved_episodes(1, clips)
    spec = EpisodeSpec(args.n_way, k_shot=1, n_query=1)
    return list(EpisodeSampler.of(clips, spec, N_EPISODES, SEED))
