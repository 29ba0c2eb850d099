"""A folder and the name of a data set -> the labelled clips of one part of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from taskadapter_lite.data.clips import VIDEO_SUFFIXES
from taskadapter_lite.data.datasets import ClipFolder, FrameFolder, ListedClips
from taskadapter_lite.data.labelled import FileClips
from taskadapter_lite.data.locating import Locator
from taskadapter_lite.data.public import (
    PARTS,
    ListedClip,
    load_split,
    part_of_list,
    published_split,
    read_split_list,
    save_split,
    split_classes,
)


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
