"""Lesson 07: the learning rate of a step, and one step of training -> whether they are the library's."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.course.exercises import ExerciseError, exercise, expect_close, refuse_mistakes
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
    late = half_cosine * (step / warmup_steps).clamp(max=1)
    flat = warm * 0.5 * (1 + torch.cos(step / n_steps))
    mistakes = {
        "the warm-up is missing: the first steps take the full rate": half_cosine,
        "the decay is missing: the rate stays at its peak after the warm-up": warm,
        "step 0 has the rate 0 and learns nothing: warm up by (step + 1) / warmup_steps": late,
        "the warm-up has no end: its factor is at most 1": half_cosine * (step + 1) / warmup_steps,
        "pi is missing in the cosine, so it hardly falls: cos(pi * step / n_steps) goes from 1 to -1": flat,
        "a rate below 0 climbs the loss: the decay is half of 1 + cos": warm * torch.cos(torch.pi * step / n_steps),
        "the peak is missing: both factors are shares of it": wanted / peak,
    }
    expect_close(shares, wanted, "rate / peak of every step", "It is warm-up times decay.", mistakes=mistakes)


MISTAKES = {  # switch of `_step` -> how that mistake is told
    "zero": "the gradients of the step before were still there: begin with optimizer.zero_grad()",
    "clip": "the gradient was not clipped: nn.utils.clip_grad_norm_ stands between backward and step",
    "rate": 'the rate was not set: every group in optimizer.param_groups takes it as group["lr"]',
    "scale": "the temperature is missing: cosines lie between -1 and 1, too close together for a softmax",
    "softmax": "the softmax is taken twice: F.cross_entropy wants scores and does it itself",
    "swap": "support and query are swapped: the first n_support clips are the support",
    "frames": "only the first frame was compared: a clip's feature is the mean over its frames",
    "move": "no weight has moved: loss.backward() fills the gradients, optimizer.step() takes the step",
}


@exercise("training_step", lesson="07")
def judge_training_step(answer: Step) -> None:
    """In this order: zero_grad of the optimiser, model.adapt(tokens, n_support), cosines of queries with support,
    F.cross_entropy of temperature times them, backward, clip_grad_norm_, the rate into each group, step.
    """
    given = (*_start(), torch.tensor([2, 0, 1, 0]))
    wanted, right_loss = _taken(_step, *given)
    found, loss = _taken(answer, *given)
    mistakes = {words: _weights(_taken(partial(_step, mistake=name), *given)[0]) for name, words in MISTAKES.items()}
    refuse_mistakes(_weights(found), _weights(wanted), mistakes, tolerance=1e-6)
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
    mistake: str | None = None,
) -> float:
    """One step as it should be, or with one of `MISTAKES`."""
    if mistake != "zero":
        optimizer.zero_grad()
    features = model.adapt(tokens, n_support)
    features = features[:, :1] if mistake == "frames" else features
    support, query = features[:n_support], features[n_support:]
    if mistake == "swap":
        query, support = features[: len(labels)], features[len(labels) :]
    scores = cosine_scores(support[:, None], query) * (1.0 if mistake == "scale" else temperature)
    loss = F.cross_entropy(scores.softmax(dim=-1) if mistake == "softmax" else scores, labels)
    loss.backward()
    if mistake != "clip":
        nn.utils.clip_grad_norm_(model.trainable_parameters(), clip_norm)
    for group in optimizer.param_groups if mistake != "rate" else ():
        group["lr"] = learning_rate
    if mistake != "move":
        optimizer.step()
    return loss.item()


def _weights(model: TaskAdapterViT) -> Tensor:
    return torch.cat([weight.flatten() for weight in model.adapter_state().values()])
