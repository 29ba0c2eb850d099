"""Folders, published lists, the bundled sample or the renderer -> labelled clips."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from taskadapter_lite.data.labelled import FileClips, RenderedClips, groups_in_names
from taskadapter_lite.data.public import (
    GROUP_PATTERNS,
    PARTS,
    ListedClip,
    Locator,
    find_clips,
    load_split,
    part_folders,
    part_of_list,
    published_split,
    read_split_list,
    refuse_two_spellings,
    save_split,
    sort_by_class,
    split_classes,
)
from taskadapter_lite.files import read_manifest, refuse_outside
from taskadapter_lite.sprites.actions import ACTIONS
from taskadapter_lite.sprites.bundled import clips_folder
from taskadapter_lite.sprites.render import render_clips

if TYPE_CHECKING:
    from typing_extensions import Self  # in `typing` from Python 3.11 on


class ClipFolder(FileClips):
    """Clips sorted into folders, `root/<class>/<video>.mp4` or `root/<class>/<subject>/<video>.mp4`.

    What a clip is, `find_clips` says; a folder without any clip is no class. The options are those of `FileClips`.

    Args:
        root: folder of class folders.
        class_names: the classes wanted, in this order (default: all, sorted by name).

    Raises:
        ValueError: there is no class, a class has no clip, or `root` holds parts such as train and test.
    """

    def __init__(self, root: str | Path, class_names: Sequence[str] | None = None, **options) -> None:
        root = Path(root)
        if not root.is_dir():
            raise ValueError(f"{root} is no folder; it should hold one folder a class")
        clips = find_clips(root, options.get("allow_outside", False))
        by_class = sort_by_class(clips)
        parts = part_folders(clips)
        if class_names is None and by_class and len(parts) == len(by_class):
            raise ValueError(f"{root} holds the parts {', '.join(parts)} instead of classes; open_dataset reads them")
        _refuse_unopened(root, clips)
        super().__init__(root, *_of_classes(root, by_class, class_names), **options)


class FrameFolder(ClipFolder):
    """The same for clips stored as one image a frame, `root/<class>/<video>/00000001.jpg`."""


def _of_classes(
    root: Path, by_class: dict[str, list[str]], class_names: Sequence[str] | None
) -> tuple[list[str], list[int], list[str]]:
    """Paths, labels and names of the classes wanted, all of them by default."""
    names = list(by_class) if class_names is None else class_names
    if not names:
        raise ValueError(f"{root} holds no class folders with clips; videos belong into {root}/<class>/")
    absent = next((name for name in names if name not in by_class), None)
    if absent is not None:
        raise ValueError(f"class {absent!r} has no {'clip' if (root / absent).is_dir() else 'folder'} in {root}")
    return _numbered({name: by_class[name] for name in names})


def _numbered(by_class: Mapping[str, Sequence[str]]) -> tuple[list[str], list[int], list[str]]:
    """Paths, labels and names, class after class."""
    paths = [path for clips in by_class.values() for path in clips]
    return paths, [label for label, clips in enumerate(by_class.values()) for _ in clips], list(by_class)


def _refuse_unopened(root: Path, clips: Sequence[str]) -> None:
    """A class folder that is a link out of the root was not entered: it is refused, not left out."""
    refuse_outside(root, [path for path in clips if "/" not in path and (root / path).is_dir()])


def _natural(name: str) -> list:
    """Sorts test2 before test10."""
    return [int(piece) if piece.isdigit() else piece for piece in re.split(r"(\d+)", name)]


class ListedClips(FileClips):
    """The videos of a list, wherever below the root they lie; options as in `FileClips`.

    Listed videos that are not there are an error, or with `on_error="skip"` entries of `skipped`.

    Args:
        root: folder of the data set: videos or frame folders, sorted into class folders or not.
        listed: what `read_split_list` gives.

    Raises:
        ValueError: no listed video is there, two listed names lead to one file, or a video is missing and `on_error`
            is "raise".
    """

    def __init__(self, root: str | Path, listed: Sequence[ListedClip], **options) -> None:
        root = Path(root)
        class_names = sorted({clip.class_name for clip in listed}, key=_natural)
        locator = Locator(root, class_names, options.get("allow_outside", False))
        found = [(locator.find(clip)[0], clip) for clip in listed]
        missing = [clip.path for path, clip in found if path is None]
        if len(missing) == len(listed) or (missing and options.get("on_error", "raise") == "raise"):
            raise ValueError(
                f"{len(missing)} of {len(listed)} listed videos are not below {root}, the first is {missing[0]!r}; "
                "check-data lists them all"
            )
        there = [(path, clip) for path, clip in found if path is not None]
        listed_as: dict[str, str] = {}
        for path, clip in there:
            if (name := listed_as.setdefault(path, clip.path)) != clip.path:
                raise ValueError(f"{name!r} and {clip.path!r} are listed as two videos, but both are {root / path}")
        labels = [class_names.index(clip.class_name) for _, clip in there]
        super().__init__(root, [path for path, _ in there], labels, class_names, **options)
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
            still shows the same class, and `groups` are the recordings that the names of UCF101 and HMDB51 tell.

    Raises:
        ValueError: an unknown name, a part of the data set that is not there, or a class in two spellings.
    """
    root = Path(root)
    if split not in (None, *PARTS):
        raise ValueError(f"split is {', '.join(PARTS)} or None, not {split!r}")
    if dataset != "folder":
        options.setdefault("flip", published_split(dataset).mirror_images)
    if lists:
        clips: FileClips = ListedClips(root, _listed(lists, split, options.get("allow_outside", False)), **options)
    elif dataset == "folder":
        clips = _open_folder(root, split, split_file, options)
    else:
        clips = _open_published(root, dataset, split, options)
    if dataset in GROUP_PATTERNS and "groups" not in options:
        with suppress(ValueError):  # names of another kind tell no recordings
            clips.groups = groups_in_names(clips.paths, GROUP_PATTERNS[dataset])
    return clips


def _listed(lists: Sequence[str | Path], split: str | None, allow_outside: bool) -> list[ListedClip]:
    parts = [(path, read_split_list(path, allow_outside)) for path in lists]
    refuse_two_spellings(clip.class_name for _, listed in parts for clip in listed)
    if split is None:
        return [clip for _, listed in parts for clip in listed]
    for path, listed in parts:
        of_part = [clip for clip in listed if split == (clip.part or part_of_list(path, listed))]
        if of_part:
            return of_part
    raise ValueError(
        f"no list is of part {split!r}, neither by its lines nor by its name: {', '.join(map(str, lists))}"
    )


def _open_folder(root: Path, split: str | None, split_file: str | Path | None, options: dict) -> FileClips:
    paths = find_clips(root, options.get("allow_outside", False)) if root.is_dir() else []
    parts = part_folders(paths)
    if parts and split is not None and split_file is None:
        return ClipFolder(root / _folder_of_part(root, parts, split), **options)
    if not sort_by_class(paths) or (not parts and split is None):
        return ClipFolder(root, **options)  # which says what is missing, if so
    by_class = sort_by_class(paths, parts)  # the classes of all parts together
    refuse_two_spellings(by_class)
    _refuse_unopened(root, paths)
    names = None if split is None else _divided(list(by_class), split_file)[split]
    return FileClips(root, *_of_classes(root, by_class, names), **options)


def _divided(class_names: list[str], split_file: str | Path | None) -> dict[str, list[str]]:
    """The classes of each part: those of the file, which is made if it does not exist, or by seed 0."""
    if split_file is None:
        return split_classes(class_names, seed=0)
    if not Path(split_file).exists():
        save_split(split_file, split_classes(class_names, seed=0), seed=0)
    return load_split(split_file)


def _folder_of_part(root: Path, parts: dict[str, str], split: str) -> str:
    folders = [folder for folder, part in parts.items() if part == split]
    if len(folders) != 1:
        raise ValueError(f"{root} holds {len(folders)} folders of part {split!r} among {', '.join(parts)}, not one")
    return folders[0]


def _open_published(root: Path, dataset: str, split: str | None, options: dict) -> FileClips:
    parts = published_split(dataset).classes
    class_names = [name for part in PARTS if split in (None, part) for name in parts[part]]
    locator = Locator(root, class_names, options.get("allow_outside", False))
    by_class = {name: locator.of_class(name) for name in class_names}
    absent = [name for name, clips in by_class.items() if not clips]
    if absent:
        raise ValueError(
            f"{len(absent)} of {len(class_names)} classes of {dataset} have no folder of videos below {root}, "
            f"the first is {absent[0]!r}; where videos are not sorted by class, lists are needed"
        )
    return FileClips(root, *_numbered(by_class), **options)


class SpriteClips(RenderedClips):
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

    def render(self, indices: list[int]) -> torch.Tensor:
        names = [self.class_names[self.labels[i]] for i in indices]
        numbers = [self.numbers[i] for i in indices]
        grounds = self.grounds(indices)
        made = render_clips(
            names, numbers, self.seed, self.n_frames, self.size, self.level, self.device, grounds=grounds
        )
        return made.cpu()

    def grounds(self, indices: list[int]) -> torch.Tensor | None:
        """What lies behind some clips, uint8 (B, 3, size, size); None is a pale gradient of their own."""

    def _take(self, indices: Sequence[int]) -> Self:
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
