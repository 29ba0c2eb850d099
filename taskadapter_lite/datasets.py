"""Folders, lists and the bundled sample -> labelled clips."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from tqdm.auto import tqdm

from taskadapter_lite.bundled import data_dir, read_manifest, refuse_outside, verify_bundled
from taskadapter_lite.clips import VIDEO_SUFFIXES, ClipError, read_clip, read_frames, resize_and_crop, sample_frames
from taskadapter_lite.labelled import LabelledClips
from taskadapter_lite.sprites import ACTIONS, render_clips

__all__ = [
    "ClipFolder",
    "FileClips",
    "FrameFolder",
    "LabelledClips",
    "SpriteClips",
    "bundled_clips",
    "data_dir",
    "verify_bundled",
]


class FileClips(LabelledClips):
    """Clips that lie below one root folder, each read when it is asked for.

    Args:
        root: folder that all paths start from.
        paths, labels, class_names, T, seed: see `LabelledClips`.
        size: side of the square crop in pixels; None keeps frames as they are.
        resize: short side before the crop (default: `size`; published recipes use 256 for 224).
        flip: mirror half of the random views; leave it off where direction is a class.
        on_error: "raise" a ClipError when a broken clip is read, or "skip": read all clips once now, leave the broken
            ones out, and list them in `skipped`.
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
        self._frames: dict[str, torch.Tensor] = {}
        if on_error == "skip":
            self._skip_broken()

    def read(self, i: int, view: int | None = None) -> torch.Tensor:
        mode, generator = ("middle", None) if view is None else ("random", self.view_generator(i, view))
        path, geometry = self.paths[i], (self.size, generator, self.resize, self.flip)
        if path not in self._frames:
            return read_clip(self.root / path, self.T, mode, *geometry)
        frames = self._frames[path]
        return resize_and_crop(frames[sample_frames(len(frames), self.T, mode, generator)], mode, *geometry)

    def preload(self) -> FileClips:
        """Decode all frames of all clips now and keep them in memory, for data sets as small as the bundled one."""
        for path in tqdm(self.paths, desc="decoding clips", leave=False):
            if path not in self._frames:
                self._frames[path] = read_frames(self.root / path)
        return self

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


class ClipFolder(FileClips):
    """Videos sorted into folders, `root/<class>/<video>.mp4`; the options are those of `FileClips`.

    Args:
        root: folder of class folders.
        class_names: the classes wanted, in this order (default: all folders, sorted by name).
    """

    def __init__(self, root: str | Path, class_names: Sequence[str] | None = None, **options) -> None:
        root = Path(root)
        if not root.is_dir():
            raise ValueError(f"{root} is no folder; it should hold one folder a class")
        if class_names is None:
            class_names = sorted(entry.name for entry in _visible(root) if entry.is_dir())
        if not class_names:
            raise ValueError(f"{root} holds no class folders; videos belong into {root}/<class>/")
        found = [
            (f"{name}/{clip}", label) for label, name in enumerate(class_names) for clip in self._clips(root / name)
        ]
        super().__init__(root, [path for path, _ in found], [label for _, label in found], class_names, **options)

    def _clips(self, folder: Path) -> list[str]:
        """Names of the clips of one class, sorted."""
        if not folder.is_dir():
            raise ValueError(f"class {folder.name!r} has no folder in {folder.parent}")
        return sorted(entry.name for entry in _visible(folder) if self._is_clip(entry))

    def _is_clip(self, entry: Path) -> bool:
        return entry.suffix.lower() in VIDEO_SUFFIXES and not entry.is_dir()


class FrameFolder(ClipFolder):
    """Videos stored as one image a frame, `root/<class>/<video>/00000001.jpg`; options as in `FileClips`."""

    def _is_clip(self, entry: Path) -> bool:
        return entry.is_dir()


def _visible(folder: Path) -> list[Path]:
    """Entries of a folder without hidden ones (.DS_Store, .ipynb_checkpoints, the ._ twins of macOS archives)."""
    return [entry for entry in folder.iterdir() if not entry.name.startswith(".")]


class SpriteClips(LabelledClips):
    """Something-Sprites rendered in memory when asked for: as many clips of each class as wanted, and no files.

    Args:
        split: "train", "val" or "test"; their classes are disjoint.
        clips_per_class: clip numbers 0 .. clips_per_class - 1 of each class.
        T: frames a clip, chosen among `n_frames` rendered ones.
        seed: seed of the renderer and of the views.
        size: height and width in pixels.
        level: "plain" or "cluttered", see `sprites.render_clips`.
        n_frames: frames rendered a clip.
        device: where to render; clips come back on the CPU.

    Raises:
        ValueError: an unknown split, or fewer than 1 clip a class.
    """

    def __init__(
        self,
        split: str,
        clips_per_class: int,
        T: int = 8,
        seed: int = 0,
        size: int = 64,
        level: str = "plain",
        n_frames: int = 16,
        device: str | torch.device = "cpu",
    ) -> None:
        class_names = [name for name, action in ACTIONS.items() if action.split == split]
        if not class_names:
            raise ValueError(f'split is "train", "val" or "test", not {split!r}')
        if clips_per_class < 1:
            raise ValueError(f"clips_per_class is {clips_per_class}, but a class needs at least 1 clip")
        labels = [label for label in range(len(class_names)) for _ in range(clips_per_class)]
        self.numbers = list(range(clips_per_class)) * len(class_names)
        recipe = f"{level} {size} seed {seed}"  # part of the name of a clip, and so of the fingerprint
        paths = [f"{recipe}/{class_names[label]}/{n}" for label, n in zip(labels, self.numbers, strict=True)]
        super().__init__(paths, labels, class_names, T, seed)
        self.size, self.level, self.n_frames, self.device = size, level, n_frames, device

    def read(self, i: int, view: int | None = None) -> torch.Tensor:
        return self.read_batch([i], None if view is None else [view])[0]

    def read_batch(self, indices: Iterable[int], views: Sequence[int] | None = None) -> torch.Tensor:
        indices = [int(i) for i in indices]
        names = [self.class_names[self.labels[i]] for i in indices]
        numbers = [self.numbers[i] for i in indices]
        videos = render_clips(names, numbers, self.seed, self.n_frames, self.size, self.level, self.device).cpu()
        views = [None] * len(indices) if views is None else [int(view) for view in views]
        chosen = [self._choose(i, view) for i, view in zip(indices, views, strict=True)]
        return torch.stack([video[frames] for video, frames in zip(videos, chosen, strict=True)])

    def _choose(self, i: int, view: int | None) -> torch.Tensor:
        if view is None:
            return sample_frames(self.n_frames, self.T)
        return sample_frames(self.n_frames, self.T, "random", self.view_generator(i, view))

    def _take(self, indices: Sequence[int]) -> SpriteClips:
        chosen = super()._take(indices)
        chosen.numbers = [self.numbers[i] for i in indices]
        return chosen


def bundled_clips(split: str, T: int = 8, seed: int = 0) -> FileClips:
    """The Something-Sprites clips that come with the library.

    Args:
        split: "train", "val" or "test"; their classes are disjoint.

    Raises:
        ValueError: the split is unknown, or the sample is missing.
    """
    manifest = read_manifest()
    entries = [entry for entry in manifest["clips"] if entry["split"] == split]
    if not entries:
        raise ValueError(
            f"the bundled clips have splits {sorted({e['split'] for e in manifest['clips']})}, not {split!r}"
        )
    class_names = list(dict.fromkeys(entry["class"] for entry in entries))
    labels = [class_names.index(entry["class"]) for entry in entries]
    return FileClips(data_dir(), [entry["path"] for entry in entries], labels, class_names, T, seed)
