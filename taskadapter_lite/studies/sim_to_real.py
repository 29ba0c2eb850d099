"""Adapters trained on rendered sprites alone -> how well they tell real videos apart, of which they have seen none.

The backbone is a frozen image transformer in frames of 112 x 112 pixels. Nothing is chosen on the real sets: they are
tested once for each rung and seed, all of their classes, on the same episodes, beside sprites of validation classes;
the rungs of the ladder on sprites of test classes too.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.cache import PrefixCache
from taskadapter_lite.data.datasets import ClipFolder, FrameFolder, SpriteClips
from taskadapter_lite.data.labelled import FileClips, LabelledClips
from taskadapter_lite.episodes import EpisodeSampler, EpisodeSpec
from taskadapter_lite.evaluation import evaluate
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.results import RunResult, comparison_table, saved_results
from taskadapter_lite.studies.ladder import AIM, ALL, file_name, wanted
from taskadapter_lite.training.checkpoints import load_checkpoint
from taskadapter_lite.training.loop import TrainConfig, train

T = 8
TRAINING_SPEC = EpisodeSpec(n_way=5, k_shot=1, n_query=1)
TEST_SPEC = EpisodeSpec(n_way=5, k_shot=1, n_query=3)
EPISODE_SEED = 77  # of every test list
RATE = 1e-3  # of all rungs, from a first trial with one seed; not tuned
REAL = ("ssv2_toy", "signs")  # folders below --real
PHOTOS = ("chelsea", "coffee", "rocket", "hubble_deep_field", "retina", "brick", "grass", "gravel")  # of scikit-image
VALIDATION, TEST = "sprites, validation classes", "sprites, test classes"
TEMPERATURES = {"otam": 2.0, "otam_minus_mean": 2.0, "cosine": 16.0}  # OTAM sums 16 frame distances


@dataclass(frozen=True)
class Rung:
    """One row.

    Attributes:
        name: of the row.
        axes: what is adapted; none is the frozen backbone.
        metric: in training and at test.
        levels: of the sprites that it is trained on; "photos": cluttered ones in front of photos.
        rate: the learning rate.
        stage: rungs of lower stages are run first.
        group: "main", the ladder, or what a further row is about.
    """

    name: str
    axes: tuple[str, ...]
    metric: str = "otam"
    levels: tuple[str, ...] = ("plain", "cluttered")
    rate: float = RATE
    stage: int = 1
    group: str = "main"


ORDER_BLIND = ("space", "joint")
RUNGS = (
    Rung("Frozen, OTAM", ()),
    Rung("Frozen, OTAM minus clip mean", (), "otam_minus_mean", group="reading of frozen features"),
    Rung("+ time, OTAM", AIM),
    Rung("+ task, inductive, OTAM", ALL),
    Rung("Space + joint (order-blind), OTAM", ORDER_BLIND, stage=2),
    Rung("+ time, OTAM minus clip mean", AIM, "otam_minus_mean", stage=2, group="what frames add"),
    Rung("Frozen, cosine", (), "cosine"),
    Rung("+ time, cosine", AIM, "cosine", stage=3),
    Rung("+ task, inductive, cosine", ALL, "cosine", stage=3),
    Rung("Space + joint (order-blind), cosine", ORDER_BLIND, "cosine", stage=4),
    Rung("+ time, OTAM, plain sprites alone", AIM, levels=("plain",), stage=4, group="training clips"),
    Rung("+ time, OTAM, photos behind clutter", AIM, levels=("plain", "photos"), stage=4, group="training clips"),
)


@dataclass(frozen=True)
class SimBudget:
    """What every row gets.

    Attributes:
        n_steps: training episodes, 5-way 1-shot with one query a class.
        clips_per_class: rendered training clips of each of the 64 classes, shared out among the levels.
        sprite_clips: rendered clips a class and level of validation and of test.
        n_test: episodes of each set; a third of them for validation.
        depth: adapted blocks.
        temporal_std: spread of the temporal embedding's start.
        backbone: a name that `load_backbone` knows.
        size: side of the frames in pixels.
        device: where.
    """

    n_steps: int = 200
    clips_per_class: int = 12
    sprite_clips: int = 4
    n_test: int = 120
    depth: int = 2
    temporal_std: float = 0.5
    backbone: str = "dinov2_small"
    size: int = 112
    device: str = "cpu"


class PhotoSprites(SpriteClips):
    """Cluttered sprites in front of photos: parts of nine that scikit-image brings along, of any size, some mirrored.

    Args:
        split, clips_per_class, T, size: as `SpriteClips` takes them.
    """

    def __init__(self, split: str, clips_per_class: int, T: int = 8, size: int = 64) -> None:
        super().__init__(split, clips_per_class, T, size=size, level="cluttered")
        self.paths = [f"photos {path}" for path in self.paths]
        from skimage import data  # of the notebooks' packages, not of the library's

        photos = [data.stereo_motorcycle()[0], *(getattr(data, name)() for name in PHOTOS)]
        self.photos = [torch.from_numpy(np.array(Image.fromarray(p).convert("RGB"))).permute(2, 0, 1) for p in photos]

    def grounds(self, indices: list[int]) -> Tensor:
        return torch.stack([self._ground(i) for i in indices])

    def _ground(self, i: int) -> Tensor:
        """What lies behind clip i, (3, size, size); it depends on the clip's path alone."""
        rng = np.random.default_rng(list(self.paths[i].encode()))
        photo = self.photos[rng.integers(len(self.photos))]
        side = int(rng.uniform(0.3, 1) * min(photo.shape[1:]))
        top, left = (int(rng.integers(room - side + 1)) for room in photo.shape[1:])
        ground = resize(photo[:, top : top + side, left : left + side], [self.size, self.size], antialias=True)
        return ground.flip(-1) if rng.random() < 0.5 else ground


class JoinedClips(LabelledClips):
    """Clips of several data sets with the same classes, one after the other.

    Args:
        parts: data sets of equal class names and T.
    """

    def __init__(self, parts: Sequence[SpriteClips]) -> None:
        first = parts[0]
        paths, labels = ([x for part in parts for x in getattr(part, what)] for what in ("paths", "labels"))
        super().__init__(paths, labels, first.class_names, first.T, first.seed)
        self.parts, self.size, self.n_frames = list(parts), first.size, first.n_frames
        self._place = [(part, i) for part in parts for i in range(len(part))]

    def read(self, i: int, view: int | None = None) -> Tensor:
        part, own = self._place[i]
        return part.read(own, view)


def real_folder(given: str | Path | None) -> Path:
    """The folder of the real sets: as given, else $TASKADAPTER_REAL.

    Raises:
        ValueError: none is named, or a set is not in it.
    """
    named = given or os.environ.get("TASKADAPTER_REAL")
    if not named:
        raise ValueError(f"no folder of real videos is named: give --real DIR with {' and '.join(REAL)} in it")
    for name in REAL:
        if not (Path(named) / name).is_dir():
            raise ValueError(f"{named} holds no folder {name}, one of {' and '.join(REAL)}")
    return Path(named)


def open_real(root: Path, name: str, size: int, class_names: Sequence[str] | None = None) -> FileClips:
    """A real set with its groups: the signer, or for frames the clip's content, so that copies stay together."""
    if name == "signs":
        return ClipFolder(root / name, class_names, T=T, size=size, resize=size, groups=r"(user\d+)_")
    clips = FrameFolder(root / name, class_names, T=T, size=size, resize=size)
    first_images = [min((clips.root / path).iterdir()) for path in clips.paths]
    clips.groups = [hashlib.sha256(image.read_bytes()).hexdigest() for image in first_images]
    return clips


def open_sets(root: Path, budget: SimBudget) -> dict[str, LabelledClips]:
    """Sprites of validation and of test classes, and both real sets with all their classes."""
    found: dict[str, LabelledClips] = {
        name: sprites(part, budget.sprite_clips, ("plain", "cluttered"), budget)
        for name, part in ((VALIDATION, "val"), (TEST, "test"))
    }
    return found | {name: open_real(root, name, budget.size) for name in REAL}


def sprites(part: str, clips_per_class: int, levels: Sequence[str], budget: SimBudget) -> JoinedClips:
    """Rendered clips of a part's classes, so many a class and level."""
    size = budget.size
    return JoinedClips(
        [
            PhotoSprites(part, clips_per_class, T, size)
            if level == "photos"
            else SpriteClips(part, clips_per_class, T, size=size, level=level)
            for level in levels
        ]
    )


def episodes_of(name: str, clips: LabelledClips, budget: SimBudget) -> EpisodeSampler:
    """The test list of a set: always the same."""
    n = budget.n_test // 3 if name == VALIDATION else budget.n_test
    return EpisodeSampler(clips.labels, TEST_SPEC, n, EPISODE_SEED, clips.class_names, clips.groups)


def build(rung: Rung, budget: SimBudget, seed: int) -> TaskAdapterViT:
    """The rung's model at its start; the frozen one has the same prefix, so that tokens are shared."""
    torch.manual_seed(seed)
    backbone = load_backbone(budget.backbone, img_size=budget.size)
    ordered = "time" in rung.axes
    place, std = ("adapted", budget.temporal_std) if ordered else (None, 0.0)
    model = TaskAdapterViT(backbone, budget.depth, T, axes=rung.axes, temporal_embedding=place, temporal_std=std)
    return model.to(budget.device)


def trained_rung(
    rung: Rung, budget: SimBudget, seed: int, out: Path, progress: bool
) -> tuple[TaskAdapterViT, list[dict]]:
    """The rung's model after training, and the history; a run that was cut off goes on, a finished one is read."""
    model = build(rung, budget, seed)
    folder = out / "runs" / f"{file_name(rung.name)}_seed{seed}"
    if not (folder / "result.json").exists():
        config = TrainConfig.recommended(
            n_steps=budget.n_steps,
            learning_rate=rung.rate,
            metric=rung.metric,
            temperature=TEMPERATURES[rung.metric],
            views=1,
            precision="bf16",
            validation_every=0,
            checkpoint_every=50,
            seed=seed,
        )
        clips = sprites("train", budget.clips_per_class // len(rung.levels), rung.levels, budget)
        episodes = EpisodeSampler(clips.labels, TRAINING_SPEC, budget.n_steps, seed, clips.class_names)
        train(model, clips, episodes, config, None, "auto", out=folder, cache=out / "tokens", progress=progress)
    load_checkpoint(folder / "adapters.safetensors", model)
    return model, RunResult.load(folder / "result.json").history


def run_rung(
    rung: Rung, budget: SimBudget, seed: int, sets: dict[str, LabelledClips], out: Path, progress: bool
) -> None:
    """Train a rung with one seed and test it on its sets; what `out` holds already is not done again."""
    asked = [name for name in sets if name != TEST or rung.group == "main"]
    missing = {name: file for name in asked if not (file := _file(out, rung, name, seed)).exists()}
    if not missing:
        return
    model, history = trained_rung(rung, budget, seed, out, progress) if rung.axes else (build(rung, budget, 0), [])
    for name, file in missing.items():
        clips = sets[name]
        cache = PrefixCache.in_folder(out / "tokens", model, clips, dtype=torch.bfloat16, precision="bf16")
        result = evaluate(
            model,
            clips,
            episodes_of(name, clips, budget),
            rung.metric,
            cache=cache,
            batch_size=2,
            precision="bf16",
            keep_queries=True,
            progress=progress,
            name=rung.name,
        )
        result.seeds |= {"training": seed}
        result.metadata |= {"set": name, "learning_rate": rung.rate if rung.axes else None, "group": rung.group}
        result.metadata |= {"training_steps": budget.n_steps if rung.axes else 0, "real_videos_trained_on": 0}
        result.metadata |= {"temporal_std": budget.temporal_std if "time" in rung.axes else None}
        result.history = history if name == VALIDATION else []
        result.save(file)


def run_sim_to_real(
    budget: SimBudget, seeds: Sequence[int], root: Path, out: Path, only: Sequence[str] = (), progress: bool = True
) -> None:
    """Run the rungs, seed after seed within each stage: a stage that was cut short has fewer seeds of all its rungs.

    Args:
        budget: what every row gets.
        seeds: of training; a frozen rung has one.
        root: folder of the real sets.
        out: folder of results, runs and tokens.
        only: names of rungs, or words that they hold, see `wanted`; none means all.
        progress: show progress bars.
    """
    sets = open_sets(root, budget)
    rungs = wanted(RUNGS, only)
    for stage in range(1, max(rung.stage for rung in RUNGS) + 1):
        for seed in seeds:
            for rung in rungs:
                if rung.stage == stage and (rung.axes or seed == seeds[0]):
                    run_rung(rung, budget, seed, sets, out, progress)


def _file(out: Path, rung: Rung, name: str, seed: int) -> Path:
    return out / f"{file_name(f'{rung.name} on {name} seed {seed}')}.json"


def load_sim_to_real(out: Path) -> Iterator[RunResult]:
    """All results of a folder, in the order of the rows."""
    return saved_results(out, [rung.name for rung in RUNGS])


def sim_to_real_table(results: Sequence[RunResult], name: str) -> pd.DataFrame:
    """The rows of one set in percent, as `comparison_table`, each beside the frozen backbone with OTAM."""
    rows = [result for result in results if result.metadata["set"] == name]
    baseline = "Frozen, OTAM" if any(row.name == "Frozen, OTAM" for row in rows) else None
    return comparison_table(rows, baseline=baseline)
