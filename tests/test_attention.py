"""Recorded attention: the weights that the pass used, in the promised shapes, and nothing disturbed."""

import pytest
import torch
from einops import rearrange
from timm.models.vision_transformer import Attention

from taskadapter_lite.adapters import scope_mask
from taskadapter_lite.attention import attention_weights, record_attention
from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.model import TaskAdapterViT

S, B, T, N, D, HEADS = 3, 5, 4, 5, 32, 2
SHAPES = {"time": (B, N, HEADS, T, T), "space": (B, T, HEADS, N, N), "task": (T, N, HEADS, B, B)}


@pytest.fixture
def model():
    torch.manual_seed(0)
    backbone = load_backbone(pretrained=False, embed_dim=D, depth=3, num_heads=HEADS, img_size=32, qk_norm=True)
    for block in backbone.blocks:
        torch.nn.init.normal_(block.attn.q_norm.weight, std=2.0)
    model = TaskAdapterViT(backbone, depth=2, T=T)
    for parameter in model.trainable_parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.double()


@pytest.fixture
def clips():
    return torch.rand(B, T, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_shapes_rows_and_features(model, clips):
    expected = model(clips, S)
    with record_attention(model) as record:
        features = model(clips, S)
    torch.testing.assert_close(features, expected)
    for axis, shape in SHAPES.items():
        assert list(record.weights[axis]) == [1, 2]
        for weights in record.weights[axis].values():
            assert weights.shape == shape
            assert weights.min() >= 0
            torch.testing.assert_close(weights.sum(-1), torch.ones(shape[:-1], dtype=torch.float64))


@pytest.mark.parametrize("scope", ["split", "joint", "inductive"])
@torch.no_grad()
def test_weights_are_zero_exactly_where_the_scope_forbids(model, clips, scope):
    model.scope = scope
    with record_attention(model, axes=["task"]) as record:
        model(clips, S)
    allowed = scope_mask(S, B - S, scope)
    for weights in record.weights["task"].values():
        assert torch.equal(weights > 0, allowed.expand_as(weights))


@torch.no_grad()
def test_weights_reproduce_the_output_of_every_attention(model, clips):
    calls = []
    for i in (1, 2):
        attention = model.backbone.blocks[i].attn
        attention.register_forward_hook(lambda module, args, output: calls.append((module, args[0], output)))
    with record_attention(model) as record:
        model(clips, S)
    order = [(axis, i) for i in (1, 2) for axis in ("time", "space", "task")]
    assert len(calls) == len(order)
    for (axis, i), (attention, sequences, output) in zip(order, calls, strict=True):
        weights = record.weights[axis][i].flatten(0, 1)
        values = rearrange(attention.qkv(sequences)[..., 2 * D :], "b n (heads d) -> b heads n d", heads=HEADS)
        mixed = torch.zeros_like(values)
        for j in range(values.shape[2]):  # each output row is the weighted sum of the values
            mixed += weights[..., j, None] * values[:, :, j, None]
        torch.testing.assert_close(attention.proj(rearrange(mixed, "b heads n d -> b n (heads d)")), output)


@torch.no_grad()
def test_task_weights_lie_by_frame_and_token(model, clips):
    entering = []
    model.adapted["1"].block.norm1.register_forward_hook(lambda module, args, output: entering.append(output))
    model.scope = "joint"
    with record_attention(model, blocks=[1], axes=["task"]) as record:
        model(clips, S)
    x, attention = entering[2], model.adapted["1"].block.attn  # norm1 runs for time, space, task
    t, n, head = 2, 3, 1
    q, k = attention.qkv(x[:, t, n])[:, : 2 * D].view(B, 2, HEADS, D // HEADS)[:, :, head].unbind(1)
    expected = torch.softmax(attention.q_norm(q) @ attention.k_norm(k).T / (D // HEADS) ** 0.5, dim=1)
    torch.testing.assert_close(record.weights["task"][1][t, n, head], expected)


@torch.no_grad()
def test_weights_of_all_frames_are_summed_over_the_frames_of_a_clip(model, clips):
    for block in model.adapted.values():
        block.task_frames = "all"
    entering, attention, episodes = [], model.adapted["2"].block.attn, torch.stack([clips, clips.flip(0)])
    attention.register_forward_hook(lambda module, args, output: entering.append(args[0]))
    with record_attention(model, blocks=[2], axes=["task"]) as record:
        model(episodes, S)
    found, allowed = record.weights["task"][2], scope_mask(S, B - S, "inductive")
    assert found.shape == (2, *SHAPES["task"])
    torch.testing.assert_close(found.sum(-1), torch.ones_like(found[..., 0]))
    assert torch.equal(found > 0, allowed.expand_as(found))
    e, t, n, head, i = 1, 2, 3, 1, 4
    x = entering[2].view(2, N, B, T, D)[e, n]  # time, space, task: B clips of T frames in one sequence
    q, k = attention.qkv(x)[..., : 2 * D].view(B, T, 2, HEADS, D // HEADS)[:, :, :, head].unbind(2)
    powers = torch.exp(attention.k_norm(k) @ attention.q_norm(q)[i, t] / (D // HEADS) ** 0.5)  # (B, T)
    powers = powers * allowed[i, :, None]
    torch.testing.assert_close(found[e, t, n, head, i], powers.sum(1) / powers.sum())


@torch.no_grad()
def test_only_what_was_asked_for_is_kept(model, clips):
    with record_attention(model, blocks=[2], axes=["task"]) as record:
        model(clips, S)
    assert record.weights.keys() == {"task"}
    assert record.weights["task"].keys() == {2}
    assert record.weights["task"][2].shape == SHAPES["task"]


@torch.no_grad()
def test_a_batch_of_episodes_is_recorded_one_by_one(model, clips):
    episodes = torch.stack([clips, clips.flip(0)])
    with record_attention(model) as record:
        model(episodes, S)
    for e, episode in enumerate(episodes):
        with record_attention(model) as single:
            model(episode, S)
        for axis in SHAPES:
            torch.testing.assert_close(record.weights[axis][2][e], single.weights[axis][2])


def test_recording_does_not_stop_gradients_and_keeps_none(model, clips):
    with record_attention(model) as record:
        model(clips, S).sum().backward()
    assert all(p.grad is not None for p in model.trainable_parameters())
    assert not record.weights["task"][1].requires_grad


def test_nothing_stays_behind_even_after_an_error(model, clips):
    expected = model(clips, S)
    with pytest.raises(RuntimeError, match="by the caller"), record_attention(model):
        raise RuntimeError("by the caller")
    assert all(block.observer is None for block in model.adapted.values())
    assert torch.equal(model(clips, S), expected)


@torch.no_grad()
def test_weights_of_a_frozen_attention_equal_torchs():
    attention, x = Attention(D, HEADS, qkv_bias=True), torch.randn(3, N, D)
    oracle = torch.nn.MultiheadAttention(D, HEADS, batch_first=True)
    oracle.in_proj_weight.copy_(attention.qkv.weight)
    oracle.in_proj_bias.copy_(attention.qkv.bias)
    expected = oracle(x, x, x, average_attn_weights=False)[1]
    torch.testing.assert_close(attention_weights(attention, x), expected)


def test_bad_arguments_are_refused(model):
    with (
        pytest.raises(ValueError, match="unknown axis 'joint': choose any of time, space, task"),
        record_attention(model, axes=["joint"]),
    ):
        pass
    with pytest.raises(ValueError, match="block 0 is not adapted: choose any of 1, 2"), record_attention(model, [0]):
        pass
