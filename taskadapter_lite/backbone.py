"""Name -> frozen image model: the bundled one, a local file, or timm's hub."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import safetensors
import timm
import torch
from safetensors.torch import load_file
from timm.data import resolve_model_data_config
from timm.data.imagenet_info import infer_imagenet_subset
from timm.layers import QuickGELU
from timm.models.vision_transformer import Attention, Block, VisionTransformer, checkpoint_filter_fn
from torch import Tensor, nn

from taskadapter_lite.files import data_dir

BUNDLED = "something_sprites"
PLAIN_VIT = (
    "a plain timm VisionTransformer is needed (blocks of norm1, attn, norm2, mlp with timm's standard attention), "
    "such as vit_base_patch16_224, vit_base_patch16_clip_quickgelu_224, deit3_*, *_dinov2 or *_siglip_*"
)


def load_backbone(
    name: str | os.PathLike = BUNDLED, pretrained: bool = True, architecture: str | None = None, **timm_kwargs
) -> VisionTransformer:
    """Load a pre-trained plain vision transformer, frozen and in eval mode.

    A classifier over ImageNet classes is dropped, because its outputs are no features; CLIP's projection is a head too,
    and stays. So `backbone(images)` gives features.

    Args:
        name: `"something_sprites"` (bundled, needs no download), a timm name such as
            `"vit_base_patch16_clip_quickgelu_224.openai"` (downloaded from the Hugging Face hub once), or, together
            with `architecture`, the path of a `.safetensors` file.
        pretrained: False gives the same shapes with random weights, and reads no file.
        architecture: What the file `name` holds: `"something_sprites"` or a timm name.
        **timm_kwargs: Passed to timm, for example `img_size=224`.

    Returns:
        The transformer. `backbone.pretrained_cfg` holds the `mean` and `std` that it wants for RGB in [0, 1], and
        `load_backbone(**backbone.load_arguments)` builds it again.

    Raises:
        ValueError: An unknown name, a model that is no plain vision transformer, or a file whose tensors do not fit.
        FileNotFoundError: The weight file does not exist.
    """
    model_name = str(architecture or name)
    file = Path(name) if architecture else None
    if model_name == BUNDLED:
        backbone = something_sprites_vit(**timm_kwargs)
        file = file or data_dir() / "something_sprites_vit.safetensors"
    else:
        backbone = _from_timm(model_name, pretrained and file is None, timm_kwargs)
    check_plain(backbone)
    if infer_imagenet_subset({"num_classes": backbone.num_classes}):
        backbone.reset_classifier(0)
    if pretrained and file is not None:
        _load_weights(backbone, file, model_name)
    _warn_without_quickgelu(backbone)
    backbone.load_arguments = dict(name=str(name), pretrained=pretrained, architecture=architecture, **timm_kwargs)
    return backbone.requires_grad_(False).eval()


def something_sprites_vit(**overrides) -> VisionTransformer:
    """Build the bundled architecture with a random start, trainable: 64 x 64 pixels, 17 tokens, width 128, 6 blocks."""
    shape = {"img_size": 64, "patch_size": 16, "embed_dim": 128, "depth": 6, "num_heads": 4, "num_classes": 0}
    backbone = VisionTransformer(**{**shape, **overrides})
    backbone.pretrained_cfg = {
        "architecture": BUNDLED,
        "input_size": (3, *backbone.patch_embed.img_size),
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
    }
    return backbone


def check_plain(backbone: nn.Module) -> None:
    """Refuse, with a ValueError, every model whose blocks the adapters can't reuse exactly."""
    kind = type(backbone).__name__
    if type(backbone) is not VisionTransformer:
        raise ValueError(f"{kind} can't be adapted: {PLAIN_VIT}.")
    for block in backbone.blocks:
        if type(block) is not Block or type(block.attn) is not Attention:
            parts = f"{type(block).__name__} with {type(getattr(block, 'attn', None)).__name__}"
            raise ValueError(f"{kind} with blocks of type {parts} can't be adapted: {PLAIN_VIT}.")
    if not backbone.global_pool:
        raise ValueError(f"{kind} with global_pool='' gives no frame feature: choose 'token', 'avg' or 'map'.")


def find_misfit(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str | None:
    """Compare the shapes of two sets of named tensors; say which is the first that differs, or None."""
    for name in sorted(expected.keys() | found.keys()):
        want, have = (tuple(side[name].shape) if name in side else "no such tensor" for side in (expected, found))
        if want != have:
            return f"{name!r} should be {want}, but is {have}"
    return None


def without_slow_attention(backbone: VisionTransformer) -> VisionTransformer:
    """Prepare a backbone on a CPU for bfloat16: torch's fused attention is slow there, the plain formula is not."""
    if next(backbone.parameters()).device.type == "cpu":
        for block in backbone.blocks:
            block.attn.fused_attn = False
    return backbone


@contextmanager
def in_precision(backbone: VisionTransformer, precision: str) -> Iterator[None]:
    """Within it, what the backbone's blocks compute without gradient is in "fp32" or "bf16" (autocast).

    On processors with bfloat16 instructions, "bf16" doubles the speed of an adapted tail on a CPU; others are slower.
    """
    fused = [block.attn.fused_attn for block in backbone.blocks]
    low = precision == "bf16"
    if low:
        without_slow_attention(backbone)
    try:
        with torch.autocast(next(backbone.parameters()).device.type, torch.bfloat16, enabled=low):
            yield
    finally:
        for block, was in zip(backbone.blocks, fused, strict=True):
            block.attn.fused_attn = was


class Normalise(nn.Module):
    """RGB clips -> the pixels that a backbone was trained on: (x - mean) / std, constants from its `pretrained_cfg`."""

    def __init__(self, backbone: VisionTransformer):
        super().__init__()
        config = resolve_model_data_config(backbone)
        self.register_buffer("mean", torch.tensor(config["mean"]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config["std"]).view(3, 1, 1), persistent=False)
        self.size = tuple(backbone.patch_embed.img_size)
        self.any_size = backbone.dynamic_img_size

    def forward(self, clips: Tensor) -> Tensor:
        """Clips (..., 3, H, W), uint8 or float in [0, 1] -> float of the same shape; ValueError for any others."""
        shape = tuple(clips.shape)
        if clips.ndim < 4 or shape[-3] != 3:
            raise ValueError(f"Clips of shape {shape}: (B, T, 3, H, W) is expected.")
        if shape[-2:] != self.size and not self.any_size:
            raise ValueError(f"Frames of {shape[-2:]} pixels (H, W): this backbone takes {self.size}.")
        pixels = clips.to(self.mean.dtype)
        if clips.dtype == torch.uint8:
            pixels = pixels / 255
        elif not clips.is_floating_point():
            raise ValueError(f"Clips of type {clips.dtype}: uint8, or float RGB in [0, 1] is expected.")
        elif not torch.compiler.is_compiling() and not (clips.min() >= 0 and clips.max() <= 1):
            raise ValueError(f"Float clips from {clips.min():.3g} to {clips.max():.3g}: RGB in [0, 1] is expected.")
        return (pixels - self.mean) / self.std


def _from_timm(name: str, pretrained: bool, timm_kwargs: dict) -> nn.Module:
    if ":" not in name and not timm.is_model(name.partition(".")[0]):
        raise ValueError(f"Unknown backbone {name!r}: use {BUNDLED!r} or a name from timm.list_models('vit_*').")
    try:
        return timm.create_model(name, pretrained=pretrained, **timm_kwargs)
    except (RuntimeError, TypeError) as error:  # TypeError: an option that other models do not have
        raise ValueError(f"timm can't build backbone {name!r}: {error}") from error


def _load_weights(backbone: VisionTransformer, file: Path, name: str) -> None:
    """Copy the tensors of a `.safetensors` file into the backbone, which keeps its own precision (float32)."""
    if not file.is_file():
        raise FileNotFoundError(
            f"No weights for backbone {name!r} at {file}: get the project's data_samples folder and name it in the "
            "environment variable TASKADAPTER_DATA, give the right path, or ask for pretrained=False."
        )
    try:
        # timm's own converter: reads the layouts of OpenAI and OpenCLIP too, and fits position embeddings to img_size
        found = checkpoint_filter_fn(load_file(file), backbone)
    except (safetensors.SafetensorError, KeyError, RuntimeError) as error:
        raise ValueError(f"{file} can't be read as weights of {name!r}: {error}") from error
    if backbone.num_classes == 0:  # files with and without a classifier are taken
        found = {name: value for name, value in found.items() if not name.startswith("head.")}
    if misfit := find_misfit(backbone.state_dict(), found):
        raise ValueError(f"{file} does not hold the weights of {name!r}: {misfit}.")
    backbone.load_state_dict(found)


def _warn_without_quickgelu(backbone: VisionTransformer) -> None:
    """Warn when weights trained with QuickGELU sit in a model with the ordinary GELU: its features would be others."""
    config = backbone.pretrained_cfg
    natively_quick = any("QuickGELU" in note for note in config.get("notes") or ())
    if natively_quick and not isinstance(backbone.blocks[0].mlp.act, QuickGELU):
        right = config["architecture"].replace("_clip_", "_clip_quickgelu_") + "." + config["tag"]
        warnings.warn(f"These weights were trained with QuickGELU: load {right!r} instead.", stacklevel=3)
