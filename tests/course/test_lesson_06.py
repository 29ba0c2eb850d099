"""The checks of task attention and of the inductive mask: the library passes, each usual mistake has its own words."""

import pytest
import torch
from einops import rearrange

from taskadapter_lite.adapters import attend_along, scope_mask
from taskadapter_lite.course import ExerciseError
from taskadapter_lite.course.lesson_06 import judge_inductive_mask, judge_task_attention


def by_loops(attend, tokens, mask=None):
    B, T, N, D = tokens.shape
    out = torch.empty_like(tokens)
    for t in range(T):
        for n in range(N):
            sequence = tokens[None, :, t, n]
            out[:, t, n] = (attend(sequence) if mask is None else attend(sequence, attn_mask=mask))[0]
    return out


def by_reshape(attend, tokens, mask=None):
    B, T, N, D = tokens.shape
    sequences = tokens.reshape(T * N, B, D)
    return (attend(sequences) if mask is None else attend(sequences, attn_mask=mask)).reshape(tokens.shape)


def left_behind(attend, tokens, mask=None):
    B, T, N, D = tokens.shape
    found = attend(rearrange(tokens, "b t n d -> (t n) b d"))
    return found.unflatten(0, (T, N))


def everything(attend, tokens, mask=None):
    return attend(tokens.reshape(1, -1, tokens.shape[-1])).reshape(tokens.shape)


def along(axis):
    return lambda attend, tokens, mask=None: attend_along(axis, attend, tokens)


WRONG_ATTENTION = {
    "attention over time": along("time"),
    "attention over space": along("space"),
    "every token attends to every other": everything,
    "reshape cuts": by_reshape,
    "bring the clips back": left_behind,
    "mask changes nothing": along("task"),
    "mask is turned round": lambda attend, tokens, mask=None: attend_along(
        "task", attend, tokens, None if mask is None else mask.T
    ),
    "the sum belongs to the block": lambda attend, tokens, mask=None: (
        tokens + attend_along("task", attend, tokens, mask)
    ),
    "nothing was attended": lambda attend, tokens, mask=None: tokens if mask is None else 2 * tokens,
    "is None": lambda attend, tokens, mask=None: None if mask is None else tokens,
    "differs at": lambda attend, tokens, mask=None: attend_along("task", attend, tokens, mask) * 1.01,
}


@pytest.mark.parametrize("answer", [by_loops, lambda *given: attend_along("task", *given)])
def test_task_attention_passes(answer):
    judge_task_attention(answer)


@pytest.mark.parametrize("words, answer", WRONG_ATTENTION.items(), ids=WRONG_ATTENTION)
def test_a_wrong_task_attention_is_refused_in_its_own_words(words, answer):
    with pytest.raises(ExerciseError, match=words):
        judge_task_attention(answer)


def inductive(S, Q):
    return scope_mask(S, Q, "inductive")


def parts(S, Q):
    is_query = torch.arange(S + Q) >= S
    return is_query[:, None], is_query[None, :], torch.eye(S + Q, dtype=torch.bool)


def proposal(S, Q):
    row, column, itself = parts(S, Q)
    return ~column | itself | ~row


def lonely_support(S, Q):
    row, column, itself = parts(S, Q)
    return itself | (row & ~column)


def without_itself(S, Q):
    row, column, _ = parts(S, Q)
    return (~column).expand(S + Q, S + Q)


def one_cell_off(S, Q):
    mask = inductive(S, Q)
    mask[-1, -2] = True
    return mask


WRONG_MASKS = {
    "rows and columns are swapped": lambda S, Q: inductive(S, Q).T,
    "support and query are swapped": lambda S, Q: inductive(Q, S),
    "That is the scope joint": lambda S, Q: scope_mask(S, Q, "joint"),
    "That is the scope split": lambda S, Q: scope_mask(S, Q, "split"),
    "from the second block on": proposal,
    "a query does not see itself": without_itself,
    "the support clips do not see each other": lonely_support,
    "True and False are swapped": lambda S, Q: ~inductive(S, Q),
    "holds torch.float32": lambda S, Q: inductive(S, Q).float(),
    "has the shape": lambda S, Q: inductive(S, Q)[None],
    r"clip 4 \(query\) may see clip 3 \(query\)": one_cell_off,
}


def test_the_inductive_mask_passes():
    judge_inductive_mask(inductive)


@pytest.mark.parametrize("words, answer", WRONG_MASKS.items(), ids=WRONG_MASKS)
def test_a_wrong_mask_is_refused_in_its_own_words(words, answer):
    with pytest.raises(ExerciseError, match=words):
        judge_inductive_mask(answer)
