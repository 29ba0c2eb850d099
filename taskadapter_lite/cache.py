"""What a frozen network says about a clip, computed once and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from taskadapter_lite.backbone import in_precision
from taskadapter_lite.bars import progress_bar
from taskadapter_lite.data.decoding import decoders
from taskadapter_lite.data.labelled import LabelledClips
from taskadapter_lite.episodes import Episode
from taskadapter_lite.files import write_json
from taskadapter_lite.model import TaskAdapterViT

CACHE_FORMAT = 2
BATCH = 32  # clips in one pass


class PrefixCache:
    """Frozen tokens of each clip, or of each (clip, view), computed when first asked for, in batches.

    In memory they lie on the model's device if they take less than half of what is free there, else on the CPU.
    In float32 tokens come back exactly as computed. bfloat16 halves the memory and keeps 8 significant bits: a relative
    error of at most 2^-8 (0.4%) in each token value.

    Args:
        model: its `prefix` is called; later changes of its adapters don't matter, those of its backbone do.
        clips: where clips are read.
        views: number of random views of each clip that may be asked for; None for the middle frames alone.
        dtype: torch.float32 or torch.bfloat16.
        path: keep tokens in this memory-mapped file instead of memory, across runs; `path` + ".json" describes it.
        workers: threads that read clips, one batch ahead of the frozen blocks; 0 reads them in turn.
        precision: in which the frozen blocks compute, "fp32", or "bf16" where the processor is faster with it.

    Raises:
        ValueError: if the file was made for other clips, views, or another frozen model; or there are no clips.
    """

    def __init__(
        self,
        model: TaskAdapterViT,
        clips: LabelledClips,
        views: int | None = None,
        dtype: torch.dtype = torch.float32,
        path: str | Path | None = None,
        workers: int = 0,
        precision: str = "fp32",
    ) -> None:
        if len(clips) == 0:
            raise ValueError("there are no clips to keep tokens of")
        if precision not in ("fp32", "bf16"):
            raise ValueError(f"precision is {precision!r}, but must be 'fp32' or 'bf16'")
        if dtype not in (torch.float32, torch.bfloat16):
            raise ValueError(f"dtype is {dtype}; tokens are kept as torch.float32 or torch.bfloat16")
        self.model, self.clips, self.views = model, clips, views or 0
        self.workers, self.precision = workers, precision
        self._model_key, self._content_key = prefix_key(model), content_key(clips)
        first = self._compute(self._read(torch.tensor([0])))[0]
        n_rows = len(clips) * (1 + self.views)  # row = clip + len(clips) * slot: middle frames, then view 0, 1, ...
        if path is None:
            n_bytes = n_rows * first.numel() * dtype.itemsize
            self._tokens = torch.empty(n_rows, *first.shape, dtype=dtype, device=self._roomy_device(n_bytes))
            self._known = torch.zeros(n_rows, dtype=torch.bool)
        else:
            self._open(Path(path), n_rows, first.shape, dtype)
        if not self._known[0]:
            self._tokens[0], self._known[0] = first.to(self._tokens), True

    def tokens(self, indices: Iterable[int] | Tensor, views: Sequence[int] | Tensor | None = None) -> Tensor:
        """(B, T, N, D) float32 tokens on the model's device.

        Args:
            indices: B clip indices.
            views: B view numbers in 0..views-1, or None for the middle frames.
        """
        rows = torch.as_tensor(list(indices) if not isinstance(indices, Tensor) else indices).cpu()
        if views is not None:
            views = torch.as_tensor(views).cpu()
            if len(views) and not 0 <= int(views.min()) <= int(views.max()) < self.views:
                raise ValueError(f"views are {views.tolist()}; this cache was made for views 0 to {self.views - 1}")
            rows = rows + len(self.clips) * (views + 1)
        self._fill(rows)
        found = self._tokens[rows.to(self._tokens.device)]
        if found.device != self._device and self._device.type == "cuda":
            found = found.pin_memory()  # lets the copy run beside what the device still computes
        return found.to(self._device, non_blocking=True).float()

    def episode_tokens(self, episodes: Sequence[Episode]) -> Tensor:
        """(E, B, T, N, D) tokens of E episodes of equal shape, the support first: what `model.adapt` takes."""
        return self.tokens(torch.cat([e.clips for e in episodes])).unflatten(0, (len(episodes), -1))

    def check_fits(self, model: TaskAdapterViT, clips: LabelledClips) -> None:
        """Refuse tokens that `model.prefix` would not give of `clips`.

        Raises:
            ValueError: these are tokens of another frozen model or of other clips.
        """
        if self._model_key != prefix_key(model):
            raise ValueError("the cache holds tokens of another frozen model: make a PrefixCache of this one")
        if clips is not self.clips and self._content_key != content_key(clips):
            raise ValueError("the cache holds tokens of other clips, or of clips read in another way")

    @classmethod
    def in_folder(cls, folder: str | Path, model: TaskAdapterViT, clips: LabelledClips, **options) -> PrefixCache:
        """Keep tokens in a folder that holds those of many models and data sets, under a name made of what they are.

        Args:
            folder: made if it is missing.
            model, clips: as for the class.
            **options: those of the class but `path`.
        """
        said = [options.get("views") or 0, str(options.get("dtype", torch.float32)), options.get("precision", "fp32")]
        key = json.dumps([prefix_key(model), content_key(clips), *said])
        name = hashlib.blake2b(key.encode(), digest_size=8).hexdigest()
        return cls(model, clips, path=Path(folder) / f"{name}.tokens", **options)

    @property
    def known(self) -> float:
        """Share of the tokens that have been computed."""
        return self._known.float().mean().item()

    @property
    def clip_bytes(self) -> int:
        """Bytes that the tokens of one clip take."""
        return self._tokens[0].nbytes

    def fill(self, progress: bool = True) -> PrefixCache:
        """Computes the middle frames of all clips now; returns the cache."""
        missing = torch.nonzero(~self._known[: len(self.clips)]).flatten().split(BATCH)
        for rows in progress_bar(missing, desc="frozen tokens", unit="batch", disable=not progress):
            self._fill(rows)
        return self

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _fill(self, rows: Tensor) -> None:
        slots = rows // len(self.clips)
        kinds = [rows[slots == 0], rows[slots > 0]]  # middle frames and random views are read in different ways
        missing = [kind[~self._known[kind]].unique() for kind in kinds]
        parts = [part for rows in missing if len(rows) for part in rows.split(BATCH)]
        reader = ReadAhead(lambda number: self._read(parts[number]), self.workers > 0 and len(parts) > 1)
        for number, part in enumerate(parts):
            reader.expect(range(number, min(number + 2, len(parts))))
            tokens = self._compute(reader(number))
            self._tokens[part.to(self._tokens.device)] = tokens.to(self._tokens)
            self._known[part] = True

    def _read(self, rows: Tensor) -> Tensor:
        """Pixels of rows that are all middle frames or all random views."""
        slots, clips = rows // len(self.clips), (rows % len(self.clips)).tolist()
        pixels = read_clips(self.clips, clips, (slots - 1).tolist() if slots[0] else None, self.workers)
        return pixels.pin_memory() if self._device.type == "cuda" else pixels

    def _compute(self, pixels: Tensor) -> Tensor:
        with torch.no_grad(), in_precision(self.model.backbone, self.precision):
            return self.model.prefix(pixels.to(self._device, non_blocking=True))

    def _roomy_device(self, n_bytes: int) -> torch.device:
        fits = self._device.type == "cuda" and n_bytes < torch.cuda.mem_get_info(self._device)[0] / 2
        return self._device if fits else torch.device("cpu")

    # ---- the file

    def _open(self, path: Path, n_rows: int, shape: Sequence[int], dtype: torch.dtype) -> None:
        """Maps tokens and, behind them, one byte a row that says whether it was computed."""
        about = {"format": CACHE_FORMAT, "clips": self.clips.fingerprint, "views": self.views, "rows": n_rows}
        about |= {"shape": list(shape), "dtype": str(dtype), "depth": self.model.depth}
        about |= {"model": self._model_key, "content": self._content_key}
        about |= {} if self.precision == "fp32" else {"precision": self.precision}  # as older files say it
        beside = Path(f"{path}.json")
        if path.exists():
            found = json.loads(beside.read_text(encoding="utf-8")) if beside.exists() else None
            if found != about:
                raise ValueError(f"{path} was made for other clips, views or another model ({found}, here {about})")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(beside, about)
        n_values = n_rows * torch.Size(shape).numel()
        n_bytes = n_values * dtype.itemsize
        mapped = torch.from_file(str(path), shared=True, size=n_bytes + n_rows, dtype=torch.uint8)
        self._tokens = mapped[:n_bytes].view(dtype).view(n_rows, *shape)
        self._known = mapped[n_bytes:].view(torch.bool)


def prefix_key(model: TaskAdapterViT) -> str:
    """16 hexadecimal digits that change with anything in a model that changes a token: all weights below the adapters.

    Weights are read as numbers of their own type, so that a model has one key on every device.
    """
    backbone, digest = model.backbone, hashlib.blake2b(digest_size=8)
    frozen = len(backbone.blocks) - model.depth
    for name, value in sorted(backbone.state_dict().items()):
        place = name.split(".")
        if place[0] in ("norm", "fc_norm", "head") or (place[0] == "blocks" and int(place[1]) >= frozen):
            continue  # what lies above the tokens
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    settings = [frozen, model.T, model.normalise.mean.flatten().tolist(), model.normalise.std.flatten().tolist()]
    digest.update(json.dumps(settings).encode())
    return digest.hexdigest()


def content_key(clips: LabelledClips) -> str:
    """16 hexadecimal digits that change with anything that changes a pixel of the clips, of their random views too.

    That is beside the names in `fingerprint` how clips are cut and drawn, and size and time of change of each file, and
    the decoders that read files here.
    """
    options = [getattr(clips, name, None) for name in ("T", "seed", "size", "resize", "flip", "level", "n_frames")]
    root = getattr(clips, "root", None)
    files = [] if root is None else [_changed(Path(root) / path) for path in clips.paths]
    content = json.dumps([clips.fingerprint, options, files, [] if root is None else decoders()])
    return hashlib.blake2b(content.encode(), digest_size=8).hexdigest()


def _changed(path: Path) -> list[list[int]]:
    """Size and time of change of a file, or of all files of a frame folder; nothing for what is missing."""
    if not path.exists():
        return []
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [[file.stat().st_size, file.stat().st_mtime_ns] for file in files]


class FeatureCache:
    """Features of each clip by itself, for a model in which clips don't attend to each other.

    Args:
        model: without task attention.
        clips: where clips are read.
        tokens: a `PrefixCache` of the clips to start from, if there is one.
        workers: threads that read clips.
    """

    def __init__(
        self, model: TaskAdapterViT, clips: LabelledClips, tokens: PrefixCache | None = None, workers: int = 0
    ) -> None:
        self.model, self.clips, self.prefix, self.workers = model, clips, tokens, workers
        self._known: dict[int, Tensor] = {}

    def features(self, indices: Tensor) -> Tensor:
        """(...) clip indices -> (..., T, D') features on the model's device."""
        missing = [i for i in indices.unique().tolist() if i not in self._known]
        for start in range(0, len(missing), BATCH):
            part = missing[start : start + BATCH]
            self._known |= zip(part, self._compute(part), strict=True)
        return torch.stack([self._known[i] for i in indices.flatten().tolist()]).unflatten(0, indices.shape)

    @torch.no_grad()
    def _compute(self, indices: list[int]) -> Tensor:
        if self.prefix is not None:
            return self.model.adapt(self.prefix.tokens(indices), len(indices))
        device = next(self.model.parameters()).device
        return self.model(read_clips(self.clips, indices, None, self.workers).to(device), len(indices))


class ReadAhead:
    """Things read by a thread of its own while those before them are being worked on.

    Threads and not the processes of a `DataLoader`: decoders work outside of Python's lock, and which clips are missing
    is known only when an episode asks. Batches of 20 bundled clips came about twice as fast from two threads as from
    two forked workers, whose start cost most of a second (spawned ones: many).

    Args:
        read: number -> thing; depends on the number alone.
        enabled: False reads a thing when it is asked for.
    """

    def __init__(self, read: Callable[[int], Tensor], enabled: bool) -> None:
        self._read, self._pool = read, ThreadPoolExecutor(1) if enabled else None
        self._coming: dict[int, Future[Tensor]] = {}

    def expect(self, numbers: Iterable[int]) -> None:
        """Begin to read these, in this order; all of them have to be asked for later, or they stay in memory."""
        if self._pool is None:
            return
        for number in numbers:
            if number not in self._coming:
                self._coming[number] = self._pool.submit(self._read, number)

    def __call__(self, number: int) -> Tensor:
        """The thing of this number; what went wrong with reading it is raised here."""
        coming = self._coming.pop(number, None)
        return self._read(number) if coming is None else coming.result()


def read_clips(clips: LabelledClips, indices: Sequence[int], views: Sequence[int] | None, workers: int = 0) -> Tensor:
    """`clips.read_batch`, with the clips shared out to threads (decoders work outside of Python's lock).

    A clip depends on its index and view alone, so the result is the same for any number of workers.
    """
    if workers < 2:
        return clips.read_batch(indices, views)
    one_view = [None] * len(indices) if views is None else [[view] for view in views]
    with ThreadPoolExecutor(workers) as pool:
        return torch.cat(list(pool.map(clips.read_batch, [[i] for i in indices], one_view)))
