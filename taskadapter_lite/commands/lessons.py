"""`lessons`: the executed lessons -> a student's copies, with stubs in place of solutions and without outputs."""

from __future__ import annotations

import argparse
from pathlib import Path

from taskadapter_lite.course.copies import NOTEBOOKS, write_copies

HELP = "write student copies of the lessons: solutions and outputs removed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `lessons`."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where to write the copies")
    parser.add_argument("--source", type=Path, default=NOTEBOOKS, help="folder of the lessons")
    parser.add_argument("--overwrite", action="store_true", help="also replace copies that are there, with all answers")


def run(args: argparse.Namespace) -> int:
    """Write what is missing, and say what was left alone."""
    written, kept = write_copies(args.folder, args.source, args.overwrite)
    print(
        f"{len(written)} lessons written to {args.folder}" if written else f"all lessons are in {args.folder} already"
    )
    if written and kept:
        print(f"{len(kept)} were there and stay as they are; --overwrite replaces them")
    return 0
