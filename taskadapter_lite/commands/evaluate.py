"""`evaluate`: adapters and a part of a data set -> a result file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from taskadapter_lite.adapters import SCOPES
from taskadapter_lite.cache import PrefixCache
from taskadapter_lite.commands.shared import objects, options
from taskadapter_lite.data.labelled import LabelledClips
from taskadapter_lite.episodes import check_disjoint, save_episodes
from taskadapter_lite.evaluation import depends_on_episode, evaluate
from taskadapter_lite.metrics import AGGREGATIONS, METRICS, Scorer, scores_of
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.results import RunResult
from taskadapter_lite.sprites.render import partners
from taskadapter_lite.text import FUSIONS, TextFeatures
from taskadapter_lite.training.checkpoints import load_metric, read_checkpoint
from taskadapter_lite.training.distributed import Team, join_result

HELP = "evaluate saved adapters, or the frozen backbone, on one part of a data set"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `evaluate`."""
    parser.add_argument("adapters", nargs="?", type=Path, help="file of adapters (default: the frozen backbone alone)")
    parser.add_argument("--out", type=Path, help="result file (default: runs/evaluate/NAME.json)")
    parser.add_argument("--name", help="of the row in tables; runs of one name are seeds (default: made from options)")
    options.add_device_argument(parser)
    parser.add_argument("--batch-size", type=int, default=16, help="episodes in one pass")
    parser.add_argument("--cache", type=Path, help="file that keeps frozen tokens from run to run")
    parser.add_argument("--half-cache", action="store_true", help="keep tokens in bfloat16 (each off by up to 0.4 %%)")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"], help="of adapted blocks")
    parser.add_argument("--workers", type=int, default=0, help="threads that read clips")
    options.add_data_arguments(parser, random_views=False)
    options.add_part_argument(parser)
    episodes = parser.add_argument_group("episodes")
    options.add_episode_arguments(episodes, n_query=1, seed=0)
    text = f"how many (default: {objects.EPISODES['n_episodes']}, or all of a list)"
    episodes.add_argument("--n-episodes", type=int, help=text)
    parser.set_defaults(**dict.fromkeys(objects.EPISODES))  # what is given has to agree with a saved list
    episodes.add_argument("--episode-list", type=Path, help="a saved list, instead of drawing one; its hash is checked")
    episodes.add_argument("--save-episodes", type=Path, help="save the list that was drawn")
    scores = parser.add_argument_group("scores")
    scores.add_argument("--metric", choices=METRICS, help="(default: as trained, else cosine)")
    text = "of shots (default: as trained, else the metric's own)"
    scores.add_argument("--aggregation", choices=AGGREGATIONS, help=text)
    scores.add_argument("--scope", choices=SCOPES, help="who attends to whom in task attention (default: as trained)")
    scores.add_argument("--text", type=Path, help="text features of the class names (CLIP), see TextFeatures")
    scores.add_argument("--fusion", choices=FUSIONS, help=f"of the scores with --text (default: {FUSIONS[0]})")


def run(args: argparse.Namespace) -> int:
    """Evaluate and write the result; 130 when it was stopped early."""
    team = Team()
    model, metric = _open_model(args)
    _refuse_unused(args, model)
    model.to(options.chosen_device(args, team.device))
    if team.is_main and model.trained_with is not None:
        _say_scores(args, model.trained_with)
    clips = objects.open_clips(args, args.part, objects.frame_side(model.backbone))
    _refuse_trained_classes(args, clips)
    episodes = objects.open_episodes(args, clips)
    if args.save_episodes is not None and team.is_main:
        print(f"episodes {save_episodes(args.save_episodes, episodes, clips)} saved to {args.save_episodes}")
    if len(episodes) < team.size:
        raise ValueError(f"{len(episodes)} episodes can't be shared by {team.size} processes")
    result = evaluate(
        model,
        clips,
        episodes if team.size == 1 else team.share(list(episodes)),
        metric,
        scope=args.scope,
        precision=args.precision,
        aggregation=args.aggregation,
        cache=_open_cache(args, model, clips),
        text=None if args.text is None else TextFeatures.load(args.text),
        fusion=args.fusion or FUSIONS[0],
        pairs=partners(),
        batch_size=args.batch_size,
        workers=args.workers,
        progress=team.is_main,
        name=args.name or _default_name(args),
        metadata={"part": args.part, "adapters": None if args.adapters is None else str(args.adapters)},
    )
    if team.size > 1:
        join_result(result, team, episodes)
    if team.is_main:
        _report(result, args.out or Path("runs/evaluate") / f"{result.name.replace(' ', '_')}.json")
    team.leave()
    return 130 if result.interrupted else 0


def _open_model(args: argparse.Namespace) -> tuple[TaskAdapterViT, str | Scorer]:
    """The model, and the metric: its name, or the trained module from the file of adapters."""
    if args.adapters is None:
        args.metric, args.aggregation = scores_of(None, args.metric, args.aggregation)
        T = args.frames or options.FRAMES
        return TaskAdapterViT(objects.open_backbone(args), depth=0, T=T), args.metric
    model = objects.open_adapters(args)
    args.metric, args.aggregation = scores_of(model.trained_with, args.metric, args.aggregation)
    return model, load_metric(args.adapters, model, args.metric) if METRICS[args.metric].has_parameters else args.metric


def _refuse_unused(args: argparse.Namespace, model: TaskAdapterViT) -> None:
    """An option that would change nothing is refused, so that no result is taken for another one."""
    if args.fusion is not None and args.text is None:
        raise ValueError(f"--fusion {args.fusion} says how scores by name are added: give --text with it")
    for option, chosen in (("scope", args.scope), ("precision", args.precision)):
        if chosen not in (None, "fp32") and not depends_on_episode(model):
            raise ValueError(f"--{option} {chosen} changes nothing: this model has no task attention")


def _say_scores(args: argparse.Namespace, trained: dict) -> None:
    """Name the scores that the adapters were trained with, or warn that others were asked for."""
    words = [", ".join(filter(None, (d["metric"], d["aggregation"]))) for d in (vars(args), trained)]
    if words[0] == words[1]:
        print(f"scores as the adapters were trained: {words[0]}")
    else:
        print(f"warning: scores are {words[0]}, but the adapters were trained with {words[1]}", file=sys.stderr)


def _refuse_trained_classes(args: argparse.Namespace, clips: LabelledClips) -> None:
    """Adapters that say which classes they were trained on are evaluated on others, except for --part train."""
    if args.adapters is not None and args.part != "train":
        trained_on = read_checkpoint(args.adapters)[1]["metadata"].get("class_names", [])
        check_disjoint(training=trained_on, **{args.part: clips.class_names})


def _open_cache(args: argparse.Namespace, model: TaskAdapterViT, clips: LabelledClips) -> PrefixCache | None:
    if args.cache is None and not args.half_cache:
        return None  # `evaluate` keeps what it needs
    dtype = torch.bfloat16 if args.half_cache else torch.float32
    return PrefixCache(model, clips, dtype=dtype, path=args.cache, workers=args.workers)


def _default_name(args: argparse.Namespace) -> str:
    adapters = "frozen" if args.adapters is None else f"{args.adapters.parent.name} {args.adapters.stem}".strip()
    chosen = [args.metric, args.scope and f"scope {args.scope}", None if args.k_shot == 1 else f"{args.k_shot}-shot"]
    return " ".join([adapters, *(word for word in chosen if word)])


def _report(result: RunResult, path: Path) -> None:
    result.save(path)
    print(result.summary())
    if result.pair_accuracy is not None:
        share, half_width = result.pair_accuracy
        print(f"own class, not its reversed partner: {100 * share:.1f} +- {100 * half_width:.1f} % (a coin: 50 %)")
    if weights := result.config["weights"]:
        print(f"weights {weights['file']}: {weights['holds']} ({weights['sha256'][:12]})")
    print(f"episodes {result.episodes}, clips {result.dataset}, {result.seconds:.1f} s on {result.device}: {path}")
