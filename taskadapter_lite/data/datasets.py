"""Folders, published lists, the bundled sample or the renderer -> labelled clips."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from taskadapter_lite.data.clips import VIDEO_SUFFIXES, sample_frames
from taskadapter_lite.data.labelled import FileClips, LabelledClips
from taskadapter_lite.data.public import (
    PARTS,
    ListedClip,
    Locator,
    load_split,
    part_of_list,
    published_split,
    read_split_list,
    save_split,
    split_classes,
)
from taskadapter_lite.files import data_dir, read_manifest
from taskadapter_lite.sprites.bundled import clips_folder, verify_bundled
from taskadapter_lite.sprites.render import ACTIONS, render_clips

__all__ = [
    "ClipFolder",
    "FileClips",
    "FrameFolder",
    "LabelledClips",
    "ListedClips",
    "SpriteClips",
    "bundled_clips",
    "data_dir",
    "open_dataset",
    "published_split",
    "read_split_list",
    "verify_bundled",
]


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


def _natural(name: str) -> list:
    """Sorts test2 before test10."""
    return [int(piece) if piece.isdigit() else piece for piece in re.split(r"(\d+)", name)]


def _visible(folder: Path) -> list[Path]:
    """Entries of a folder without hidden ones (.DS_Store, .ipynb_checkpoints, the ._ twins of macOS archives)."""
    return [entry for entry in folder.iterdir() if not entry.name.startswith(".")]


class ListedClips(FileClips):
    """The videos of a list, wherever below the root they lie; options as in `FileClips`.

    Listed videos that are not there are an error, or with `on_error="skip"` entries of `skipped`.

    Args:
        root: folder of the data set: videos or frame folders, sorted into class folders or not.
        listed: what `read_split_list` gives.

    Raises:
        ValueError: no listed video is there, or one is missing and `on_error` is "raise".
    """

    def __init__(self, root: str | Path, listed: Sequence[ListedClip], **options) -> None:
        class_names = sorted({clip.class_name for clip in listed}, key=_natural)
        locator = Locator(root, class_names, options.get("allow_outside", False))
        found = [(locator.find(clip)[0], clip) for clip in listed]
        missing = [clip.path for path, clip in found if path is None]
        if len(missing) == len(listed) or (missing and options.get("on_error", "raise") == "raise"):
            raise ValueError(
                f"{len(missing)} of {len(listed)} listed videos are not below {root}, the first is {missing[0]!r}; "
                "check-data lists them all"
            )
        found = [(path, class_names.index(clip.class_name)) for path, clip in found if path is not None]
        super().__init__(root, [path for path, _ in found], [label for _, label in found], class_names, **options)
        self.skipped = [(path, "no such file") for path in missing] + self.skipped


def open_dataset(
    root: str | Path,
    dataset: str = "folder",
    split: str | None = None,
    lists: Sequence[str | Path] = (),
    split_file: str | Path | None = None,
    **options,
) -> FileClips:
    """One part of a data set on disk.

    Args:
        root: folder of the data set; nothing is written there.
        dataset: "folder", or the name of a published split, such as "hmdb51".
        split: "train", "val", "test", or None for all classes.
        lists: list files in any public format, one a part; the part is told by their lines or their names.
        split_file: for "folder": which classes are in which part, made and saved if it does not exist. Without it, and
            without a folder for each part, the classes are divided by seed 0.
        **options: as in `FileClips`; `flip` is on by default where the published split says that a mirrored video
            still shows the same class.

    Raises:
        ValueError: an unknown name, or a part of the data set that is not there.
    """
    root = Path(root)
    if split not in (None, *PARTS):
        raise ValueError(f"split is {', '.join(PARTS)} or None, not {split!r}")
    if dataset != "folder":
        options.setdefault("flip", published_split(dataset).mirror_images)
    if lists:
        return ListedClips(root, _listed(lists, split, options.get("allow_outside", False)), **options)
    if dataset == "folder":
        return _open_folder(root, split, split_file, options)
    return _open_published(root, dataset, split, options)


def _listed(lists: Sequence[str | Path], split: str | None, allow_outside: bool) -> list[ListedClip]:
    parts = [read_split_list(path, allow_outside) for path in lists]
    if split is None:
        return [clip for listed in parts for clip in listed]
    for path, listed in zip(lists, parts, strict=True):
        if split == part_of_list(path, listed):
            return listed
    raise ValueError(
        f"no list is of part {split!r}, neither by its lines nor by its name: {', '.join(map(str, lists))}"
    )


def _open_folder(root: Path, split: str | None, split_file: str | Path | None, options: dict) -> FileClips:
    in_parts = split is not None and split_file is None and (root / split).is_dir()
    root = root / split if in_parts else root
    has_videos = any(path.suffix.lower() in VIDEO_SUFFIXES for path in root.glob("*/*"))
    folder = ClipFolder if has_videos else FrameFolder
    if split is None or in_parts:
        return folder(root, **options)
    if split_file is not None and Path(split_file).exists():
        return folder(root, class_names=load_split(split_file)[split], **options)
    classes = split_classes(folder(root).class_names, seed=0)
    if split_file is not None:
        save_split(split_file, classes, seed=0)
    return folder(root, class_names=classes[split], **options)


def _open_published(root: Path, dataset: str, split: str | None, options: dict) -> FileClips:
    parts = published_split(dataset).classes
    class_names = [name for part in PARTS if split in (None, part) for name in parts[part]]
    locator = Locator(root, class_names, options.get("allow_outside", False))
    found = [(path, label) for label, name in enumerate(class_names) for path in locator.of_class(name)]
    absent = sorted(set(range(len(class_names))) - {label for _, label in found})
    if absent:
        raise ValueError(
            f"{len(absent)} of {len(class_names)} classes of {dataset} have no folder of videos below {root}, "
            f"the first is {class_names[absent[0]]!r}; where videos are not sorted by class, lists are needed"
        )
    return FileClips(root, [path for path, _ in found], [label for _, label in found], class_names, **options)


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
    return FileClips(clips_folder(), [entry["path"] for entry in entries], labels, class_names, T, seed)
