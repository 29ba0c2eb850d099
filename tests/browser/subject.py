"""What notebook and test both make: equal models, clips and episodes; and how to press keys."""

from __future__ import annotations

import timm
import torch

from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.data.datasets import SpriteClips
from taskadapter_lite.episodes import EpisodeSampler, EpisodeSpec
from taskadapter_lite.model import TaskAdapterViT


def make():
    """Models by name (random, seeded, small), rendered clips, four episodes."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    models = {name: TaskAdapterViT(load_backbone(pretrained=False), depth=2) for name in ("one", "other")}
    with torch.no_grad():
        for model in models.values():
            for parameter in model.trainable_parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    clips = SpriteClips("test", clips_per_class=3)
    return models, clips, EpisodeSampler(clips.labels, EpisodeSpec(3, 1, 1), 4, seed=0)[:]


def fine_model():
    """A tiny random transformer with 16 x 16 patches, as DINOv2 has at 224 pixels."""
    torch.manual_seed(1)
    options = {"img_size": 128, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2, "num_classes": 0}
    return TaskAdapterViT(timm.create_model("vit_tiny_patch16_224", **options).eval(), depth=2)


def fine_clips():
    """The clips of `make` at 128 pixels."""
    return SpriteClips("test", clips_per_class=3, size=128)


def press_all(control, keys: list[str]) -> None:
    """Press one key after the other on a control of the page."""
    control.focus()
    for key in keys:
        control.page.keyboard.press(key)
