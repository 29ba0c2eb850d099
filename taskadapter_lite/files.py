"""Files: what comes with the library and whether it is intact, and writing a file whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


def data_dir() -> Path:
    """Folder of the bundled clips and weights: $TASKADAPTER_DATA, or data_samples beside the package."""
    return Path(os.environ.get("TASKADAPTER_DATA") or Path(__file__).parents[1] / "data_samples")


def verify_bundled() -> None:
    """Compare every bundled file with size and checksum in the manifest.

    Raises:
        ValueError: one sentence that names the first damaged or missing file and how to restore it.
    """
    manifest = read_manifest()
    entries = manifest["clips"] + manifest.get("files", [])
    refuse_outside(data_dir(), [entry["path"] for entry in entries])
    for entry in entries:
        path = data_dir() / entry["path"]
        fault = _fault(path, entry)
        if fault:
            raise ValueError(f"{path} {fault}; restore it with: git checkout -- {path}")


def _fault(path: Path, entry: dict) -> str | None:
    if not path.is_file():
        return "is missing"
    content = path.read_bytes()
    if len(content) != entry["bytes"]:
        return f"has {len(content)} bytes instead of {entry['bytes']}"
    return None if hashlib.sha256(content).hexdigest() == entry["sha256"] else "is damaged (its checksum differs)"


def read_manifest() -> dict:
    """The list of bundled clips and files; ValueError says how to restore it when it is missing or damaged."""
    path = data_dir() / "manifest.json"
    restore = f"restore it with: git checkout -- {path}"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ValueError(f"{path}, the list of bundled clips, can't be read; {restore}") from None
    except ValueError:
        raise ValueError(f"{path}, the list of bundled clips, is damaged; {restore}") from None
    if not isinstance(manifest, dict):
        raise ValueError(f"{path}, the list of bundled clips, is damaged; {restore}")
    if manifest.get("format") != 1:
        raise ValueError(f"{path} has format {manifest.get('format')!r}, this version reads format 1; {restore}")
    return manifest


def refuse_outside(root: Path, paths: Iterable[str]) -> None:
    """Lists come from strangers: ValueError if a path leaves `root` by `..`, a leading slash or a link."""
    inside, links = root.resolve(), {}
    for path in paths:
        folder = (root / path).parent
        if folder not in links:  # a folder is looked at once, which matters for lists of 70,000 videos
            links[folder] = _links_in(folder) if folder.resolve().is_relative_to(inside) else None
        safe = links[folder] is not None and Path(path).name not in ("", "..")
        if not safe or (Path(path).name in links[folder] and not (root / path).resolve().is_relative_to(inside)):
            raise ValueError(f"{path!r} leads outside of {root}; pass allow_outside=True if that is wanted")


def _links_in(folder: Path) -> set[str]:
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_symlink()}


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A path beside `path` to write to; at the end it becomes `path` in one step, or goes when the writing fails.

    A reader finds the old file or the whole new one, never a part, also after a power cut.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield beside
        with open(beside, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_whole(path: str | Path, content: bytes | str) -> None:
    """Write a file in one step, text as UTF-8, and the folders that it lies in."""
    with whole_file(path) as beside:
        beside.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))


def write_json(path: str | Path, data: dict, indent: int | None = None) -> None:
    """Write JSON in one step: compact, or for people with `indent`, a last newline and letters as they are."""
    if indent is None:
        write_whole(path, json.dumps(data, separators=(",", ":")))
    else:
        write_whole(path, json.dumps(data, indent=indent, ensure_ascii=False) + "\n")
