"""One ordinary forward pass -> the attention weights inside it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import torch
from einops import rearrange, reduce
from timm.models.vision_transformer import Attention
from torch import Tensor

from taskadapter_lite.adapters import SEQUENCE, AdaptedBlock, to_sequences
from taskadapter_lite.model import TaskAdapterViT


@dataclass
class AttentionRecord:
    """Attention weights of the last forward pass: `record.weights[axis][block]`, block counted in the backbone.

    Row i of the last two axes is who attends, column j whom it attends to; rows sum to 1.

    - `weights["task"][block]`: (T, N, heads, B, B), clips attend to clips, for each frame and token; with
      task_frames="all" the weights of one clip's frames are summed: column j is what clip j gets in all;
    - `weights["time"][block]`: (B, N, heads, T, T), frames attend to frames, for each clip and token;
    - `weights["space"][block]`: (B, T, heads, N, N), tokens attend to tokens, for each clip and frame.

    A batch of E episodes puts E in front.
    """

    weights: dict[str, dict[int, Tensor]] = field(default_factory=dict)


@contextmanager
def record_attention(
    model: TaskAdapterViT, blocks: Collection[int] | None = None, axes: Collection[str] = tuple(SEQUENCE)
) -> Iterator[AttentionRecord]:
    """Look inside an ordinary forward pass.

    The weights are computed beside the pass, from the tokens that enter each attention. The features stay the same; the
    last block only keeps the patch tokens that it otherwise drops as soon as nobody reads them.

        with record_attention(model, axes=["task"]) as record:
            features = model(clips, n_support)
        record.weights["task"][5]                      # (T, N, heads, B, B)

    Args:
        model: the model to look into.
        blocks: indices in the backbone; None is all adapted blocks. Memory grows with what is asked for: space
            attention of ViT-B/16 takes 149 MB a block for 10 clips of 8 frames.
        axes: any of "time", "space", "task".

    Yields:
        The record, filled during the pass; a second pass replaces the first.

    Raises:
        ValueError: an unknown axis, or a block that isn't adapted.
    """
    chosen = list(model.adapted) if blocks is None else [str(block) for block in blocks]
    for axis in axes:
        if axis not in SEQUENCE:
            raise ValueError(f"unknown axis {axis!r}: choose any of {', '.join(SEQUENCE)}")
    for block in chosen:
        if block not in model.adapted:
            raise ValueError(f"block {block} is not adapted: choose any of {', '.join(model.adapted)}")
    record = AttentionRecord({axis: {} for axis in axes})
    n_read, model.n_read = model.n_read, None
    adapted = {name: cast(AdaptedBlock, model.adapted[name]) for name in chosen}  # torch types members as modules
    try:
        for name, module in adapted.items():
            module.observer = _observer(record, int(name), cast(Attention, module.block.attn), model.T)
        yield record
    finally:
        model.n_read = n_read
        for module in adapted.values():
            module.observer = None


def attention_weights(attention: Attention, sequences: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compute softmax(q k^T / sqrt(d)) of a timm attention, which its fused forward never writes down.

    Args:
        attention: timm attention.
        sequences: (batch, length, D), what enters the attention.
        mask: bool (length, length), True where the row may attend to the column.

    Returns:
        (batch, heads, length, length); rows sum to 1.
    """
    qkv = rearrange(attention.qkv(sequences), "b n (three heads d) -> three b heads n d", three=3, d=attention.head_dim)
    q, k = attention.q_norm(qkv[0]), attention.k_norm(qkv[1])
    logits = (q * attention.scale) @ k.transpose(-2, -1)
    if mask is not None:
        logits = logits.masked_fill(~mask, float("-inf"))
    return logits.softmax(dim=-1)


def _observer(record: AttentionRecord, block: int, attention: Attention, n_frames: int):
    @torch.no_grad()
    def observe(axis: str, tokens: Tensor, mask: Tensor | None) -> None:
        if axis in record.weights:
            *episodes, B, T, N, _ = tokens.shape
            beside = {"time": (B, N), "space": (B, T), "task": (T, N)}[axis]
            weights = attention_weights(attention, to_sequences(axis, tokens), mask)
            weights = weights.unflatten(0, (*episodes, *beside))
            if axis == "task":  # n_frames / T frames are clips here: 1, or all
                pattern, t = "... t n h (b f) (c g) -> ... (t f) n h b c", n_frames // T
                weights = reduce(weights, pattern, "sum", f=t, g=t)
            record.weights[axis][block] = weights

    return observe
