"""Trains the runs of assignment 4 and writes runs.json: three variants, six seeds each (two minutes on a laptop).

Run it in this folder: python make_runs.py
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import torch

from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.data.datasets import SpriteClips
from taskadapter_lite.episodes import EpisodeSampler, EpisodeSpec, episode_hash
from taskadapter_lite.evaluation import PrefixCache, evaluate
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.results import environment
from taskadapter_lite.training.loop import TrainConfig, train

FULL = {"axes": ("time", "space", "task", "joint"), "scope": "inductive"}
VARIANTS = {
    "full": FULL,
    "without task attention": {**FULL, "axes": ("time", "space", "joint")},
    "scope split": {**FULL, "scope": "split"},
}
T, DEPTH, N_STEPS, N_SEEDS = 4, 2, 40, 6


def main() -> None:
    backbone = load_backbone()
    train_clips, val_clips = SpriteClips("train", 3, T=T, n_frames=8), SpriteClips("val", 6, T=T, n_frames=8)
    val_episodes = EpisodeSampler(val_clips.labels, EpisodeSpec(n_query=2), 100, seed=7)
    cache, runs = PrefixCache(TaskAdapterViT(backbone, DEPTH, T), val_clips), {}
    recipe = {"n_steps": N_STEPS, "learning_rate": TrainConfig().learning_rate}
    for name, variant in VARIANTS.items():
        model_config = {"depth": DEPTH, "T": T, **variant, "axes": list(variant["axes"])}
        runs[name] = {"config": {"model": model_config, "training": recipe}, "accuracies": []}
    for seed, (name, variant) in itertools.product(range(N_SEEDS), VARIANTS.items()):
        torch.manual_seed(seed)
        model = TaskAdapterViT(backbone, DEPTH, T, **variant)
        episodes = EpisodeSampler(train_clips.labels, EpisodeSpec(n_query=2), N_STEPS, seed=100 + seed)
        train(model, train_clips, episodes, TrainConfig.recommended(views=1, seed=seed), progress=False)
        result = evaluate(model, cache, val_episodes, progress=False, name=f"{name}, seed {seed}")
        runs[name]["accuracies"].append([round(accuracy, 2) for accuracy in result.accuracies])
        print(result.summary(), flush=True)
        if len({len(run["accuracies"]) for run in runs.values()}) == 1:  # all variants have been trained with this seed
            about = {"clips": val_clips.fingerprint, "episodes": episode_hash(val_episodes)}
            write({"about": {**about, "versions": environment()["versions"]}, "runs": runs})


def write(saved: dict) -> None:
    text = json.dumps(saved).replace("], [", "],\n[").replace('}, "', '},\n"')
    Path("runs.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
