"""Action names -> mp4 files and a manifest: how the bundled clips were made, and how to make more."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from pathlib import Path

import av
from torch import Tensor
from tqdm.auto import tqdm

from taskadapter_lite.figures import contact_sheet
from taskadapter_lite.sprites.render import ACTIONS, LEVELS, render_clips

HELP = "render Something-Sprites clips as mp4 files with a manifest"
LICENCE = "MIT, like the code that rendered them"
FRAMES_PER_SECOND = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `render`; the defaults make the bundled clips."""
    parser.add_argument(
        "--out", type=Path, default=Path("runs/sprites"), help="folder to write into (default: %(default)s)"
    )
    parser.add_argument(
        "--train-clips", type=int, default=32, help="clips of each training class (default: %(default)s)"
    )
    parser.add_argument(
        "--val-clips", type=int, default=20, help="clips of each validation class (default: %(default)s)"
    )
    parser.add_argument("--test-clips", type=int, default=20, help="clips of each test class (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=16, help="frames a clip (default: %(default)s)")
    parser.add_argument("--size", type=int, default=64, help="height and width in pixels, even (default: %(default)s)")
    parser.add_argument("--level", choices=LEVELS, default="plain", help="plain, or cluttered (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the clips (default: %(default)s)")
    parser.add_argument("--crf", type=int, default=23, help="H.264 quality, 0 (best) to 51 (default: %(default)s)")
    parser.add_argument("--sheet", type=Path, help="only write one picture here: a film strip of every class")


def run(args: argparse.Namespace) -> int:
    """Render all classes, write the files, then the manifest."""
    if args.sheet:
        return write_sheet(args)
    if args.size % 2 or args.size < 16:
        raise ValueError(f"--size is {args.size}, but H.264 takes an even number of pixels, here at least 16")
    counts = {"train": args.train_clips, "val": args.val_clips, "test": args.test_clips}
    entries = []
    for name in tqdm(ACTIONS, desc="rendering", unit="class"):
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
    contact_sheet(clips, names, columns=4).save(args.sheet, quality=80)
    print(f"{len(names)} classes in {args.sheet}")
    return 0


def _command(args: argparse.Namespace) -> str:
    names = ("train_clips", "val_clips", "test_clips", "frames", "size", "level", "seed", "crf")
    options = " ".join(f"--{name.replace('_', '-')} {getattr(args, name)}" for name in names)
    return f"python -m taskadapter_lite render {options}"


def slug(name: str) -> str:
    """A class name as a folder name: lower case, words joined by underscores."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def write_mp4(path: Path, clip: Tensor, crf: int = 23) -> None:
    """Write a clip, uint8 (T, 3, H, W), as H.264; the same clip gives the same bytes with the same encoder.

    Without x264's assembly (asm=0), whose choices depend on what happens to lie in memory beyond small frames.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    T, _, H, W = clip.shape
    with av.open(str(path), "w", options={"movflags": "faststart", "fflags": "bitexact"}) as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND)
        stream.width, stream.height, stream.pix_fmt = W, H, "yuv420p"
        stream.options = {"crf": str(crf), "preset": "veryslow", "threads": "1", "x264-params": "threads=1:asm=0"}
        stream.codec_context.thread_count = 1
        for frame in clip.permute(0, 2, 3, 1).numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def checksum(path: Path) -> dict[str, int | str]:
    """Size and sha256 of a file, as manifests quote them."""
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def update_manifest(folder: Path, **changes) -> None:
    """Write `manifest.json` in ``folder`` with some keys replaced; other keys (files, say) stay."""
    path = folder / "manifest.json"
    manifest = {"format": 1, "command": "", "licence": "", "files": [], "clips": []}
    if path.exists():
        manifest |= json.loads(path.read_text(encoding="utf-8"))
    manifest |= changes
    lines = [f"{json.dumps(key)}: {_json_lines(value)}" for key, value in manifest.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _json_lines(value: object) -> str:
    """JSON with one line an entry, so that a changed clip is a changed line."""
    if not isinstance(value, list):
        return json.dumps(value)
    return "[\n" + ",\n".join(json.dumps(entry) for entry in value) + "\n]"


def add_file(folder: Path, path: str, how: str, licence: str = LICENCE) -> None:
    """List a bundled file (weights, adapters, results) in the manifest of ``folder``, or list it anew."""
    files = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
    entry = {"path": path, "licence": licence, "how": how} | checksum(folder / path)
    update_manifest(folder, files=[*(f for f in files if f["path"] != path), entry])
