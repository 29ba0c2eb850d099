"""Accuracies -> a mean that never comes without its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def accuracy_interval(accuracies: Sequence[float]) -> tuple[float, float]:
    """Mean and half width of its 95% interval: 1.96 s / sqrt(n), s with n - 1 in the denominator.

    The interval covers which episodes were drawn from these clips and classes. It covers neither other training
    seeds nor other classes (see `comparison_table` and `class_interval`), and shrinks with every further episode
    although the clips stay the same.

    Args:
        accuracies: one number an episode, in 0..1.

    Returns:
        (mean, half width); the half width of a single episode is infinite.
    """
    values = np.asarray(accuracies, dtype=np.float64)
    if values.size == 0:
        raise ValueError("no accuracies: an interval needs at least one episode")
    half_width = 1.96 * values.std(ddof=1) / math.sqrt(values.size) if values.size > 1 else math.inf
    return float(values.mean()), float(half_width)


def class_interval(confusion: Sequence[Sequence[int]], n_draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """95% interval of the mean class accuracy if the test classes had been others: a bootstrap over classes.

    Whole classes are drawn with replacement; their accuracies are kept, as if they didn't depend on which other
    classes they met.

    Args:
        confusion: counts [true class][predicted class]; rows without a query are left out.

    Returns:
        (lower end, upper end): percentiles 2.5 and 97.5.
    """
    counts = np.asarray(confusion, dtype=np.float64)
    totals = counts.sum(1)
    if not totals.any():
        raise ValueError("the confusion matrix is empty: a bootstrap over classes needs queries")
    accuracy = (counts.diagonal()[totals > 0]) / totals[totals > 0]
    draws = np.random.default_rng(seed).choice(accuracy, (n_draws, accuracy.size))
    low, high = np.percentile(draws.mean(1), [2.5, 97.5])
    return float(low), float(high)


def text_interval(accuracies: Sequence[float]) -> str:
    """A mean in percent, never without its interval: "71.3 +- 0.9"."""
    mean, half_width = accuracy_interval(accuracies)
    return f"{100 * mean:.1f} +- {100 * half_width:.1f}"
