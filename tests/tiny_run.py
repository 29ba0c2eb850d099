"""A training run of a second: a random ViT, clips of coloured noise. Also a script that tests can kill or launch."""

from __future__ import annotations

import sys

import torch
from timm.models.vision_transformer import VisionTransformer

from taskadapter_lite.data.labelled import LabelledClips
from taskadapter_lite.episodes import EpisodeSampler, EpisodeSpec
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.training.loop import TrainConfig, train

T, SIZE = 3, 16
torch.set_num_threads(1)


class ColouredClips(LabelledClips):
    """Class c is a colour under noise; a view is another draw of the noise."""

    def __init__(self, n_classes: int = 6, clips_per_class: int = 6, seed: int = 0) -> None:
        labels = [c for c in range(n_classes) for _ in range(clips_per_class)]
        names = [f"colour {seed} {c}" for c in range(n_classes)]
        super().__init__([f"{i}.mp4" for i in range(len(labels))], labels, names, T, seed)
        self.colours = torch.rand(n_classes, 3, generator=torch.Generator().manual_seed(seed))

    def read(self, i: int, view: int | None = None) -> torch.Tensor:
        noise = torch.randn(T, 3, SIZE, SIZE, generator=self.view_generator(i, -1 if view is None else view))
        frames = self.colours[self.labels[i]][:, None, None] + 0.1 * noise
        return (255 * frames.clamp(0, 1)).to(torch.uint8)


def tiny_backbone(seed: int = 0, size: int = SIZE) -> VisionTransformer:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return VisionTransformer(
            img_size=size, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=0, global_pool="token"
        )


def tiny_model(depth: int = 1, seed: int = 0, **options) -> TaskAdapterViT:
    with torch.random.fork_rng():
        torch.manual_seed(seed + 1)
        return TaskAdapterViT(tiny_backbone(seed), depth=depth, **{"T": T, **options})


def tiny_episodes(clips: LabelledClips, n_episodes: int = 24, seed: int = 5, k_shot: int = 1) -> EpisodeSampler:
    return EpisodeSampler(clips.labels, EpisodeSpec(n_way=3, k_shot=k_shot, n_query=2), n_episodes, seed)


def tiny_config(**changes) -> TrainConfig:
    settings = {"n_steps": 12, "episodes_per_step": 2, "views": 2, "warmup_steps": 2, "log_every": 2}
    return TrainConfig(**{**settings, "validation_every": 4, "checkpoint_every": 3, **changes})


def tiny_train(out=None, resume=None, cache=None, **changes):
    """The run that the tests repeat, kill, resume and share between processes."""
    clips, held_out = ColouredClips(), ColouredClips(seed=1)
    model = tiny_model()
    config = tiny_config(**changes)
    episodes = tiny_episodes(clips, config.n_steps * config.episodes_per_step)
    validation = (held_out, list(tiny_episodes(held_out, 10, seed=6)))
    return model, train(model, clips, episodes, config, validation, resume=resume, out=out, cache=cache, progress=False)


if __name__ == "__main__":
    tiny_train(sys.argv[1], resume="auto", **{key: int(value) for key, value in (a.split("=") for a in sys.argv[2:])})
