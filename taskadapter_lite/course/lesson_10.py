"""Lesson 10: what few answers are worth, what is unfamiliar, what refusing costs -> whether the functions are right."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from taskadapter_lite.course.exercises import ExerciseError, exercise, expect_close


@exercise("half_width_of_difference", lesson="10")
def check_half_width(answer: Callable[[int, int, int, int], float]) -> None:
    """One share p = right / n has the variance p (1 - p) / n. The two samples are independent, so the variance of the
    difference is the sum of both variances.
    """
    for case in ((24, 30, 27, 30), (30, 40, 45, 90)):
        p, n, q, m = case[0] / case[1], case[1], case[2] / case[3], case[3]
        one, other = p * (1 - p) / n, q * (1 - q) / m
        right = 1.96 * (one + other) ** 0.5
        mistakes = {
            "that is the variance: a half-width is 1.96 standard deviations": one + other,
            "that is one standard deviation: 95% lie within 1.96 of them": right / 1.96,
            "the half-widths are added: add the variances, then take the root": 1.96 * (one**0.5 + other**0.5),
            "the variances are subtracted: also for a difference of the shares they add up": (
                1.96 * abs(one - other) ** 0.5
            ),
            "that is in points: give a share, 0.10 for 10 points": 100 * right,
        }
        expect_close(answer(*case), right, f"half_width_of_difference{case}", mistakes=mistakes)


@exercise("distance_to_known", lesson="10")
def check_distance(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Bring all rows to length 1 (F.normalize with dim=-1); one matrix product then gives every cosine, and the nearest
    known clip is the one with the largest.
    """
    generator = torch.Generator().manual_seed(0)
    clips, known = torch.randn(3, 6, generator=generator), 2 * torch.randn(5, 6, generator=generator)
    cosines = F.normalize(clips, dim=-1) @ F.normalize(known, dim=-1).T
    distances, products = 1 - cosines, clips @ known.T
    mistakes = {
        "that is the similarity: the distance is 1 - cosine": cosines.amax(dim=1),
        "that is the farthest known clip: take the nearest": distances.amax(dim=1),
        "that is the mean over the known clips: a clip is familiar if one of them is near": distances.mean(dim=1),
        "the rows do not have length 1, so the products are no cosines": (1 - products).amin(dim=1),
        "that is one distance for each known clip: one for each clip that is asked about is wanted": (
            distances.amin(dim=0)
        ),
    }
    found = answer(clips.clone(), known.clone())
    expect_close(found, distances.amin(dim=1), "distance_to_known(clips, known)", mistakes=mistakes)


@exercise("price", lesson="10")
def check_price(answer: Callable[[Tensor, Tensor, float], tuple[float, float]]) -> None:
    """Below the threshold the app says "I don't know". Count, as shares: how many clips that have a class are below,
    and how many strangers are below.
    """
    inside, outside = torch.tensor([0.9, 0.4, 0.8, 0.7, 0.6]), torch.tensor([0.3, 0.65, 0.5])
    for threshold, lost, caught in ((0.62, 2 / 5, 2 / 3), (0.0, 0.0, 0.0), (0.45, 1 / 5, 1 / 3)):
        found = answer(inside.clone(), outside.clone(), threshold)
        if not isinstance(found, (tuple, list)) or len(found) != 2:
            raise ExerciseError("two numbers are wanted: return lost, caught")
        mistakes = {
            "lost and caught are swapped: first the price, then what it buys": [caught, lost],
            "these are counts: divide by the number of clips": [5 * lost, 3 * caught],
            "that counts the clips above the threshold: below it the app says nothing": [1 - lost, 1 - caught],
        }
        pair = torch.tensor([float(value) for value in found])
        expect_close(pair, [lost, caught], f"(lost, caught) at {threshold}", mistakes=mistakes)
