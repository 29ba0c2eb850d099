"""What comes with the library: its clips, rendered once where only a wheel is, and whether all of it is intact."""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from taskadapter_lite.bars import progress_bar
from taskadapter_lite.files import cache_dir, checksum, data_dir, read_manifest, refuse_outside, verify_files
from taskadapter_lite.sprites.export import update_manifest, write_mp4
from taskadapter_lite.sprites.render import render_clips


def verify_bundled() -> None:
    """Compare every bundled file with size and checksum in the manifest.

    Raises:
        ValueError: one sentence that names the first damaged or missing file and how to restore it.
    """
    manifest = read_manifest()
    verify_files(data_dir(), manifest.get("files", []))
    folder = clips_folder()
    verify_files(folder, (manifest if folder == data_dir() else read_manifest(folder))["clips"])


def clips_folder() -> Path:
    """The folder that the paths of the bundled clips start from.

    A wheel has no clips. They are then rendered once into the user's cache, which takes a minute or two.

    Raises:
        ValueError: the manifest does not say how to render them.
        OSError: the cache can't be written.
    """
    if (data_dir() / "clips").is_dir():
        return data_dir()
    manifest = read_manifest()
    refuse_outside(data_dir(), [entry["path"] for entry in manifest["clips"]])
    listed = "".join(entry["sha256"] for entry in manifest["clips"])
    folder = cache_dir() / f"sprites-{hashlib.sha256(listed.encode()).hexdigest()[:12]}"
    if not folder.is_dir():
        try:
            _render_once(manifest, folder)
        except OSError as error:
            raise OSError(f"can't render the clips into {folder}: {error.strerror or error}") from None
    return folder


def _render_once(manifest: dict, folder: Path) -> None:
    """Render into a folder beside and rename it, so that `folder` has all clips or does not exist."""
    print(f"rendering {len(manifest['clips']):,} clips once into {folder}", file=sys.stderr)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".rendering-", dir=folder.parent) as beside:
        made = Path(beside) / folder.name
        entries = _render(manifest, made)
        update_manifest(made, clips=entries, command=manifest["command"], licence=manifest["licence"])
        with suppress(OSError):  # another process was faster
            os.rename(made, folder)
    if not folder.is_dir():
        raise OSError("the finished folder could not be put there")
    if n_other := sum(one["sha256"] != two["sha256"] for one, two in zip(entries, manifest["clips"], strict=True)):
        print(
            f"{n_other:,} of {len(entries):,} clips differ from the published ones in their bytes, because another "
            "version of the encoder x264 or of PyTorch made them; accuracies may differ a little",
            file=sys.stderr,
        )


def _render(manifest: dict, folder: Path) -> list[dict]:
    """Make every listed clip as the manifest's command says; its entries, in their order, with sizes and checksums."""
    words = shlex.split(manifest.get("command", ""))
    options = dict(zip(words[4::2], words[5::2], strict=False))
    try:
        seed, crf, level = int(options["--seed"]), int(options["--crf"]), options["--level"]
    except (KeyError, ValueError):
        raise ValueError(f"{data_dir()} has no clips, and its manifest does not say how to render them") from None

    def make(entry: dict) -> dict:
        path, number = folder / entry["path"], int(Path(entry["path"]).stem)
        (clip,) = render_clips(entry["class"], [number], seed, entry["frames"], entry["width"], level)
        write_mp4(path, clip, crf)
        return entry | checksum(path)

    pool = ThreadPoolExecutor(os.cpu_count())  # the encoder lets other threads work
    try:
        found = pool.map(make, manifest["clips"])
        return list(progress_bar(found, desc="rendering", unit="clip", total=len(manifest["clips"])))
    finally:
        pool.shutdown(cancel_futures=True)
