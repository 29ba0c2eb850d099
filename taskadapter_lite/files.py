"""Files: what comes with the library and whether it is intact, and writing a file whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_dir


def data_dir() -> Path:
    """Folder of the bundled weights, adapters and episode lists.

    $TASKADAPTER_DATA, the package's own data_samples where it was installed from a wheel, or the one of the checkout.
    """
    installed, checkout = (folder / "data_samples" for folder in Path(__file__).parents[:2])
    return Path(os.environ.get("TASKADAPTER_DATA") or (installed if installed.is_dir() else checkout))


def cache_dir() -> Path:
    """The user's folder for what the library makes once and can make again."""
    return Path(user_cache_dir("taskadapter_lite", appauthor=False))


def verify_files(folder: Path, entries: Sequence[dict]) -> None:
    """Compare files with the size and checksum that a manifest lists.

    Args:
        folder: what the paths of the entries start from.
        entries: dicts with "path", "bytes" and "sha256".

    Raises:
        ValueError: one sentence that names the first damaged or missing file and how to restore it.
    """
    refuse_outside(folder, [entry["path"] for entry in entries])
    for entry in entries:
        path = folder / entry["path"]
        fault = _fault(path, entry)
        if fault:
            raise ValueError(f"{path} {fault}; {_restore(path)}")


def checksum(path: Path) -> dict[str, int | str]:
    """Size and sha256 of a file, as manifests quote them."""
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _fault(path: Path, entry: dict) -> str | None:
    if not path.is_file():
        return "is missing"
    found = checksum(path)
    if found["bytes"] != entry["bytes"]:
        return f"has {found['bytes']} bytes instead of {entry['bytes']}"
    return None if found["sha256"] == entry["sha256"] else "is damaged (its checksum differs)"


def _restore(path: Path) -> str:
    """What brings a file back: git in a checkout, the package in an installation, the renderer in the cache."""
    if path.is_relative_to(cache_dir()):
        return f"delete the folder {cache_dir()} and the clips are rendered again"
    if Path(__file__).parents[1].joinpath("pyproject.toml").is_file():
        return f"restore it with: git checkout -- {path}"
    return "install the package taskadapter_lite again to restore it"


def read_manifest(folder: Path | None = None) -> dict:
    """The list of bundled clips and files, or that of another folder.

    Raises:
        ValueError: it is missing or damaged; the sentence says how to restore it.
    """
    path = (folder or data_dir()) / "manifest.json"
    restore = _restore(path)
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ValueError(f"{path}, the list of bundled clips, can't be read; {restore}") from None
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict):
        raise ValueError(f"{path}, the list of bundled clips, is damaged; {restore}")
    if manifest.get("format") != 1:
        raise ValueError(f"{path} has format {manifest.get('format')!r}, this version reads format 1; {restore}")
    return manifest


def refuse_outside(root: Path, paths: Iterable[str]) -> None:
    """Lists come from strangers: ValueError if a path leaves `root` by `..`, a leading slash or a link."""
    inside = root.resolve()
    links: dict[Path, set[str] | None] = {}
    for path in paths:
        folder, name = (root / path).parent, Path(path).name
        if folder not in links:  # a folder is looked at once, which matters for lists of 70,000 videos
            links[folder] = _links_in(folder) if folder.resolve().is_relative_to(inside) else None
        found = links[folder]
        leaves = found is not None and name in found and not (root / path).resolve().is_relative_to(inside)
        if found is None or name in ("", "..") or leaves:
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
