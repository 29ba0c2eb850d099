"""Paths and labels -> clips with one class each, read by number: what all data sets have in common."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.utils.data import Dataset

from taskadapter_lite.bars import progress_bar
from taskadapter_lite.data.clips import read_clip, sample_frames
from taskadapter_lite.data.decoding import ClipError, decode_frames, list_frames
from taskadapter_lite.episodes import class_numbers
from taskadapter_lite.files import refuse_outside

if TYPE_CHECKING:
    from typing_extensions import Self  # in `typing` from Python 3.11 on

CHUNK = 64  # images of a frame folder in memory at once while it is checked


class LabelledClips(Dataset):
    """Clips with one class each; subclasses say how clip i is read.

    Args:
        paths: a name a clip, relative to where the data lies.
        labels: a class number a clip, an index into `class_names`.
        class_names: a name a class.
        T: frames a clip.
        seed: seed of all random views.
        groups: what each clip was cut from, such as a film: one value a clip. An `EpisodeSampler` that is given them
            keeps the support and the query of a class apart.

    Attributes:
        skipped: (path, reason) of each clip left out because it can't be read.

    Raises:
        ValueError: labels or groups are not one a clip, or a label is no class number.
    """

    def __init__(
        self,
        paths: Sequence[str],
        labels: Sequence[int],
        class_names: Sequence[str],
        T: int = 8,
        seed: int = 0,
        groups: Sequence[Hashable] | None = None,
    ) -> None:
        if len(paths) != len(labels):
            raise ValueError(f"each clip needs one label, but there are {len(paths)} paths and {len(labels)} labels")
        if T < 1:
            raise ValueError(f"T is the number of frames a clip, at least 1, not {T}")
        if groups is not None and len(groups) != len(paths):
            raise ValueError(f"each clip needs one group, but there are {len(paths)} paths and {len(groups)} groups")
        self.paths, self.class_names = list(paths), list(class_names)
        self.labels = class_numbers(labels, len(self.class_names))
        self.groups = None if groups is None else list(groups)
        self.T, self.seed = T, seed
        self.skipped: list[tuple[str, str]] = []

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> torch.Tensor:
        """Clip i with its middle frames: (T, 3, H, W) uint8 RGB."""
        return self.read(range(len(self))[i])

    def read(self, i: int, view: int | None = None) -> torch.Tensor:
        """Clip i: its middle frames, or random view `view`, the same one in every process.

        A view takes one random frame a segment and one random crop for the whole clip.

        Returns:
            (T, 3, H, W) uint8 RGB.

        Raises:
            ClipError: the clip can't be read.
        """
        raise NotImplementedError

    def read_batch(self, indices: Iterable[int], views: Sequence[int] | None = None) -> torch.Tensor:
        """Several clips, with one view number a clip or the middle frames: (B, T, 3, H, W) uint8 RGB."""
        indices = [int(i) for i in indices]
        numbers: list[int | None] = [None] * len(indices) if views is None else [int(view) for view in views]
        clips = [self.read(i, view) for i, view in zip(indices, numbers, strict=True)]
        sizes = sorted({tuple(clip.shape[-2:]) for clip in clips})
        if len(sizes) > 1:
            raise ValueError(
                f"clips of {sizes[0]} and {sizes[-1]} pixels don't make one batch: give the data set a size"
            )
        return torch.stack(clips)

    def view_generator(self, i: int, view: int) -> torch.Generator:
        """Source of the random draws of one view of one clip: depends on (seed, i, view) alone."""
        digest = hashlib.sha256(f"{self.seed} {i} {view}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)

    @property
    def fingerprint(self) -> str:
        """12 hexadecimal digits that change with any class name, label or path; quoted by results and episode lists."""
        content = json.dumps([self.class_names, self.labels, self.paths], ensure_ascii=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def subset(self, class_names: Sequence[str]) -> Self:
        """The clips of some classes, which are numbered in the order given."""
        unknown = [name for name in class_names if name not in self.class_names]
        if unknown:
            raise ValueError(
                f"no class {unknown[0]!r} among {len(self.class_names)} classes, e.g. {self.class_names[0]!r}"
            )
        number = {self.class_names.index(name): new for new, name in enumerate(class_names)}
        chosen = self._take([i for i, label in enumerate(self.labels) if label in number])
        chosen.labels = [number[label] for label in chosen.labels]
        chosen.class_names = list(class_names)
        return chosen

    def _take(self, indices: Sequence[int]) -> Self:
        """A copy with some of the clips."""
        chosen = copy.copy(self)
        chosen.paths = [self.paths[i] for i in indices]
        chosen.labels = [self.labels[i] for i in indices]
        chosen.groups = None if self.groups is None else [self.groups[i] for i in indices]
        return chosen


class RenderedClips(LabelledClips):
    """Clips that are made when asked for; subclasses say how."""

    n_frames = 16  # of which T are chosen

    def render(self, indices: list[int]) -> torch.Tensor:
        """All frames of some clips: (B, n_frames, 3, size, size) uint8 RGB."""
        raise NotImplementedError

    def read(self, i: int, view: int | None = None) -> torch.Tensor:
        return self.read_batch([i], None if view is None else [view])[0]

    def read_batch(self, indices: Iterable[int], views: Sequence[int] | None = None) -> torch.Tensor:
        indices = [int(i) for i in indices]
        videos = self.render(indices)
        if views is None:
            return videos[:, sample_frames(self.n_frames, self.T)]
        drawn = [self.view_generator(i, int(view)) for i, view in zip(indices, views, strict=True)]
        chosen = [sample_frames(self.n_frames, self.T, "random", generator) for generator in drawn]
        return torch.stack([video[frames] for video, frames in zip(videos, chosen, strict=True)])


class FileClips(LabelledClips):
    """Clips that lie below one root folder, each read when it is asked for.

    Args:
        root: folder that all paths start from.
        paths, labels, class_names, T, seed: see `LabelledClips`.
        size, resize, flip: pixels of the crop and of the short side before it, and mirrored views, see `read_clip`.
        on_error: "raise" a ClipError when a broken clip is read, or "skip": read all clips once now, leave the broken
            ones out, and list them in `skipped`; a class that loses all its clips is refused.
        allow_outside: accept paths and links that lead outside of `root`.
        groups: one value a clip, or a regular expression with one group that finds it in each path, such as
            `"_(g[0-9]+)_c"` for the recordings of UCF101.

    Raises:
        ValueError: an option is unknown, a path leads outside of `root`, or `groups` does not fit a path.
    """

    def __init__(
        self,
        root: str | Path,
        paths: Sequence[str],
        labels: Sequence[int],
        class_names: Sequence[str],
        T: int = 8,
        seed: int = 0,
        size: int | None = None,
        resize: int | None = None,
        flip: bool = False,
        on_error: str = "raise",
        allow_outside: bool = False,
        groups: str | Sequence[Hashable] | None = None,
    ) -> None:
        super().__init__(paths, labels, class_names, T, seed, None if isinstance(groups, str) else groups)
        if isinstance(groups, str):
            self.groups = groups_in_names(paths, groups)
        if on_error not in ("raise", "skip"):
            raise ValueError(f'on_error is "raise" or "skip", not {on_error!r}')
        self.root, self.size, self.resize, self.flip = Path(root), size, resize, flip
        if not allow_outside:
            refuse_outside(self.root, self.paths)
        if on_error == "skip":
            self._skip_broken()

    def read(self, i: int, view: int | None = None) -> torch.Tensor:
        mode, generator = ("middle", None) if view is None else ("random", self.view_generator(i, view))
        return read_clip(self.root / self.paths[i], self.T, mode, self.size, generator, self.resize, self.flip)

    def _skip_broken(self) -> None:
        intact = []
        for i, path in enumerate(progress_bar(self.paths, desc="reading all clips once", leave=False)):
            try:
                read_through(self.root / path, self.T)
                intact.append(i)
            except ClipError as error:
                self.skipped.append((path, error.reason))
        kept = self._take(intact)
        self.paths, self.labels, self.groups = kept.paths, kept.labels, kept.groups
        lost = [self.class_names[label] for label in sorted(set(range(len(self.class_names))) - set(self.labels))]
        if lost:
            raise ValueError(f"class {lost[0]!r} has no readable clip left in {self.root}; check-data says why")


def read_through(path: Path, T: int) -> int:
    """Decode what a run may read of a clip, and count its frames.

    Every image of a frame folder is decoded. Of a video the first and the last frame and at least 4 in each of the T
    segments are.

    Raises:
        ClipError: with the reason, which names the image where one is broken.
    """
    try:
        if path.is_dir():
            return _read_all_images(path)
        counted: list[int] = []

        def choose(n_total: int) -> list[int]:
            counted.append(n_total)
            return sorted({0, *sample_frames(n_total, min(4 * T, n_total)).tolist(), n_total - 1})

        decode_frames(path, choose)
        return counted[-1]
    except ClipError as error:
        reason = error.reason if error.path == str(path) else f"{Path(error.path).name} {error.reason}"
        raise ClipError(path, reason) from None


def _read_all_images(folder: Path) -> int:
    n_frames = len(list_frames(folder))
    sizes = set()
    for start in range(0, max(1, n_frames), CHUNK):
        chunk = list(range(start, min(start + CHUNK, n_frames)))
        sizes.add(decode_frames(folder, lambda _, chunk=chunk: chunk).shape[-2:])  # type: ignore[misc]
    if len(sizes) > 1:
        raise ClipError(folder, "its frames have different sizes")
    return n_frames


def groups_in_names(paths: Sequence[str], pattern: str) -> list[Hashable]:
    """What the pattern's one group finds in each path.

    Raises:
        ValueError: the pattern has not one group, or is not found in a path.
    """
    try:
        n_groups = re.compile(pattern).groups
    except re.error:
        n_groups = 0
    if n_groups != 1:
        raise ValueError(f"groups is one value a clip or a regular expression with one group, not {pattern!r}")
    found = [re.search(pattern, path) for path in paths]
    if None in found:
        raise ValueError(f"groups is {pattern!r}, which is not found in the path {paths[found.index(None)]!r}")
    return [match[1] for match in found if match]
