"""Listed videos -> files below a root folder, even where folders, extensions or spelling differ from the list."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from taskadapter_lite.data.decoding import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from taskadapter_lite.data.public import ListedClip, loose_name

_TIMES = re.compile(r"_\d{6}_\d{6}$")  # Kinetics names: video, start and end; some copies leave the times out


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
