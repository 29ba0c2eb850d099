"""`train`: a data set and a recipe -> a folder with adapters, checkpoints and the result."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from taskadapter_lite.adapters import AXES, TASK_FRAMES
from taskadapter_lite.commands.shared import objects, options
from taskadapter_lite.commands.shared.fields import add_fields, given_fields
from taskadapter_lite.data.labelled import LabelledClips
from taskadapter_lite.episodes import EpisodeSampler, check_disjoint
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.results import RunResult
from taskadapter_lite.text import TextFeatures
from taskadapter_lite.training.config import PUBLISHED, TrainConfig
from taskadapter_lite.training.distributed import Team
from taskadapter_lite.training.estimate import estimate_run
from taskadapter_lite.training.loop import train

HELP = "train the adapters on a data set, and keep what did best on its validation classes"
STEPS = 1000  # unless the recipe or the caller says otherwise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `train`."""
    parser.add_argument("--out", type=Path, default=Path("runs/train"), help="folder to write")
    parser.add_argument("--resume", help='"auto": continue the run in --out if there is one; or a checkpoint')
    options.add_device_argument(parser)
    parser.add_argument("--dry-run", action="store_true", help="estimate time and memory of the run, train nothing")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="folder that keeps frozen tokens from run to run")
    parser.add_argument("--tensorboard", action="store_true", help="write training curves for TensorBoard into --out")
    options.add_data_arguments(parser)
    model = parser.add_argument_group("model")
    model.add_argument("--depth", type=int, help="adapted blocks (default: 3, published: that of the data set)")
    model.add_argument(
        "--axes",
        nargs="*",
        default=list(AXES),
        choices=AXES,
        help="which adapters; joint is the one beside the MLP, not the scope of that name (default: all)",
    )
    model.add_argument("--temporal-embedding", choices=["adapted", "input", "none"], help="where it is added")
    model.add_argument("--temporal-std", type=float, help="spread of its start (default: 0.5, published: 0)")
    model.add_argument("--zero-init", action=argparse.BooleanOptionalAction, help="start as the frozen backbone")
    model.add_argument("--task-frames", choices=TASK_FRAMES, help="which frames task attention meets (default: same)")
    model.add_argument("--class-mark", action=argparse.BooleanOptionalAction, help="task attention knows the labels")
    model.add_argument("--text", type=Path, help="file of text features of the class names (CLIP), see TextFeatures")
    episodes = parser.add_argument_group("episodes")
    options.add_episode_arguments(episodes, n_query=None, seed=0, shown="3, published: 1")
    episodes.add_argument("--validation-episodes", type=int, default=200, help="0: none")
    recipe = parser.add_argument_group("recipe", "the fields of TrainConfig; what is not given comes from --recipe")
    recipe.add_argument("--recipe", default="recommended", choices=["recommended", "published"], help="where to start")
    add_fields(recipe, TrainConfig, kept="recommended")


def run(args: argparse.Namespace) -> int:
    """Train; 0 when the run is complete, 130 when it was stopped and can be resumed."""
    team = Team()
    config = _config(args)
    n_steps = config.n_steps or STEPS
    config = replace(config, n_steps=n_steps)
    args.n_query = args.n_query or (1 if args.recipe == "published" else 3)
    model = _model(args, config.seed).to(options.chosen_device(args, team.device))
    clips, validation = _open_parts(args, objects.frame_side(model.backbone))
    episodes = objects.draw_episodes(args, clips, n_steps * config.episodes_per_step, args.episode_seed)
    if team.is_main:
        print(f"{len(clips)} training clips of {len(clips.class_names)} classes; {model.describe()}", flush=True)
    if args.dry_run:
        print(estimate_run(model, clips, episodes, config, n_steps, args.cache))
        return 0
    result = train(
        model,
        clips,
        episodes,
        config,
        validation,
        args.resume,
        out=args.out,
        cache=args.cache,
        text=None if args.text is None else TextFeatures.load(args.text),
        on_log=_tensorboard(args.out) if args.tensorboard and team.is_main else None,
        name=args.out.name,
    )
    if team.is_main:
        _report(result, args.out)
    team.leave()
    return 130 if result.interrupted else 0


def _config(args: argparse.Namespace) -> TrainConfig:
    """The recipe, with what the options change."""
    if args.recipe == "published" and args.dataset not in PUBLISHED:
        raise ValueError(f"the published recipe needs --dataset, one of {', '.join(PUBLISHED)}")
    recipe = TrainConfig.published(args.dataset) if args.recipe == "published" else TrainConfig.recommended()
    return replace(recipe, **given_fields(args, TrainConfig))


def _model(args: argparse.Namespace, seed: int) -> TaskAdapterViT:
    """Published: embedding at the input from zero, task adapters from random numbers. Ours: the other way round."""
    if args.recipe == "published":
        of_recipe = {"depth": PUBLISHED[args.dataset].depth, "temporal_embedding": "input", "temporal_std": 0.0}
    else:
        of_recipe = {"depth": 3, "temporal_embedding": "adapted", "temporal_std": 0.5}
    settings: dict[str, Any] = of_recipe | {"zero_init": args.recipe != "published"}
    settings |= {"task_frames": "same", "class_mark": False}
    settings |= {name: value for name in settings if (value := getattr(args, name)) is not None}
    if settings["temporal_embedding"] == "none":
        settings["temporal_embedding"] = None
    torch.manual_seed(seed)
    return TaskAdapterViT(objects.open_backbone(args), T=args.frames or options.FRAMES, axes=args.axes, **settings)


def _open_parts(
    args: argparse.Namespace, size: int
) -> tuple[LabelledClips, tuple[LabelledClips, EpisodeSampler] | None]:
    """Training clips, and validation clips of other classes with their episodes, where there are to be some."""
    clips = objects.open_clips(args, "train", size)
    if not args.validation_episodes:
        return clips, None
    held_out = objects.open_clips(args, "val", size)
    check_disjoint(train=clips.class_names, validation=held_out.class_names)
    return clips, (held_out, objects.draw_episodes(args, held_out, args.validation_episodes, args.episode_seed + 1))


def _tensorboard(folder: Path) -> Callable[[dict], None]:
    """A callback that writes each row of the history as curves."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError("--tensorboard needs TensorBoard: pip install 'taskadapter_lite[tensorboard]'") from error
    writer = SummaryWriter(folder / "tensorboard")

    def write(row: dict) -> None:
        for name, value in row.items():
            writer.add_scalar(name, value, row["step"])
        writer.flush()

    return write


def _report(result: RunResult, folder: Path) -> None:
    last = result.history[-1] if result.history else {"step": 0, "loss": float("nan"), "accuracy": float("nan")}
    print(f"step {last['step']}: loss {last['loss']:.3f}, training accuracy {last['accuracy']:.1%}")
    if result.accuracies:
        print(f"validation, best adapters: {result.summary()}")
    if result.interrupted:
        print("stopped before the end: the same command with --resume auto continues it")
    print(f"adapters: {folder / 'adapters.safetensors'}")
