"""Trains the adapters of assignment 3, exercise 6, and writes them where the library looks; about a minute."""

from __future__ import annotations

import torch

from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.cache import PrefixCache
from taskadapter_lite.data import data_dir
from taskadapter_lite.data.which_attribute import AttributeEpisodes, AttributePortraits
from taskadapter_lite.episodes import EpisodeSpec
from taskadapter_lite.evaluation import evaluate
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.training.checkpoints import save_checkpoint
from taskadapter_lite.training.config import TrainConfig
from taskadapter_lite.training.loop import train

SPEC = EpisodeSpec(n_way=5, k_shot=1, n_query=1)
RECIPE = TrainConfig.recommended(
    n_steps=800,
    episodes_per_step=8,
    learning_rate=5e-3,
    warmup_steps=50,
    views=1,
    auxiliary_weight=0.0,  # a class of these episodes exists in its episode alone
    validation_every=0,
)


def main() -> None:
    torch.manual_seed(0)
    model = TaskAdapterViT(load_backbone(), depth=2, T=1, axes=("space", "task", "joint"))
    pool = AttributePortraits("train")
    episodes = AttributeEpisodes(pool, SPEC, RECIPE.n_steps * RECIPE.episodes_per_step, seed=0)
    train(model, pool, episodes, RECIPE)
    save_checkpoint(data_dir() / "puzzle_adapters.safetensors", model, metadata={"trained_on": pool.fingerprint})
    unseen = AttributePortraits("test")
    tested = AttributeEpisodes(unseen, SPEC, 500, 1_000_001)
    print(evaluate(model, PrefixCache(model, unseen), tested, "cosine").summary())


if __name__ == "__main__":
    main()
