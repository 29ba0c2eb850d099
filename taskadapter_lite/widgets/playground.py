"""Clips of one's own, uploaded or in a folder -> predictions, their attention, and a warning about unfamiliar clips."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from html import escape
from itertools import zip_longest
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import torch

from taskadapter_lite.data.clips import read_clip
from taskadapter_lite.data.decoding import VIDEO_SUFFIXES, ClipError
from taskadapter_lite.data.labelled import LabelledClips
from taskadapter_lite.data.own_videos import find_videos
from taskadapter_lite.figures import plot_cross_video_attention, show_episode
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.prediction import Familiarity, Prediction, fixed_metric, predict
from taskadapter_lite.widgets.base import (
    LABELS,
    WARNING,
    WIDE,
    Draw,
    FigureWidget,
    by_name,
    choice,
    sentence,
    slider,
    table,
)

MAX_CLASSES = 5
NONE_YET = [("none yet", 0)]
LONG_AGO = datetime.datetime(2000, 1, 1, tzinfo=datetime.timezone.utc)
Sizes = dict[tuple[int, int], torch.Tensor]  # (T, size) -> a clip (T, 3, size, size)


class FewShotPlayground(FigureWidget):
    """Name up to five classes, give each a clip or more, and ask about other clips.

    Clips come by upload, or from a folder that holds a folder for each class and one named `query`. A file that can't
    be read gives one sentence; everything else stays as it was.

    Args:
        models: a trained model, or name -> model, to be switched between: each reads the clips at its own size.
        known: clips that the backbone knows how to read; others get a warning. With several models, name -> clips; a
            model without such clips warns about nothing, and says so.
        folder: the folder to offer; read at once if it is given.

    Raises:
        ValueError: known clips of a model that is not there, or not said whose they are.
    """

    title = "The clips given and the clips asked about, with the class that each was taken for"
    _silent = False  # True while the playground itself moves its controls

    def __init__(
        self,
        models: TaskAdapterViT | Mapping[str, TaskAdapterViT],
        known: LabelledClips | Mapping[str, LabelledClips] | None = None,
        folder: str | Path | None = None,
    ) -> None:
        self.models = by_name(models)
        self.known = _known_of(self.models, known)
        self._familiarity = lru_cache(len(self.models))(lambda name: Familiarity(self.models[name], self.known[name]))
        self.support: list[tuple[int, str, Sizes]] = []  # (row of the class, file name, clip at each size)
        self.queries: list[tuple[str, Sizes]] = []
        self.prediction: Prediction | None = None
        self.names = [
            widgets.Text(name, description=name, continuous_update=False, style=LABELS, layout=WIDE)
            for name in (f"class {number}" for number in range(1, MAX_CLASSES + 1))
        ]
        self.uploads = [_upload("its clips") for _ in self.names]
        self.query_upload = _upload("clips to ask about")
        self._buttons = [*self.uploads, self.query_upload]  # row -> its button; the last row is that of the queries
        self.folder = widgets.Text(str(folder or ""), description="or a folder", style=LABELS, layout=WIDE)
        self.read = widgets.Button(description="Read the folder")
        self.clear = widgets.Button(description="Start again")
        self.switch = choice("model", list(self.models))
        self.query = slider("query shown", NONE_YET)
        self.block = choice("attention", [("none", -1)])
        self._offer_blocks()
        self.given = widgets.HTML()
        rows = [*zip(self.names, self.uploads, strict=True), [self.query_upload], [self.folder, self.read, self.clear]]
        switch = [self.switch] if len(self.models) > 1 else []
        super().__init__([switch, [self.query, self.block]], above=[*map(widgets.HBox, rows), self.given])
        for row, upload in enumerate(self._buttons):
            upload.observe(partial(self._take, row), names="value")
        for name in self.names:
            name.observe(self._predict, names="value")
        self.switch.observe(self._another_model, names="value")
        self.read.on_click(lambda _: self._report(self.read_folder, self.folder.value))
        self.clear.on_click(lambda _: self.start_again())
        if folder is not None:
            self._report(self.read_folder, folder)

    @property
    def model(self) -> TaskAdapterViT:
        """The model that answers."""
        return self.models[self.switch.value]

    @property
    def familiarity(self) -> Familiarity | None:
        """What warns about clips unlike those that the present backbone knows."""
        return self._familiarity(self.switch.value) if self.switch.value in self.known else None

    def read_folder(self, folder: str | Path) -> None:
        """Take what `find_videos` finds: `<folder>/<class>/<clip>` and `<folder>/query/<clip>`.

        Raises:
            ValueError: no such folder, too few or too many classes, or no query.
            ClipError: a clip can't be read.
        """
        found = find_videos(folder)
        if (n := len(found.class_names)) > len(self.names):
            raise ValueError(f"{folder} holds {n} classes; at most {len(self.names)} have a row here")
        self.support, self.queries = (  # together, once all could be read
            [(row, Path(path).name, self._sizes(Path(folder) / path)) for path, row in found.examples],
            [(Path(path).name, self._sizes(Path(folder) / path)) for path, _ in found.queries],
        )
        self._rename(found.class_names)
        self._predict()

    def start_again(self) -> None:
        """Forget all clips, names and files: everything is as it was when the playground was new."""
        self.support, self.queries = [], []
        self.folder.value, self.error.value = "", ""
        self._rename([])
        for row in range(len(self._buttons)):
            self._count(row)
        self._predict()

    def _rename(self, names: Sequence[str]) -> None:
        """The first classes get these names, the others their numbers; nothing is predicted meanwhile."""
        self._silent = True
        for text, name in zip_longest(self.names, names):
            text.value = name or text.description
        self._silent = False

    def _sizes(self, path: Path) -> Sizes:
        """A clip as each model reads it; (T, size) -> (T, 3, size, size)."""
        wanted = {_reads(model) for model in self.models.values()}
        return {(T, size): read_clip(path, T, size=size) for T, size in wanted}

    def _take(self, row: int, change: Mapping[str, Any]) -> None:
        """Read what was just uploaded for the class of a row, or as queries."""
        new = [upload for upload in change["new"] if upload["content"]]
        if self._silent or not new:
            return
        self.error.value = ""
        for upload in new:
            self._report(self._add, row, upload["name"], bytes(upload["content"]))
        self._count(row)
        self._predict(keep_error=True)

    def _count(self, row: int) -> None:
        """Let a row's button count what was kept; without contents, so that the same file can come again."""
        empty = {"type": "", "size": 0, "content": memoryview(b""), "last_modified": LONG_AGO}
        self._silent = True
        self._buttons[row].value = [{"name": name, **empty} for name in self._names_of(row)]
        self._silent = False

    def _add(self, row: int, name: str, content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(name).name
            path.write_bytes(content)
            try:
                clip = self._sizes(path)
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

    def _another_model(self, _change: Any) -> None:
        self._offer_blocks()
        self._predict()

    def _offer_blocks(self) -> None:
        """The blocks of the present model whose task attention can be shown."""
        blocks = [int(block) for block in self.model.adapted] if "task" in self.model.axes else []
        self._silent = True
        self.block.options = [("none", -1), *((f"of block {block}", block) for block in blocks)]
        self._silent = False

    def _names_of(self, row: int) -> list[str]:
        """The files kept for a class, or below the last class those that are asked about."""
        if row == len(self.names):
            return [name for name, _ in self.queries]
        return [name for r, name, _ in self.support if r == row]

    @property
    def classes(self) -> list[int]:
        """The rows that have clips, in order."""
        return sorted({row for row, _, _ in self.support})

    def _predict(self, _change: Any = None, keep_error: bool = False) -> None:
        """Classify all queries anew, once there are two classes and a query."""
        if self._silent:
            return
        error = self.error.value if keep_error else ""
        self.prediction = None
        if len(self.classes) >= 2 and self.queries:
            support, labels, query = self._task()
            self.prediction = predict(self.model, support, labels, query, fixed_metric(self.model))
        self.given.value = self._list()
        self._show.cache_clear()
        with self.hold_updates():
            self.query.options = [(name, i) for i, (name, _) in enumerate(self.queries)] or NONE_YET
        self.error.value = error + self.error.value

    def _task(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Support clips class after class, their labels, query clips."""
        ordered = sorted(self.support, key=lambda entry: entry[0])
        labels = torch.tensor([self.classes.index(row) for row, _, _ in ordered])
        reads = _reads(self.model)
        support, query = [clip[reads] for _, _, clip in ordered], [clip[reads] for _, clip in self.queries]
        return torch.stack(support), labels, torch.stack(query)

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
        clips, row = torch.cat([support, query]), len(support) + shown
        what = (found.weights[self.block.value], clips, everything, names, row)
        return [partial(plot_cross_video_attention, *what, title=title, same="predicted class")]

    def describe(self) -> str:
        if self.prediction is None:
            return "<p>Two classes with a clip each and one clip to ask about: then there is a prediction.</p>"
        names = [self.names[row].value for row in self.classes]
        answers = zip(self._names_of(len(self.names)), self.prediction.labels, self.prediction.scores, strict=True)
        rows = [[file, names[int(label)], *(f"{score:.3f}" for score in scores)] for file, label, scores in answers]
        scores = table(["clip", "taken for", *(f"score of {name}" for name in names)], rows, bold=[self.query.value])
        return scores + f"<p>Scores: {fixed_metric(self.model)}, higher is more alike.</p>" + self._warning()

    def _warning(self) -> str:
        if self.familiarity is None:
            name = escape(self.switch.value)
            silent = f"<p>It is not known which clips the backbone of {name} reads well: nothing here warns.</p>"
            return silent if self.known else ""
        support, _, query = self._task()
        files = [name for row in range(len(self._buttons)) for name in self._names_of(row)]
        distances = self.familiarity.distances(torch.cat([support, query]))
        unlike = [name for name, distance in zip(files, distances, strict=True) if distance > self.familiarity.limit]
        if not unlike:
            return ""
        whose = "the backbone" if len(self.models) == 1 else f"the backbone of {escape(self.switch.value)}"
        return (
            f'<p role="alert" style="color:{WARNING}">Unlike anything {whose} knows, so do not trust the scores: '
            f"{escape(', '.join(unlike))}.</p>"
        )

    def _list(self) -> str:
        rows = [[self.names[row].value, ", ".join(self._names_of(row))] for row in self.classes]
        if not rows and not self.queries:
            return ""
        return table(["given", "clips"], [*rows, ["to ask about", ", ".join(self._names_of(len(self.names)))]])


def _upload(name: str) -> widgets.FileUpload:
    accept = ",".join(["video/*", *VIDEO_SUFFIXES])
    return widgets.FileUpload(description=name, accept=accept, multiple=True, layout={"width": "220px"})


def _reads(model: TaskAdapterViT) -> tuple[int, int]:
    """Frames of a clip, and their height and width, that a model takes."""
    return model.T, model.backbone.patch_embed.img_size[0]


def _known_of(
    models: Mapping[str, TaskAdapterViT], known: LabelledClips | Mapping[str, LabelledClips] | None
) -> dict[str, LabelledClips]:
    if known is None:
        return {}
    if isinstance(known, Mapping):
        if unknown := sorted(set(known) - set(models)):
            raise ValueError(f"known clips are given for {unknown[0]!r}; the models are {', '.join(models)}")
        return dict(known)
    if len(models) > 1:
        raise ValueError(f"there are {len(models)} models; known clips are given as name of the model -> clips")
    return dict.fromkeys(models, known)
