"""Lesson 07: the learning rate of a step, and one step of training -> whether they are the library's."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.course.exercises import ExerciseError, agree, exercise, expect_close
from taskadapter_lite.metrics import cosine_scores
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.training.config import TrainConfig

N_SUPPORT, N_QUERY, T = 3, 4, 2  # one shot of three classes; more queries than classes, so that a swap shows
TEMPERATURE, RATE, CLIP_NORM = 12.0, 0.5, 0.05
Rate = Callable[[int, int, float, int], float]
Step = Callable[..., float]


@exercise("rate_of_step", lesson="07")
def judge_rate_of_step(answer: Rate) -> None:
    """The peak times two factors: (step + 1) / warmup_steps, but at most 1, and half of 1 + cos(pi step / n_steps)."""
    for n_steps, peak, warmup_steps in ((100, 0.003, 20), (40, 2.0, 10)):
        recipe = TrainConfig(learning_rate=peak, warmup_steps=warmup_steps)
        wanted = torch.tensor([recipe.learning_rate_at(step, n_steps) for step in range(n_steps)]) / peak
        found = [answer(step, n_steps, peak, warmup_steps) for step in range(n_steps)]
        if any(rate is None for rate in found):
            raise ExerciseError("rate_of_step returns None: does the function end with return?")
        _expect_rates(torch.tensor([float(rate) for rate in found]) / peak, wanted, peak, warmup_steps)


def _expect_rates(shares: Tensor, wanted: Tensor, peak: float, warmup_steps: int) -> None:
    """Rates as shares of the peak."""
    n_steps = len(wanted)
    step = torch.arange(n_steps)
    half_cosine = 0.5 * (1 + torch.cos(torch.pi * step / n_steps))
    warm = ((step + 1) / warmup_steps).clamp(max=1)
    others = {
        "the warm-up is missing: the first steps take the full rate": half_cosine,
        "the decay is missing: the rate stays at its peak after the warm-up": warm,
        "step 0 has the rate 0 and learns nothing: warm up by (step + 1) / warmup_steps": half_cosine
        * (step / warmup_steps).clamp(max=1),
        "the warm-up has no end: its factor is at most 1": half_cosine * (step + 1) / warmup_steps,
        "pi is missing in the cosine, so it hardly falls: cos(pi * step / n_steps) goes from 1 to -1": warm
        * 0.5
        * (1 + torch.cos(step / n_steps)),
        "a rate below 0 climbs the loss: the decay is half of 1 + cos": warm * torch.cos(torch.pi * step / n_steps),
        "the peak is missing: both factors are shares of it": wanted / peak,
    }
    for words, other in others.items():
        if agree(shares, other):
            raise ExerciseError(words)
    expect_close(shares, wanted, "rate / peak of every step", "It is warm-up times decay.")


@exercise("training_step", lesson="07")
def judge_training_step(answer: Step) -> None:
    """In this order: zero_grad of the optimiser, model.adapt(tokens, n_support), cosines of queries with support,
    F.cross_entropy of temperature times them, backward, clip_grad_norm_, the rate into each group, step.
    """
    given = (*_start(), torch.tensor([2, 0, 1, 0]))
    wanted, right_loss = _taken(_step, *given)
    found, loss = _taken(answer, *given)
    mistakes = {
        "the gradients of the step before were still there: begin with optimizer.zero_grad()": _step_with(zero=False),
        "the gradient was not clipped: nn.utils.clip_grad_norm_ stands between backward and step": _step_with(
            clip=False
        ),
        'the rate was not set: every group in optimizer.param_groups takes it as group["lr"]': _step_with(rate=False),
        "the temperature is missing: cosines lie between -1 and 1, too close together for a softmax": _step_with(
            scale=False
        ),
        "the softmax is taken twice: F.cross_entropy wants scores and does it itself": _step_with(softmax=True),
        "support and query are swapped: the first n_support clips are the support": _step_with(swapped=True),
        "only the first frame was compared: a clip's feature is the mean over its frames": _step_with(frames=1),
        "no weight has moved: loss.backward() fills the gradients, optimizer.step() takes the step": _no_step,
    }
    for words, mistake in mistakes.items():
        if _equal(found, _taken(mistake, *given)[0]):
            raise ExerciseError(words)
    if loss is None:
        raise ExerciseError("training_step returns None: it ends with return loss.item()")
    expect_close(float(loss), right_loss, "the loss", "Cross-entropy over the queries, of temperature times cosines.")
    for name, weight in wanted.adapter_state().items():
        what = f"{name} after the step"
        expect_close(found.adapter_state()[name], weight, what, "The loss is right, the step is not.", 1e-5)


def _start() -> tuple[TaskAdapterViT, Tensor]:
    """A model whose adapters write something already, and tokens of an episode."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TaskAdapterViT(load_backbone(), depth=1, T=T)
    state = {
        name: 0.1 * torch.randn(weight.shape, generator=generator) for name, weight in model.adapter_state().items()
    }
    model.load_adapter_state(state)
    return model, torch.randn(N_SUPPORT + N_QUERY, T, 17, model.backbone.embed_dim, generator=generator)


def _taken(step: Step, start: TaskAdapterViT, tokens: Tensor, labels: Tensor) -> tuple[TaskAdapterViT, float]:
    """A copy of the model after one step, that began with gradients left over from a step before; and the loss."""
    model = deepcopy(start)
    for weight in model.trainable_parameters():
        weight.grad = torch.full_like(weight, 0.01)
    optimizer = torch.optim.SGD(model.trainable_parameters(), lr=0.01)
    loss = step(model, optimizer, tokens.clone(), N_SUPPORT, labels.clone(), RATE, TEMPERATURE, CLIP_NORM)
    return model, loss


def _step(
    model: TaskAdapterViT,
    optimizer: torch.optim.Optimizer,
    tokens: Tensor,
    n_support: int,
    labels: Tensor,
    learning_rate: float,
    temperature: float,
    clip_norm: float,
    *,
    zero: bool = True,
    clip: bool = True,
    rate: bool = True,
    scale: bool = True,
    softmax: bool = False,
    swapped: bool = False,
    frames: int | None = None,
) -> float:
    """One step as it should be; the switches each make one mistake."""
    if zero:
        optimizer.zero_grad()
    features = model.adapt(tokens, n_support)[:, :frames]
    n_first = len(labels) if swapped else n_support
    first, last = features[:n_first], features[n_first:]
    support, query = (last, first) if swapped else (first, last)
    scores = cosine_scores(support[:, None], query) * (temperature if scale else 1.0)
    loss = F.cross_entropy(scores.softmax(dim=-1) if softmax else scores, labels)
    loss.backward()
    if clip:
        nn.utils.clip_grad_norm_(model.trainable_parameters(), clip_norm)
    for group in optimizer.param_groups if rate else ():
        group["lr"] = learning_rate
    optimizer.step()
    return loss.item()


def _step_with(**mistake: Any) -> Step:
    return partial(_step, **mistake)


def _no_step(*given: object) -> float:
    return 0.0


def _equal(one: TaskAdapterViT, other: TaskAdapterViT) -> bool:
    return all(agree(weight, other.adapter_state()[name], 1e-6) for name, weight in one.adapter_state().items())
