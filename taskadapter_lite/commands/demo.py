"""The main job end to end: bundled clips -> trained Task-Adapter -> a table, figures and files."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from taskadapter_lite import figures
from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.commands._options import add_device_argument, chosen_device
from taskadapter_lite.commands.attention import draw_attention, first_right
from taskadapter_lite.data.datasets import bundled_clips, data_dir, verify_bundled
from taskadapter_lite.data.labelled import LabelledClips
from taskadapter_lite.episodes import Episode, EpisodeSampler, EpisodeSpec, check_disjoint, load_episodes
from taskadapter_lite.evaluation import PrefixCache, evaluate
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.results import RunResult, accuracy_interval
from taskadapter_lite.sprites.render import partners
from taskadapter_lite.training.checkpoints import save_checkpoint
from taskadapter_lite.training.loop import TrainConfig, train

HELP = "train Task-Adapter on the bundled clips and evaluate it on unseen classes"
SHOTS = (1, 5)
DEPTH = 3
METRIC_NAMES = {"cosine": "cosine", "otam": "OTAM"}
METRIC = "otam"  # keeps the order of the frames; the paper's mean over time loses it (see the ladder)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `demo`."""
    parser.add_argument("--seed", type=int, default=0, help="of training: its episodes, views and start (default: 0)")
    add_device_argument(parser)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/demo"), help="folder to write into (default: %(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="a few steps and episodes, under a minute, to try it out")


def run(args: argparse.Namespace) -> int:
    """Verify, train, evaluate, draw, and say where everything is."""
    device = chosen_device(args)
    args.out.mkdir(parents=True, exist_ok=True)
    verify_bundled()
    start = time.monotonic()
    parts = {name: bundled_clips(name) for name in ("train", "test")}
    check_disjoint(**{name: clips.class_names for name, clips in parts.items()})
    print(
        f"bundled files verified: {len(parts['train'])} training clips of {len(parts['train'].class_names)} classes, "
        f"{len(parts['test'])} test clips of {len(parts['test'].class_names)} other classes"
    )
    model = new_model(args.seed, device)
    print(model.describe())
    results = []
    for metric in ("cosine", METRIC):
        results += evaluate_shots(frozen(device), parts["test"], "Frozen backbone", metric, args.quick)
    training = train(model, parts["train"], **recipe(args.seed, args.quick, parts["train"]), name="Task-Adapter")
    results += evaluate_shots(model, parts["test"], "Task-Adapter", METRIC, args.quick, seconds=training.seconds)
    record = combined(results, training, args)
    record.save(args.out / "result.json")
    save_checkpoint(args.out / "adapters.safetensors", model, metadata={"trained_on": parts["train"].fingerprint})
    draw(results, model, parts["test"], args.out)
    print(table(RunResult.load(args.out / "result.json")))
    say_where(args.out, time.monotonic() - start)
    return 0


def new_model(seed: int, device: torch.device) -> TaskAdapterViT:
    """Task-Adapter in the last blocks of the bundled backbone, at its start."""
    torch.manual_seed(seed)
    return TaskAdapterViT(load_backbone(), depth=DEPTH, temporal_std=0.5).to(device)


def frozen(device: torch.device) -> TaskAdapterViT:
    """The bundled backbone with nothing added."""
    return TaskAdapterViT(load_backbone(), depth=0, axes=()).to(device)


def recipe(seed: int, quick: bool, clips: LabelledClips) -> dict:
    """Training episodes and settings: as many steps as fit the demo's minutes on two cores."""
    n_steps = 20 if quick else 500
    spec = EpisodeSpec(n_way=5, k_shot=1, n_query=3)
    episodes = EpisodeSampler(clips.labels, spec, n_steps, seed, clips.class_names)
    settings = {"validation_every": 0, "checkpoint_every": 10**9, "metric": METRIC, "temperature": 2.0}
    return {"episodes": episodes, "config": TrainConfig.recommended(n_steps=n_steps, seed=seed, **settings)}


def test_episodes(shots: int, clips: LabelledClips, quick: bool) -> list[Episode]:
    """The start of the saved list of test episodes."""
    episodes = load_episodes(data_dir() / "episodes" / f"test_5way_{shots}shot.json", clips)
    return episodes[: 20 if quick else {1: 300, 5: 100}[shots]]


def evaluate_shots(
    model: TaskAdapterViT, clips: LabelledClips, name: str, metric: str, quick: bool, seconds: float = 0.0
) -> list[RunResult]:
    """One result a number of shots; `seconds` of training are added to those of the evaluation."""
    cache, results = PrefixCache(model, clips), []
    for shots in SHOTS:
        label = f"{method_name(name, metric)}, {shots}-shot"
        result = evaluate(model, cache, test_episodes(shots, clips, quick), metric, pairs=partners(), name=label)
        result.metadata |= {"method": name, "shots": shots, "training_seconds": round(seconds, 1)}
        results.append(result)
    return results


def combined(results: list[RunResult], training: RunResult, args: argparse.Namespace) -> RunResult:
    """One file that holds the whole demo: the trained model's 1-shot run, with all the others inside."""
    record = next(r for r in results if r.metadata["method"] == "Task-Adapter" and r.metadata["shots"] == 1)
    record.history, record.seeds = training.history, record.seeds | {"training": args.seed}
    record.config |= {"training": training.config}
    keep = ("name", "scope", "metric", "episodes", "accuracies", "trainable_parameters", "seconds", "pairs", "metadata")
    rows = [{key: getattr(result, key) for key in keep} for result in results]
    record.metadata = record.metadata | {"rows": [row | {"metadata": dict(row["metadata"])} for row in rows]}
    return record


def method_name(method: str, metric: str) -> str:
    """How a row is called: "Task-Adapter, OTAM"."""
    return f"{method}, {METRIC_NAMES[metric]}"


def table(record: RunResult) -> str:
    """The demo's results, computed from the saved file: a line a method."""
    rows: dict[str, dict[int, dict]] = {}
    for row in record.metadata["rows"]:
        rows.setdefault(method_name(row["metadata"]["method"], row["metric"]), {})[row["metadata"]["shots"]] = row
    lines = [
        f"{'method':<23} {'trained':>8}  {'1-shot':>13}  {'5-shot':>13}  {'scope':<10} {'episodes':>9} {'seconds':>8}"
    ]
    for method, by_shots in rows.items():
        means = [
            "{:.1f} +- {:.1f} %".format(*(100 * v for v in accuracy_interval(by_shots[s]["accuracies"]))) for s in SHOTS
        ]
        first = by_shots[1]
        episodes = "+".join(str(len(by_shots[s]["accuracies"])) for s in SHOTS)
        seconds = first["metadata"]["training_seconds"] + sum(row["seconds"] for row in by_shots.values())
        lines.append(
            f"{method:<23} {first['trainable_parameters']:>8,}  {means[0]:>13}  {means[1]:>13}  "
            f"{first['scope'] or '-':<10} {episodes:>9} {seconds:>8.0f}"
        )
    return "\n".join(
        ["", *lines, "5-way, classes never trained on; mean and 95% interval over the episodes; chance is 20 %"]
    )


def draw(results: list[RunResult], model: TaskAdapterViT, clips: LabelledClips, out: Path) -> None:
    """ladder.png and cross_video_attention.png."""
    figures.use_style()
    figure, axes = plt.subplots(1, len(SHOTS), figsize=(11, 2.6), sharex=True, layout="constrained")
    for ax, shots in zip(axes, SHOTS, strict=True):
        rows = [result for result in results if result.metadata["shots"] == shots]
        means, halves = zip(*(accuracy_interval(result.accuracies) for result in rows), strict=True)
        names = [method_name(result.metadata["method"], str(result.metric)) for result in rows]
        figures.plot_ladder(names, means, halves, len(rows[0].accuracies), 0.2, highlight=names[-1:], ax=ax)
        ax.set_title(f"5-way {shots}-shot, unseen classes")
    figure.savefig(out / "ladder.png", bbox_inches="tight")
    plt.close(figure)
    episode = first_right(model, clips, test_episodes(1, clips, quick=True))
    draw_attention(model, clips, episode, out / "cross_video_attention.png")


def say_where(out: Path, seconds: float) -> None:
    """The files, and the next command."""
    print(f"\ndone in {seconds:.0f} s; in {out}/:")
    print("  result.json                every number above, per episode, with seed, versions and commit")
    print("  adapters.safetensors       the trained adapters")
    print("  ladder.png                 the table as a figure")
    print("  cross_video_attention.png  what a query video attends to in the support videos")
    print(f"next: {next_command(out, Path(__file__).parents[2])}")


def next_command(out: Path, root: Path) -> str:
    """The course where `root` is the repository; where the library came as a wheel, a question to the new adapters."""
    in_repository = (root / "Makefile").is_file()
    return "make lab" if in_repository else f"taskadapter-lite evaluate {out / 'adapters.safetensors'}"
