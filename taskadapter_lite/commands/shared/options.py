"""Options that several verbs share; `objects` makes something of them."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from taskadapter_lite.backbone import BUNDLED
from taskadapter_lite.data.public import published_datasets
from taskadapter_lite.sprites.render import LEVELS

PARTS = ("train", "val", "test")
FRAMES = 8  # of a clip, where neither the caller nor a file says otherwise
CLIPS_PER_CLASS = 60


def add_data_arguments(parser: argparse.ArgumentParser, random_views: bool = True) -> None:
    """Which clips, how they are read, and which backbone they go into.

    Args:
        parser: of the verb.
        random_views: False for a verb that reads the middle frames alone, where nothing can be mirrored.
    """
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data",
        default="bundled",
        metavar="bundled|sprites|ROOT",
        help="the sample that comes with the library, rendered sprites, or the folder of a data set",
    )
    data.add_argument("--dataset", default="folder", choices=[*published_datasets(), "folder"], help="what ROOT holds")
    data.add_argument("--list", type=Path, nargs="+", default=[], help="list files of ROOT, one a part")
    data.add_argument("--split-file", type=Path, help="classes of each part of a plain folder, made if missing")
    data.add_argument("--frames", type=int, help=f"T, frames a clip (default: that of saved adapters, else {FRAMES})")
    data.add_argument("--size", type=int, help="frame side in pixels (default: what the backbone takes)")
    if random_views:
        data.add_argument("--flip", action=argparse.BooleanOptionalAction, help="mirror half of the training clips")
    data.add_argument("--on-error", default="raise", choices=["raise", "skip"], help="what to do with broken clips")
    data.add_argument("--allow-outside", action="store_true", help="accept links and lists that lead out of ROOT")
    data.add_argument(
        "--groups",
        metavar="PATTERN",
        help="a regular expression whose one group names in each path what the clip was cut from, such as a signer: "
        "support and query of a class never share it; none: they may (default: known for ucf101 and hmdb51, else none)",
    )
    data.add_argument("--clips-per-class", type=int, default=CLIPS_PER_CLASS, help="of rendered sprites")
    data.add_argument("--level", default="plain", choices=LEVELS, help="of rendered sprites")
    text = f"timm name or the bundled model (default: that of saved adapters, else {BUNDLED})"
    data.add_argument("--backbone", help=text)
    data.add_argument("--backbone-depth", type=int, metavar="N", help="its first N blocks alone (default: all)")
    data.add_argument("--weights", type=Path, help=".safetensors file with the weights of --backbone")
    data.add_argument("--random-weights", action="store_true", help="an untrained backbone, to try a command")


def add_part_argument(parser: argparse.ArgumentParser) -> None:
    """Which part of a data set's classes."""
    parser.add_argument("--part", choices=PARTS, default="test", help="of the data")


def add_episode_arguments(parser: argparse._ArgumentGroup, n_query: int | None, seed: int, shown: str = "") -> None:
    """The size of an episode and the seed of its draw; `shown` explains another default."""
    parser.add_argument("--n-way", type=int, default=5, help="classes in an episode (default: 5)")
    parser.add_argument("--k-shot", type=int, default=1, help="support clips a class (default: 1)")
    text = f"query clips a class (default: {shown or n_query})"
    parser.add_argument("--n-query", type=int, default=n_query, help=text)
    parser.add_argument("--episode-seed", type=int, default=seed, help=f"seed of the episodes (default: {seed})")


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Where to compute."""
    text = "cpu, cuda, cuda:1, mps, ... (default: a CUDA device if there is one, else cpu)"
    parser.add_argument("--device", type=usable_device, help=text)


def usable_device(name: str) -> str:
    """The name of a device on which a number can be stored.

    Raises:
        ArgumentTypeError: one sentence on why there is none.
    """
    try:
        torch.zeros(1, device=name).item()  # "meta" stores nothing
    except (RuntimeError, AssertionError, ImportError):  # what PyTorch raises for unknown, absent and not built in
        raise argparse.ArgumentTypeError(f"device {name!r} can't be used here; try --device cpu") from None
    return name


def chosen_device(args: argparse.Namespace, launched: torch.device | None = None) -> torch.device:
    """The device of --device, else the one that a launcher gave this process, else the default."""
    if args.device:
        return torch.device(args.device)
    return launched or torch.device("cuda" if torch.cuda.is_available() else "cpu")
