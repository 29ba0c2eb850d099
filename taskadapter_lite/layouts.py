"""Tensors as the transformers library names them -> the names of timm."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

# One after the other; DINOv2, ViT and the image half of CLIP, as their files on the Hugging Face hub have it
RENAMED = (
    (r"^(dinov2|vit|vision_model)\.", ""),
    (r"^embeddings\.(cls_token|class_embedding)$", "cls_token"),
    (r"^embeddings\.position_embeddings?(\.weight)?$", "pos_embed"),
    (r"^embeddings\.patch_embeddings?(\.projection)?\.", "patch_embed.proj."),
    (r"^encoder\.layers?\.(\d+)\.", r"blocks.\1."),
    (r"attention\.attention\.(q|k|v)(uery|ey|alue)\.", r"attn.\1."),
    (r"self_attn\.(q|k|v)_proj\.", r"attn.\1."),
    (r"attention\.output\.dense|self_attn\.out_proj", "attn.proj"),
    (r"\.(layernorm_before|layer_norm1)\.", ".norm1."),
    (r"\.(layernorm_after|layer_norm2)\.", ".norm2."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"^pre_layrnorm\.", "norm_pre."),  # spelled so
    (r"^(post_)?layernorm\.", "norm."),
    (r"^visual_projection\.", "head."),
)
UNUSED = re.compile(r"(^|\.)(mask_token|position_ids|pooler|classifier|logit_scale|text_model|text_projection)\b")
FOREIGN = re.compile(r"(^|\.)encoder\.layers?\.\d+\.")


def in_timms_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a file of the transformers library; those of any other file come back as they are."""
    if not any(FOREIGN.search(name) for name in tensors):
        return dict(tensors)
    found = {_renamed(name): value for name, value in tensors.items() if not UNUSED.search(name)}
    for name in [name for name in found if ".attn.q." in name]:
        parts = [found.pop(name.replace(".q.", f".{part}.")) for part in "qkv"]
        found[name.replace(".q.", ".qkv.")] = torch.cat(parts)
    for name in {"cls_token", "pos_embed"} & found.keys():
        found[name] = found[name].reshape(1, -1, found[name].shape[-1])
    if "head.weight" in found:  # CLIP's projection, which timm gives a bias
        found.setdefault("head.bias", found["head.weight"].new_zeros(len(found["head.weight"])))
    return found


def _renamed(name: str) -> str:
    for pattern, new in RENAMED:
        name = re.sub(pattern, new, name)
    return name
