"""The checks of the rate and of a training step: the right ones pass, each usual mistake has its own words."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from taskadapter_lite.course import ExerciseError
from taskadapter_lite.course.lesson_07 import judge_rate_of_step, judge_training_step


def warm(step, warmup_steps):
    return min(1.0, (step + 1) / warmup_steps)


def decay(step, n_steps):
    return 0.5 * (1 + math.cos(math.pi * step / n_steps))


WRONG_RATES = {
    "the warm-up is missing": lambda step, n, peak, warmup: peak * decay(step, n),
    "the decay is missing": lambda step, n, peak, warmup: peak * warm(step, warmup),
    "learns nothing": lambda step, n, peak, warmup: peak * decay(step, n) * min(1, step / warmup),
    "has no end": lambda step, n, peak, warmup: peak * decay(step, n) * (step + 1) / warmup,
    "pi is missing": lambda step, n, peak, warmup: peak * warm(step, warmup) * 0.5 * (1 + math.cos(step / n)),
    "climbs the loss": lambda step, n, peak, warmup: peak * warm(step, warmup) * math.cos(math.pi * step / n),
    "the peak is missing": lambda step, n, peak, warmup: warm(step, warmup) * decay(step, n),
    "returns None": lambda step, n, peak, warmup: None,
    "differs at": lambda step, n, peak, warmup: 0.9 * peak * warm(step, warmup) * decay(step, n),
}


def test_the_rate_passes():
    judge_rate_of_step(lambda step, n, peak, warmup: peak * warm(step, warmup) * decay(step, n))


@pytest.mark.parametrize("words, answer", WRONG_RATES.items(), ids=WRONG_RATES)
def test_a_wrong_rate_is_refused_in_its_own_words(words, answer):
    with pytest.raises(ExerciseError, match=words):
        judge_rate_of_step(answer)


LINES = """
def training_step(model, optimizer, tokens, n_support, labels, learning_rate, temperature, clip_norm):
    optimizer.zero_grad()
    features = F.normalize(model.adapt(tokens, n_support).mean(dim=1), dim=-1)
    scores = features[n_support:] @ features[:n_support].T
    loss = F.cross_entropy(temperature * scores, labels)
    loss.backward()
    nn.utils.clip_grad_norm_(model.trainable_parameters(), clip_norm)
    for group in optimizer.param_groups: group["lr"] = learning_rate
    optimizer.step()
    return loss.item()
"""
WRONG_STEPS = {  # what is said -> what is replaced, by what
    "were still there": ("    optimizer.zero_grad()\n", ""),
    "was not clipped": ("    nn.utils.clip_grad_norm_(model.trainable_parameters(), clip_norm)\n", ""),
    "the rate was not set": ('group["lr"] = learning_rate', "pass"),
    "temperature is missing": ("temperature * scores", "scores"),
    "softmax is taken twice": ("temperature * scores,", "(temperature * scores).softmax(dim=-1),"),
    "support and query are swapped": (
        "features[n_support:] @ features[:n_support].T",
        "features[:len(labels)] @ features[len(labels):].T",
    ),
    "only the first frame": (".mean(dim=1)", "[:, 0]"),
    "no weight has moved": ("    optimizer.step()\n", ""),
    "returns None": ("    return loss.item()\n", ""),
    "after the step differs": ("clip_norm)\n", "2 * clip_norm)\n"),
    "the loss differs": ("return loss.item()", "return 2 * loss.item()"),
}


def compiled(source):
    space = {"F": F, "nn": nn, "torch": torch}
    exec(source, space)
    return space["training_step"]


def test_the_step_passes():
    judge_training_step(compiled(LINES))


@pytest.mark.parametrize("words", WRONG_STEPS)
def test_a_wrong_step_is_refused_in_its_own_words(words):
    old, new = WRONG_STEPS[words]
    assert old in LINES
    with pytest.raises(ExerciseError, match=words):
        judge_training_step(compiled(LINES.replace(old, new)))
