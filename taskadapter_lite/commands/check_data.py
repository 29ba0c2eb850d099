"""`check-data`: is the data set on disk complete and readable?"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from taskadapter_lite.data.checking import check_dataset
from taskadapter_lite.data.public import published_datasets
from taskadapter_lite.files import write_json

HELP = "compare a data set on disk with its published split, and read every clip once"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `check-data`."""
    parser.add_argument("root", type=Path, help="folder of the data set; nothing is written there")
    parser.add_argument("--dataset", required=True, choices=[*published_datasets(), "folder"])
    parser.add_argument("--list", type=Path, nargs="+", default=[], help="list files, one a part, in any public format")
    parser.add_argument("--frames", type=int, default=8, help="frames a clip takes")
    parser.add_argument("--min-clips", type=int, default=6, help="clips every class needs")
    parser.add_argument("--quick", action="store_true", help="look for files, but do not read them")
    parser.add_argument("--allow-outside", action="store_true", help="accept links and lists that lead out of the root")
    parser.add_argument("--report", type=Path, help="JSON file to write (default: runs/check_<dataset>.json)")


def run(args: argparse.Namespace) -> int:
    """Check, print a summary, write the report; 0 if the data set is usable, else 1."""
    target = args.report or Path("runs") / f"check_{args.dataset}.json"
    if target.resolve().is_relative_to(args.root.resolve()):
        raise ValueError(
            f"the report {target} would lie in the data set, where nothing is written; choose another place"
        )
    report = check_dataset(
        args.root, args.dataset, args.list, args.frames, args.min_clips, args.quick, args.allow_outside
    )
    write_json(target, asdict(report), indent=1)
    print(report.summary())
    print(f"report: {target}")
    return 1 if report.problems else 0
