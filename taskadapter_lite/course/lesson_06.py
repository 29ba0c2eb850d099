"""Lesson 06: attention across the clips of an episode, and who may see whom -> whether they are the library's."""

from __future__ import annotations

from collections.abc import Callable

import torch
from timm.models.vision_transformer import Attention
from torch import Tensor

from taskadapter_lite.adapters import attend_along, scope_mask
from taskadapter_lite.course.exercises import (
    ExerciseError,
    agree,
    exercise,
    expect_close,
    expect_shape,
    refuse_mistakes,
)

Attend = Callable[..., Tensor]
SHAPE = B, T, N, D = (5, 3, 4, 8)  # all different, so that no two axes can be confused unseen
N_SUPPORT, N_QUERY = 3, 2


@exercise("task_attention", lesson="06")
def judge_task_attention(answer: Callable[[Attend, Tensor, Tensor | None], Tensor]) -> None:
    """One sequence holds one token of every clip. Bring (b, t, n, d) to (t n) sequences of b tokens, with
    einops.rearrange or with two loops, call attend on them, and bring the result back.
    """
    attend, tokens = _attention(), torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    mask = scope_mask(N_SUPPORT, N_QUERY, "inductive")
    with torch.no_grad():
        free, masked = answer(attend, tokens.clone(), None), answer(attend, tokens.clone(), mask)
        _expect_task(free, attend, tokens, None)
        if agree(masked, free):
            raise ExerciseError("the mask changes nothing: pass it on as attend(sequences, attn_mask=mask)")
        _expect_task(masked, attend, tokens, mask)


def _attention() -> Attention:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        attention = Attention(D, num_heads=2, qkv_bias=True)
    torch.nn.init.normal_(attention.qkv.weight, std=0.5, generator=torch.Generator().manual_seed(2))
    return attention.eval()


def _expect_task(found: Tensor, attend: Attention, tokens: Tensor, mask: Tensor | None) -> None:
    """Task attention, or what else this is."""
    wanted = attend_along("task", attend, tokens, mask)
    if found is not None and tuple(getattr(found, "shape", ())) == (T, N, B, D):
        raise ExerciseError(f"the result has the shape {(T, N, B, D)}: bring the clips back to the front, {SHAPE}")
    expect_shape(found, SHAPE, "the result", "It has a token for every token that came in.")
    over_time, over_space = (attend_along(axis, attend, tokens) for axis in ("time", "space"))
    turned = attend_along("task", attend, tokens, None if mask is None else mask.T)
    everything = attend(tokens.reshape(1, -1, D)).reshape(SHAPE)
    uncut = attend(tokens.reshape(T * N, B, D), attn_mask=mask).reshape(SHAPE)
    mistakes = {
        "that is attention over time: its sequences are the T frames of one clip": over_time,
        "that is attention over space: its sequences are the N tokens of one frame": over_space,
        "here every token attends to every other: there is one sequence for each frame and place, and it holds one "
        "token of each clip": everything,
        "reshape cuts the numbers in their old order, so tokens of one clip ended up in one sequence: move the axis "
        "first, with rearrange or permute": uncut,
        "that is the input plus the attention: the sum belongs to the block": tokens + wanted,
        "nothing was attended: these are the tokens that came in": tokens,
        "the mask is turned round: row sees column": turned,
    }
    what = "task attention" if mask is None else "task attention with a mask"
    expect_close(found, wanted, what, "Tokens of one frame and one place form a sequence.", mistakes=mistakes)


@exercise("inductive_mask", lesson="06")
def judge_inductive_mask(answer: Callable[[int, int], Tensor]) -> None:
    """Begin with is_query = torch.arange(n_support + n_query) >= n_support; as a row it says who is seen, as a column
    who sees. Everyone sees the support, and every clip sees itself.
    """
    for n_support, n_query in ((N_SUPPORT, N_QUERY), (2, 4), (5, 5)):
        _expect_inductive(answer(n_support, n_query), n_support, n_query)


def _expect_inductive(found: Tensor, n_support: int, n_query: int) -> None:
    size = n_support + n_query
    case = f"inductive_mask({n_support}, {n_query})"
    expect_shape(found, (size, size), case, "It has a row and a column for every clip.")
    if torch.as_tensor(found).dtype != torch.bool:
        raise ExerciseError(f"{case} holds {torch.as_tensor(found).dtype}: a mask is torch.bool, True where row sees")
    wanted = scope_mask(n_support, n_query, "inductive")
    is_query = torch.arange(size) >= n_support
    row, column, itself = is_query[:, None], is_query[None, :], torch.eye(size, dtype=torch.bool)
    swapped = scope_mask(n_query, n_support, "inductive")
    joint = scope_mask(n_support, n_query, "joint")
    mistakes = {
        "rows and columns are swapped: row i says whom clip i sees, so the columns of the support are filled": wanted.T,
        "support and query are swapped: the first n_support clips are the support": swapped,
        "a leak: queries see each other. That is the scope joint": joint,
        "a leak: queries see each other, and the support not at all. That is the scope split": row == column,
        "a leak: the support sees the queries, and from the second block on every query hears of the others through "
        "it": ~column | itself | ~row,
        "a query does not see itself: its own token would be lost from its features": (~column).expand(size, size),
        "the support clips do not see each other, so their features know nothing of the task": itself | (row & ~column),
        "True and False are swapped: True is where the row may see the column": ~wanted,
    }
    refuse_mistakes(found, wanted, {f"{case}: {words}": mistake for words, mistake in mistakes.items()})
    if not torch.equal(found, wanted):
        i, j = (found != wanted).nonzero()[0].tolist()
        kinds = ["query" if k >= n_support else "support" for k in (i, j)]
        verb = "may see" if found[i, j] else "may not see"
        rule = "support and itself are seen, no other query"
        raise ExerciseError(f"in {case} clip {i} ({kinds[0]}) {verb} clip {j} ({kinds[1]}): {rule}")
