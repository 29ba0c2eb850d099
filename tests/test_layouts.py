"""Files of the transformers library: its names, written out, and the features of what the files were made of."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.layouts import in_timms_names

TINY = {"img_size": 28, "embed_dim": 32, "depth": 2, "num_heads": 2}
DINOV2 = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "norm": "layernorm",
    "norm1": "encoder.layer.{i}.norm1",
    "attn.q": "encoder.layer.{i}.attention.attention.query",
    "attn.k": "encoder.layer.{i}.attention.attention.key",
    "attn.v": "encoder.layer.{i}.attention.attention.value",
    "attn.proj": "encoder.layer.{i}.attention.output.dense",
    "ls1.gamma": "encoder.layer.{i}.layer_scale1.lambda1",
    "norm2": "encoder.layer.{i}.norm2",
    "mlp.fc1": "encoder.layer.{i}.mlp.fc1",
    "mlp.fc2": "encoder.layer.{i}.mlp.fc2",
    "ls2.gamma": "encoder.layer.{i}.layer_scale2.lambda1",
}
VIT = DINOV2 | {
    "norm1": "encoder.layer.{i}.layernorm_before",
    "norm2": "encoder.layer.{i}.layernorm_after",
    "mlp.fc1": "encoder.layer.{i}.intermediate.dense",
    "mlp.fc2": "encoder.layer.{i}.output.dense",
}
CLIP = {
    "cls_token": "vision_model.embeddings.class_embedding",
    "pos_embed": "vision_model.embeddings.position_embedding.weight",
    "patch_embed.proj": "vision_model.embeddings.patch_embedding",
    "norm_pre": "vision_model.pre_layrnorm",
    "norm": "vision_model.post_layernorm",
    "head": "visual_projection",
    "norm1": "vision_model.encoder.layers.{i}.layer_norm1",
    "attn.q": "vision_model.encoder.layers.{i}.self_attn.q_proj",
    "attn.k": "vision_model.encoder.layers.{i}.self_attn.k_proj",
    "attn.v": "vision_model.encoder.layers.{i}.self_attn.v_proj",
    "attn.proj": "vision_model.encoder.layers.{i}.self_attn.out_proj",
    "norm2": "vision_model.encoder.layers.{i}.layer_norm2",
    "mlp.fc1": "vision_model.encoder.layers.{i}.mlp.fc1",
    "mlp.fc2": "vision_model.encoder.layers.{i}.mlp.fc2",
}
CASES = {
    "vit_small_patch14_dinov2": (DINOV2, {"embeddings.mask_token": (1, 32)}),
    "vit_tiny_patch16_224": (VIT, {"pooler.dense.weight": (32, 32)}),
    "vit_base_patch16_clip_quickgelu_224": (
        CLIP,
        {"logit_scale": (), "text_model.final_layer_norm.weight": (8,), "vision_model.embeddings.position_ids": (1, 5)},
    ),
}


def of_transformers(model, names, more):
    """The tensors of a timm model under the other library's names, with tensors that have no place in timm."""
    tensors = {name: torch.zeros(shape) for name, shape in more.items()}
    for name, value in model.state_dict().items():
        block, inner = name.split(".")[1] if name.startswith("blocks.") else None, name
        if block is not None:
            inner = name.split(".", 2)[2]
        if "attn.qkv" in inner:
            for part, third in zip("qkv", value.chunk(3), strict=True):
                tensors[f"{names[f'attn.{part}'].format(i=block)}.{inner.split('.')[-1]}"] = third.clone()
        elif inner in names:
            flat = "position_embedding.weight" in names[inner] or "class_embedding" in names[inner]
            tensors[names[inner].format(i=block)] = value[0].squeeze(0) if flat else value.clone()
        elif name != "head.bias":  # zero, where CLIP's projection is concerned
            module, _, kind = inner.rpartition(".")
            tensors[f"{names[module].format(i=block)}.{kind}"] = value.clone()
    return tensors


@pytest.mark.parametrize("architecture", CASES)
def test_a_file_of_the_transformers_library_gives_the_features_of_its_source(tmp_path, architecture):
    size = TINY | ({"img_size": 32} if "patch16" in architecture else {})
    source = timm.create_model(architecture, **size, **({} if "clip" in architecture else {"num_classes": 0})).eval()
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        if "clip" in architecture:
            source.head.bias.zero_()
    names, more = CASES[architecture]
    save_file(of_transformers(source, names, more), tmp_path / "model.safetensors")
    loaded = load_backbone(tmp_path / "model.safetensors", architecture=architecture, **size)
    images = torch.randn(2, 3, size["img_size"], size["img_size"])
    torch.testing.assert_close(loaded(images), source(images))


def test_other_files_come_back_as_they_are():
    tensors = timm.create_model("vit_tiny_patch16_224", **{**TINY, "img_size": 32}).state_dict()
    assert in_timms_names(tensors) == dict(tensors)
