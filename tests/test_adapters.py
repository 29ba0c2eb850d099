"""One adapted block against the same block written with explicit loops in float64."""

import pytest
import torch
from timm.models.vision_transformer import Block
from torch.nn import functional as F

from taskadapter_lite.adapters import (
    AXES,
    SEQUENCE,
    AdaptedBlock,
    Adapter,
    attend_along,
    class_slots,
    scope_mask,
    to_sequences,
)

B, T, N, D, HEADS = 5, 3, 4, 16, 2


def make_block(axes=AXES, moved=True, **options):
    """Build a float64 block with layer scale and query-key norm; `moved` gives the adapters random weights."""
    torch.manual_seed(0)
    frozen = Block(D, HEADS, qkv_bias=True, qk_norm=True, init_values=0.7)
    torch.nn.init.normal_(frozen.ls1.gamma)
    block = AdaptedBlock(frozen, axes, **options).double().eval()
    if moved:
        for adapter in (module for module in block.modules() if isinstance(module, Adapter)):
            for parameter in adapter.parameters():
                torch.nn.init.normal_(parameter, std=0.5)
    return block


def make_tokens(*lead, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*lead, B, T, N, D, dtype=torch.float64, generator=generator)


def attend_one(attention, sequence, mask=None):
    """Self-attention of one sequence (length, D), head by head and row by row."""
    length = len(sequence)
    mask = torch.ones(length, length, dtype=torch.bool) if mask is None else mask
    q, k, v = (attention.qkv(sequence)[:, i * D : (i + 1) * D].view(length, HEADS, D // HEADS) for i in range(3))
    out = torch.zeros(length, HEADS, D // HEADS, dtype=sequence.dtype)
    for head in range(HEADS):
        queries, keys = attention.q_norm(q[:, head]), attention.k_norm(k[:, head])
        for i in range(length):
            seen = [j for j in range(length) if mask[i, j]]
            powers = [torch.exp(queries[i] @ keys[j] / (D // HEADS) ** 0.5) for j in seen]
            out[i, head] = sum(p * v[j, head] for p, j in zip(powers, seen, strict=True)) / sum(powers)
    return attention.proj(out.flatten(1))


def attend_with_loops(axis, attention, x, mask=None):
    out = torch.empty_like(x)
    b, t, n = x.shape[:3]
    if axis == "time":
        for i in range(b):
            for k in range(n):
                out[i, :, k] = attend_one(attention, x[i, :, k])
    if axis == "space":
        for i in range(b):
            for j in range(t):
                out[i, j] = attend_one(attention, x[i, j])
    if axis == "task":
        for j in range(t):
            for k in range(n):
                out[:, j, k] = attend_one(attention, x[:, j, k], mask)
    if axis == "task of all frames":
        places = [(i, j) for i in range(b) for j in range(t)]
        seen = torch.tensor([[bool(mask[i, other]) for other, _ in places] for i, _ in places])
        for k in range(n):
            attended = attend_one(attention, torch.stack([x[i, j, k] for i, j in places]), seen)
            for row, (i, j) in enumerate(places):
                out[i, j, k] = attended[row]
    return out


@torch.no_grad()
def block_with_loops(adapted, x, mask, task="task", slots=()):
    """The four steps as in the paper, from the parts of the frozen block; slots: the class of each marked clip."""
    frozen = adapted.block

    def attend(axis, x, mask=None):
        normed = frozen.norm1(x).clone()
        for clip, slot in enumerate(slots if axis == task else ()):
            normed[clip] += adapted.marks[slot]
        return frozen.ls1.gamma * attend_with_loops(axis, frozen.attn, normed, mask)

    def bottleneck(adapter, z):
        return F.gelu(z @ adapter.down.weight.T + adapter.down.bias) @ adapter.up.weight.T + adapter.up.bias

    x = x + bottleneck(adapted.time, attend("time", x))
    z = attend("space", x)
    x = x + z + bottleneck(adapted.space, z)
    x = x + bottleneck(adapted.task, attend(task, x, mask))
    normed = frozen.norm2(x)
    return x + frozen.ls2.gamma * frozen.mlp(normed) + bottleneck(adapted.joint, normed)


@pytest.mark.parametrize("axis", ["time", "space", "task"])
@torch.no_grad()
def test_attention_along_each_axis_equals_loops(axis):
    attention, x = make_block().block.attn, make_tokens()
    torch.testing.assert_close(attend_along(axis, attention, x), attend_with_loops(axis, attention, x))


@pytest.mark.parametrize("scope", ["split", "joint", "inductive"])
@torch.no_grad()
def test_masked_task_attention_equals_loops(scope):
    attention, x, mask = make_block().block.attn, make_tokens(), scope_mask(3, 2, scope)
    expected = attend_with_loops("task", attention, x, mask)
    torch.testing.assert_close(attend_along("task", attention, x, mask), expected)


@pytest.mark.parametrize("axis", ["time", "space", "task"])
@torch.no_grad()
def test_a_batch_of_episodes_equals_one_by_one(axis):
    attention, x = make_block().block.attn, make_tokens(2)
    mask = scope_mask(3, 2, "inductive") if axis == "task" else None
    expected = torch.stack([attend_along(axis, attention, episode, mask) for episode in x])
    torch.testing.assert_close(attend_along(axis, attention, x, mask), expected)


def test_sequences_lie_along_the_named_axis():
    tokens = torch.arange(2 * 3 * 4).view(2, 3, 4, 1)  # clip, frame, token: 12 b + 4 t + n

    def first_of_sequence(sequences):
        return sequences[:, :1].expand_as(sequences)

    assert attend_along("time", first_of_sequence, tokens)[1, 2, 3].item() == 12 + 3  # the same clip and token, t = 0
    assert attend_along("space", first_of_sequence, tokens)[1, 2, 3].item() == 12 + 8  # the same clip and frame, n = 0
    assert attend_along("task", first_of_sequence, tokens)[1, 2, 3].item() == 8 + 3  # the same frame and token, b = 0


def test_adapted_block_equals_the_papers_four_steps_in_loops():
    block, x, mask = make_block(), make_tokens(), scope_mask(3, 2, "inductive")
    torch.testing.assert_close(block(x, mask).detach(), block_with_loops(block, x, mask))


@pytest.mark.parametrize("scope", ["split", "inductive"])
@pytest.mark.parametrize("task_frames, class_mark", [("all", False), ("same", True), ("all", True)])
def test_what_task_attention_may_see_beside_equals_loops(task_frames, class_mark, scope):
    block, x, mask = make_block(task_frames=task_frames, class_mark=class_mark), make_tokens(), scope_mask(4, 1, scope)
    task = "task of all frames" if task_frames == "all" else "task"
    expected = block_with_loops(block, x, mask, task, slots=[0, 0, 1, 1] if class_mark else ())
    torch.testing.assert_close(block(x, mask, slots=class_slots(4, n_way=2)).detach(), expected)


@torch.no_grad()
def test_zero_start_is_the_frozen_block():
    block, x = make_block(moved=False), make_tokens()
    torch.testing.assert_close(block(x), block.block(x.flatten(0, 1)).unflatten(0, (B, T)))


@torch.no_grad()
def test_block_without_axes_is_the_frozen_block():
    block, x = make_block(axes=()), make_tokens()
    torch.testing.assert_close(block(x), block.block(x.flatten(0, 1)).unflatten(0, (B, T)))
    assert not any(isinstance(module, Adapter) for module in block.modules())


@torch.no_grad()
def test_dropping_unread_tokens_changes_none_that_is_read():
    block, x, mask = make_block(), make_tokens(), scope_mask(3, 2, "split")
    torch.testing.assert_close(block(x, mask, n_read=2), block(x, mask)[:, :, :2])


def test_published_start_moves_the_task_adapter_alone():
    block = make_block(moved=False, zero_init=False)
    silent = {axis: not getattr(block, axis).up.weight.any() for axis in AXES}
    assert silent == {"time": True, "space": True, "task": False, "joint": True}


def test_adapter_by_hand():
    adapter = Adapter(4, ratio=0.25)
    with torch.no_grad():
        adapter.down.weight.copy_(torch.tensor([[1.0, -1.0, 0.0, 0.0]]))
        adapter.down.bias.fill_(1.0)
        adapter.up.weight.copy_(torch.tensor([[1.0], [2.0], [0.0], [-1.0]]))
        adapter.up.bias.copy_(torch.tensor([0.0, 0.0, 5.0, 0.0]))
    z = torch.tensor([3.0, 4.0, 7.0, 9.0])  # W1 z + b1 = 0, and GELU(0) = 0
    assert adapter(z).tolist() == [0.0, 0.0, 5.0, 0.0]
    adapter.inner_skip = True
    assert adapter(z).tolist() == [3.0, 4.0, 12.0, 9.0]


@pytest.mark.parametrize("dim, ratio", [(768, 0.25), (768, 0.5), (128, 0.25)])
def test_parameter_count_equals_the_closed_form(dim, ratio):
    width = int(dim * ratio)
    count = sum(p.numel() for p in Adapter(dim, ratio).parameters())
    assert count == 2 * dim * width + width + dim
    if (dim, ratio) == (768, 0.25):
        assert count == 295_872


def test_a_bottleneck_of_no_channel_is_refused():
    with pytest.raises(ValueError, match=r"ratio=0.1 leaves no channel of 8"):
        Adapter(8, ratio=0.1)


def test_scope_masks_by_hand():
    split = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    inductive = [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 0, 1]]
    assert scope_mask(2, 2, "split").int().tolist() == split
    assert scope_mask(2, 2, "inductive").int().tolist() == inductive
    assert scope_mask(2, 1, "joint").int().tolist() == [[1, 1, 1]] * 3


@pytest.mark.parametrize("n_support, n_query", [(1, 0), (1, 3), (5, 2), (5, 15)])
def test_scope_masks_by_counting(n_support, n_query):
    seen = {scope: scope_mask(n_support, n_query, scope).sum().item() for scope in ("split", "joint", "inductive")}
    assert seen["joint"] == (n_support + n_query) ** 2
    assert seen["split"] == n_support**2 + n_query**2
    assert seen["inductive"] == n_support**2 + n_query * (n_support + 1)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="'both'.*split, joint, inductive"):
        scope_mask(2, 2, "both")
    with pytest.raises(ValueError, match="n_support=0 of 5 clips"):
        scope_mask(0, 5, "split")
    with pytest.raises(ValueError, match="n_support=6 of 5 clips"):
        scope_mask(6, -1, "split")
    with pytest.raises(ValueError, match="unknown task_frames 'some': choose one of same, all"):
        make_block(task_frames="some")
    with pytest.raises(ValueError, match="'depth'.*time, space, task"):
        attend_along("depth", torch.nn.Identity(), torch.zeros(1, 1, 1, 1))


@pytest.mark.parametrize("axis", list(SEQUENCE))
@pytest.mark.parametrize("episodes", [(), (2,)])
def test_sequences_lie_in_memory_as_linear_layers_want_them(axis, episodes):
    """Else torch copies the weights of the attention once for every sequence: bf16 on a CPU was three times slower."""
    tokens = torch.randn(*episodes, 4, 3, 5, 8)
    assert to_sequences(axis, tokens).is_contiguous()
