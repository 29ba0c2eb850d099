"""A folder of one's own videos -> one few-shot task: named examples, and clips to ask about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch
from torch import Tensor

from taskadapter_lite.data.clips import read_clip
from taskadapter_lite.data.decoding import VIDEO_SUFFIXES
from taskadapter_lite.data.public import find_clips, sort_by_class
from taskadapter_lite.episodes import loose_name

QUERY_FOLDER = "query"  # beside the folders of the classes


class FoundVideos(NamedTuple):
    """Where the clips of a task lie: (path below the folder, label) of each, -1 where no name tells a query's class."""

    class_names: list[str]
    examples: list[tuple[str, int]]
    queries: list[tuple[str, int]]


@dataclass(frozen=True)
class VideoTask:
    """The clips of a task, read.

    Attributes:
        class_names: by label.
        support: (S, T, 3, size, size) uint8 examples.
        support_labels: (S,) in 0..n_way-1.
        query: (Q, T, 3, size, size) uint8.
        query_labels: (Q,) in 0..n_way-1, or -1 where the class is not known.
        files: Q paths below the folder.
    """

    class_names: list[str]
    support: Tensor
    support_labels: Tensor
    query: Tensor
    query_labels: Tensor
    files: list[str]


def find_videos(folder: str | Path) -> FoundVideos:
    """Find the clips of a folder that holds a folder for each class and one named `query`.

    What a clip is, `find_clips` says: a video of any kind, or a folder of frames. A clip below `query` has a known
    class if it lies in a folder called like the class, or if its own name begins so. Without a folder `query` the first
    clip of each class is its example, and the others are asked about.

    Raises:
        ValueError: no such folder, fewer than 2 classes, or nothing to ask about.
    """
    root = Path(folder)
    classes = sort_by_class(find_clips(root)) if root.is_dir() else {}
    asked = classes.pop(QUERY_FOLDER, [])
    names = list(classes)
    if len(names) < 2:
        raise ValueError(f"{folder} must hold 2 or more folders of classes, it holds {len(names)}")
    found = [(path, label) for label, name in enumerate(names) for path in classes[name]]
    if asked:
        return FoundVideos(names, found, [(path, _label_in(path, names)) for path in asked])
    if (root / QUERY_FOLDER).is_dir():
        raise ValueError(f"{root / QUERY_FOLDER} holds no video ({', '.join(VIDEO_SUFFIXES)})")
    firsts = [(classes[name][0], label) for label, name in enumerate(names)]
    others = [entry for entry in found if entry not in firsts]
    if not others:
        raise ValueError(
            f"{folder} holds no folder {QUERY_FOLDER!r} and one clip a class: there is nothing to ask about"
        )
    return FoundVideos(names, firsts, others)


def _label_in(path: str, names: list[str]) -> int:
    """The class that a path below the queries tells, the longest name first; -1 for none."""
    *folders, file = [loose_name(part) for part in PurePosixPath(path).parts[1:]]
    for name in sorted(names, key=len, reverse=True):
        wanted = loose_name(name)
        if wanted in folders or file == wanted or file.startswith(f"{wanted} "):
            return names.index(name)
    return -1


def read_videos(folder: str | Path, T: int, size: int) -> VideoTask:
    """Read the task that `find_videos` finds.

    Args:
        folder: as in `find_videos`; nothing is written there.
        T: frames a clip.
        size: height and width in pixels.

    Raises:
        ValueError: as in `find_videos`.
        ClipError: a clip can't be read.
    """
    found = find_videos(folder)

    def read(part: list[tuple[str, int]]) -> tuple[Tensor, Tensor]:
        clips = [read_clip(Path(folder) / path, T, size=size) for path, _ in part]
        return torch.stack(clips), torch.tensor([label for _, label in part])

    files = [path for path, _ in found.queries]
    return VideoTask(found.class_names, *read(found.examples), *read(found.queries), files)
