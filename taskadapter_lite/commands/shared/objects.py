"""What the options of `options` name: a backbone or saved adapters, clips, episodes."""

from __future__ import annotations

import argparse
from typing import Any

from timm.models.vision_transformer import VisionTransformer

from taskadapter_lite.backbone import BUNDLED, OtherArchitecture, load_backbone
from taskadapter_lite.commands.shared.options import CLIPS_PER_CLASS, FRAMES
from taskadapter_lite.data.datasets import SpriteClips, bundled_clips, open_dataset
from taskadapter_lite.data.labelled import LabelledClips
from taskadapter_lite.episodes import Episode, Episodes, EpisodeSampler, EpisodeSpec, load_episodes
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.training.checkpoints import image_side, load_model, read_checkpoint

EPISODES = {"n_way": 5, "k_shot": 1, "n_query": 1, "n_episodes": 1000, "episode_seed": 0}  # where nothing is given


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
        try:
            backbone = load_backbone(args.weights, architecture=name, **options)
        except OtherArchitecture as error:
            if args.backbone is not None:
                raise
            raise ValueError(
                f"--weights {args.weights} does not hold {name}, which it is read as without --backbone: say with "
                "--backbone whose weights they are, for example dinov2_small"
            ) from error
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


def draw_episodes(args: argparse.Namespace, clips: LabelledClips, n_episodes: int, seed: int) -> EpisodeSampler:
    """Episodes of the size of --n-way, --k-shot and --n-query."""
    return EpisodeSampler.of(clips, EpisodeSpec(args.n_way, args.k_shot, args.n_query), n_episodes, seed)


def open_episodes(args: argparse.Namespace, clips: LabelledClips) -> Episodes:
    """The list of --episode-list, or one drawn as the options say.

    Raises:
        ValueError: options that do not agree with the list.
    """
    if args.episode_list is not None:
        return _saved_episodes(args, clips)
    for name, value in EPISODES.items():
        setattr(args, name, value if getattr(args, name) is None else getattr(args, name))
    return draw_episodes(args, clips, args.n_episodes, args.episode_seed)


def _saved_episodes(args: argparse.Namespace, clips: LabelledClips) -> list[Episode]:
    """The list of --episode-list, or its first --n-episodes; other options have to agree with it."""
    drawn = {
        "--save-episodes": args.save_episodes,
        f"--episode-seed {args.episode_seed}": args.episode_seed,
        f"--groups {args.groups}": args.groups,
    }
    for option, value in drawn.items():
        if value is not None:
            raise ValueError(f"{option} is about episodes that are drawn, but {args.episode_list} is a saved list")
    episodes = load_episodes(args.episode_list, clips)
    n_way, k_shot, n_queries = episodes[0].shape
    for name, value in {"n_way": n_way, "k_shot": k_shot, "n_query": n_queries / n_way}.items():
        if getattr(args, name) not in (None, value):
            raise ValueError(
                f"--{name.replace('_', '-')} is {getattr(args, name)}, but the episodes of {args.episode_list} "
                f"have {value:g}"
            )
    args.k_shot = k_shot  # part of the result's name
    if args.n_episodes is not None and not 0 < args.n_episodes <= len(episodes):
        raise ValueError(f"--n-episodes is {args.n_episodes}, but {args.episode_list} holds {len(episodes)}")
    return episodes[: args.n_episodes]
