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
    hint = "softmax(q k^T / sqrt(d)) v, each row of the weights sums to 1."
    expect_close(got, wanted, "the output", hint, mistakes=_attend_mistakes(q, k, v))


def _weights(q: Tensor, k: Tensor) -> Tensor:
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)


def _attend_mistakes(q: Tensor, k: Tensor, v: Tensor) -> dict[str, Tensor]:
    d, logits = q.shape[-1], q @ k.mT
    scaled, unscaled = logits / d**0.5, logits.softmax(-1) @ v
    by_tokens = (logits / q.shape[-2] ** 0.5).softmax(-1) @ v
    return {
        "the logits are not divided by sqrt(d). d is the width of q and k": unscaled,
        "the logits are divided by d, not by its root. sqrt(d) is d**0.5": (logits / d).softmax(-1) @ v,
        "the columns of the weights sum to 1, not the rows. A token shares its attention: dim=-1": (
            scaled.softmax(-2) @ v
        ),
        "the logits are divided by the root of the number of tokens. d is the width of q and k, the last dimension": (
            by_tokens
        ),
        "the softmax was forgotten. Weights are positive and sum to 1": scaled @ v,
        "the output is divided by sqrt(d), not the logits. The division belongs inside the softmax, where it keeps the "
        "choice soft": unscaled / d**0.5,
        "queries and keys have changed places. Rows belong to queries: q @ k.mT": _weights(k, q) @ v,
        "the softmax was taken over the sequences. Over the keys: dim=-1": scaled.softmax(0) @ v,
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
    hint = "q, k, v = attention.qkv(x).chunk(3, dim=-1), then head by head."
    expect_close(got, wanted, "the output", hint, mistakes=_multi_head_mistakes(x, attention))


def _multi_head_mistakes(x: Tensor, attention: Attention) -> dict[str, Tensor]:
    q, k, v = attention.qkv(x).chunk(3, dim=-1)
    heads, D = attention.num_heads, x.shape[-1]
    strides = [slice(h, None, heads) for h in range(heads)]
    every_third = [_weights(q[..., part], k[..., part]) @ v[..., part] for part in strides]

    def mixed(q: Tensor, k: Tensor, width: int) -> Tensor:
        """Heads made of neighbouring channels, with logits divided by the root of `width`."""
        parts = zip(*(part.chunk(heads, -1) for part in (q, k, v)), strict=True)
        return torch.cat([(a @ b.mT / width**0.5).softmax(-1) @ c for a, b, c in parts], -1)

    outputs = {
        "there is one head only. attention.num_heads heads, each with its own softmax": _weights(q, k) @ v,
        "the logits are divided by sqrt(D). A head has d = D / heads channels": mixed(q, k, D),
        "queries and keys have changed places. q @ k.mT, not k @ q.mT": mixed(k, q, D // heads),
        "a head took every third channel. The channels of a head are neighbours: h * d to (h + 1) * d": (
            torch.stack(every_third, -1).flatten(-2)
        ),
    }
    return {words: attention.proj(output) for words, output in outputs.items()} | {
        "the last matrix is missing. The outputs of the heads are mixed by attention.proj": mixed(q, k, D // heads),
        "the tokens are in the output as well. The block adds them later, outside attention": x + attention(x),
    }
