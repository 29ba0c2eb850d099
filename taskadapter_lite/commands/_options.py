"""Options that several verbs share -> clips, episodes, backbone or saved adapters, device."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer

from taskadapter_lite.backbone import BUNDLED, load_backbone
from taskadapter_lite.data.datasets import SpriteClips, bundled_clips, open_dataset
from taskadapter_lite.data.labelled import LabelledClips
from taskadapter_lite.data.public import published_datasets
from taskadapter_lite.episodes import EpisodeSampler, EpisodeSpec
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.sprites.render import LEVELS
from taskadapter_lite.training.checkpoints import image_side, load_model, read_checkpoint

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


def open_backbone(args: argparse.Namespace) -> VisionTransformer:
    """The backbone that the options name.

    Raises:
        ValueError: options that exclude each other, or a size that the backbone does not take.
    """
    name = args.backbone or BUNDLED
    if args.weights is not None and args.random_weights:
        raise ValueError(f"--random-weights leaves out --weights {args.weights}: give one of them")
    options = {"img_size": args.size} if args.size and name != BUNDLED else {}
    options |= {"depth": args.backbone_depth} if args.backbone_depth is not None else {}
    if args.weights is not None:
        backbone = load_backbone(args.weights, architecture=name, **options)
    else:
        backbone = load_backbone(name, pretrained=not args.random_weights, **options)
    if args.size and args.size != frame_side(backbone):
        raise ValueError(f"--size is {args.size}, but {name} takes frames of {frame_side(backbone)} pixels")
    return backbone


def open_adapters(args: argparse.Namespace) -> TaskAdapterViT:
    """The adapters of the file in the backbone that they were trained on, or the one that the options name."""
    stored = image_side(read_checkpoint(args.adapters)[1])
    if None not in (args.size, stored) and args.size != stored:
        raise ValueError(f"--size is {args.size}, but {args.adapters} was trained on frames of {stored} pixels")
    named = (args.weights, args.backbone, args.backbone_depth)
    own_backbone = args.random_weights or any(value is not None for value in named)
    if own_backbone and args.backbone not in (None, BUNDLED):
        args.size = args.size or stored
    model = load_model(args.adapters, open_backbone(args) if own_backbone else None)
    for option, own in (("size", frame_side(model.backbone)), ("frames", model.T)):
        if getattr(args, option) not in (None, own):
            raise ValueError(f"--{option} is {getattr(args, option)}, but {args.adapters} was trained with {own}")
    args.frames = model.T
    return model


def frame_side(backbone: VisionTransformer) -> int:
    """The side of the square frames that a backbone takes, in pixels."""
    return backbone.patch_embed.img_size[0]


def open_clips(args: argparse.Namespace, part: str, size: int) -> LabelledClips:
    """The clips of part "train", "val" or "test", as frames of `size` x `size` pixels.

    Raises:
        ValueError: no such folder, list or class, or an option that says nothing about these clips.
    """
    _refuse_unused(args)
    T = args.frames or FRAMES
    if args.data == "bundled":
        return bundled_clips(part, T)
    if args.data == "sprites":
        return SpriteClips(part, args.clips_per_class, T, size=size, level=args.level)
    options = {"T": T, "size": size, "resize": round(size * 8 / 7), "on_error": args.on_error}
    flip = getattr(args, "flip", None)
    options |= {"allow_outside": args.allow_outside} | ({} if flip is None else {"flip": flip})
    if args.groups is not None:
        options["groups"] = None if args.groups.lower() == "none" else args.groups
    return open_dataset(args.data, args.dataset, part, args.list, args.split_file, **options)


# data -> option -> the value that stays where it says nothing; another one is refused
_OF_SPRITES: dict[str, Any] = {"clips_per_class": CLIPS_PER_CLASS, "level": "plain"}
_OF_FILES: dict[str, Any] = {
    "dataset": "folder",
    "list": [],
    "split_file": None,
    "flip": None,
    "on_error": "raise",
    "groups": None,
    "allow_outside": False,
}
_UNUSED = {"bundled": _OF_FILES | _OF_SPRITES, "sprites": _OF_FILES}


def _refuse_unused(args: argparse.Namespace) -> None:
    names_recipe = getattr(args, "recipe", None) == "published"  # then --dataset says whose
    for name, value in _UNUSED.get(args.data, _OF_SPRITES).items():
        if getattr(args, name, value) != value and not (name == "dataset" and names_recipe):
            raise ValueError(f"--{name.replace('_', '-')} says nothing about --data {args.data}: leave it out")
    if args.split_file is not None and (args.list or args.dataset != "folder"):
        raise ValueError(f"--split-file {args.split_file} says nothing where --list or --dataset names the parts")


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


def draw_episodes(args: argparse.Namespace, clips: LabelledClips, n_episodes: int, seed: int) -> EpisodeSampler:
    """Episodes of the size of --n-way, --k-shot and --n-query."""
    return EpisodeSampler.of(clips, EpisodeSpec(args.n_way, args.k_shot, args.n_query), n_episodes, seed)


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
