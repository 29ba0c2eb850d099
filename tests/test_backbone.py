"""Loading: every family of plain vision transformers, files that fit and files that don't."""

import warnings

import pytest
import timm
import torch
from safetensors.torch import save_file

from taskadapter_lite.backbone import BUNDLED, Normalise, check_plain, load_backbone, something_sprites_vit

TINY = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 32}


def test_bundled_architecture_is_frozen_and_in_eval_mode():
    backbone = load_backbone(pretrained=False)
    assert backbone(torch.zeros(2, 3, 64, 64)).shape == (2, 128)
    assert backbone.forward_features(torch.zeros(1, 3, 64, 64)).shape == (1, 17, 128)
    assert not backbone.training
    assert not any(p.requires_grad for p in backbone.parameters())
    assert all(p.requires_grad for p in something_sprites_vit().parameters())


def test_bundled_weights_come_from_the_data_folder_in_float32(tmp_path, monkeypatch):
    source = something_sprites_vit()
    save_file({k: v.half() for k, v in source.state_dict().items()}, tmp_path / "something_sprites_vit.safetensors")
    monkeypatch.setenv("TASKADAPTER_DATA", str(tmp_path))
    loaded = load_backbone()
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, source.state_dict()[name].half().float())


def test_missing_bundled_weights_say_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("TASKADAPTER_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="something_sprites_vit.safetensors.*TASKADAPTER_DATA"):
        load_backbone()


def test_file_of_a_timm_model_gives_the_features_of_its_source(tmp_path):
    source = timm.create_model("vit_tiny_patch16_224", **TINY).eval()
    save_file(source.state_dict(), tmp_path / "tiny.safetensors")
    loaded = load_backbone(tmp_path / "tiny.safetensors", architecture="vit_tiny_patch16_224", **TINY)
    images = torch.randn(2, 3, 32, 32)
    features = source.forward_head(source.forward_features(images), pre_logits=True)
    torch.testing.assert_close(loaded(images), features)
    again = load_backbone(**loaded.load_arguments)
    assert torch.equal(again(images), loaded(images))


def test_position_embeddings_of_a_file_are_fitted_to_another_image_size(tmp_path):
    save_file(something_sprites_vit(img_size=32).state_dict(), tmp_path / "small.safetensors")
    loaded = load_backbone(tmp_path / "small.safetensors", architecture=BUNDLED)
    assert loaded.pos_embed.shape == (1, 17, 128)


def test_file_that_does_not_fit_names_the_tensor(tmp_path):
    save_file(something_sprites_vit(depth=5).state_dict(), tmp_path / "five.safetensors")
    with pytest.raises(ValueError, match=r"five.safetensors.*blocks.5.*should be .*no such tensor"):
        load_backbone(tmp_path / "five.safetensors", architecture=BUNDLED)
    save_file(something_sprites_vit(num_heads=2, embed_dim=64).state_dict(), tmp_path / "narrow.safetensors")
    with pytest.raises(ValueError, match=r"should be \(128,\), but is \(64,\)"):
        load_backbone(tmp_path / "narrow.safetensors", architecture=BUNDLED)


def test_file_that_is_no_safetensors_is_refused(tmp_path):
    (tmp_path / "text.safetensors").write_text("no tensors in here")
    with pytest.raises(ValueError, match="text.safetensors can't be read as weights"):
        load_backbone(tmp_path / "text.safetensors", architecture=BUNDLED)


def test_classifier_is_dropped_and_projection_is_kept():
    assert load_backbone("vit_tiny_patch16_224", pretrained=False, **TINY).num_classes == 0
    clip = load_backbone("vit_base_patch16_clip_quickgelu_224.openai", pretrained=False, **TINY)
    assert clip.head.out_features == 512


def test_openai_weights_without_quickgelu_warn_and_name_the_right_model():
    with pytest.warns(UserWarning, match="vit_base_patch16_clip_quickgelu_224.openai"):
        load_backbone("vit_base_patch16_clip_224.openai", pretrained=False, **TINY)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_backbone("vit_base_patch16_clip_quickgelu_224.openai", pretrained=False, **TINY)
        load_backbone("vit_base_patch16_clip_224.laion2b", pretrained=False, **TINY)


@pytest.mark.parametrize(
    "name, kind, small",
    [
        ("eva02_tiny_patch14_224", "Eva", {"depth": 1}),
        ("swin_tiny_patch4_window7_224", "SwinTransformer", {"depths": (1, 1, 1, 1)}),
        ("resnet10t", "ResNet", {}),
        ("deit_tiny_distilled_patch16_224", "VisionTransformerDistilled", {"depth": 1}),
        ("vit_small_patch16_18x2_224", "ParallelThingsBlock", {"depth": 1}),
    ],
)
def test_other_models_are_refused_in_one_sentence(name, kind, small):
    with pytest.raises(ValueError, match=f"{kind}.* can't be adapted: a plain timm VisionTransformer is needed"):
        load_backbone(name, pretrained=False, **small)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="Unknown backbone 'vit_huge_sprites'"):
        load_backbone("vit_huge_sprites")
    with pytest.raises(ValueError, match="can't build backbone 'vit_tiny_patch16_224.nonsense'"):
        load_backbone("vit_tiny_patch16_224.nonsense", pretrained=True)


def test_backbone_without_pooling_is_refused():
    with pytest.raises(ValueError, match="global_pool=''"):
        check_plain(something_sprites_vit(global_pool=""))


def test_normalise_by_hand():
    backbone = something_sprites_vit(img_size=16)
    backbone.pretrained_cfg.update(mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0))
    normalise = Normalise(backbone)
    clips = torch.tensor([255, 0, 51], dtype=torch.uint8).view(1, 1, 3, 1, 1).expand(2, 4, 3, 16, 16)
    pixels = normalise(clips)
    assert pixels.dtype == torch.float32
    torch.testing.assert_close(pixels[0, 0, :, 0, 0], torch.tensor([1.0, -1.0, 0.2]))
    torch.testing.assert_close(normalise(clips / 255), pixels)


@pytest.mark.parametrize(
    "clips, message",
    [
        (torch.zeros(2, 3, 16, 16, dtype=torch.uint8)[0], "Clips of shape"),
        (torch.zeros(2, 8, 1, 16, 16, dtype=torch.uint8), r"\(B, T, 3, H, W\) is expected"),
        (torch.zeros(2, 8, 3, 16, 24, dtype=torch.uint8), r"\(16, 24\) pixels.*takes \(16, 16\)"),
        (torch.zeros(2, 8, 3, 16, 16, dtype=torch.int64), "torch.int64"),
        (torch.full((2, 8, 3, 16, 16), 255.0), "from 255 to 255"),
        (torch.full((2, 8, 3, 16, 16), -1.0), "from -1 to -1"),
        (torch.full((2, 8, 3, 16, 16), float("nan")), "from nan to nan"),
    ],
)
def test_wrong_clips_are_refused(clips, message):
    with pytest.raises(ValueError, match=message):
        Normalise(something_sprites_vit(img_size=16))(clips)
