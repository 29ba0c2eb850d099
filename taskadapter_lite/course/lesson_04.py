"""What a reader writes in lesson 04: attention of one head, then of several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from timm.layers import Attention
from torch import Tensor

from taskadapter_lite.course.exercises import ExerciseError, agree, exercise, expect_close, expect_shape


@exercise("attend", lesson="04")
def check_attend(answer: Callable[[Tensor, Tensor, Tensor], Any]) -> None:
    """Three steps: logits = q @ k.mT / sqrt(d), weights = softmax of each row, output = weights @ v."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 6, d, generator=generator) for d in (4, 4, 3))
    got, wanted = answer(q.clone(), k.clone(), v.clone()), torch.nn.functional.scaled_dot_product_attention(q, k, v)
    if agree(got, _weights(q, k)):
        raise ExerciseError("these are the weights. The output is weights @ v: a mixture of the values")
    expect_shape(got, (2, 6, 3), "the output of 2 sequences of 6 tokens with values of width 3", "It is as wide as v.")
    for mistake, (value, hint) in _attend_mistakes(q, k, v).items():
        if agree(got, value):
            raise ExerciseError(f"{mistake}. {hint}")
    expect_close(got, wanted, "the output", "softmax(q k^T / sqrt(d)) v, each row of the weights sums to 1.")


def _weights(q: Tensor, k: Tensor) -> Tensor:
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)


def _attend_mistakes(q: Tensor, k: Tensor, v: Tensor) -> dict[str, tuple[Tensor, str]]:
    """What is wrong -> what it gives, and a hint."""
    d, logits = q.shape[-1], q @ k.mT
    columns = (logits / d**0.5).softmax(-2) @ v
    return {
        "the logits are not divided by sqrt(d)": (logits.softmax(-1) @ v, "d is the width of q and k"),
        "the logits are divided by d, not by its root": ((logits / d).softmax(-1) @ v, "sqrt(d) is d**0.5"),
        "the columns of the weights sum to 1, not the rows": (columns, "A token shares its attention: dim=-1"),
        "the logits are divided by the root of the number of tokens": (
            (logits / q.shape[-2] ** 0.5).softmax(-1) @ v,
            "d is the width of q and k, the last dimension",
        ),
        "the softmax was forgotten": (logits / d**0.5 @ v, "Weights are positive and sum to 1"),
        "the output is divided by sqrt(d), not the logits": (
            logits.softmax(-1) @ v / d**0.5,
            "The division belongs inside the softmax, where it keeps the choice soft",
        ),
        "queries and keys have changed places": (_weights(k, q) @ v, "Rows belong to queries: q @ k.mT"),
        "the softmax was taken over the sequences": ((logits / d**0.5).softmax(0) @ v, "Over the keys: dim=-1"),
    }


@exercise("multi_head", lesson="04")
def check_multi_head(answer: Callable[[Tensor, Attention], Any]) -> None:
    """Head h owns the channels h * d to (h + 1) * d of q, of k and of v. Attend in each head, put the outputs side by
    side, and mix them with attention.proj."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        attention = Attention(12, num_heads=3, qkv_bias=True).eval().requires_grad_(False)
        x = torch.randn(2, 5, 12)
    got, wanted = answer(x.clone(), attention), attention(x)
    expect_shape(got, (2, 5, 12), "the output for 2 sequences of 5 tokens of width 12")
    for mistake, (value, hint) in _multi_head_mistakes(x, attention).items():
        if agree(got, value):
            raise ExerciseError(f"{mistake}. {hint}")
    expect_close(got, wanted, "the output", "q, k, v = attention.qkv(x).chunk(3, dim=-1), then head by head.")


def _multi_head_mistakes(x: Tensor, attention: Attention) -> dict[str, tuple[Tensor, str]]:
    """What is wrong -> what it gives, and a hint."""
    q, k, v = attention.qkv(x).chunk(3, dim=-1)
    heads, D = attention.num_heads, x.shape[-1]

    def mixed(q: Tensor, k: Tensor, width: int) -> Tensor:
        """Heads made of neighbouring channels, with logits divided by the root of `width`."""
        parts = zip(*(part.chunk(heads, -1) for part in (q, k, v)), strict=True)
        outputs = [(a @ b.mT / width**0.5).softmax(-1) @ c for a, b, c in parts]
        return torch.cat(outputs, -1)

    right = mixed(q, k, D // heads)
    one_head = (q @ k.mT / D**0.5).softmax(-1) @ v
    strided = [(q[..., h::heads] @ k[..., h::heads].mT / (D // heads) ** 0.5).softmax(-1) for h in range(heads)]
    every_third = torch.stack([w @ v[..., h::heads] for h, w in enumerate(strided)], -1).flatten(-2)
    return {
        "the last matrix is missing": (right, "The outputs of the heads are mixed by attention.proj"),
        "there is one head only": (attention.proj(one_head), "attention.num_heads heads, each with its own softmax"),
        "the logits are divided by sqrt(D)": (attention.proj(mixed(q, k, D)), "A head has d = D / heads channels"),
        "queries and keys have changed places": (attention.proj(mixed(k, q, D // heads)), "q @ k.mT, not k @ q.mT"),
        "a head took every third channel": (
            attention.proj(every_third),
            "The channels of a head are neighbours: h * d to (h + 1) * d",
        ),
        "the tokens are in the output as well": (x + attention(x), "The block adds them later, outside attention"),
    }
