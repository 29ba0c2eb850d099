"""Clips cut from one video, in support and query of one episode -> how much that inflates accuracy.

UCF101 and HMDB51 hold several clips of one recording, and the published splits draw them into one episode. Neither is
needed here: each video of a set is cut into pieces, one after the other. Pieces are constructed, the videos are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from statistics import fmean

import pandas as pd
import torch
from torch import Tensor

from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.cache import PrefixCache
from taskadapter_lite.data.datasets import ClipFolder
from taskadapter_lite.data.labelled import FileClips, LabelledClips
from taskadapter_lite.episodes import EpisodeSampler, EpisodeSpec
from taskadapter_lite.evaluation import evaluate
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.results import RunResult, accuracy_interval, clip_interval
from taskadapter_lite.studies.ladder import file_name

BACKBONE, SIZE, T, N_PIECES = "dinov2_small", 112, 8, 4
N_QUERY, N_EPISODES, EPISODE_SEED = 3, 400, 78
SHOTS = (1, 5)
METRICS = ("cosine", "otam")
ALLOWED, NEVER = "same source allowed", "never"


class PiecesOfVideos(LabelledClips):
    """Each clip cut into consecutive pieces of equal length, which are clips of one group.

    Args:
        clips: read with `N_PIECES` times as many frames as a piece gets.
    """

    def __init__(self, clips: FileClips) -> None:
        if clips.T % N_PIECES:
            raise ValueError(f"clips of {clips.T} frames can't be cut into {N_PIECES} pieces of equal length")
        paths = [f"{path} piece {p}" for path in clips.paths for p in range(N_PIECES)]
        labels = [label for label in clips.labels for _ in range(N_PIECES)]
        groups = [path for path in clips.paths for _ in range(N_PIECES)]
        super().__init__(paths, labels, clips.class_names, clips.T // N_PIECES, clips.seed, groups)
        self._whole = lru_cache(2)(clips.read)  # the pieces of a video are read one after the other

    def read(self, i: int, view: int | None = None) -> Tensor:
        video, piece = divmod(i, N_PIECES)
        return self._whole(video, view)[piece * self.T : (piece + 1) * self.T]


def run_same_source(videos: FileClips, out: Path, device: str = "cpu") -> None:
    """Test the frozen backbone with and without pieces of one video on both sides; what `out` holds is not done again.

    Args:
        videos: read with T * N_PIECES frames of SIZE x SIZE pixels.
        out: folder of results.
        device: where.
    """
    pieces, cache = PiecesOfVideos(videos), None
    for shots in SHOTS:
        for rule, groups in ((ALLOWED, None), (NEVER, pieces.groups)):
            for metric in METRICS:
                file = out / f"{file_name(f'{metric} {shots} shot {rule}')}.json"
                if file.exists():
                    continue
                cache = cache or _tokens(pieces, device)
                spec = EpisodeSpec(5, shots, N_QUERY)
                episodes = EpisodeSampler(pieces.labels, spec, N_EPISODES, EPISODE_SEED, pieces.class_names, groups)
                name = f"frozen, {metric}"
                result = evaluate(cache.model, cache, episodes, metric, keep_queries=True, name=name)
                pairs = zip(result.queries["clip"], result.queries["support"], strict=True)
                same = [int(any(s // N_PIECES == q // N_PIECES for s in support)) for q, support in pairs]
                result.metadata |= {"rule": rule, "shots": shots, "pieces": N_PIECES, "same_source": same}
                result.save(file)


def _tokens(clips: LabelledClips, device: str) -> PrefixCache:
    model = TaskAdapterViT(load_backbone(BACKBONE, img_size=SIZE), 0, T).to(device)
    return PrefixCache(model, clips, dtype=torch.bfloat16, precision="bf16")


def open_videos(root: Path) -> ClipFolder:
    """The sign videos with the frames of all pieces."""
    return ClipFolder(root / "signs", T=T * N_PIECES, size=SIZE, resize=SIZE)


def same_source_table(results: Sequence[RunResult]) -> pd.DataFrame:
    """A row for each number of shots, metric and rule, in percent.

    Columns: `mean` and `ci95` over episodes; `clip_low`, `clip_high` for other clips; `share` of queries with a piece
    of their own video in their class's support; `with_source`, `without_source`: accuracy of those and of the others.
    """
    rows = []
    for result in results:
        about, right = result.metadata, result.queries["right"]
        mean, half = accuracy_interval(result.accuracies)
        low, high = clip_interval([result.queries])
        split = [[r for r, s in zip(right, about["same_source"], strict=True) if s == here] for here in (1, 0)]
        accuracy = [100 * fmean(part) if part else float("nan") for part in split]
        row = (about["shots"], result.metric, about["rule"], 100 * mean, 100 * half, 100 * low, 100 * high)
        rows.append((*row, 100 * len(split[0]) / len(right), *accuracy))
    names = ["shots", "metric", "rule", "mean", "ci95", "clip_low", "clip_high"]
    table = pd.DataFrame(rows, columns=[*names, "share", "with_source", "without_source"])
    return table.sort_values(["shots", "metric", "rule"], ignore_index=True)
