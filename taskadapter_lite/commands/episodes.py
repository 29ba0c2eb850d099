"""`episodes`: a data set and a seed -> a fixed list of episodes on disk, which evaluations quote by its hash."""

from __future__ import annotations

import argparse
from pathlib import Path

from taskadapter_lite.commands.shared import objects, options
from taskadapter_lite.episodes import save_episodes

HELP = "draw a fixed list of episodes and save it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `episodes`."""
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    options.add_data_arguments(parser, random_views=False)
    options.add_part_argument(parser)
    episodes = parser.add_argument_group("episodes")
    options.add_episode_arguments(episodes, n_query=1, seed=2024)
    episodes.add_argument("--n-episodes", type=int, default=2000, help="how many")


def run(args: argparse.Namespace) -> int:
    """Draw and save."""
    clips = objects.open_clips(args, args.part, args.size or 64)
    episodes = objects.draw_episodes(args, clips, args.n_episodes, args.episode_seed)
    digest = save_episodes(args.out, episodes, clips)
    print(f"{len(episodes):,} episodes of {len(clips.class_names)} {args.part} classes in {args.out}, hash {digest}")
    return 0
