"""Clips of one's own, uploaded or in a folder -> predictions, their attention, and a warning about unfamiliar clips."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import torch

from taskadapter_lite.data.clips import VIDEO_SUFFIXES, ClipError, read_clip
from taskadapter_lite.data.labelled import LabelledClips
from taskadapter_lite.data.public import find_clips, sort_by_class
from taskadapter_lite.figures import plot_cross_video_attention, show_episode
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.prediction import Familiarity, Prediction, predict
from taskadapter_lite.widgets.base import LABELS, WIDE, Draw, FigureWidget, choice, sentence, slider, table

MAX_CLASSES = 5
QUERY_FOLDER = "query"  # beside the folders of the classes


class FewShotPlayground(FigureWidget):
    """Name up to five classes, give each a clip or more, and ask about other clips.

    Clips come by upload, or from a folder that holds a folder for each class and one named `query`. A file that can't
    be read gives one sentence; everything else stays as it was.

    Args:
        model: a trained model.
        known: clips that its backbone knows how to read; others get a warning. None warns about nothing.
        folder: the folder to offer; read at once if it is given.
    """

    def __init__(
        self,
        model: TaskAdapterViT,
        known: LabelledClips | None = None,
        folder: str | Path | None = None,
    ) -> None:
        self.model = model
        self.familiarity = None if known is None else Familiarity(model, known)
        self.support: list[tuple[int, str, torch.Tensor]] = []  # (row of the class, file name, clip)
        self.queries: list[tuple[str, torch.Tensor]] = []
        self.prediction: Prediction | None = None
        self.names = [
            widgets.Text(
                f"class {i + 1}", description=f"class {i + 1}", continuous_update=False, style=LABELS, layout=WIDE
            )
            for i in range(MAX_CLASSES)
        ]
        self.uploads = [_upload("its clips") for _ in self.names]
        self.query_upload = _upload("clips to ask about")
        self.folder = widgets.Text(str(folder or ""), description="or a folder", style=LABELS, layout=WIDE)
        self.read = widgets.Button(description="Read the folder")
        self.clear = widgets.Button(description="Start again")
        self.query = slider("query shown", [("none yet", 0)])
        blocks = [int(block) for block in model.adapted] if "task" in model.axes else []
        self.block = choice("attention", [("none", -1), *((f"of block {block}", block) for block in blocks)])
        self.given = widgets.HTML()
        rows = [[name, upload] for name, upload in zip(self.names, self.uploads, strict=True)]
        before = [widgets.HBox(row) for row in [*rows, [self.query_upload], [self.folder, self.read, self.clear]]]
        super().__init__([[self.query, self.block]], above=[*before, self.given])
        for row, upload in enumerate([*self.uploads, self.query_upload]):
            upload.observe(partial(self._take, row), names="value")
        for name in self.names:
            name.observe(self._predict, names="value")
        self.read.on_click(lambda _: self._report(self.read_folder, self.folder.value))
        self.clear.on_click(lambda _: self.start_again())
        if folder is not None:
            self._report(self.read_folder, folder)

    def read_folder(self, folder: str | Path) -> None:
        """Take the clips of a folder: `<folder>/<class>/<clip>` and `<folder>/query/<clip>`.

        Raises:
            ValueError: no such folder, too few or too many classes, or no query.
            ClipError: a clip can't be read.
        """
        root = Path(folder)
        classes = sort_by_class(find_clips(root)) if root.is_dir() else {}
        asked = classes.pop(QUERY_FOLDER, [])
        if not 2 <= len(classes) <= len(self.names):
            raise ValueError(f"{folder} must hold 2 to {len(self.names)} folders of classes, it holds {len(classes)}")
        if not asked:
            raise ValueError(f"{root / QUERY_FOLDER} holds no video ({', '.join(VIDEO_SUFFIXES)})")
        support = [(row, Path(p).name, self._clip(root / p)) for row, c in enumerate(classes) for p in classes[c]]
        queries = [(Path(path).name, self._clip(root / path)) for path in asked]
        self.support, self.queries = support, queries
        with self.hold_trait_notifications():
            for text, c in zip(self.names, classes, strict=False):
                text.value = c
        self._predict()

    def start_again(self) -> None:
        """Forget all clips."""
        self.support, self.queries = [], []
        self._predict()

    def _clip(self, path: Path) -> torch.Tensor:
        return read_clip(path, self.model.T, size=self.model.backbone.patch_embed.img_size[0])

    def _take(self, row: int, change: Mapping[str, Any]) -> None:
        """Read what was just uploaded for the class of a row, or as queries."""
        self.error.value = ""
        for upload in change["new"]:
            self._report(self._add, row, upload["name"], bytes(upload["content"]))
        self._predict(keep_error=True)

    def _add(self, row: int, name: str, content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(name).name
            path.write_bytes(content)
            try:
                clip = self._clip(path)
            except ClipError as error:
                raise ClipError(name, error.reason) from error  # not where it was kept for a moment
        if row == len(self.names):
            self.queries.append((name, clip))
        else:
            self.support.append((row, name, clip))

    def _report(self, action: Any, *arguments: Any) -> None:
        try:
            action(*arguments)
        except (ValueError, OSError) as error:
            self.error.value += sentence(error)

    @property
    def classes(self) -> list[int]:
        """The rows that have clips, in order."""
        return sorted({row for row, _, _ in self.support})

    def _predict(self, _change: Any = None, keep_error: bool = False) -> None:
        """Classify all queries anew, once there are two classes and a query."""
        error = self.error.value if keep_error else ""
        self.prediction = None
        if len(self.classes) >= 2 and self.queries:
            support, labels, query = self._task()
            self.prediction = predict(self.model, support, labels, query)
        self.given.value = self._list()
        self.query.options = [(name, i) for i, (name, _) in enumerate(self.queries)] or [("none yet", 0)]
        self._show.cache_clear()
        self.refresh()
        self.error.value = error + self.error.value

    def _task(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Support clips class after class, their labels, query clips."""
        ordered = sorted(self.support, key=lambda entry: entry[0])
        labels = torch.tensor([self.classes.index(row) for row, _, _ in ordered])
        return torch.stack([clip for _, _, clip in ordered]), labels, torch.stack([clip for _, clip in self.queries])

    def draws(self) -> list[Draw]:
        if self.prediction is None:
            return []
        support, labels, query = self._task()
        names, found = [self.names[row].value for row in self.classes], self.prediction
        if self.block.value == -1 or not found.weights:
            return [partial(show_episode, support, query, labels, found.labels, names)]
        shown = self.query.value
        everything = torch.cat([labels, found.labels])  # a query counts as the class it was taken for
        title = f"{self.queries[shown][0]}, block {self.block.value}"  # what it was taken for stands beside it
        return [
            partial(plot_cross_video_attention, found.weights[self.block.value], torch.cat([support, query]),
                    everything, names, len(support) + shown, title=title, same="predicted class")
        ]  # fmt: skip

    def describe(self) -> str:
        if self.prediction is None:
            return "<p>Two classes with a clip each and one clip to ask about: then there is a prediction.</p>"
        names = [self.names[row].value for row in self.classes]
        rows = [
            [file, names[int(label)], *(f"{score:.3f}" for score in scores)]
            for (file, _), label, scores in zip(
                self.queries, self.prediction.labels, self.prediction.scores, strict=True
            )
        ]
        scores = table(["clip", "taken for", *(f"score of {name}" for name in names)], rows, bold=[self.query.value])
        return scores + self._warning()

    def _warning(self) -> str:
        if self.familiarity is None:
            return ""
        support, _, query = self._task()
        files = [name for _, name, _ in sorted(self.support, key=lambda entry: entry[0])]
        files += [name for name, _ in self.queries]
        distances = self.familiarity.distances(torch.cat([support, query]))
        unlike = [name for name, distance in zip(files, distances, strict=True) if distance > self.familiarity.limit]
        if not unlike:
            return ""
        return (
            '<p role="alert" style="color:#B34400">Unlike anything the backbone knows, so do not trust the scores: '
            f"{escape(', '.join(unlike))}.</p>"
        )

    def _list(self) -> str:
        rows = [[self.names[row].value, ", ".join(n for r, n, _ in self.support if r == row)] for row in self.classes]
        return table(["given", "clips"], [*rows, ["to ask about", ", ".join(name for name, _ in self.queries)]])


def _upload(name: str) -> widgets.FileUpload:
    return widgets.FileUpload(
        description=name, accept="video/*,.avi,.mkv,.webm", multiple=True, layout={"width": "220px"}
    )
