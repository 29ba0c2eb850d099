"""The check of the hook: one that records passes, each usual mistake has its own words."""

import pytest
import torch

from taskadapter_lite.course import ExerciseError
from taskadapter_lite.course.lesson_08 import judge_watch_attention

LINES = """
def watch_attention(attention, seen):
    def hook(module, args, kwargs):
        with torch.no_grad():
            batch, length, D = args[0].shape
            qkv = module.qkv(args[0]).view(batch, length, 3, module.num_heads, -1)
            q, k, v = qkv.permute(2, 0, 3, 1, 4)
            logits = q @ k.mT / module.head_dim**0.5
            mask = kwargs.get("attn_mask")
            if mask is not None:
                logits = logits.masked_fill(~mask, float("-inf"))
            weights = logits.softmax(dim=-1)
            seen.append(weights)
    return attention.register_forward_pre_hook(hook, with_kwargs=True)
"""
WRONG = {  # what is said -> what is replaced, by what
    "the softmax is missing": ("logits.softmax(dim=-1)", "logits"),
    "columns sum to 1": ("softmax(dim=-1)", "softmax(dim=-2)"),
    "the scale is missing": (" / module.head_dim**0.5", ""),
    "of all heads together": ("module.head_dim", "D"),
    "queries and keys are swapped": ("q @ k.mT", "k @ q.mT"),
    "queries times values": ("q @ k.mT", "q @ v.mT"),
    "the mask was not used": ("mask is not None", "False"),
    "came after the softmax": (
        'logits.masked_fill(~mask, float("-inf"))\n            weights = logits.softmax(dim=-1)',
        "logits\n            weights = logits.softmax(dim=-1) * (1 if mask is None else mask)",
    ),
    "turned round": ("~mask", "mask"),
    "output of the attention has changed": (
        "seen.append(weights)",
        "seen.append(weights); return (0 * args[0],), kwargs",
    ),
    "left 0 entries": ("seen.append(weights)", "pass"),
    "keep the graph": ("torch.no_grad()", "torch.enable_grad()"),
    "so that it can be removed": ("return attention", "attention"),
    "left a hook behind": (
        "    return",
        "    attention.register_forward_pre_hook(lambda *_: seen.append(0) if len(seen) == 2 else None)\n    return",
    ),
    "has the shape": ("logits.softmax(dim=-1)", "logits.softmax(dim=-1).mean(dim=1)"),
    "differs at": ("logits.softmax(dim=-1)", "logits.softmax(dim=-1) ** 2"),
}  # fmt: skip


def compiled(source):
    space = {"torch": torch}
    exec(source, space)
    return space["watch_attention"]


def test_the_hook_passes():
    judge_watch_attention(compiled(LINES))


@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_hook_is_refused_in_its_own_words(words):
    old, new = WRONG[words]
    assert old in LINES
    with pytest.raises(ExerciseError, match=words):
        judge_watch_attention(compiled(LINES.replace(old, new)))
