"""The checks of lesson 09: right answers pass, each usual mistake has its own words."""

import pytest

from taskadapter_lite.course import ExerciseError
from taskadapter_lite.course.lesson_09 import check_ranks, check_speedup, check_views


def test_right_answers_pass():
    check_views(lambda memory, n, T, N, D, size: int(memory / (n * T * N * D * size)))
    check_speedup(lambda share, factor: 100 / (100 * (1 - share) + 100 * share / factor))
    check_ranks(lambda items, rank, size: [item for i, item in enumerate(items) if i % size == rank])


WRONG_VIEWS = {
    "round down": lambda memory, n, T, N, D, size: memory / (n * T * N * D * size),
    "of one clip": lambda memory, n, T, N, D, size: int(memory // (T * N * D * size)),
    "one byte each": lambda memory, n, T, N, D, size: int(memory // (n * T * N * D)),
    "is None": lambda *case: None,
    "7 is wanted|0 is wanted|1 is wanted": lambda *case: 5,
}
WRONG_SPEEDUP = {
    "new time as a share": lambda share, factor: 1 - share + share / factor,
    "the part itself": lambda share, factor: factor,
    "60% less": lambda share, factor: 1 + share * (1 - 1 / factor),
    "swapped": lambda share, factor: 1 / (share + (1 - share) / factor),
    "is None": lambda share, factor: None,
}
WRONG_RANKS = {
    "more than one": lambda items, rank, size: items,
    "goes to none": lambda items, rank, size: items[rank : rank + 1],
    "the longest share": lambda items, rank, size: items if rank == 0 else [],
    "not this one": lambda items, rank, size: items[(size - 1 - rank) :: size],
    "a list of episodes": lambda items, rank, size: rank,
}


@pytest.mark.parametrize(
    "judge, wrong", [(check_views, WRONG_VIEWS), (check_speedup, WRONG_SPEEDUP), (check_ranks, WRONG_RANKS)]
)
def test_a_mistake_is_called_by_its_name(judge, wrong):
    for words, answer in wrong.items():
        with pytest.raises(ExerciseError, match=words):
            judge(answer)
