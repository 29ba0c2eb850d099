"""A data set on disk -> what is there, missing or broken, against what its published split has."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tqdm.auto import tqdm

from taskadapter_lite.data.clips import ClipError, sample_frames
from taskadapter_lite.data.decoding import decode_frames
from taskadapter_lite.data.public import PARTS, ListedClip, Locator, part_of_list, published_split, read_split_list
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
        shared_classes: classes in two parts; a split is disjoint.
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
    problems: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """The report in a few lines; of each kind of finding the first ones."""
        lines = [f"{'part':8} {'expected':>9} {'found':>9} {'readable':>9}"]
        for part, counts in self.videos.items():
            lines.append(f"{part:8} {counts['expected']:9,} {counts['found']:9,} {counts['readable']:9,}")
        for name in (
            "missing_classes",
            "missing",
            "unreadable",
            "too_short",
            "other_length",
            "named_differently",
            "thin_classes",
            "shared_classes",
        ):
            findings = getattr(self, name)
            findings = list(findings.items()) if isinstance(findings, dict) else findings
            if findings:
                lines.append(f"{name.replace('_', ' ')}: {len(findings):,}")
                lines += [f"  {_in_words(finding)}" for finding in findings[:SHOWN]]
                lines += [f"  ... and {len(findings) - SHOWN:,} more"] if len(findings) > SHOWN else []
        page = (
            ""
            if self.dataset == "folder"
            else f"; {self.dataset} is to be had from {published_split(self.dataset).page}"
        )
        lines.append(f"not usable: {'; '.join(self.problems)}{page}" if self.problems else "usable")
        return "\n".join(lines)


def _in_words(finding: str | tuple) -> str:
    return finding if isinstance(finding, str) else " | ".join(str(word) for word in finding)


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
    if lists:
        videos = _listed(root, lists, allow_outside)
    elif dataset == "folder":
        videos = [_in_folder(path) for path in Locator(root, follow_links=allow_outside).paths]
    else:
        videos = _in_class_folders(dataset, Locator(root, follow_links=allow_outside))
    if not allow_outside:
        refuse_outside(root, [video.path for video in videos if video.path])
    there = [video for video in videos if video.path]
    _compare(report, videos, there)
    readable = there if quick else _read_all(report, root, there, T)
    _judge(report, videos, there, readable, min_clips)
    return report


def _listed(root: Path, lists: Sequence[Path], allow_outside: bool) -> list[_Video]:
    clips = {path: read_split_list(path, allow_outside) for path in lists}
    locator = Locator(root, {clip.class_name for listed in clips.values() for clip in listed}, allow_outside)
    videos = []
    for path, listed in clips.items():
        part = part_of_list(path, listed) or path.name
        videos += [_Video(part, clip, *locator.find(clip)) for clip in listed]
    return videos


def _in_folder(path: str) -> _Video:
    folder = PurePosixPath(path).parent
    part = folder.parts[0] if len(folder.parts) > 1 and folder.parts[0] in PARTS else "all"
    return _Video(part, ListedClip(path, folder.name), path)


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
    parts = {}
    for video in videos:
        parts.setdefault(video.clip.class_name, set()).add(video.part)
    report.shared_classes = [name for name, used_in in parts.items() if len(used_in) > 1]
    found = {video.clip.class_name for video in there}
    report.missing_classes = [name for name in parts if name not in found]
    report.missing = [video.clip.path for video in videos if video.path is None and video.clip.path]
    report.named_differently = [(video.clip.path, video.path) for video in there if not video.same_name]


def _read_all(report: Report, root: Path, there: list[_Video], T: int) -> list[_Video]:
    """Decode every clip's middle frames once, in threads, and return the videos that are readable."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        lengths = pool.map(lambda video: _length(root / video.path, T), there)
        lengths = list(tqdm(lengths, total=len(there), desc="reading", unit="clip"))
    readable = []
    for video, length in zip(there, lengths, strict=True):
        if isinstance(length, str):
            report.unreadable.append((video.path, length))
            continue
        readable.append(video)
        if length < T:
            report.too_short.append((video.path, length))
        if video.clip.n_frames not in (None, length):
            report.other_length.append((video.path, length, video.clip.n_frames))
    return readable


def _length(path: Path, T: int) -> int | str:
    """Frames in a clip whose middle frames decode, or why they do not."""
    lengths = []

    def choose(n_total: int) -> list[int]:
        lengths.append(n_total)
        return sample_frames(n_total, T).tolist()

    try:
        decode_frames(path, choose)
    except ClipError as error:
        return error.reason
    return lengths[-1]


def _judge(report: Report, videos: list[_Video], there: list[_Video], readable: list[_Video], min_clips: int) -> None:
    """Count, and say why the data set is not usable, if so."""
    published = published_split(report.dataset).videos if report.dataset != "folder" and not report.lists else {}
    for name, group in (("expected", videos), ("found", there), ("readable", readable)):
        counts = Counter(video.part for video in group)
        for part in dict.fromkeys(video.part for video in videos):
            report.videos.setdefault(part, {})[name] = counts[part]
    for part, counts in report.videos.items():
        counts["expected"] = published.get(part, counts["expected"])
    clips = Counter(video.clip.class_name for video in readable)
    classes = dict.fromkeys(video.clip.class_name for video in videos)
    report.thin_classes = {name: clips[name] for name in classes if clips[name] < min_clips}
    if report.missing_classes:
        report.problems.append(f"{len(report.missing_classes)} of {len(classes)} classes have no video")
    if report.thin_classes:
        report.problems.append(f"{len(report.thin_classes)} of {len(classes)} classes have less than {min_clips} clips")
    if report.shared_classes:
        report.problems.append(f"{len(report.shared_classes)} classes are in two parts of the split")
