"""The checks of prototypes and OTAM's step: the right way passes, each usual mistake is refused in its own words."""

import pytest
import torch
import torch.nn.functional as F

from taskadapter_lite.course import ExerciseError
from taskadapter_lite.course.lesson_03 import check_otam_step, check_prototype_scores
from taskadapter_lite.metrics import cosine_scores, euclidean_scores


def by_hand(support, query):
    """Two loops and the definition."""
    means = [torch.stack(list(clips)).mean(0).mean(0) for clips in support]
    return torch.stack([torch.stack([F.cosine_similarity(q.mean(0), p, dim=0) for p in means]) for q in query])


def unit(x):
    return F.normalize(x, dim=-1)


WRONG_SCORES = {
    "queries are the rows": lambda s, q: by_hand(s, q).T,
    "has the shape": lambda s, q: unit(q) @ unit(s.mean((1, 2))).T,
    "is None": lambda s, q: None,
    "these are scalar products": lambda s, q: q.mean(1) @ s.mean((1, 2)).T,
    "only the prototypes": lambda s, q: q.mean(1) @ unit(s.mean((1, 2))).T,
    "only the queries": lambda s, q: unit(q.mean(1)) @ s.mean((1, 2)).T,
    "normalised before they were averaged": lambda s, q: unit(unit(q).mean(1)) @ unit(unit(s).mean((1, 2))).T,
    "the means not at all": lambda s, q: unit(q).mean(1) @ unit(s).mean((1, 2)).T,
    "each shot got a score": lambda s, q: cosine_scores(s, q, aggregation="per_shot"),
    "only the first shot": lambda s, q: by_hand(s[:, :1], q),
    "these are distances": lambda s, q: -torch.cdist(q.mean(1), s.mean((1, 2))),
    "query frame t met": lambda s, q: torch.einsum("qtd,wktd->qw", unit(q), unit(s)) / (s.shape[1] * s.shape[2]),
    "the scores differs": euclidean_scores,
}


def step(old, d, gamma):
    """One row after another, in plain numbers."""
    rows = [d[0] + old[0]]
    for row in range(1, len(d)):
        rows.append(d[row] - gamma * torch.log(torch.exp(-old[row] / gamma) + torch.exp(-old[row - 1] / gamma)))
    return torch.stack(rows)


def softmin(a, b, gamma):
    return -gamma * torch.logaddexp(-a / gamma, -b / gamma)


def down_the_column(old, d, gamma):
    rows = [d[0] + old[0]]
    for row in range(1, len(d)):
        rows.append(d[row] + softmin(softmin(old[row], old[row - 1], gamma), rows[-1], gamma))
    return torch.stack(rows)


WRONG_STEPS = {
    "the hard minimum": lambda old, d, g: d + torch.cat([old[:1], torch.minimum(old[1:], old[:-1])]),
    "leaks into row 0": lambda old, d, g: d + softmin(old, old.roll(1), g),
    "runs backwards": lambda old, d, g: d + torch.cat([softmin(old[:-1], old[1:], g), old[-1:]]),
    "a soft maximum": lambda old, d, g: d + torch.cat([old[:1], -softmin(-old[1:], -old[:-1], g)]),
    "gamma has no effect": lambda old, d, g: step(old, d, 1.0),
    "own distances are missing": lambda old, d, g: step(old, 0 * d, g),
    "never stays": lambda old, d, g: d + torch.cat([old[:1], old[:-1]]),
    "never moves on": lambda old, d, g: d + old,
    "down within a column": down_the_column,
    "row 0": lambda old, d, g: torch.cat([d[:1], step(old, d, g)[1:]]),
    "has the shape": lambda old, d, g: step(old, d, g)[1:],
    "the next column differs": lambda old, d, g: 2 * step(old, d, g),
    "by brute force": lambda old, d, g: step(old, d, g if len(old) == 5 else 0.2),
}


def test_the_right_scores_pass():
    check_prototype_scores(by_hand)


@pytest.mark.parametrize("words, wrong", WRONG_SCORES.items(), ids=WRONG_SCORES)
def test_a_usual_mistake_in_the_scores_is_named(words, wrong):
    with pytest.raises(ExerciseError, match=words):
        check_prototype_scores(wrong)


def test_the_right_step_passes():
    check_otam_step(step)


@pytest.mark.parametrize("words, wrong", WRONG_STEPS.items(), ids=WRONG_STEPS)
def test_a_usual_mistake_in_the_step_is_named(words, wrong):
    with pytest.raises(ExerciseError, match=words):
        check_otam_step(wrong)
