"""The check of the sampler: the library's way passes, each usual mistake is refused in its own words."""

import numpy as np
import pytest

from taskadapter_lite.course import ExerciseError
from taskadapter_lite.course.lesson_02 import draw_episode


def right(labels, n_way, k_shot, n_query, rng, choose=None, cut=None):
    classes = rng.permutation(np.unique(labels))[:n_way] if choose is None else choose(labels, n_way, rng)
    clips = [rng.permutation(np.flatnonzero(labels == c)) for c in classes]
    support, query = zip(*[(c[:k_shot], c[k_shot : k_shot + n_query]) for c in clips], strict=True)
    return cut(labels, classes, support, query, rng) if cut else (classes, *map(np.concatenate, (support, query)))


def with_classes(choose):
    return lambda *args: right(*args, choose=choose)


def with_clips(cut):
    return lambda *args: right(*args, cut=cut)


def flat(parts):
    return np.concatenate(parts)


WRONG = {
    "returns three arrays": lambda *args: right(*args)[1:],
    "classes has the shape": with_classes(lambda labels, n, rng: rng.permutation(np.unique(labels))),
    "one class twice": with_classes(lambda labels, n, rng: np.array([3, 3, 7])),
    "gaps": lambda labels, *rest: (np.arange(3), *right(labels, *rest)[1:]),
    "gave the same classes": with_classes(lambda labels, n, rng: np.unique(labels)[:n]),
    "support has the shape": with_clips(lambda labels, classes, s, q, rng: (classes, flat(s)[:3], flat(q))),
    "query has the shape": with_clips(lambda labels, classes, s, q, rng: (classes, flat(s), flat(s))),
    "in another order": with_clips(lambda labels, classes, s, q, rng: (classes, np.stack(s).T.ravel(), flat(q))),
    "a place among the clips": with_clips(
        lambda labels, classes, s, q, rng: (classes, np.tile([0, 1], 3), np.full(3, 2))
    ),
    "is in support and query": with_clips(
        lambda labels, classes, s, q, rng: (
            classes,
            flat(s),
            np.array([rng.choice(np.flatnonzero(labels == c)) for c in classes]),
        )
    ),
    "is there twice": with_clips(
        lambda labels, classes, s, q, rng: (classes, np.repeat([part[0] for part in s], 2), flat(q))
    ),
    "not all numbers of clips": with_clips(lambda labels, classes, s, q, rng: (classes, flat(s) + 18, flat(q))),
    "take every random number from rng": lambda *args: right(*args[:4], np.random.default_rng()),
    "nearly the same clips": lambda labels, n_way, k, n, rng: (
        lambda classes, clips: (classes, flat([c[:k] for c in clips]), flat([c[k : k + n] for c in clips]))
    )(*(lambda classes: (classes, [np.flatnonzero(labels == c) for c in classes]))(right(labels, n_way, k, n, rng)[0])),
}


def test_the_right_way_passes():
    draw_episode(right)


@pytest.mark.parametrize("words, wrong", WRONG.items(), ids=WRONG)
def test_a_usual_mistake_is_named(words, wrong):
    with pytest.raises(ExerciseError, match=words):
        draw_episode(wrong)
