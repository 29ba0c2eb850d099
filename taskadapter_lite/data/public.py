"""List files, published class names, or a seed -> class and part of each video, and the file it lies in."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from taskadapter_lite.data.decoding import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from taskadapter_lite.episodes import loose_name
from taskadapter_lite.files import write_json

PARTS = ("train", "val", "test")
_SPLITS = Path(__file__).with_name("splits.json")
_NUMBERED = re.compile(r"(train|val|test)\d+")  # a class that lists number instead of naming it
_TIMES = re.compile(r"_\d{6}_\d{6}$")  # Kinetics names: video, start and end; some copies leave the times out
_FORMATS = {  # the public list formats; a list has one of them in all its lines
    "numbered path": re.compile(r"(?P<number>(train|val|test)\d+)//(?P<path>.+)"),
    "frames": re.compile(r"(?P<path>.+?)\s+(?P<frames>\d+)\s+(?P<number>\d+)"),
    "class/video": re.compile(r"(?P<path>[^/]+/[^/]+)"),
}
_FORMS = {
    "numbered path": "test0//<path>",
    "frames": "<frame folder> <number of frames> <label>",
    "class/video": "<class>/<video>",
}


@dataclass(frozen=True)
class PublishedSplit:
    """The class-disjoint parts of a public data set.

    Attributes:
        source: who drew the split.
        page: the owner's page, where the videos are to be had.
        mirror_images: whether a mirrored video still shows the same class.
        classes: part -> class names. SSv2-Full numbers its validation classes, val0 to val11.
        videos: part -> number of videos.
    """

    source: str
    page: str
    mirror_images: bool
    classes: dict[str, list[str]]
    videos: dict[str, int]


@dataclass(frozen=True)
class ListedClip:
    """One line of a list: the video's path as written there, its class, and what else the line says."""

    path: str
    class_name: str
    part: str | None = None
    n_frames: int | None = None


def published_datasets() -> list[str]:
    """Names of the public data sets whose splits come with the library."""
    return list(json.loads(_SPLITS.read_text(encoding="utf-8")))


def published_split(dataset: str) -> PublishedSplit:
    """The published split of a data set; ValueError for an unknown name."""
    known = json.loads(_SPLITS.read_text(encoding="utf-8"))
    if dataset not in known:
        raise ValueError(f"no published split is called {dataset!r}; there are {', '.join(known)}")
    return PublishedSplit(**{name: value for name, value in known[dataset].items() if name != "note"})


def read_split_list(path: str | Path, allow_outside: bool = False) -> list[ListedClip]:
    """Read a list file of any public format, which is recognised from its lines.

    - `class/video_id`, as the TRX lists: also with an extension, and with numbered classes (`test18/195025`);
    - `test0//videos/fencing/<name>.avi`, as the HyRSM, CLIP-FSAR and MoLo lists: part and class number, then a path;
    - `<frame_dir> <n_frames> <label>`, as the Task-Adapter lists.

    A class is named after its videos' folder; where they have no folder of their own, it keeps its number.

    Args:
        path: a text file in UTF-8, one video a line.
        allow_outside: accept absolute paths and `..`.

    Raises:
        ValueError: the list is empty, not text, of no known format, names a video twice, or leads out of its root.
        OSError: it can't be read.
    """
    lines = _read_lines(Path(path))
    fits = {name: [form.fullmatch(line) for _, line in lines] for name, form in _FORMATS.items()}
    name = max(fits, key=lambda name: sum(match is not None for match in fits[name]))  # the first of equals
    clips = []
    for (number, line), match in zip(lines, fits[name], strict=True):
        if match is None:
            raise ValueError(f"{path}, line {number}: {line[:100]!r} is not {_FORMS[name]} as other lines are")
        clips.append(_listed(**match.groupdict()))
        parts = PurePosixPath(clips[-1].path).parts
        if not allow_outside and (parts[0] == "/" or ".." in parts):
            raise ValueError(f"{path}, line {number}: {line[:100]!r} leads outside of the data set")
    if twice := _first_repeated([clip.path for clip in clips]):
        raise ValueError(f"{path} lists {twice!r} twice")
    return clips if name == "class/video" else _named_after_folders(clips)


def part_of_list(path: str | Path, listed: Sequence[ListedClip]) -> str | None:
    """The part that a list is of, by its lines (`test18/195025`) or else by its file name (`testlist03.txt`)."""
    return listed[0].part or next((part for part in PARTS if part in Path(path).name.lower()), None)


def _read_lines(path: Path) -> list[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a list: it is no text in UTF-8") from None
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise ValueError(f"{path} is an empty list")
    return lines


def _listed(path: str, number: str = "", frames: str | None = None) -> ListedClip:
    path = PurePosixPath(path if "/" in path else path.replace("\\", "/"))
    class_name = number or path.parent.name
    part = _NUMBERED.fullmatch(class_name)
    return ListedClip(str(path), class_name, part and part[1], frames and int(frames))


def _named_after_folders(clips: list[ListedClip]) -> list[ListedClip]:
    """Name numbered classes after the videos' folders, if there is one folder a class."""
    folders = [PurePosixPath(clip.path).parent.name for clip in clips]
    pairs = {(clip.class_name, folder) for clip, folder in zip(clips, folders, strict=True)}
    if "" in folders or not len(pairs) == len({number for number, _ in pairs}) == len(set(folders)):
        return clips
    return [replace(clip, class_name=folder) for clip, folder in zip(clips, folders, strict=True)]


def _first_repeated(names: Sequence[str]) -> str | None:
    seen = set()
    return next((name for name in names if name in seen or seen.add(name)), None)


def split_classes(class_names: Sequence[str], seed: int = 0, shares: Sequence[float] = (0.64, 0.12, 0.24)) -> dict:
    """Divide classes into disjoint parts at random, in the proportions of the published splits.

    The order is that of a hash of (seed, name): the same on every machine.

    Returns:
        {"train": [...], "val": [...], "test": [...]}, each sorted, none empty when there are 3 classes or more.

    Raises:
        ValueError: fewer than 3 classes, a class twice, or shares that are not 3 positive numbers.
    """
    if len(class_names) < 3 or _first_repeated(class_names):
        raise ValueError(f"a split needs at least 3 different classes, not {list(class_names)}")
    if len(shares) != 3 or min(shares) <= 0:
        raise ValueError(f"shares are 3 positive numbers for {', '.join(PARTS)}, not {tuple(shares)}")
    order = sorted(class_names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    n_val, n_test = (max(1, round(share / sum(shares) * len(order))) for share in shares[1:])
    n_val = max(1, min(n_val, len(order) - n_test - 1))
    n_test = min(n_test, len(order) - n_val - 1)
    cuts = {"val": order[:n_val], "test": order[n_val : n_val + n_test], "train": order[n_val + n_test :]}
    return {part: sorted(cuts[part]) for part in PARTS}


def save_split(path: str | Path, split: dict[str, list[str]], seed: int | None = None) -> None:
    """Write a split of classes as JSON, to be committed beside results."""
    content = {"format": 1, "seed": seed, "classes": split}
    write_json(path, content, indent=1)


def load_split(path: str | Path) -> dict[str, list[str]]:
    """Read a split that `save_split` wrote; ValueError if it is damaged or a class is in two parts."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        classes = {part: [str(name) for name in content["classes"][part]] for part in PARTS}
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is no split of classes as save_split writes it") from None
    twice = _first_repeated(sum(classes.values(), []))
    if twice:
        raise ValueError(f"{path} has class {twice!r} twice; the parts of a split are disjoint")
    return classes


def walk_clips(root: str | Path, follow_links: bool = False) -> Iterator[str]:
    """Paths of all videos and frame folders below `root`, relative to it, in a fixed order; nothing hidden."""
    for folder, folders, files in os.walk(root, followlinks=follow_links):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names = sorted(name for name in files if not name.startswith("."))
        relative = PurePosixPath(Path(folder).relative_to(root).as_posix())
        yield from (str(relative / name) for name in names if name.lower().endswith(VIDEO_SUFFIXES))
        if relative.parts and any(name.lower().endswith(IMAGE_SUFFIXES) for name in names):
            yield str(relative)


class Locator:
    """Finds listed videos among the files that are there.

    Args:
        root: folder of the data set; it is walked once.
        class_names: the classes that listed videos have.
        follow_links: enter folders that are links.

    Attributes:
        paths: all videos and frame folders below `root`, relative to it.

    Raises:
        ValueError: `root` is no folder, or holds no clip.
    """

    def __init__(self, root: str | Path, class_names: Sequence[str] = (), follow_links: bool = False) -> None:
        if not Path(root).is_dir():
            raise ValueError(f"{root} is no folder")
        self.paths = list(walk_clips(root, follow_links))
        if not self.paths:
            raise ValueError(f"{root} holds neither videos ({', '.join(VIDEO_SUFFIXES)}) nor folders of frames")
        self._classes = {loose_name(name) for name in class_names}
        self._exact, self._loose, self._folders = defaultdict(list), defaultdict(list), defaultdict(list)
        for path in self.paths:
            name = _stem(path)
            self._folders[loose_name(PurePosixPath(path).parent.name)].append(path)
            self._exact[name].append(path)
            for key in {loose_name(name), loose_name(_TIMES.sub("", name))}:
                self._loose[key].append(path)

    def find(self, clip: ListedClip) -> tuple[str | None, bool]:
        """The path of a listed video, and whether it is named as listed; (None, False) if it is not there."""
        name = _stem(clip.path)
        if path := self._best(self._exact.get(name, ()), clip):
            return path, True
        for key in (loose_name(name), loose_name(_TIMES.sub("", name))):
            if path := self._best(self._loose.get(key, ()), clip):
                return path, False
        return None, False

    def _best(self, candidates: Sequence[str], clip: ListedClip) -> str | None:
        """The candidate in a folder of its class, or the only one unless it is in a folder of another class."""
        folders = [loose_name(PurePosixPath(path).parent.name) for path in candidates]
        own = {loose_name(clip.class_name), loose_name(PurePosixPath(clip.path).parent.name)}
        in_class = [path for path, folder in zip(candidates, folders, strict=True) if folder in own]
        if in_class:
            return in_class[0]
        return candidates[0] if len(candidates) == 1 and folders[0] not in self._classes else None

    def of_class(self, class_name: str) -> list[str]:
        """All clips whose folder is called like the class."""
        return self._folders.get(loose_name(class_name), [])


def _stem(path: str) -> str:
    name = PurePosixPath(path).name
    return name[: name.rindex(".")] if name.lower().endswith(VIDEO_SUFFIXES) else name
