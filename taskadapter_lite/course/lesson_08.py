"""Lesson 08: a hook that records the attention weights of an ordinary forward pass -> whether it records them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from timm.models.vision_transformer import Attention
from torch import Tensor

from taskadapter_lite.attention import attention_weights
from taskadapter_lite.course.exercises import (
    ExerciseError,
    agree,
    exercise,
    expect_close,
    expect_shape,
    refuse_mistakes,
)

BATCH, LENGTH, HEADS, D = 3, 5, 2, 8
Watch = Callable[[Attention, list[Tensor]], Any]


@exercise("watch_attention", lesson="08")
def judge_watch_attention(answer: Watch) -> None:
    """register_forward_pre_hook(hook, with_kwargs=True) of the attention calls hook(module, args, kwargs) before every
    pass; args[0] are the sequences, kwargs.get("attn_mask") is the mask. Compute softmax(q k^T / sqrt(d)) there.
    """
    attention, sequences, mask = _case()
    plain, masked = attention(sequences), attention(sequences, attn_mask=mask)
    seen: list[Tensor] = []
    handle = answer(attention, seen)
    if handle is None or not hasattr(handle, "remove"):
        raise ExerciseError("watch_attention returns what register_forward_pre_hook gave, so that it can be removed")
    if not (agree(attention(sequences), plain) and agree(attention(sequences, attn_mask=mask), masked)):
        raise ExerciseError("the output of the attention has changed: a hook that watches returns nothing")
    if len(seen) != 2:
        raise ExerciseError(f"two passes left {len(seen)} entries in seen: append the weights of each pass")
    _expect_weights(seen[0], attention, sequences, torch.ones_like(mask))
    _expect_weights(seen[1], attention, sequences, mask)
    if seen[0].requires_grad:
        raise ExerciseError("the weights keep the graph of the pass in memory: compute them under torch.no_grad()")
    handle.remove()
    attention(sequences)
    if len(seen) != 2:
        raise ExerciseError("handle.remove() left a hook behind: register one hook alone")


def _case() -> tuple[Attention, Tensor, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        attention = Attention(D, num_heads=HEADS, qkv_bias=True)
        torch.nn.init.normal_(attention.qkv.weight)
        sequences = torch.randn(BATCH, LENGTH, D)
    mask = torch.arange(LENGTH) < 3
    return attention.eval(), sequences, mask | torch.eye(LENGTH, dtype=torch.bool)


def _expect_weights(found: Tensor, attention: Attention, sequences: Tensor, mask: Tensor) -> None:
    """The weights of one pass, or what else this is; a mask that allows everything is none."""
    expect_shape(found, (BATCH, HEADS, LENGTH, LENGTH), "an entry of seen", "It is (batch, heads, length, length).")
    wanted, free = (attention_weights(attention, sequences, seen).detach() for seen in (mask, None))
    turned = attention_weights(attention, sequences, ~mask).detach().nan_to_num()
    q, k, v = attention.qkv(sequences).detach().unflatten(-1, (3, HEADS, D // HEADS)).permute(2, 0, 3, 1, 4)
    root = (D // HEADS) ** 0.5
    logits, unscaled = q @ k.mT / root, q @ k.mT
    of_values, of_all_heads = (q @ v.mT / root).softmax(-1), (unscaled / D**0.5).softmax(-1)
    mistakes = {
        "rows do not sum to 1: the softmax is missing": logits,
        "columns sum to 1, not rows: the softmax runs over the last axis, those who are seen": logits.softmax(-2),
        "the scale is missing: divide by the root of the width of a head": unscaled.softmax(-1),
        "the scale is that of all heads together: divide by the root of the width of one head": of_all_heads,
        "queries and keys are swapped: rows ask": logits.mT.softmax(-1),
        "these are queries times values: qkv holds queries, keys, values, in this order": of_values,
        "the mask was not used: what may not be seen has the weight 0": free,
        "the mask came after the softmax, so rows no longer sum to 1: put -inf there before it": free * mask,
        "the mask is turned round: ~mask is what may not be seen": turned,
    }
    refuse_mistakes(found.nan_to_num(), wanted, mistakes)
    expect_close(found, wanted, "an entry of seen" if mask.all() else "an entry of seen with a mask", "Rows ask.")
