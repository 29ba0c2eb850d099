"""What a reader writes in lesson 03: scores from prototypes, and one column of OTAM's table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from taskadapter_lite.course.exercises import (
    ExerciseError,
    agree,
    exercise,
    expect_close,
    expect_shape,
    refuse_mistakes,
)
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
    hint = "Average first, then divide each vector by its own length."
    expect_close(got, wanted, "the scores", hint, mistakes=_prototype_mistakes(support, query))
    longer = answer(3 * support, query)
    expect_close(longer, wanted, "the scores of a support three times as long", "A cosine does not know lengths.")


def _prototype_mistakes(support: Tensor, query: Tensor) -> dict[str, Tensor]:
    unit = partial(F.normalize, dim=-1)
    p, q = support.mean((1, 2)), query.mean(1)
    unit_p, unit_q = unit(support).mean((1, 2)), unit(query).mean(1)
    per_frame = torch.einsum("qtd,wktd->qwkt", unit(query), unit(support)).mean((2, 3))
    per_shot = cosine_scores(support, query, aggregation="per_shot")
    first_shot = cosine_scores(support[:, :1], query, aggregation="prototype")
    return {
        "these are scalar products. Divide by both lengths: a cosine lies in [-1, 1]": q @ p.T,
        "only the prototypes have length 1. Normalise the queries as well": q @ unit(p).T,
        "only the queries have length 1. Normalise the prototypes as well": unit(q) @ p.T,
        "the frames were normalised before they were averaged. Average first, then normalise: a frame with a long "
        "vector is to count for more": unit(unit_q) @ unit(unit_p).T,
        "frames were normalised first, and the means not at all. Average first, then normalise the average": (
            unit_q @ unit_p.T
        ),
        "each shot got a score of its own, and the scores were averaged. A prototype averages features, not scores: "
        "the section on several shots compares them": per_shot,
        "query frame t met support frame t, and the cosines were averaged. Average over time before you compare": (
            per_frame
        ),
        "only the first shot was used. Average over all shots: dimension 1 of the support": first_shot,
        "these are distances. The cosine is asked for here": -torch.cdist(q, p),
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
    refuse_mistakes(got, wanted, _step_mistakes(old, d, gamma))
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


def _step_mistakes(old: Tensor, d: Tensor, gamma: float) -> dict[str, Tensor]:
    stays, comes = old[1:], old[:-1]
    hard = d + torch.cat([old[:1], torch.minimum(stays, comes)])
    backwards = d + torch.cat([_softmin(comes, stays, gamma), old[-1:]])
    softmax = d + torch.cat([old[:1], -_softmin(-stays, -comes, gamma)])
    down = [d[0] + old[0]]
    for row in range(1, len(d)):
        down.append(d[row] + _softmin(_softmin(old[row], old[row - 1], gamma), down[-1], gamma))
    return {
        "this is the hard minimum. A softmin is asked for: -gamma log(exp(-a/gamma) + exp(-b/gamma))": hard,
        "the last row leaks into row 0. torch.roll goes round: row 0 has no row above it and can only stay": (
            d + _softmin(old, old.roll(1), gamma)
        ),
        "the path runs backwards. A step of the path stays (old[l]) or comes from above (old[l - 1])": backwards,
        "this is a soft maximum. The cheap path is wanted: mind the two minus signs of the softmin": softmax,
        "gamma has no effect. Divide by gamma inside the exponentials, multiply by it outside the logarithm": (
            _step(old, d, 1.0)
        ),
        "the cells' own distances are missing. Add d[l] to what came before": _step(old, torch.zeros_like(d), gamma),
        "the path never stays. It may stay on a row as well: old[l]": d + torch.cat([old[:1], comes]),
        "the path never moves on. It may come from the row above as well: old[l - 1]": d + old,
        "a path may go down within a column. Each support frame has one query frame: come from the column before, not "
        "from the new one": torch.stack(down),
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
