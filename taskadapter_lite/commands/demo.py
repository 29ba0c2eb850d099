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
from taskadapter_lite.commands.attention import answer, draw_attention, first_right
from taskadapter_lite.data.datasets import bundled_clips, data_dir, verify_bundled
from taskadapter_lite.data.labelled import LabelledClips
from taskadapter_lite.data.which_attribute import AttributeEpisodes, AttributePortraits
from taskadapter_lite.episodes import Episode, EpisodeSampler, EpisodeSpec, check_disjoint, load_episodes
from taskadapter_lite.evaluation import PrefixCache, evaluate
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.results import RunResult, accuracy_interval
from taskadapter_lite.sprites.render import partners
from taskadapter_lite.studies.attribute_minute import SPEC, TEST_SEED, queries_in_two_tasks, run_in_a_minute
from taskadapter_lite.training.checkpoints import save_checkpoint
from taskadapter_lite.training.loop import TrainConfig, train

HELP = "train Task-Adapter on bundled clips and on tasks that need task attention, and evaluate both"
SHOTS = (1, 5)
KEPT = ("name", "scope", "metric", "episodes", "accuracies", "trainable_parameters", "seconds", "pairs", "metadata")
DEPTH = 3
METRIC_NAMES = {"cosine": "cosine", "otam": "OTAM"}
METRIC = "otam"  # keeps the order of the frames; the paper's mean over time loses it (see the ladder)
AGGREGATION = "prototype"  # as in the committed file of the demo, and better here with five shots (results/aggregation)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `demo`."""
    parser.add_argument("--seed", type=int, default=0, help="of training: its episodes, views and start (default: 0)")
    add_device_argument(parser)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/demo"), help="folder to write into (default: %(default)s)"
    )
    parser.add_argument(
        "--only", choices=("actions", "which-attribute"), help="one of the two tables (default: both of them)"
    )
    parser.add_argument("--quick", action="store_true", help="a few steps and episodes, under a minute, to try it out")


def run(args: argparse.Namespace) -> int:
    """Verify, train, evaluate, draw, and say where everything is."""
    device = chosen_device(args)
    args.out.mkdir(parents=True, exist_ok=True)
    verify_bundled()
    start = time.monotonic()
    if args.only != "which-attribute":
        run_actions(args, device)
    if args.only != "actions":
        run_which_attribute(args, device)
    say_where(args.out, time.monotonic() - start)
    return 0


def run_actions(args: argparse.Namespace, device: torch.device) -> None:
    """Train on the bundled clips, test on unseen classes; a table of shots."""
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


def run_which_attribute(args: argparse.Namespace, device: torch.device) -> None:
    """Constructed tasks in which only the support tells what counts; a table of models."""
    results, model = run_in_a_minute(device, args.seed, args.out, args.quick)
    record = results[-1]
    rows = [{key: getattr(result, key) for key in KEPT} for result in results]
    record.metadata = record.metadata | {"rows": [row | {"metadata": dict(row["metadata"])} for row in rows]}
    record.save(args.out / "which_attribute.json")
    draw_two_tasks(record, model, args.out / "which_attribute.png")
    print(table_of_tasks(RunResult.load(args.out / "which_attribute.json")))


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
    settings |= {"aggregation": AGGREGATION}
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
        episodes = test_episodes(shots, clips, quick)
        result = evaluate(model, cache, episodes, metric, aggregation=AGGREGATION, pairs=partners(), name=label)
        result.metadata |= {"method": name, "shots": shots, "training_seconds": round(seconds, 1)}
        results.append(result)
    return results


def combined(results: list[RunResult], training: RunResult, args: argparse.Namespace) -> RunResult:
    """One file that holds the whole demo: the trained model's 1-shot run, with all the others inside."""
    record = next(r for r in results if r.metadata["method"] == "Task-Adapter" and r.metadata["shots"] == 1)
    record.history, record.seeds = training.history, record.seeds | {"training": args.seed}
    record.config |= {"training": training.config}
    rows = [{key: getattr(result, key) for key in KEPT} for result in results]
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


def table_of_tasks(record: RunResult) -> str:
    """The second table, computed from the saved file."""
    lines = [f"{'which attribute counts?':<35} {'trained':>8}  {'5-way 1-shot':>13}  {'episodes':>8} {'seconds':>8}"]
    for row in record.metadata["rows"]:
        mean, half = (100 * value for value in accuracy_interval(row["accuracies"]))
        seconds = row["metadata"]["training_seconds"] + row["seconds"]
        lines.append(
            f"{row['name']:<35} {row['trainable_parameters']:>8,}  {f'{mean:.1f} +- {half:.1f} %':>13}  "
            f"{len(row['accuracies']):>8} {seconds:>8.0f}"
        )
    said = "constructed tasks, colours and forms never trained on; in half of them the colour counts, else the form;"
    return "\n".join(["", *lines, said, "mean and 95% interval over the episodes; chance is 20 %"])


def draw_two_tasks(record: RunResult, model: TaskAdapterViT, path: Path) -> None:
    """One query in two tasks, and the second table, as a picture: the first query of the list answered right twice."""
    pool = AttributePortraits("test")
    episodes = AttributeEpisodes(pool, SPEC, len(record.accuracies), TEST_SEED)
    shown = None
    for clip, tasks in queries_in_two_tasks(episodes):
        answers = [answer(model, pool, task) for task in tasks]
        shown = shown or (clip, tasks, answers)
        if all(int(a.labels[0]) == int(task.query_labels[0]) for a, task in zip(answers, tasks, strict=True)):
            shown = clip, tasks, answers
            break
    if shown is None:  # a handful of tasks may ask no clip twice
        return
    clip, tasks, answers = shown
    rows = record.metadata["rows"]
    means, halves = zip(*(accuracy_interval(row["accuracies"]) for row in rows), strict=True)
    figures.use_style()
    figure = figures.plot_two_tasks(
        pool[clip],
        [pool.read_batch(task.support) for task in tasks],
        [a.scores[0].cpu() for a in answers],
        list(episodes.rules),
        [row["name"] for row in rows],
        means,
        halves,
        len(record.accuracies),
        0.2,
    )
    figure.savefig(path, dpi=100)
    plt.close(figure)


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


FILES = {
    "result.json": "every number of the first table, per episode, with seed, versions and commit",
    "adapters.safetensors": "the trained adapters",
    "ladder.png": "the table as a figure",
    "cross_video_attention.png": "what a query video attends to in the support videos",
    "which_attribute.json": "every number of the second table",
    "which_attribute.safetensors": "the adapters with task attention that were trained for it",
    "which_attribute.png": "one query in two tasks, and the second table as a figure",
}


def say_where(out: Path, seconds: float) -> None:
    """The files, and the next command."""
    print(f"\ndone in {seconds:.0f} s; in {out}/:")
    for name, text in FILES.items():
        if (out / name).exists():
            print(f"  {name:<28} {text}")
    if next_one := next_command(out, Path(__file__).parents[2]):
        print(f"next: {next_one}")


def next_command(out: Path, root: Path) -> str:
    """The course where `root` is the repository; where the library came as a wheel, a question to the new adapters."""
    if (root / "Makefile").is_file():
        return "make lab"
    adapters = out / "adapters.safetensors"
    return f"taskadapter-lite evaluate {adapters}" if adapters.exists() else ""
