"""One ordinary forward pass -> the attention weights inside it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from einops import rearrange
from timm.layers import Attention
from torch import Tensor

from taskadapter_lite.adapters import SEQUENCE
from taskadapter_lite.model import TaskAdapterViT

RECORDED = {
    "time": "(e b n) heads i j -> e b n heads i j",
    "space": "(e b t) heads i j -> e b t heads i j",
    "task": "(e t n) heads i j -> e t n heads i j",
}


class AttentionRecord:
    """Attention weights of the last forward pass: `record.weights[axis][block]`, block counted in the backbone.

    Row i of the last two axes is who attends, column j whom it attends to; rows sum to 1.

    - `weights["task"][block]`: (T, N, heads, B, B), clips attend to clips, for each frame and token;
    - `weights["time"][block]`: (B, N, heads, T, T), frames attend to frames, for each clip and token;
    - `weights["space"][block]`: (B, T, heads, N, N), tokens attend to tokens, for each clip and frame.

    A batch of episodes adds E in front.
    """

    def __init__(self, axes: Collection[str]):
        self.weights: dict[str, dict[int, Tensor]] = {axis: {} for axis in axes}


@contextmanager
def record_attention(
    model: TaskAdapterViT, blocks: Collection[int] | None = None, axes: Collection[str] = tuple(SEQUENCE)
) -> Iterator[AttentionRecord]:
    """Look inside an ordinary forward pass.

    The pass itself is unchanged: the weights are computed beside it, from the tokens that enter each attention.

        with record_attention(model, axes=["task"]) as record:
            features = model(clips, n_support)
        record.weights["task"][5]                      # (T, N, heads, B, B)

    Args:
        model: The model to look into.
        blocks: Indices in the backbone; None is all adapted blocks. Memory grows with what is asked for: space
            attention of ViT-B/16 takes 149 MB a block for 10 clips of 8 frames.
        axes: Any of "time", "space", "task".

    Yields:
        The record, filled during the pass; a second pass replaces the first.

    Raises:
        ValueError: An unknown axis, or a block that isn't adapted.
    """
    blocks = [int(i) for i in model.adapted] if blocks is None else list(blocks)
    for axis in axes:
        if axis not in SEQUENCE:
            raise ValueError(f"Unknown axis {axis!r}: choose any of {', '.join(SEQUENCE)}.")
    for block in blocks:
        if str(block) not in model.adapted:
            raise ValueError(f"Block {block} is not adapted: choose any of {', '.join(model.adapted)}.")
    record = AttentionRecord(axes)
    skip_unread, model.skip_unread = model.skip_unread, False  # the last block's patch tokens are wanted too
    try:
        for block in blocks:
            model.adapted[str(block)].observer = partial(_record, record, block, model.adapted[str(block)].block.attn)
        yield record
    finally:
        model.skip_unread = skip_unread
        for block in blocks:
            model.adapted[str(block)].observer = None


def attention_weights(attention: Attention, sequences: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compute softmax(q k^T / sqrt(d)) of a timm attention, which its fused forward never writes down.

    Args:
        attention: timm attention.
        sequences: (batch, length, D), what enters the attention.
        mask: Bool (length, length), True where the row may attend to the column.

    Returns:
        (batch, heads, length, length); rows sum to 1.
    """
    qkv = rearrange(attention.qkv(sequences), "b n (three heads d) -> three b heads n d", three=3, d=attention.head_dim)
    q, k = attention.q_norm(qkv[0]), attention.k_norm(qkv[1])
    logits = (q * attention.scale) @ k.transpose(-2, -1)
    if mask is not None:
        logits = logits.masked_fill(~mask, float("-inf"))
    return logits.softmax(dim=-1)


@torch.no_grad()
def _record(record: AttentionRecord, block: int, attention: Attention, axis: str, tokens: Tensor, mask: Tensor | None):
    if axis not in record.weights:
        return
    *lead, B, T, N, D = tokens.shape
    episodes = tokens.reshape(-1, B, T, N, D)
    sequences = rearrange(episodes, f"e b t n d -> {SEQUENCE[axis]}")
    sizes = dict(zip("ebtn", (len(episodes), B, T, N), strict=True))
    pattern = RECORDED[axis]
    weights = attention_weights(attention, sequences, mask)
    weights = rearrange(weights, pattern, **{letter: sizes[letter] for letter in pattern[1:6:2]})
    record.weights[axis][block] = weights if lead else weights[0]
