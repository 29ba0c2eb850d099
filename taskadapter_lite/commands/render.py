"""`render`: action names -> mp4 files and a manifest, as the bundled clips were made, or a picture of the classes."""

from __future__ import annotations

import argparse
from pathlib import Path

from taskadapter_lite.bars import progress_bar
from taskadapter_lite.figures import contact_sheet
from taskadapter_lite.files import checksum
from taskadapter_lite.sprites.actions import ACTIONS
from taskadapter_lite.sprites.export import LICENCE, slug, update_manifest, write_mp4
from taskadapter_lite.sprites.render import LEVELS, render_clips

HELP = "render Something-Sprites clips as mp4 files with a manifest"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `render`; the defaults make the bundled clips."""
    parser.add_argument("--out", type=Path, default=Path("runs/sprites"), help="folder to write into")
    parser.add_argument("--train-clips", type=int, default=32, help="clips of each training class")
    parser.add_argument("--val-clips", type=int, default=20, help="clips of each validation class")
    parser.add_argument("--test-clips", type=int, default=20, help="clips of each test class")
    parser.add_argument("--frames", type=int, default=16, help="frames a clip")
    parser.add_argument("--size", type=int, default=64, help="height and width in pixels, even")
    parser.add_argument("--level", choices=LEVELS, default="plain", help="plain, or cluttered")
    parser.add_argument("--seed", type=int, default=0, help="seed of the clips")
    parser.add_argument("--crf", type=int, default=23, help="H.264 quality, 0 (best) to 51")
    parser.add_argument("--sheet", type=Path, help="only write one picture here: a film strip of every class")


def run(args: argparse.Namespace) -> int:
    """Render all classes, write the files, then the manifest."""
    if args.sheet:
        return write_sheet(args)
    if args.size % 2 or args.size < 16:
        raise ValueError(f"--size is {args.size}, but H.264 takes an even number of pixels, here at least 16")
    counts = {"train": args.train_clips, "val": args.val_clips, "test": args.test_clips}
    entries = []
    for name in progress_bar(ACTIONS, desc="rendering", unit="class"):
        action = ACTIONS[name]
        clips = render_clips(name, range(counts[action.split]), args.seed, args.frames, args.size, args.level)
        for i, clip in enumerate(clips):
            path = f"clips/{action.split}/{slug(name)}/{i:03d}.mp4"
            write_mp4(args.out / path, clip, args.crf)
            entry = {"path": path, "class": name, "split": action.split, "frames": args.frames}
            entries.append(entry | {"width": args.size, "height": args.size} | checksum(args.out / path))
    update_manifest(args.out, clips=entries, command=_command(args), licence=LICENCE)
    total = sum(entry["bytes"] for entry in entries)
    print(
        f"{len(entries)} clips of {len(ACTIONS)} classes, {total / 1e6:.1f} MB, in {args.out}; manifest.json lists them"
    )
    return 0


def write_sheet(args: argparse.Namespace) -> int:
    """One film strip of each class, partners side by side, as a picture."""
    names = list(dict.fromkeys(name for one, action in ACTIONS.items() for name in (one, action.pair)))
    clips = render_clips(names, [0] * len(names), args.seed, 6, args.size, args.level)
    args.sheet.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(clips, names).save(args.sheet, quality=80)
    print(f"{len(names)} classes in {args.sheet}")
    return 0


def _command(args: argparse.Namespace) -> str:
    names = ("train_clips", "val_clips", "test_clips", "frames", "size", "level", "seed", "crf")
    options = " ".join(f"--{name.replace('_', '-')} {getattr(args, name)}" for name in names)
    return f"python -m taskadapter_lite render {options}"
