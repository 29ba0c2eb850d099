"""A data set on disk -> what is there, missing or broken, against what its published split has."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath

from taskadapter_lite.bars import progress_bar
from taskadapter_lite.data.decoding import ClipError
from taskadapter_lite.data.labelled import read_through
from taskadapter_lite.data.public import (
    ListedClip,
    Locator,
    part_folders,
    part_of_list,
    published_split,
    read_split_list,
)
from taskadapter_lite.episodes import loose_name
from taskadapter_lite.files import refuse_outside

SHOWN = 5  # entries of each kind of finding in a summary


@dataclass
class Report:
    """What a check has found.

    Attributes:
        videos: part -> {"expected": by list or published split, "found": files there, "readable": of those}.
        missing_classes: expected classes without any video.
        missing: listed videos that are not there.
        unreadable: (path, reason).
        too_short: (path, frames), fewer frames than a clip takes.
        other_length: (path, frames there, frames listed), for lists that say the number of frames.
        named_differently: (as listed, as found).
        thin_classes: class -> readable clips, where they are too few for an episode.
        shared_classes: classes in two parts, however they are spelled there; a split is disjoint.
        same_file: (as listed, as listed, as found), two listed names or parts that lead to one file.
        without_clips: folders that hold no clip, and so are no class: `annotations`, `__MACOSX`, unknown suffixes.
        problems: why the data set is not usable; none if it is.
    """

    root: str
    dataset: str
    lists: list[str]
    videos: dict[str, dict[str, int]] = field(default_factory=dict)
    missing_classes: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    too_short: list[tuple[str, int]] = field(default_factory=list)
    other_length: list[tuple[str, int, int]] = field(default_factory=list)
    named_differently: list[tuple[str, str]] = field(default_factory=list)
    thin_classes: dict[str, int] = field(default_factory=dict)
    shared_classes: list[str] = field(default_factory=list)
    same_file: list[tuple[str, str, str]] = field(default_factory=list)
    without_clips: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """The report in a few lines; of each kind of finding the first ones."""
        lines = [f"{'part':8} {'expected':>9} {'found':>9} {'readable':>9}"]
        for part, counts in self.videos.items():
            lines.append(f"{part:8} {counts['expected']:9,} {counts['found']:9,} {counts['readable']:9,}")
        _root, _dataset, _lists, _videos, *kinds, _problems = fields(self)
        for name in (kind.name for kind in kinds):
            findings = getattr(self, name)
            findings = list(findings.items()) if isinstance(findings, dict) else findings
            if findings:
                lines.append(f"{name.replace('_', ' ')}: {len(findings):,}")
                words = [(finding,) if isinstance(finding, str) else finding for finding in findings[:SHOWN]]
                lines += [f"  {' | '.join(map(str, finding))}" for finding in words]
                lines += [f"  ... and {len(findings) - SHOWN:,} more"] if len(findings) > SHOWN else []
        if not self.problems:
            return "\n".join([*lines, "usable"])
        why = list(self.problems)
        if self.dataset != "folder":
            why.append(f"{self.dataset} is to be had from {published_split(self.dataset).page}")
        return "\n".join([*lines, f"not usable: {'; '.join(why)}"])


@dataclass
class _Video:
    part: str
    clip: ListedClip
    path: str | None
    same_name: bool = True


def check_dataset(
    root: Path,
    dataset: str,
    lists: Sequence[Path] = (),
    T: int = 8,
    min_clips: int = 6,
    quick: bool = False,
    allow_outside: bool = False,
) -> Report:
    """Compare the files below `root` with lists, or with the published classes, or with nothing for "folder".

    Args:
        root: folder of the data set.
        dataset: a published split's name, or "folder".
        lists: list files, one a part; without them videos are expected in folders called like their classes.
        T: frames a clip takes.
        min_clips: readable clips that every class needs.
        quick: do not read the files.
        allow_outside: accept links and lists that lead out of the root.

    Raises:
        ValueError: `root` holds no clips, or a list is wrong.
    """
    report = Report(str(root), dataset, [str(path) for path in lists])
    listed = {path: read_split_list(path, allow_outside) for path in lists}
    names = {clip.class_name for clips in listed.values() for clip in clips}
    if dataset != "folder" and not lists:
        names = {name for part in published_split(dataset).classes.values() for name in part}
    locator = Locator(root, names, allow_outside)
    if lists:
        videos = _listed(listed, locator)
    elif dataset == "folder":
        videos = _in_folders(locator.paths)
    else:
        videos = _in_class_folders(dataset, locator)
    if not allow_outside:
        refuse_outside(root, [video.path for video in videos if video.path])
    there = [video for video in videos if video.path]
    report.without_clips = _without_clips(root, locator.paths)
    _compare(report, videos, there)
    readable = there if quick else _read_all(report, root, there, T)
    _judge(report, videos, there, readable, min_clips)
    return report


def _listed(listed: dict[Path, list[ListedClip]], locator: Locator) -> list[_Video]:
    videos = []
    for path, clips in listed.items():
        part = part_of_list(path, clips) or path.name
        videos += [_Video(clip.part or part, clip, *locator.find(clip)) for clip in clips]
    return videos


def _in_folders(paths: list[str]) -> list[_Video]:
    """Clips of a plain folder as `open_dataset` reads it; those in no folder have no class and are left out."""
    parts = part_folders(paths)
    videos = []
    for path in paths:
        folder, *below = path.split("/")
        part = parts.get(folder)
        if below:
            videos.append(_Video(part or "all", ListedClip(path, below[0] if part else folder), path))
    if not videos:
        raise ValueError(f"the clips are in no class folder, the first is {paths[0]!r}; they belong into <class>/")
    return videos


def _without_clips(root: Path, paths: list[str]) -> list[str]:
    """The topmost folders that hold no clip; nothing hidden."""
    holding = {str(folder) for path in paths for folder in (PurePosixPath(path), *PurePosixPath(path).parents)}
    clips, empty = set(paths), []
    for folder, folders, _ in os.walk(root):
        relative = PurePosixPath(Path(folder).relative_to(root).as_posix())
        visible = sorted(name for name in folders if not name.startswith("."))
        empty += [str(relative / name) for name in visible if str(relative / name) not in holding]
        folders[:] = [name for name in visible if str(relative / name) in holding - clips]
    return empty


def _in_class_folders(dataset: str, locator: Locator) -> list[_Video]:
    videos = []
    for part, names in published_split(dataset).classes.items():
        for name in names:
            found = locator.of_class(name)
            videos += [_Video(part, ListedClip(path, name), path) for path in found]
            videos += [] if found else [_Video(part, ListedClip("", name), None)]
    return videos


def _compare(report: Report, videos: list[_Video], there: list[_Video]) -> None:
    """Fill in what can be said without reading: classes and files against the list."""
    parts: dict[str, set[str]] = {}
    spelled: dict[str, dict[str, None]] = {}
    for video in videos:
        key = loose_name(video.clip.class_name)
        parts.setdefault(key, set()).add(video.part)
        spelled.setdefault(key, {})[video.clip.class_name] = None
    report.shared_classes = [" = ".join(spelled[key]) for key, used_in in parts.items() if len(used_in) > 1]
    found = {video.clip.class_name for video in there}
    report.missing_classes = [name for names in spelled.values() for name in names if name not in found]
    first: dict[str | None, _Video] = {}
    for video in there:
        other = first.setdefault(video.path, video)
        if (other.part, other.clip.path) != (video.part, video.clip.path):
            report.same_file.append((other.clip.path, video.clip.path, str(video.path)))
    report.missing = [video.clip.path for video in videos if video.path is None and video.clip.path]
    report.named_differently = [(video.clip.path, str(video.path)) for video in there if not video.same_name]


def _read_all(report: Report, root: Path, there: list[_Video], T: int) -> list[_Video]:
    """Decode what a run can read of every clip, in threads, and return the videos that are readable."""
    paths = [str(video.path) for video in there]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        reading = pool.map(lambda path: _length(root / path, T), paths)
        lengths = list(progress_bar(reading, total=len(there), desc="reading", unit="clip"))
    readable = []
    for video, path, length in zip(there, paths, lengths, strict=True):
        if isinstance(length, str):
            report.unreadable.append((path, length))
            continue
        readable.append(video)
        if length < T:
            report.too_short.append((path, length))
        if video.clip.n_frames not in (None, length):
            report.other_length.append((path, length, video.clip.n_frames))
    return readable


def _length(path: Path, T: int) -> int | str:
    """Frames in a clip that a run can read, or why it can't."""
    try:
        return read_through(path, T)
    except ClipError as error:
        return error.reason


def _judge(report: Report, videos: list[_Video], there: list[_Video], readable: list[_Video], min_clips: int) -> None:
    """Count, and say why the data set is not usable, if so."""
    published = published_split(report.dataset).videos if report.dataset != "folder" and not report.lists else {}
    for name, group in (("expected", videos), ("found", there), ("readable", readable)):
        in_part = Counter(video.part for video in group)
        for part in dict.fromkeys(video.part for video in videos):
            report.videos.setdefault(part, {})[name] = in_part[part]
    for part, counts in report.videos.items():
        counts["expected"] = published.get(part, counts["expected"])
    clips = Counter(video.clip.class_name for video in readable)
    classes = dict.fromkeys(video.clip.class_name for video in videos)
    report.thin_classes = {name: clips[name] for name in classes if clips[name] < min_clips}
    for found, words in (
        (report.missing_classes, f"of {len(classes)} classes have no video"),
        (report.thin_classes, f"of {len(classes)} classes have less than {min_clips} clips"),
        (report.shared_classes, "classes are in two parts of the split"),
        (report.same_file, "files are listed twice, under two names or in two parts"),
    ):
        report.problems += [f"{len(found)} {words}"] if found else []
