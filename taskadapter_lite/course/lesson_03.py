"""What a reader writes in lesson 03: scores from prototypes, and one column of OTAM's table."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from taskadapter_lite.course.exercises import ExerciseError, agree, exercise, expect_close, expect_shape
from taskadapter_lite.metrics import cosine_scores


@exercise("prototype_scores", lesson="03")
def check_prototype_scores(answer: Callable[[Tensor, Tensor], Any]) -> None:
    """Three lines: average the support over shots and frames, average the queries over frames, take the cosines."""
    generator = torch.Generator().manual_seed(0)
    support, query = torch.randn(3, 2, 4, 5, generator=generator), torch.randn(6, 4, 5, generator=generator)
    got, wanted = answer(support.clone(), query.clone()), cosine_scores(support, query, aggregation="prototype")
    if agree(got, wanted.T):
        raise ExerciseError("a row for each class came out: queries are the rows, classes the columns; transpose")
    expect_shape(got, (6, 3), "the scores of 6 queries and 3 classes", "One row a query, one column a class.")
    for mistake, (value, hint) in _prototype_mistakes(support, query).items():
        if agree(got, value):
            raise ExerciseError(f"{mistake}. {hint}")
    expect_close(got, wanted, "the scores", "Average first, then divide each vector by its own length.")
    longer = answer(3 * support, query)
    expect_close(longer, wanted, "the scores of a support three times as long", "A cosine does not know lengths.")


def _prototype_mistakes(support: Tensor, query: Tensor) -> dict[str, tuple[Tensor, str]]:
    """What is wrong -> what it gives, and a hint."""
    p, q = support.mean((1, 2)), query.mean(1)
    unit = F.normalize(support, dim=-1).mean((1, 2)), F.normalize(query, dim=-1).mean(1)
    frames = torch.einsum("qtd,wktd->qwkt", F.normalize(query, dim=-1), F.normalize(support, dim=-1))
    return {
        "these are scalar products": (q @ p.T, "Divide by both lengths: a cosine lies in [-1, 1]"),
        "only the prototypes have length 1": (q @ F.normalize(p, dim=-1).T, "Normalise the queries as well"),
        "only the queries have length 1": (F.normalize(q, dim=-1) @ p.T, "Normalise the prototypes as well"),
        "the frames were normalised before they were averaged": (
            F.normalize(unit[1], dim=-1) @ F.normalize(unit[0], dim=-1).T,
            "Average first, then normalise: a frame with a long vector is to count for more",
        ),
        "frames were normalised first, and the means not at all": (
            unit[1] @ unit[0].T,
            "Average first, then normalise the average",
        ),
        "each shot got a score of its own, and the scores were averaged": (
            cosine_scores(support, query, aggregation="per_shot"),
            "A prototype averages features, not scores: the section on several shots compares them",
        ),
        "query frame t met support frame t, and the cosines were averaged": (
            frames.mean((2, 3)),
            "Average over time before you compare",
        ),
        "only the first shot was used": (
            cosine_scores(support[:, :1], query, aggregation="prototype"),
            "Average over all shots: dimension 1 of the support",
        ),
        "these are distances": (-torch.cdist(q, p), "The cosine is asked for here"),
    }


@exercise("otam_step", lesson="03")
def check_otam_step(answer: Callable[[Tensor, Tensor, float], Any]) -> None:
    """One line a row would do: new[l] = d[l] + softmin(old[l], old[l - 1]); row 0 has no row above it, so it can only
    stay."""
    generator = torch.Generator().manual_seed(0)
    old, d = torch.rand(5, generator=generator), torch.rand(5, generator=generator)
    gamma = 0.2
    got, wanted = answer(old.clone(), d.clone(), gamma), _step(old, d, gamma)
    expect_shape(got, (5,), "the next column of a table with 5 rows", "One number for each query frame.")
    for mistake, (value, hint) in _step_mistakes(old, d, gamma).items():
        if agree(got, value):
            raise ExerciseError(f"{mistake}. {hint}")
    if agree(torch.as_tensor(got)[1:], wanted[1:]):
        expect_close(got, wanted, "row 0", "A path in row 0 can only have stayed there: d[0] + old[0], no softmin.")
    expect_close(got, wanted, "the next column", "new[l] = d[l] + softmin(old[l], old[l - 1]).")
    distances = torch.rand(4, 4, generator=generator)
    column = distances[:, 0]
    for m in range(1, 4):
        column = torch.as_tensor(answer(column.clone(), distances[:, m].clone(), 0.05))
    expect_close(column, _all_paths(distances, 0.05), "the table of a 4 x 4 matrix, against every path by brute force")


def _softmin(a: Tensor, b: Tensor, gamma: float) -> Tensor:
    return -gamma * torch.logaddexp(-a / gamma, -b / gamma)


def _step(old: Tensor, d: Tensor, gamma: float) -> Tensor:
    return d + torch.cat([old[:1], _softmin(old[1:], old[:-1], gamma)])


def _step_mistakes(old: Tensor, d: Tensor, gamma: float) -> dict[str, tuple[Tensor, str]]:
    """What is wrong -> what it gives, and a hint."""
    hard = d + torch.cat([old[:1], torch.minimum(old[1:], old[:-1])])
    wrapped = d + _softmin(old, old.roll(1), gamma)
    backwards = d + torch.cat([_softmin(old[:-1], old[1:], gamma), old[-1:]])
    softmax = d + torch.cat([old[:1], gamma * torch.logaddexp(old[1:] / gamma, old[:-1] / gamma)])
    one = _step(old, d, 1.0)
    vertical = [d[0] + old[0]]
    for row in range(1, len(d)):
        vertical.append(d[row] + _softmin(_softmin(old[row], old[row - 1], gamma), vertical[-1], gamma))
    return {
        "this is the hard minimum": (hard, "A softmin is asked for: -gamma log(exp(-a/gamma) + exp(-b/gamma))"),
        "the last row leaks into row 0": (
            wrapped,
            "torch.roll goes round: row 0 has no row above it and can only stay",
        ),
        "the path runs backwards": (backwards, "A step of the path stays (old[l]) or comes from above (old[l - 1])"),
        "this is a soft maximum": (softmax, "The cheap path is wanted: mind the two minus signs of the softmin"),
        "gamma has no effect": (one, "Divide by gamma inside the exponentials, multiply by it outside the logarithm"),
        "the cells' own distances are missing": (
            _step(old, torch.zeros_like(d), gamma),
            "Add d[l] to what came before",
        ),
        "the path never stays": (d + torch.cat([old[:1], old[:-1]]), "It may stay on a row as well: old[l]"),
        "the path never moves on": (d + old, "It may come from the row above as well: old[l - 1]"),
        "a path may go down within a column": (
            torch.stack(vertical),
            "Each support frame has one query frame: come from the column before, not from the new one",
        ),
    }


def _all_paths(distances: Tensor, gamma: float) -> Tensor:
    """(rows,): the softened minimum over every path through all columns that ends in this row, one path at a time."""
    rows, columns = distances.shape
    costs: list[list[Tensor]] = [[] for _ in range(rows)]
    for start, steps in product(range(rows), product((0, 1), repeat=columns - 1)):
        path = [start + sum(steps[:m]) for m in range(columns)]
        if path[-1] < rows:
            costs[path[-1]].append(torch.stack([distances[row, m] for m, row in enumerate(path)]).sum())
    return torch.stack([-gamma * torch.logsumexp(-torch.stack(ends) / gamma, 0) for ends in costs])
