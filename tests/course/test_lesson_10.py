"""The checks of lesson 10: right answers pass, each usual mistake has its own words."""

import pytest
import torch
import torch.nn.functional as F

from taskadapter_lite.course import ExerciseError
from taskadapter_lite.course.lesson_10 import check_distance, check_half_width, check_price


def variances(a, n, b, m):
    p, q = a / n, b / m
    return p * (1 - p) / n, q * (1 - q) / m


def cosines(clips, known):
    return F.normalize(clips, dim=-1) @ F.normalize(known, dim=-1).T


def test_right_answers_pass():
    check_half_width(lambda *case: 1.96 * sum(variances(*case)) ** 0.5)
    check_distance(lambda clips, known: (1 - cosines(clips, known)).min(dim=1).values)
    check_price(lambda inside, outside, least: ((inside < least).float().mean(), (outside < least).float().mean()))


WRONG_WIDTH = {
    "the variance": lambda *case: sum(variances(*case)),
    "one standard deviation": lambda *case: sum(variances(*case)) ** 0.5,
    "half-widths are added": lambda *case: 1.96 * sum(v**0.5 for v in variances(*case)),
    "variances are subtracted": lambda *case: 1.96 * abs(variances(*case)[0] - variances(*case)[1]) ** 0.5,
    "in points": lambda *case: 196 * sum(variances(*case)) ** 0.5,
    "is None": lambda *case: None,
    "it is 0.5": lambda *case: 0.5,
}
WRONG_DISTANCE = {
    "the similarity": lambda clips, known: cosines(clips, known).amax(1),
    "the farthest": lambda clips, known: (1 - cosines(clips, known)).amax(1),
    "the mean": lambda clips, known: (1 - cosines(clips, known)).mean(1),
    "length 1": lambda clips, known: (1 - clips @ known.T).amin(1),
    "one for each clip": lambda clips, known: (1 - cosines(clips, known)).amin(0),
    r"shape \(3, 5\)": lambda clips, known: 1 - cosines(clips, known),
    "differs at": lambda clips, known: torch.zeros(3),
}
WRONG_PRICE = {
    "swapped": lambda inside, outside, least: ((outside < least).float().mean(), (inside < least).float().mean()),
    "counts": lambda inside, outside, least: ((inside < least).sum(), (outside < least).sum()),
    "above": lambda inside, outside, least: ((inside > least).float().mean(), (outside > least).float().mean()),
    "two numbers": lambda inside, outside, least: (inside < least).float().mean(),
    "at 0.62 differs": lambda inside, outside, least: (0.1, 0.2),
}


@pytest.mark.parametrize(
    "judge, wrong", [(check_half_width, WRONG_WIDTH), (check_distance, WRONG_DISTANCE), (check_price, WRONG_PRICE)]
)
def test_a_mistake_is_called_by_its_name(judge, wrong):
    for words, answer in wrong.items():
        with pytest.raises(ExerciseError, match=words):
            judge(answer)
