"""The whole model against timm's own forward, and who may see whom."""

import pytest
import torch

from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.model import TaskAdapterViT


def make_model(depth=2, moved=True, seed=0, **options):
    """Build a small model on the bundled architecture; `moved` gives every adapter random weights, as after training."""
    torch.manual_seed(seed)
    backbone = load_backbone(pretrained=False, depth=3, embed_dim=32, num_heads=2)
    model = TaskAdapterViT(backbone, depth, **options)
    if moved:
        for parameter in model.trainable_parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def make_clips(B=5, T=8, size=64, seed=1):
    return torch.randint(
        0, 256, (B, T, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def test_untrained_model_gives_the_features_of_single_frames():
    model, clips = make_model(moved=False), make_clips()
    frames = (clips.flatten(0, 1) / 255 - 0.5) / 0.5
    expected = model.backbone(frames).unflatten(0, clips.shape[:2])
    torch.testing.assert_close(model(clips, n_support=3), expected)


def test_adapt_of_prefix_equals_the_whole_forward_to_the_bit():
    model, clips = make_model(), make_clips()
    tokens = model.prefix(clips)
    assert tokens.shape == (5, 8, 17, 32)
    assert not tokens.requires_grad
    assert torch.equal(model.adapt(tokens, 3), model(clips, 3))


def test_an_inductive_query_is_unchanged_to_the_bit_by_replacing_the_other_queries():
    model, clips = make_model(), make_clips()
    others = clips.clone()
    others[4:] = 255 - clips[4:]
    before, after = model(clips, 3), model(others, 3)
    assert torch.equal(before[:4], after[:4])
    assert not torch.allclose(before[4], after[4])


def test_float_and_uint8_clips_agree():
    model, clips = make_model(), make_clips()
    torch.testing.assert_close(model(clips / 255, 3), model(clips, 3))


def test_wrong_number_of_frames_is_refused():
    with pytest.raises(ValueError, match="T=8"):
        make_model()(make_clips(T=4), 3)
