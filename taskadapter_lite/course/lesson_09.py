"""Lesson 09: what fits into memory, what a switch can gain, which process gets which episode -> whether that is so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taskadapter_lite.course.exercises import ExerciseError, exercise, expect_close

CASES = ((40e9, 9154, 8, 197, 768, 4), (40e9, 4280, 8, 197, 768, 2), (1e9, 9, 2, 5, 4, 4))  # UCF101, HMDB51, small


@exercise("views_that_fit", lesson="09")
def check_views(answer: Callable[[float, int, int, int, int, int], int]) -> None:
    """One view of one clip is T * N * D numbers. A view of a training set is that for each of its clips; only whole
    views count.
    """
    for memory, n_clips, T, N, D, size in CASES:
        one = n_clips * T * N * D * size
        mistakes = {
            f"{memory / one:.2f} views: only whole views can be kept, so round down": memory / one,
            "that many views of one clip fit: a view of all n_clips is wanted": memory // (one / n_clips),
            "the numbers were counted as one byte each: a number has bytes_a_number of them": memory // (one / size),
        }
        what = f"the number of views that fit into {memory / 1e9:g} GB"
        expect_close(answer(memory, n_clips, T, N, D, size), memory // one, what, mistakes=mistakes)


@exercise("speedup", lesson="09")
def check_speedup(answer: Callable[[float, float], float]) -> None:
    """Take 100 seconds. What is not touched stays as long as it was; the rest is divided by the factor. Old time by new
    time is the speed-up.
    """
    for share, factor in ((0.6, 3.0), (0.6, float("inf")), (0.25, 2.0), (0.0, 8.0)):
        wanted = 1 / (1 - share + share / factor)
        mistakes = {
            "that is the new time as a share of the old one: the speed-up is old by new": 1 / wanted,
            "that is the part itself: the rest takes as long as before": factor,
            "60% less time is not 1.6 times as fast: divide the old time by the new one": 1 + share * (1 - 1 / factor),
            "share and rest are swapped: the share is what gets faster": 1 / (share + (1 - share) / factor),
        }
        expect_close(answer(share, factor), wanted, f"speedup({share}, {factor:g})", mistakes=mistakes)


@exercise("episodes_of_rank", lesson="09")
def check_ranks(answer: Callable[[list[Any], int, int], list[Any]]) -> None:
    """A slice with a step takes every n-th entry: start at the rank, step by the number of processes."""
    for n_items, size in ((8, 3), (6, 2), (4, 1)):
        items = [f"episode {i}" for i in range(n_items)]
        shares = [answer(list(items), rank, size) for rank in range(size)]
        if any(not isinstance(share, list) for share in shares):
            raise ExerciseError(f"a list of episodes is wanted for each rank, not {type(shares[0]).__name__}")
        given = [item for share in shares for item in share]
        if len(given) != len(set(given)):
            twice = next(item for item in given if given.count(item) > 1)
            raise ExerciseError(f"{twice} goes to more than one of {size} processes: its gradient would count twice")
        if missing := [item for item in items if item not in given]:
            raise ExerciseError(f"{missing[0]} of {n_items} goes to none of {size} processes")
        lengths = [len(share) for share in shares]
        if max(lengths) - min(lengths) > 1:
            raise ExerciseError(f"the processes get {lengths} episodes: all would wait for the longest share")
        if shares != [items[rank::size] for rank in range(size)]:
            raise ExerciseError(f"fair, but not this one: of {size} processes, rank 1 takes 1, {1 + size} and so on")
