"""Lesson 02: a sampler of episodes -> whether what it draws are episodes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from taskadapter_lite.course.exercises import ExerciseError, exercise, expect_shape

Draw = tuple[np.ndarray, np.ndarray, np.ndarray]
Sampler = Callable[[np.ndarray, int, int, int, np.random.Generator], Draw]
LABELS = np.array([7, 3, 12, 3, 7, 12, 3, 7, 20, 20, 12, 3, 7, 20, 12, 3, 20, 7])  # mixed, uneven, with gaps
SIZE = (3, 2, 1)  # n_way, k_shot, n_query


@exercise("draw_episode", lesson="02")
def draw_episode(answer: Sampler) -> None:
    """Shuffle the classes, np.unique(labels), with rng.permutation and keep n_way; then, for each, shuffle its clips,
    np.flatnonzero(labels == c), and cut: the first k_shot are support, the next n_query are queries.
    """
    draws = [answer(LABELS.copy(), *SIZE, np.random.default_rng(seed)) for seed in range(60)]
    for drawn in draws:
        if not isinstance(drawn, tuple) or len(drawn) != 3:
            raise ExerciseError("draw_episode returns three arrays: classes, support, query")
        _expect_an_episode(*(np.asarray(part) for part in drawn))
    _expect_chance(answer, draws)


def _expect_an_episode(classes: np.ndarray, support: np.ndarray, query: np.ndarray) -> None:
    """One draw: sizes, classes, clips of the right class in the right order, none twice."""
    n_way, k_shot, n_query = SIZE
    expect_shape(classes, (n_way,), "classes", "It holds one number of a class for each of n_way labels.")
    expect_shape(support, (n_way * k_shot,), "support", "It holds k_shot clips of each class, one class after another.")
    expect_shape(query, (n_way * n_query,), "query", "It holds n_query clips of each class, one class after another.")
    if len(set(classes.tolist())) < n_way:
        raise ExerciseError(f"classes {classes.tolist()} has one class twice: draw without replacement")
    if not set(classes.tolist()) <= set(LABELS.tolist()):
        raise ExerciseError(
            f"classes {classes.tolist()} holds what is no label: labels have gaps, so draw from np.unique(labels)"
        )
    for what, clips, n in (("support", support, k_shot), ("query", query, n_query)):
        if clips.min() < 0 or clips.max() >= len(LABELS):
            raise ExerciseError(f"{what} {clips.tolist()} are not all numbers of clips, 0 to {len(LABELS) - 1}")
        wanted, found = np.repeat(classes, n), LABELS[clips]
        if sorted(found.tolist()) == sorted(wanted.tolist()) != found.tolist() and (found != wanted).any():
            raise ExerciseError(f"{what} has the right clips in another order: all clips of classes[0] come first")
        if (found != wanted).any():
            raise ExerciseError(
                f"the clips in {what} are of the classes {found.tolist()}, not {wanted.tolist()}: a place among the "
                "clips of a class is not yet the number of a clip"
            )
    both = sorted({*support.tolist()} & {*query.tolist()})
    if both:
        raise ExerciseError(f"clip {both[0]} is in support and query: shuffle the clips of a class once, then cut")
    if len({*support.tolist()}) < len(support) or len({*query.tolist()}) < len(query):
        raise ExerciseError("one clip is there twice: rng.permutation shuffles without repeating, rng.integers repeats")


def _expect_chance(answer: Sampler, draws: list[Draw]) -> None:
    """Many draws: the generator alone decides, every class and clip gets its turn."""
    again = answer(LABELS.copy(), *SIZE, np.random.default_rng(0))
    if any((np.asarray(a) != np.asarray(b)).any() for a, b in zip(draws[0], again, strict=True)):
        raise ExerciseError("two generators with one seed gave two episodes: take every random number from rng")
    if len({tuple(np.sort(np.asarray(classes)).tolist()) for classes, _, _ in draws}) == 1:
        raise ExerciseError("60 seeds gave the same classes: shuffle the classes before you keep n_way of them")
    if any(len({int(np.asarray(draw[part])[0]) for draw in draws}) < 10 for part in (1, 2)):
        raise ExerciseError("60 seeds gave nearly the same clips: shuffle the clips of a class before you cut")
