"""Command-line options -> labelled clips of one part of a data set, and the model's backbone."""

from __future__ import annotations

import argparse
from pathlib import Path

from timm.models.vision_transformer import VisionTransformer

from taskadapter_lite.backbone import BUNDLED, load_backbone
from taskadapter_lite.data.datasets import LabelledClips, SpriteClips, bundled_clips, open_dataset
from taskadapter_lite.data.public import published_datasets
from taskadapter_lite.episodes import EpisodeSpec
from taskadapter_lite.sprites.render import LEVELS


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Which clips, how they are read, and which backbone they go into."""
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data",
        default="bundled",
        metavar="bundled|sprites|ROOT",
        help="the sample that comes with the library, rendered sprites, or the folder of a data set (default: bundled)",
    )
    data.add_argument("--dataset", default="folder", choices=[*published_datasets(), "folder"], help="what ROOT holds")
    data.add_argument("--list", type=Path, nargs="+", default=[], help="list files of ROOT, one a part")
    data.add_argument("--split", type=Path, help="classes of each part of a plain folder, made if missing")
    data.add_argument("--frames", type=int, default=8, help="T, frames a clip (default: %(default)s)")
    data.add_argument("--size", type=int, help="frame side in pixels (default: what the backbone takes)")
    data.add_argument("--flip", action=argparse.BooleanOptionalAction, help="mirror half of the training clips")
    data.add_argument("--on-error", default="raise", choices=["raise", "skip"], help="what to do with broken clips")
    data.add_argument("--allow-outside", action="store_true", help="accept links and lists that lead out of ROOT")
    data.add_argument("--clips-per-class", type=int, default=60, help="of rendered sprites (default: %(default)s)")
    data.add_argument("--level", default="plain", choices=LEVELS, help="of rendered sprites (default: %(default)s)")
    data.add_argument("--backbone", default=BUNDLED, help="timm name or the bundled model (default: %(default)s)")
    data.add_argument("--weights", type=Path, help=".safetensors file with the weights of --backbone")
    data.add_argument("--random-weights", action="store_true", help="an untrained backbone, to try a command")


def open_backbone(args: argparse.Namespace) -> VisionTransformer:
    """The backbone that the options name."""
    size = {"img_size": args.size} if args.size and args.backbone != BUNDLED else {}
    if args.weights is not None:
        return load_backbone(args.weights, architecture=args.backbone, **size)
    return load_backbone(args.backbone, pretrained=not args.random_weights, **size)


def open_clips(args: argparse.Namespace, part: str, size: int) -> LabelledClips:
    """The clips of part "train", "val" or "test", as frames of `size` x `size` pixels.

    Raises:
        ValueError: no such folder, list or class.
    """
    if args.data == "bundled":
        return bundled_clips(part, args.frames)
    if args.data == "sprites":
        return SpriteClips(part, args.clips_per_class, args.frames, size=size, level=args.level)
    options = {"T": args.frames, "size": size, "resize": round(size * 8 / 7), "on_error": args.on_error}
    options |= {"allow_outside": args.allow_outside} | ({} if args.flip is None else {"flip": args.flip})
    return open_dataset(args.data, args.dataset, part, args.list, args.split, **options)


def episode_spec(args: argparse.Namespace) -> EpisodeSpec:
    """The size of an episode, from --n-way, --k-shot and --n-query."""
    return EpisodeSpec(args.n_way, args.k_shot, args.n_query)
