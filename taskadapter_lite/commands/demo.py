"""The main job end to end: bundled clips -> trained Task-Adapter -> a table, figures and files."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from taskadapter_lite import figures
from taskadapter_lite.commands._options import add_device_argument, chosen_device
from taskadapter_lite.commands.attention import answer, draw_attention, first_right
from taskadapter_lite.data import bundled_clips, verify_bundled
from taskadapter_lite.data.labelled import LabelledClips
from taskadapter_lite.data.which_attribute import AttributeEpisodes, AttributePortraits
from taskadapter_lite.episodes import check_disjoint
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.results import RunResult, accuracy_interval, text_interval
from taskadapter_lite.studies import attribute_minute, bundled_actions
from taskadapter_lite.studies.ladder import saved_episodes
from taskadapter_lite.training.checkpoints import save_checkpoint

HELP = "train Task-Adapter on bundled clips and on tasks that need task attention, and evaluate both"
SHOTS = tuple(bundled_actions.N_TEST)
KEPT = ("name", "scope", "metric", "episodes", "accuracies", "trainable_parameters", "seconds", "pairs", "metadata")
FILES = {
    "result.json": "every number of the first table, per episode, with seed, versions and commit",
    "adapters.safetensors": "the trained adapters",
    "ladder.png": "the table as a figure",
    "cross_video_attention.png": "what a query video attends to in the support videos",
    "which_attribute.json": "every number of the second table",
    "which_attribute.safetensors": "the adapters with task attention that were trained for it",
    "which_attribute.png": "one query in two tasks, and the second table as a figure",
}
ACTIONS_LINE = "{:<23} {:>8}  {:>13}  {:>13}  {:<10} {:>9} {:>8}"
TASKS_LINE = "{:<35} {:>8}  {:>13}  {:>8} {:>8}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `demo`."""
    parser.add_argument("--seed", type=int, default=0, help="of training: its episodes, views and start (default: 0)")
    add_device_argument(parser)
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder to write into")
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
    train_clips, test_clips = (bundled_clips(part) for part in ("train", "test"))
    check_disjoint(train=train_clips.class_names, test=test_clips.class_names)
    print(
        f"bundled files verified: {len(train_clips)} training clips of {len(train_clips.class_names)} classes, "
        f"{len(test_clips)} test clips of {len(test_clips.class_names)} other classes"
    )
    model = bundled_actions.new_model(args.seed, device)
    print(model.describe())
    results = list(bundled_actions.score_frozen(test_clips, device, args.quick))
    training = bundled_actions.train_adapters(model, train_clips, args.seed, args.quick)
    how = ("Task-Adapter", bundled_actions.METRIC, args.quick, training.seconds)
    results += bundled_actions.score_shots(model, test_clips, *how)
    record = results[-len(SHOTS)]  # the trained model's 1-shot run
    record.history, record.seeds = training.history, record.seeds | {"training": args.seed}
    record.config |= {"training": training.config}
    save_with_rows(record, results, args.out / "result.json")
    save_checkpoint(args.out / "adapters.safetensors", model, metadata={"trained_on": train_clips.fingerprint})
    draw(results, model, test_clips, args.out)
    print(table(RunResult.load(args.out / "result.json")))


def run_which_attribute(args: argparse.Namespace, device: torch.device) -> None:
    """Constructed tasks in which only the support tells what counts; a table of models."""
    results, model = attribute_minute.run_in_a_minute(device, args.seed, args.out, args.quick)
    save_with_rows(results[-1], results, args.out / "which_attribute.json")
    draw_two_tasks(results[-1], model, args.out / "which_attribute.png")
    print(table_of_tasks(RunResult.load(args.out / "which_attribute.json")))


def save_with_rows(record: RunResult, results: list[RunResult], path: Path) -> None:
    """One file that holds a whole table: one run, with what is shown of all of them inside."""
    rows = [{key: getattr(result, key) for key in KEPT} for result in results]
    record.metadata = record.metadata | {"rows": rows}
    record.save(path)


def table(record: RunResult) -> str:
    """The demo's results, computed from the saved file: a line a method."""
    rows: dict[str, dict[int, dict]] = {}
    for row in record.metadata["rows"]:
        rows.setdefault(row["name"].rpartition(", ")[0], {})[row["metadata"]["shots"]] = row
    lines = [ACTIONS_LINE.format("method", "trained", "1-shot", "5-shot", "scope", "episodes", "seconds")]
    for method, by_shots in rows.items():
        first, accuracies = by_shots[1], [by_shots[shots]["accuracies"] for shots in SHOTS]
        means = [f"{text_interval(values)} %" for values in accuracies]
        seconds = first["metadata"]["training_seconds"] + sum(row["seconds"] for row in by_shots.values())
        episodes = "+".join(str(len(values)) for values in accuracies)
        cells = (f"{first['trainable_parameters']:,}", *means, first["scope"] or "-", episodes, f"{seconds:.0f}")
        lines.append(ACTIONS_LINE.format(method, *cells))
    said = "5-way, classes never trained on; mean and 95% interval over the episodes; chance is 20 %"
    return "\n".join(["", *lines, said])


def table_of_tasks(record: RunResult) -> str:
    """The second table, computed from the saved file."""
    lines = [TASKS_LINE.format("which attribute counts?", "trained", "5-way 1-shot", "episodes", "seconds")]
    for row in record.metadata["rows"]:
        mean, seconds = f"{text_interval(row['accuracies'])} %", row["metadata"]["training_seconds"] + row["seconds"]
        cells = (f"{row['trainable_parameters']:,}", mean, len(row["accuracies"]), f"{seconds:.0f}")
        lines.append(TASKS_LINE.format(row["name"], *cells))
    said = "constructed tasks, colours and forms never trained on; in half of them the colour counts, else the form;"
    return "\n".join(["", *lines, said, "mean and 95% interval over the episodes; chance is 20 %"])


def draw(results: list[RunResult], model: TaskAdapterViT, clips: LabelledClips, out: Path) -> None:
    """ladder.png and cross_video_attention.png."""
    figures.use_style()
    figure, axes = plt.subplots(1, len(SHOTS), figsize=(11, 2.6), sharex=True, layout="constrained")
    for ax, shots in zip(axes, SHOTS, strict=True):
        rows = [result for result in results if result.metadata["shots"] == shots]
        means, halves = zip(*(accuracy_interval(result.accuracies) for result in rows), strict=True)
        names = [result.name.rpartition(", ")[0] for result in rows]
        figures.plot_ladder(names, means, halves, len(rows[0].accuracies), 0.2, highlight=names[-1:], ax=ax)
        ax.set_title(f"5-way {shots}-shot, unseen classes")
    figure.savefig(out / "ladder.png")
    plt.close(figure)
    episode = first_right(model, clips, saved_episodes(1, clips)[:20])
    draw_attention(model, clips, episode, out / "cross_video_attention.png")


def draw_two_tasks(record: RunResult, model: TaskAdapterViT, path: Path) -> None:
    """One query in two tasks, and the second table, as a picture: the first query of the list answered right twice."""
    pool = AttributePortraits("test")
    n_episodes = len(record.accuracies)
    episodes = AttributeEpisodes(pool, attribute_minute.SPEC, n_episodes, attribute_minute.TEST_SEED)
    shown = None
    for clip, tasks in attribute_minute.queries_in_two_tasks(episodes):
        answers = [answer(model, pool, task) for task in tasks]
        is_right = all(torch.equal(a.labels.cpu(), task.query_labels) for a, task in zip(answers, tasks, strict=True))
        if is_right or shown is None:
            shown = clip, tasks, answers
        if is_right:
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
        n_episodes,
        0.2,
    )
    figure.savefig(path, dpi=100)
    plt.close(figure)


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
