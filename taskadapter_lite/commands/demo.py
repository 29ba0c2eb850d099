"""The main job end to end: bundled clips -> trained Task-Adapter -> a table, figures and files."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from taskadapter_lite.commands.shared.options import add_device_argument, chosen_device
from taskadapter_lite.data import bundled_clips, verify_bundled
from taskadapter_lite.episodes import check_disjoint
from taskadapter_lite.results import RunResult
from taskadapter_lite.studies import demo
from taskadapter_lite.studies.attribute_minute import run_in_a_minute
from taskadapter_lite.training.checkpoints import save_checkpoint

HELP = "train Task-Adapter on bundled clips and on tasks that need task attention, and evaluate both"
FILES = {
    "result.json": "every number of the first table, per episode, with seed, versions and commit",
    "adapters.safetensors": "the trained adapters",
    "ladder.png": "the table as a figure",
    "cross_video_attention.png": "what a query video attends to in the support videos",
    "which_attribute.json": "every number of the second table",
    "which_attribute.safetensors": "the adapters with task attention that were trained for it",
    "which_attribute.png": "one query in two tasks, and the second table as a figure",
}


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
    model = demo.new_model(args.seed, device)
    print(model.describe())
    results = list(demo.score_frozen(test_clips, device, args.quick))
    training = demo.train_adapters(model, train_clips, args.seed, args.quick)
    how = ("Task-Adapter", demo.METRIC, args.quick, training.seconds)
    results += demo.score_shots(model, test_clips, *how)
    record = results[-len(demo.N_TEST)]  # the trained model's 1-shot run
    record.history, record.seeds = training.history, record.seeds | {"training": args.seed}
    record.config |= {"training": training.config}
    demo.save_with_rows(record, results, args.out / "result.json")
    save_checkpoint(args.out / "adapters.safetensors", model, metadata={"trained_on": train_clips.fingerprint})
    demo.draw_actions(results, model, test_clips, args.out)
    print(demo.table_of_actions(RunResult.load(args.out / "result.json")))


def run_which_attribute(args: argparse.Namespace, device: torch.device) -> None:
    """Constructed tasks in which only the other clips tell what counts; a table of models."""
    results, model = run_in_a_minute(device, args.seed, args.out, args.quick)
    demo.save_with_rows(results[-1], results, args.out / "which_attribute.json")
    demo.draw_two_tasks(results[-1], model, args.out / "which_attribute.png")
    print(demo.table_of_tasks(RunResult.load(args.out / "which_attribute.json")))


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
