"""What comes with the library: where it lies, and whether it is intact."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
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
