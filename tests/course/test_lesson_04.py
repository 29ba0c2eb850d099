"""The checks of attention: the right way passes, each usual mistake is refused in its own words."""

import pytest
import torch
from torch import nn

from taskadapter_lite.course import ExerciseError
from taskadapter_lite.course.lesson_04 import check_attend, check_multi_head


def attend(q, k, v):
    """One query after another."""
    out = torch.empty(*q.shape[:-1], v.shape[-1])
    for i in range(q.shape[0]):
        for row in range(q.shape[1]):
            logits = torch.stack([q[i, row] @ key for key in k[i]]) / q.shape[-1] ** 0.5
            out[i, row] = (torch.exp(logits) / torch.exp(logits).sum()) @ v[i]
    return out


WRONG_ATTENTION = {
    "these are the weights": lambda q, k, v: (q @ k.mT / 2).softmax(-1),
    "not divided by sqrt": lambda q, k, v: (q @ k.mT).softmax(-1) @ v,
    "divided by d, not by its root": lambda q, k, v: (q @ k.mT / 4).softmax(-1) @ v,
    "the columns of the weights": lambda q, k, v: (q @ k.mT / 2).softmax(-2) @ v,
    "root of the number of tokens": lambda q, k, v: (q @ k.mT / 6**0.5).softmax(-1) @ v,
    "the softmax was forgotten": lambda q, k, v: q @ k.mT / 2 @ v,
    "the output is divided": lambda q, k, v: (q @ k.mT).softmax(-1) @ v / 2,
    "have changed places": lambda q, k, v: attend(k, q, v),
    "over the sequences": lambda q, k, v: (q @ k.mT / 2).softmax(0) @ v,
    "has the shape": lambda q, k, v: attend(q, k, v).sum(0),
    "the output differs": lambda q, k, v: 2 * attend(q, k, v),
}


def multi_head(x, attention):
    """torch's own attention module, with timm's weights: another implementation."""
    other = nn.MultiheadAttention(x.shape[-1], attention.num_heads, batch_first=True)
    with torch.no_grad():
        other.in_proj_weight.copy_(attention.qkv.weight)
        other.in_proj_bias.copy_(attention.qkv.bias)
        other.out_proj.load_state_dict(attention.proj.state_dict())
        return other(x, x, x, need_weights=False)[0]


def in_heads(x, attention, cut, scale=None, swapped=False):
    """Heads as `cut` says, their outputs put together the same way."""
    q, k, v = attention.qkv(x).chunk(3, dim=-1)
    q, k = (k, q) if swapped else (q, k)
    out = torch.empty_like(q)
    for h in range(attention.num_heads):
        part = cut(h)
        out[..., part] = (q[..., part] @ k[..., part].mT / (scale or 4) ** 0.5).softmax(-1) @ v[..., part]
    return out


def neighbours(h):
    return slice(4 * h, 4 * h + 4)


WRONG_HEADS = {
    "the last matrix is missing": lambda x, a: in_heads(x, a, neighbours),
    "one head only": lambda x, a: a.proj(attend(*a.qkv(x).chunk(3, dim=-1))),
    r"divided by sqrt\(D\)": lambda x, a: a.proj(in_heads(x, a, neighbours, scale=12)),
    "changed places": lambda x, a: a.proj(in_heads(x, a, neighbours, swapped=True)),
    "every third channel": lambda x, a: a.proj(in_heads(x, a, lambda h: slice(h, None, 3))),
    "tokens are in the output": lambda x, a: x + a(x),
    "has the shape": lambda x, a: a(x)[0],
    "the output differs": lambda x, a: 2 * a(x),
}


def test_the_right_attention_passes():
    check_attend(attend)


@pytest.mark.parametrize("words, wrong", WRONG_ATTENTION.items(), ids=WRONG_ATTENTION)
def test_a_usual_mistake_in_attention_is_named(words, wrong):
    with pytest.raises(ExerciseError, match=words):
        check_attend(wrong)


def test_the_right_heads_pass():
    check_multi_head(multi_head)
    check_multi_head(lambda x, a: a.proj(in_heads(x, a, neighbours)))


@pytest.mark.parametrize("words, wrong", WRONG_HEADS.items(), ids=WRONG_HEADS)
def test_a_usual_mistake_in_the_heads_is_named(words, wrong):
    with pytest.raises(ExerciseError, match=words):
        check_multi_head(wrong)


def test_a_check_leaves_the_random_numbers_of_a_lesson_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    check_multi_head(lambda x, a: a(x))
    assert torch.rand(1) == expected
