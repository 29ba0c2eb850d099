"""List files, published class names, or a seed -> class and part of each video, and the file it lies in."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from taskadapter_lite.data.decoding import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from taskadapter_lite.episodes import loose_name
from taskadapter_lite.files import write_json

PARTS = ("train", "val", "test")
_SPLITS = Path(__file__).with_name("splits.json")
_NUMBERED = re.compile(r"(train|val|test)\d+")  # a class that lists number instead of naming it
_TIMES = re.compile(r"_\d{6}_\d{6}$")  # Kinetics names: video, start and end; some copies leave the times out
_SUFFIX = "(?i:" + "|".join(map(re.escape, VIDEO_SUFFIXES)) + ")"
_FORMATS = {  # the public list formats, the most special first; all lines of a list have one of them
    "test0//<path>": re.compile(r"(?P<number>(train|val|test)\d+)//(?P<path>.+)"),
    "<frame folder> <number of frames> <label>": re.compile(r"(?P<path>.+?)\s+(?P<frames>\d+)\s+(?P<number>\d+)"),
    "<path> <label>": re.compile(
        rf"(?P<path>.+?{_SUFFIX}|.+?(?=\s+\d+$))\s+(?P<number>\d+|[^\s/](?!.*{_SUFFIX}$)[^/]*)"
    ),
    "<class>/<video>": re.compile(rf"(?!.*{_SUFFIX}\s+\d+$)(?P<path>[^/]+/[^/]+)"),
}
_LABELLED, _BY_CLASS = "<path> <label>", "<class>/<video>"
_PART_OF_WORD = {"train": "train", "training": "train", "test": "test", "testing": "test"} | dict.fromkeys(
    ("val", "valid", "validation", "dev", "development"), "val"
)
GROUP_PATTERNS = {  # which clips were cut from one recording, told by their names
    "ucf101": r"_(g\d+)_c\d+",
    "hmdb51": r"([^/]+)_[hufl]_(?:cm|nm)_np\d+_(?:fr|ba|le|ri)_(?:bad|med|goo)_\d+",
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
    - `<frame_dir> <n_frames> <label>`, as the Task-Adapter lists;
    - `<path> <label>`, as UCF101's own `trainlist01.txt`.

    Paths may be written with backslashes or a leading `./`. A class is named after its videos' folder; where they have
    no folder of their own, it keeps its number.

    Args:
        path: a text file in UTF-8, one video a line.
        allow_outside: accept absolute paths and `..`.

    Raises:
        ValueError: the list is empty, not text, of no known format, names a video twice, or leads out of its root.
        OSError: it can't be read.
    """
    lines = [(number, _tidy(line)) for number, line in _read_lines(Path(path))]
    clips = []
    for (number, line), match in zip(lines, _matches(path, lines), strict=True):
        clip = _listed(**match.groupdict())
        parts = PurePosixPath(clip.path).parts
        if not parts or not clip.class_name:
            raise ValueError(f"{path}, line {number}: {line[:100]!r} names no video of a class")
        if not allow_outside and (parts[0] == "/" or ".." in parts or re.fullmatch("[A-Za-z]:", parts[0])):
            raise ValueError(f"{path}, line {number}: {line[:100]!r} leads outside of the data set")
        clips.append(clip)
    if twice := _first_repeated([clip.path for clip in clips]):
        raise ValueError(f"{path} lists {twice!r} twice")
    if re.search(r"_test_split\d", Path(path).name) and {clip.class_name for clip in clips} <= {"0", "1", "2"}:
        raise ValueError(f"{path} is a list of HMDB51 whose numbers are parts, not classes; list <class>/<video>")
    return _named_after_folders(clips)


def part_of_list(path: str | Path, listed: Sequence[ListedClip]) -> str | None:
    """The part that a list is of, by its lines (`test18/195025`) or else by its file name (`testlist03.txt`)."""
    return listed[0].part or part_of_name(Path(path).stem)


def part_of_name(name: str) -> str | None:
    """The one part that the whole words of a name tell: "trainlist01" is train, "validation" val, "constraint" none."""
    words = re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name))
    told = {_PART_OF_WORD.get(re.sub(r"(list|set|split)$", "", word.lower())) for word in words} - {None}
    return told.pop() if len(told) == 1 else None


def _tidy(line: str) -> str:
    """A line with forward slashes and without a leading `./`; a name that holds a backslash keeps it."""
    numbered = re.match(r"(train|val|test)\d+//", line)
    start = numbered.end() if numbered else 0
    path = line[start:]
    if "/" not in path.removeprefix("./"):
        path = path.replace("\\", "/")
    return line[:start] + re.sub(r"^(\./+)+", "", path)


def _matches(path: str | Path, lines: list[tuple[int, str]]) -> list[re.Match[str]]:
    """Every line taken apart by the one format that fits all of them."""
    fits = {name: [form.fullmatch(line) for _, line in lines] for name, form in _FORMATS.items()}
    for name, found in fits.items():
        matches = [match for match in found if match]
        if len(matches) == len(lines) and (name != _LABELLED or not all(fits[_BY_CLASS]) or _has_labels(matches)):
            return matches
    if not any(any(found) for found in fits.values()):
        raise ValueError(f"{path}, line {lines[0][0]}: {lines[0][1][:100]!r} is none of {', '.join(_FORMATS)}")
    name = max(fits, key=lambda name: sum(match is not None for match in fits[name]))  # the first of equals
    wrong, right = fits[name].index(None), next(i for i, match in enumerate(fits[name]) if match)
    raise ValueError(
        f"{path}, line {lines[wrong][0]}: {lines[wrong][1][:100]!r} is not {name} as line {lines[right][0]} is"
    )


def _has_labels(matches: list[re.Match[str]]) -> bool:
    """Whether lines such as `eat/clip 1` are a path and a label, and not the name `clip 1` in the folder `eat`."""
    paths = [match["path"] for match in matches]
    if all(re.search(f"{_SUFFIX}$", path) for path in paths):
        return True
    folders = {path.split("/")[0] for path in paths}
    pairs = {(match["number"], path.split("/")[0]) for match, path in zip(matches, paths, strict=True)}
    one_to_one = len(pairs) == len(folders) == len({number for number, _ in pairs}) < len(paths)
    return len(set(paths)) == len(paths) > 1 and (one_to_one or len(folders) == 1)


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
    place = PurePosixPath(path)
    class_name = number or place.parent.name
    part = _NUMBERED.fullmatch(class_name)
    return ListedClip(str(place), class_name, part[1] if part else None, int(frames) if frames else None)


def _named_after_folders(clips: list[ListedClip]) -> list[ListedClip]:
    """Name numbered classes after the videos' folders, if there is one folder a class."""
    folders = [PurePosixPath(clip.path).parent.name for clip in clips]
    numbers = {clip.class_name for clip in clips}
    pairs = {(clip.class_name, folder) for clip, folder in zip(clips, folders, strict=True)}
    numbered = all(re.fullmatch(r"(train|val|test)?\d+", name) for name in numbers)
    if not numbered or "" in folders or not len(pairs) == len(numbers) == len(set(folders)):
        return clips
    return [replace(clip, class_name=folder) for clip, folder in zip(clips, folders, strict=True)]


def _first_repeated(names: Sequence[str]) -> str | None:
    return next((name for name, n in Counter(names).items() if n > 1), None)


def refuse_two_spellings(class_names: Iterable[str]) -> None:
    """Refuse names that are one class for whoever looks for files, such as `hand_stand` and `Hand Stand`.

    Raises:
        ValueError: names the two.
    """
    spelled: dict[str, str] = {}
    for name in class_names:
        first = spelled.setdefault(loose_name(name), name)
        if first != name:
            raise ValueError(f"{first!r} and {name!r} are one class in two spellings; rename one of them")


def split_classes(class_names: Sequence[str], seed: int = 0) -> dict[str, list[str]]:
    """Divide classes into disjoint parts at random, 64, 12 and 24 of 100 as the published splits do.

    Of 15 classes or more each part gets at least five, so that 5-way episodes can be drawn from it.

    The order is that of a hash of (seed, name): the same on every machine.

    Returns:
        {"train": [...], "val": [...], "test": [...]}, each sorted, none empty when there are 3 classes or more.

    Raises:
        ValueError: fewer than 3 classes, or a class twice.
    """
    if len(class_names) < 3 or _first_repeated(class_names):
        raise ValueError(f"a split needs at least 3 different classes, not {list(class_names)}")
    refuse_two_spellings(class_names)
    order = sorted(class_names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    least = 5 if len(order) >= 15 else 1
    n_val, n_test = (max(least, round(share * len(order))) for share in (0.12, 0.24))
    n_val = max(1, min(n_val, len(order) - n_test - 1))
    n_test = min(n_test, len(order) - n_val - 1)
    cuts = {"val": order[:n_val], "test": order[n_val : n_val + n_test], "train": order[n_val + n_test :]}
    return {part: sorted(cuts[part]) for part in PARTS}


def save_split(path: str | Path, split: dict[str, list[str]], seed: int | None = None) -> None:
    """Write a split of classes as JSON, to be committed beside results."""
    write_json(path, {"format": 1, "seed": seed, "classes": split}, indent=1)


def load_split(path: str | Path) -> dict[str, list[str]]:
    """Read a split that `save_split` wrote; ValueError if it is damaged or a class is in two parts."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        classes = {part: [str(name) for name in content["classes"][part]] for part in PARTS}
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is no split of classes as save_split writes it") from None
    if twice := _first_repeated(sum(classes.values(), [])):
        raise ValueError(f"{path} has class {twice!r} twice; the parts of a split are disjoint")
    refuse_two_spellings(sum(classes.values(), []))
    return classes


def find_clips(root: str | Path, follow_links: bool = False) -> list[str]:
    """All clips below `root`, the one rule for checking, data sets, lists and the playground.

    A clip is a file with the suffix of a video, or a folder of images, whatever it is called. Hidden files and folders
    and the `._` twins of macOS archives are no clips. Images beside videos, or fewer than the clips in folders beside
    them, are thumbnails.

    Args:
        root: a folder.
        follow_links: enter links that lead out of `root`; without it such a link is handed on unopened, so that
            whoever reads it refuses it by name.

    Returns:
        Paths relative to `root`: a folder's videos by name, then what is in its folders.
    """
    return _clips_in(Path(root), PurePosixPath(), (Path(root).resolve(),), follow_links)


def _clips_in(root: Path, folder: PurePosixPath, above: tuple[Path, ...], follow_links: bool) -> list[str]:
    with os.scandir(root / folder) as listing:
        entries = sorted((entry for entry in listing if not entry.name.startswith(".")), key=lambda entry: entry.name)
    files = [entry.name for entry in entries if not entry.is_dir()]
    videos = [str(folder / name) for name in files if name.lower().endswith(VIDEO_SUFFIXES)]
    n_images = sum(name.lower().endswith(IMAGE_SUFFIXES) for name in files)
    below: list[str] = []
    for entry in entries:
        if not entry.is_dir():
            continue
        real = Path(entry.path).resolve() if entry.is_symlink() else above[-1] / entry.name
        if not follow_links and not real.is_relative_to(above[0]):
            below.append(str(folder / entry.name))
        elif real not in above:  # a link to a folder above has no end
            below += _clips_in(root, folder / entry.name, (*above, real), follow_links)
    if folder.parts and not videos and n_images > len(below):
        return [str(folder)]
    return videos + below


def sort_by_class(paths: Iterable[str], parts: Iterable[str] = ()) -> dict[str, list[str]]:
    """Class -> its clips, sorted. A clip's class is the first folder on its path, below the folders of `parts`.

    A clip in no folder has no class.
    """
    classes: dict[str, list[str]] = defaultdict(list)
    for path in sorted(paths):
        *folders, _ = path.split("/")
        folders = folders[1:] if folders and folders[0] in parts else folders
        if folders:
            classes[folders[0]].append(path)
    return dict(sorted(classes.items()))


def part_folders(paths: Iterable[str]) -> dict[str, str]:
    """Folder -> part, where clips lie in `<part>/<class>/`: parts alone (`training`, `valid`), or exact names."""
    clips = sort_by_class(paths)
    parts = {folder: part_of_name(folder) for folder in clips if all(p.count("/") > 1 for p in clips[folder])}
    exact = {folder for folder in parts if folder in PARTS}
    alone = len(parts) == len(clips) and all(parts.values())
    return {folder: part for folder, part in parts.items() if part and (alone or folder in exact)}


class Locator:
    """Finds listed videos among the files that are there.

    Args:
        root: folder of the data set; it is walked once.
        class_names: the classes that listed videos have.
        follow_links: enter links that lead out of `root`.

    Attributes:
        paths: all videos and frame folders below `root`, relative to it.

    Raises:
        ValueError: `root` is no folder, or holds no clip.
    """

    def __init__(self, root: str | Path, class_names: Iterable[str] = (), follow_links: bool = False) -> None:
        if not Path(root).is_dir():
            raise ValueError(f"{root} is no folder")
        self.paths = find_clips(root, follow_links)
        if not self.paths:
            raise ValueError(f"{root} holds neither videos ({', '.join(VIDEO_SUFFIXES)}) nor folders of frames")
        self._classes = {loose_name(name) for name in class_names}
        self._exact: dict[str, list[str]] = defaultdict(list)
        self._loose: dict[str, list[str]] = defaultdict(list)
        self._folders: dict[str, list[str]] = defaultdict(list)
        for path in self.paths:
            name = _stem(path)
            self._folders[self._folder(path)].append(path)
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

    def of_class(self, class_name: str) -> list[str]:
        """All clips below a folder that is called like the class."""
        return self._folders.get(loose_name(class_name), [])

    def _best(self, candidates: Sequence[str], clip: ListedClip) -> str | None:
        """The candidate in a folder of its class, or the only one unless it is in a folder of another class."""
        folders = [self._folder(path) for path in candidates]
        own = {loose_name(clip.class_name), loose_name(PurePosixPath(clip.path).parent.name)}
        in_class = [path for path, folder in zip(candidates, folders, strict=True) if folder in own]
        if in_class:
            return next((path for path in in_class if f"/{path}".endswith(f"/{clip.path}")), in_class[0])
        return candidates[0] if len(candidates) == 1 and folders[0] not in self._classes else None

    def _folder(self, path: str) -> str:
        """The nearest folder that is called like a class, else the one that the clip lies in."""
        folders = [loose_name(folder.name) for folder in PurePosixPath(path).parents]
        return next((folder for folder in folders if folder in self._classes), folders[0])


def _stem(path: str) -> str:
    name = PurePosixPath(path).name
    return name[: name.rindex(".")] if name.lower().endswith(VIDEO_SUFFIXES) else name
