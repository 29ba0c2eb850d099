"""What a reader writes in lesson 05: the adapter."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taskadapter_lite.course.exercises import ExerciseError, agree, exercise, expect_close, expect_shape

DIM, RATIO = 16, 0.25


@exercise("MyAdapter", lesson="05")
def check_my_adapter(answer: Any) -> None:
    """Two linear layers in __init__, self.down (D to r D) and self.up (r D to D), the second one set to zero; forward
    is up(gelu(down(z))), plus z with the inner skip."""
    if not (isinstance(answer, type) and issubclass(answer, nn.Module)):
        raise ExerciseError("hand over the class itself, a subclass of nn.Module: check('MyAdapter', MyAdapter)")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain, skipping = answer(DIM, RATIO), answer(DIM, RATIO, inner_skip=True)
        z = torch.randn(3, 7, DIM)
        _check_layers(plain)
        _check_start(plain, skipping, z)
        _check_forward(plain, skipping, z)


def _check_layers(adapter: nn.Module) -> None:
    for name in ("down", "up"):
        layer = getattr(adapter, name, None)
        if not isinstance(layer, nn.Linear):
            raise ExerciseError(f"self.{name} is {type(layer).__name__}; an nn.Linear is wanted")
    width = int(DIM * RATIO)
    down, up = adapter.get_parameter("down.weight"), adapter.get_parameter("up.weight")
    expect_shape(down, (width, DIM), "down.weight", f"ratio {RATIO} of {DIM} channels is {width}.")
    expect_shape(up, (DIM, width), "up.weight", f"from {width} channels back to {DIM}.")
    found, wanted = sum(p.numel() for p in adapter.parameters()), 2 * DIM * width + width + DIM
    if found != wanted:
        raise ExerciseError(f"it has {found} parameters, {wanted} are wanted: two matrices and two biases, no more")


def _check_start(plain: nn.Module, skipping: nn.Module, z: Tensor) -> None:
    down, up = plain.get_submodule("down"), plain.get_submodule("up")
    if not down.get_parameter("weight").any():
        raise ExerciseError("down starts at zero as well: then h = GELU(0) = 0 and neither matrix ever gets a gradient")
    for name in ("weight", "bias"):
        if up.get_parameter(name).any():
            raise ExerciseError(f"up.{name} does not start at zero, so a fresh adapter moves every token")
    start = plain(z)
    expect_shape(start, tuple(z.shape), "the output", "An adapter keeps the shape, whatever lies before the channels.")
    if agree(start, z):
        raise ExerciseError("a fresh adapter without inner skip gives z; it gives zero: add z only if self.inner_skip")
    expect_close(start, torch.zeros_like(z), "a fresh adapter's output", "W2 = 0 and b2 = 0 give zero for every z.")
    skipped = skipping(z)
    if agree(skipped, torch.zeros_like(z)):
        raise ExerciseError("with inner_skip=True a fresh adapter gives zero; it is to give z: the skip is missing")
    expect_close(skipped, z, "a fresh adapter's output with inner_skip=True", "z + 0 is z.")


def _check_forward(plain: nn.Module, skipping: nn.Module, z: Tensor) -> None:
    with torch.no_grad():
        for parameter in (*plain.parameters(), *skipping.parameters()):
            parameter.normal_(std=0.5)
        down, up = plain.get_submodule("down"), plain.get_submodule("up")
        hidden = down(z)
        wanted, mistakes = up(F.gelu(hidden)), _forward_mistakes(hidden, up)
        expect_close(plain(z), wanted, "the output of an adapter with weights", "up(gelu(down(z))).", mistakes=mistakes)
        down, up = skipping.get_submodule("down"), skipping.get_submodule("up")
        expect_close(skipping(z), z + up(F.gelu(down(z))), "the output with inner_skip=True", "z + up(gelu(down(z))).")


def _forward_mistakes(hidden: Tensor, up: nn.Module) -> dict[str, Tensor]:
    by_tanh = F.gelu(hidden, approximate="tanh")
    return {
        "the bend is missing. Without GELU two matrices are one matrix": up(hidden),
        "this is ReLU. GELU is asked for: F.gelu": up(F.relu(hidden)),
        "this is SiLU. GELU is asked for: F.gelu": up(F.silu(hidden)),
        "this is tanh. GELU is asked for: F.gelu": up(torch.tanh(hidden)),
        "this is GELU's approximation by tanh. Plain F.gelu is asked for": up(by_tanh),
        "the bend comes after up. Bend in the bottleneck: up(gelu(down(z)))": F.gelu(up(hidden)),
        "there is a second bend after up. Bend once, in the bottleneck": F.gelu(up(F.gelu(hidden))),
    }
