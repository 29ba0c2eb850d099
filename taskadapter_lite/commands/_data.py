"""Command-line options -> labelled clips of one part of a data set, and the model's backbone."""

from __future__ import annotations

import argparse
from pathlib import Path

from timm.models.vision_transformer import VisionTransformer

from taskadapter_lite.backbone import BUNDLED, load_backbone
from taskadapter_lite.datasets import FileClips, LabelledClips, ListedClips, SpriteClips, bundled_clips
from taskadapter_lite.episodes import EpisodeSpec
from taskadapter_lite.locating import Locator
from taskadapter_lite.splits import (
    PARTS,
    load_split,
    published_datasets,
    published_split,
    read_split_list,
    split_classes,
)
from taskadapter_lite.sprites import LEVELS


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
    data.add_argument("--split", type=Path, help="classes of each part, for a plain folder (default: drawn by seed 0)")
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
    root, flip = Path(args.data), args.flip
    if flip is None:
        flip = args.dataset != "folder" and published_split(args.dataset).mirror_images
    options = {"T": args.frames, "size": size, "resize": round(size * 8 / 7), "flip": flip and part == "train"}
    options |= {"on_error": args.on_error, "allow_outside": args.allow_outside}
    if args.list:
        return ListedClips(root, _list_of(args, part), **options)
    if (root / part).is_dir():
        root = root / part
    locator = Locator(root, follow_links=args.allow_outside)
    names = _class_names(args, part, root, locator)
    found = [(path, label) for label, name in enumerate(names) for path in locator.of_class(name)]
    if missing := [name for label, name in enumerate(names) if label not in {label for _, label in found}]:
        raise ValueError(f"{len(missing)} of {len(names)} {part} classes have no clip in {root}, first {missing[0]!r}")
    return FileClips(root, [path for path, _ in found], [label for _, label in found], names, **options)


def episode_spec(args: argparse.Namespace) -> EpisodeSpec:
    """The size of an episode, from --n-way, --k-shot and --n-query."""
    return EpisodeSpec(args.n_way, args.k_shot, args.n_query)


def _list_of(args: argparse.Namespace, part: str) -> list:
    for path in args.list:
        listed = read_split_list(path, args.allow_outside)
        if part == (listed[0].part or next((name for name in PARTS if name in path.name.lower()), None)):
            return listed
    raise ValueError(f"no list is of part {part!r}: --list names {', '.join(map(str, args.list))}")


def _class_names(args: argparse.Namespace, part: str, root: Path, locator: Locator) -> list[str]:
    if args.dataset != "folder":
        return published_split(args.dataset).classes[part]
    if args.split is not None:
        return load_split(args.split)[part]
    names = sorted({Path(path).parent.name for path in locator.paths})
    return names if root.name == part else split_classes(names)[part]
