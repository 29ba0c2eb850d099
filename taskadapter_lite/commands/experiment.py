"""`experiment`: a small file that describes an experiment -> its training runs and tests, one result file each."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from taskadapter_lite.commands import build_parser, pretrain
from taskadapter_lite.commands.shared.options import add_device_argument
from taskadapter_lite.results import RunResult
from taskadapter_lite.studies.experiments import Experiment, experiment_names, load_experiment

HELP = "run a saved experiment: train and test for each number of shots and each seed; what is done stays done"
NO_FILES = ("bundled", "sprites")  # data that need no folder


class Part(NamedTuple):
    """One command of an experiment, and the result file that shows that it has been done."""

    command: list[str]
    result: Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `experiment`."""
    parser.add_argument("name", help=f"{', '.join(experiment_names())}; or a .json file of one's own in their form")
    parser.add_argument("--data", metavar="ROOT", help="folder of the data set, where the experiment needs one")
    parser.add_argument("--list", nargs="+", default=[], help="list files of ROOT, one a part")
    parser.add_argument("--text", help="file of text features of the class names (CLIP), see TextFeatures")
    add_device_argument(parser)
    parser.add_argument("--out", type=Path, default=Path("runs/experiments"), help="folder to write into")
    parser.add_argument("--show", action="store_true", help="print the commands, run none")
    parser.add_argument("--dry-run", action="store_true", help="estimate time and memory of each training run")


def run(args: argparse.Namespace) -> int:
    """Run what is not done yet; the status of the first command that fails, 130 when stopped, else 0."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("experiment runs in one process: with several, launch the commands that --show prints")
    experiment = load_experiment(args.name)
    if experiment.data not in NO_FILES and args.data is None and not args.show:
        raise ValueError(f"{Path(args.name).stem} needs {experiment.data}: name its folder with --data")
    print(f"{experiment.title}. {experiment.note}", flush=True)
    for part in parts_of(experiment, args):
        command = [*part.command, "--dry-run"] if args.dry_run else part.command
        if args.dry_run and command[0] != "train":
            continue
        if not args.show and not args.dry_run and is_done(part):
            print(f"done before: {part.result}", flush=True)
            continue
        print(f"python -m taskadapter_lite {shlex.join(command)}", flush=True)
        if not args.show and (status := run_verb(command)):
            return status
    return 0


def parts_of(experiment: Experiment, args: argparse.Namespace) -> Iterator[Part]:
    """All commands in order.

    Pre-training, where the experiment has one; then its ladder, or for each number of shots the frozen backbone's test
    and training and test of each seed.
    """
    name, out = Path(args.name).stem, args.out / Path(args.name).stem
    device = ["--device", args.device] if args.device else []
    backbone = []
    if experiment.pretrain:
        command = ["pretrain", *experiment.pretrain, *device, "--out", str(out / "backbone")]
        config = pretrain.config_of(parse(command))
        file = out / "backbone" / f"{pretrain.file_stem(config)}.json"
        yield Part(command, file)
        backbone = ["--backbone", config.architecture, "--size", str(config.image_size)]
        backbone += ["--weights", str(file.with_suffix(".safetensors"))]
    if experiment.ladder:
        shared = ["ladder", *experiment.ladder, *backbone, *device, "--out", str(out)]
        yield Part([*shared, "--tune"], out)
        each = ["--k-shot", *map(str, experiment.shots), "--seeds", *map(str, experiment.seeds)]
        yield Part([*shared, *each], out)
        return
    root = experiment.data if experiment.data in NO_FILES else (args.data or "ROOT")
    common = ["--data", root, *experiment.options, *backbone]
    common += ["--list", *args.list] if args.list else []
    for option in ("text", "device"):
        common += [f"--{option}", getattr(args, option)] if getattr(args, option) else []
    for k_shot in experiment.shots:
        shot = [*common, "--k-shot", str(k_shot)]
        test = [*shot, *experiment.evaluate, "--name"]
        result = out / f"frozen_{k_shot}shot.json"
        yield Part(["evaluate", *test, f"{name} frozen, {k_shot}-shot", "--out", str(result)], result)
        for seed in experiment.seeds:
            folder = out / f"{k_shot}shot_seed{seed}"
            seeds = ["--seed", str(seed), "--episode-seed", str(seed), "--resume", "auto"]
            command = ["train", *shot, *experiment.train, *seeds, "--out", str(folder)]
            yield Part(command, folder / "result.json")
            adapters, result = str(folder / "adapters.safetensors"), folder / "test.json"
            yield Part(["evaluate", adapters, *test, f"{name}, {k_shot}-shot", "--out", str(result)], result)


def is_done(part: Part) -> bool:
    """Whether a part has left its result, and was not stopped before its end; a ladder knows itself what is done."""
    verb = part.command[0]
    if verb == "ladder" or not part.result.exists():
        return False
    return verb == "pretrain" or not RunResult.load(part.result).interrupted


def parse(command: list[str]) -> argparse.Namespace:
    """The options of a command, as the command line reads them."""
    return build_parser(command[0]).parse_args(command)


def run_verb(command: list[str]) -> int:
    """Run one command in this process; its exit status."""
    args = parse(command)
    return args.run(args)
