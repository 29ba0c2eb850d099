"""What one step computes, against the same worked out in the test with plain torch."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from tiny_run import ColouredClips, tiny_config, tiny_episodes, tiny_model
from torch import nn

from taskadapter_lite.training import TrainConfig, train

RATES = [0.5 * 1.0, 1.0 * 0.75, 1.0 * 0.25]  # warm-up over two steps x half a cosine over three
GOLDEN = {
    "n_steps": 3, "episodes_per_step": 2, "views": 3, "warmup_steps": 2, "log_every": 2, "validation_every": 0,
    "learning_rate": 0.02, "weight_decay": 0.1, "temperature": 8.0, "auxiliary_weight": 0.3, "clip_norm": 0.15,
    "seed": 4, "metric": "cosine",
}  # fmt: skip


def moved_model():
    """A tiny model whose adapters are not at their start, so that every one of them has a gradient."""
    model, generator = tiny_model(temporal_std=0.5), torch.Generator().manual_seed(8)
    for parameter in model.trainable_parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


class ByHand:
    """Three steps in plain torch: `features` of the model are given, everything after them is written out."""

    def __init__(self, config: TrainConfig, clips: ColouredClips, episodes) -> None:
        self.config, self.clips, self.episodes, self.model = config, clips, episodes, moved_model()
        torch.manual_seed(config.seed)
        self.classifier = nn.Linear(16, 6)
        self.log_temperature = torch.tensor(math.log(config.temperature), requires_grad=True)
        named = dict(self.model.named_parameters())
        self.fast = [named.pop("temporal"), self.log_temperature]
        self.slow = [p for p in named.values() if p.requires_grad] + list(self.classifier.parameters())
        self.moments = {p: (torch.zeros_like(p), torch.zeros_like(p)) for p in self.slow + self.fast}
        self.losses, self.accuracies, self.norms = [], [], []

    def loss(self, number: int) -> torch.Tensor:
        """Cosine to the class's clip, times the temperature; plus the classifier's loss on every clip."""
        episode = self.episodes[number]
        views = np.random.default_rng((self.config.seed, number, 1)).integers(3, size=len(episode.clips))
        pixels = [self.clips.read(int(i), int(view)) for i, view in zip(episode.clips, views, strict=True)]
        features = self.model(torch.stack(pixels), 3).mean(1)  # (9, D): three support clips, six queries
        unit = features / features.norm(dim=-1, keepdim=True)
        logits = self.log_temperature.exp() * unit[3:] @ unit[:3].T
        logs = logits.log_softmax(-1)
        loss = -sum(logs[q, label] for q, label in enumerate(episode.query_labels)) / 6
        guesses = self.classifier(features).log_softmax(-1)
        wrong = -sum(guesses[b, self.clips.labels[int(i)]] for b, i in enumerate(episode.clips)) / 9
        self.losses.append((loss + self.config.auxiliary_weight * wrong).item())
        self.accuracies.append((logits.argmax(-1) == episode.query_labels).float().mean().item())
        return loss + self.config.auxiliary_weight * wrong

    def step(self, number: int) -> None:
        mean = (self.loss(2 * number) + self.loss(2 * number + 1)) / 2
        parameters = self.slow + self.fast
        gradients = torch.autograd.grad(mean, parameters)
        norm = torch.cat([g.flatten() for g in gradients]).norm().item()
        self.norms.append(norm)
        gradients = [g * min(1.0, self.config.clip_norm / norm) for g in gradients]
        rate = self.config.learning_rate * RATES[number]
        for place, (p, g) in enumerate(zip(parameters, gradients, strict=True)):
            fast = place >= len(self.slow)
            decay = 0.0 if fast else self.config.weight_decay
            with torch.no_grad():
                if self.config.optimizer == "sgd":
                    self.sgd(p, g, rate, decay)
                else:
                    self.adamw(p, g, 3 * rate if fast else rate, decay, number + 1)

    def sgd(self, p, g, rate, decay):
        velocity, _ = self.moments[p]
        velocity.mul_(self.config.momentum).add_(g + decay * p)
        p -= rate * velocity

    def adamw(self, p, g, rate, decay, t):
        first, second = self.moments[p]
        first.mul_(0.9).add_(0.1 * g)
        second.mul_(0.98).add_(0.02 * g * g)
        p *= 1 - rate * decay
        p -= rate * (first / (1 - 0.9**t)) / ((second / (1 - 0.98**t)).sqrt() + 1e-8)


@pytest.mark.parametrize(
    "changes", [{}, {"optimizer": "sgd", "momentum": 0.8, "learning_rate": 0.5}], ids=["adamw", "sgd"]
)
def test_three_steps_by_hand(changes):
    """Two parameter groups, warm-up and cosine, clipping, auxiliary loss, learnt temperature, two episodes a step."""
    clips, config = ColouredClips(), TrainConfig(**GOLDEN | changes)
    episodes = tiny_episodes(clips, 6)
    by_hand, model = ByHand(config, clips, episodes), moved_model()
    start = copy.deepcopy(model.adapter_state())
    result = train(model, clips, episodes, config, progress=False)
    for number in range(3):
        by_hand.step(number)
    # one step is not clipped, another is
    assert min(by_hand.norms) < config.clip_norm < 0.5 * max(by_hand.norms), (
        "steps that are clipped, and one that isn't"
    )
    expected = by_hand.model.adapter_state()
    for name, value in model.adapter_state().items():
        moved = (expected[name] - start[name]).abs().max()
        torch.testing.assert_close(value, expected[name], rtol=0, atol=2e-3 * moved.item(), msg=name)
    first, last = result.history
    assert [first["step"], last["step"]] == [2, 3]
    assert first["loss"] == pytest.approx(sum(by_hand.losses[:4]) / 4, rel=1e-5)
    assert last["loss"] == pytest.approx(sum(by_hand.losses[4:]) / 2, rel=1e-4)
    assert first["accuracy"] == pytest.approx(sum(by_hand.accuracies[:4]) / 4)
    assert last["accuracy"] == pytest.approx(sum(by_hand.accuracies[4:]) / 2)
    assert first["learning_rate"] == pytest.approx(config.learning_rate * RATES[1])
    assert last["learning_rate"] == pytest.approx(config.learning_rate * RATES[2])
    assert last["temperature"] == pytest.approx(by_hand.log_temperature.exp().item(), rel=1e-5)
    assert last["temperature"] != pytest.approx(8.0, rel=1e-4)


@pytest.mark.parametrize("clip_norm", [0.001, 0.004, None])
def test_a_clipped_step_has_the_length_it_may_have(clip_norm):
    """SGD at rate 1: the change of everything trained is the clipped gradient."""
    clips, model = ColouredClips(), moved_model()
    config = tiny_config(
        n_steps=1, episodes_per_step=1, optimizer="sgd", learning_rate=1.0, weight_decay=0.0, warmup_steps=0,
        schedule="constant", learn_temperature=False, auxiliary_weight=0.0, clip_norm=clip_norm,
    )  # fmt: skip
    start = model.adapter_state()
    train(model, clips, tiny_episodes(clips, 1), config, progress=False)
    change = torch.cat([(value - start[name]).flatten() for name, value in model.adapter_state().items()])
    if clip_norm is None:
        assert change.norm() > 0.006
    else:
        assert change.norm().item() == pytest.approx(clip_norm, rel=1e-3)


def test_the_rate_of_a_step_is_its_own():
    """The rate is that of the step taken, not of the one before or after: in the history and in what is changed."""
    clips = ColouredClips()
    plain = dict(
        n_steps=2, episodes_per_step=1, optimizer="sgd", weight_decay=0.0, warmup_steps=2, schedule="constant",
        learn_temperature=False, auxiliary_weight=0.0, clip_norm=0.001, log_every=1, learning_rate=0.5,
    )  # fmt: skip
    states, model = [moved_model().adapter_state()], moved_model()
    result = train(
        model, clips, tiny_episodes(clips, 2), tiny_config(**plain), progress=False,
        on_log=lambda row: states.append(model.adapter_state()),
    )  # fmt: skip
    lengths = [
        torch.cat([(b[name] - a[name]).flatten() for name in a]).norm().item()
        for a, b in zip(states[:-1], states[1:], strict=True)
    ]
    assert lengths == pytest.approx([0.001 * 0.25, 0.001 * 0.5], rel=1e-2)
    assert [row["learning_rate"] for row in result.history] == pytest.approx([0.25, 0.5])
