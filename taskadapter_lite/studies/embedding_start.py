"""Few blocks below the adapters, small tokens -> does the temporal embedding drown them at its start?

Tokens grow from block to block. An embedding whose start suits the tokens before the last two of 12 blocks can be
several times as long as those before the last two of 8, and then every clip looks alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from einops import rearrange
from torch.nn import functional as F

from taskadapter_lite.backbone import in_precision, load_backbone
from taskadapter_lite.data.datasets import SpriteClips
from taskadapter_lite.episodes import EpisodeSampler
from taskadapter_lite.metrics import otam_scores
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.results import RunResult
from taskadapter_lite.studies.ladder import AIM, file_name
from taskadapter_lite.studies.sim_to_real import RATE, TEMPERATURES, TRAINING_SPEC, T
from taskadapter_lite.training.loop import TrainConfig, train

STARTS = ((8, 0.5), (8, 0.1), (12, 0.5), (12, 0.1))  # blocks of the backbone, spread of the embedding's start
BACKBONE, SIZE, DEPTH = "dinov2_small", 112, 2
N_STEPS, CLIPS_PER_CLASS = 100, 4
LOOKED_AT = 10  # clips, each of another class


def run_embedding_start(seeds: Sequence[int], out: Path, device: str = "cpu") -> None:
    """Measure each start and train from it on plain sprites; what `out` holds already is not done again."""
    clips = SpriteClips("train", CLIPS_PER_CLASS, T, size=SIZE)
    for seed in seeds:
        for blocks, std in STARTS:
            name = f"first {blocks} blocks, spread {std:g}"
            file = out / f"{file_name(name)}_seed{seed}.json"
            if file.exists():
                continue
            torch.manual_seed(seed)
            backbone = load_backbone(BACKBONE, img_size=SIZE, depth=blocks)
            model = TaskAdapterViT(backbone, DEPTH, T, axes=AIM, temporal_std=std).to(device)
            start = look_at_start(model, clips)
            config = TrainConfig.recommended(
                n_steps=N_STEPS,
                learning_rate=RATE,
                metric="otam",
                temperature=TEMPERATURES["otam"],
                views=1,
                precision="bf16",
                validation_every=0,
                log_every=20,
                seed=seed,
            )
            episodes = EpisodeSampler(clips.labels, TRAINING_SPEC, N_STEPS, seed, clips.class_names)
            result = train(model, clips, episodes, config, cache=out / "tokens", name=name)
            result.metadata |= {"blocks": blocks, "spread": std, **start}
            result.save(file)


@torch.no_grad()
def look_at_start(model: TaskAdapterViT, clips: SpriteClips) -> dict[str, float]:
    """How long tokens and embedding are, and how alike different clips are, with the embedding and without.

    Returns:
        `token` and `embedding`: their mean length; `alike`: mean cosine of frames at the same time of different clips;
        `spread_of_scores`: standard deviation of OTAM scores over classes; `..._without`: with the embedding at zero.
    """
    step = len(clips) // LOOKED_AT
    pixels = clips.read_batch(range(0, step * LOOKED_AT, step)).to(model.normalise.mean.device)
    assert model.temporal is not None, "the embedding is what is looked at"
    with in_precision(model.backbone, "bf16"):
        tokens = model.prefix(pixels).float()
    found = {"token": tokens.norm(dim=-1).mean().item(), "embedding": model.temporal.norm(dim=-1).mean().item()}
    drawn = model.temporal.detach().clone()
    for suffix, embedding in (("", drawn), ("_without", torch.zeros_like(drawn))):
        model.temporal.copy_(embedding)
        features = model.adapt(tokens, LOOKED_AT // 2)
        unit = rearrange(F.normalize(features, dim=-1), "b t d -> t b d")
        cosines = unit @ unit.mT
        others = ~torch.eye(LOOKED_AT, dtype=torch.bool, device=cosines.device)
        support, query = features.tensor_split([LOOKED_AT // 2])
        found[f"alike{suffix}"] = cosines[:, others].mean().item()
        found[f"spread_of_scores{suffix}"] = otam_scores(support[:, None], query).std(-1).mean().item()
    model.temporal.copy_(drawn)
    return found


def embedding_start_table(results: Sequence[RunResult]) -> pd.DataFrame:
    """A row a run: what was measured at the start, and the training accuracy of the last 40 episodes in percent."""
    rows = []
    for result in results:
        kept = ("blocks", "spread", "token", "embedding", "alike", "spread_of_scores", "spread_of_scores_without")
        last = [row["accuracy"] for row in result.history[-2:]]
        about = {name: result.metadata[name] for name in kept}
        rows.append({"name": result.name, **about, "accuracy": 100 * sum(last) / len(last)})
    return pd.DataFrame(rows)
