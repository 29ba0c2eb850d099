"""Paths and labels -> clips with one class each, read by number: what all data sets have in common."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from taskadapter_lite.data.clips import ClipError, read_clip
from taskadapter_lite.files import refuse_outside


class LabelledClips(Dataset):
    """Clips with one class each; subclasses say how clip i is read.

    Args:
        paths: a name a clip, relative to where the data lies.
        labels: a class number a clip, an index into `class_names`.
        class_names: a name a class.
        T: frames a clip.
        seed: seed of all random views.

    Attributes:
        skipped: (path, reason) of each clip left out because it can't be read.
    """

    def __init__(
        self, paths: Sequence[str], labels: Sequence[int], class_names: Sequence[str], T: int = 8, seed: int = 0
    ) -> None:
        if len(paths) != len(labels):
            raise ValueError(f"each clip needs one label, but there are {len(paths)} paths and {len(labels)} labels")
        if T < 1:
            raise ValueError(f"T is the number of frames a clip, at least 1, not {T}")
        self.paths, self.labels, self.class_names = list(paths), list(labels), list(class_names)
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
        views = [None] * len(indices) if views is None else [int(view) for view in views]
        clips = [self.read(i, view) for i, view in zip(indices, views, strict=True)]
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

    def subset(self, class_names: Sequence[str]) -> LabelledClips:
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

    def _take(self, indices: Sequence[int]) -> LabelledClips:
        """A copy with some of the clips."""
        chosen = copy.copy(self)
        chosen.paths = [self.paths[i] for i in indices]
        chosen.labels = [self.labels[i] for i in indices]
        return chosen


class FileClips(LabelledClips):
    """Clips that lie below one root folder, each read when it is asked for.

    Args:
        root: folder that all paths start from.
        paths, labels, class_names, T, seed: see `LabelledClips`.
        size: side of the square crop in pixels; None keeps frames as they are.
        resize: short side before the crop (default: `size`; published recipes use 256 for 224).
        flip: mirror half of the random views; leave it off where direction is a class.
        on_error: "raise" a ClipError when a broken clip is read, or "skip": read all clips once now, leave the broken
            ones out, and list them in `skipped`; a class that loses all its clips is refused.
        allow_outside: accept paths and links that lead outside of `root`.

    Raises:
        ValueError: an option is unknown, or a path leads outside of `root`.
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
    ) -> None:
        super().__init__(paths, labels, class_names, T, seed)
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
        for i, path in enumerate(tqdm(self.paths, desc="reading all clips once", leave=False)):
            try:
                self.read(i)
                intact.append(i)
            except ClipError as error:
                self.skipped.append((path, error.reason))
        self.paths = [self.paths[i] for i in intact]
        self.labels = [self.labels[i] for i in intact]
        lost = [self.class_names[label] for label in sorted(set(range(len(self.class_names))) - set(self.labels))]
        if lost:
            raise ValueError(f"class {lost[0]!r} has no readable clip left in {self.root}; check-data says why")
