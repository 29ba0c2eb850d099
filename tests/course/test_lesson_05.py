"""The check of the adapter: the library's passes, each usual mistake is refused in its own words."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from taskadapter_lite.adapters import Adapter
from taskadapter_lite.course import ExerciseError
from taskadapter_lite.course.lesson_05 import check_my_adapter


def variant(bend=F.gelu, last=lambda x: x, skip=None, prepare=None, forward=None):
    class Variant(Adapter):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            if prepare:
                prepare(self)

        def forward(self, z):
            out = forward(self, z) if forward else last(self.up(bend(self.down(z))))
            return z + out if (self.inner_skip if skip is None else skip) else out

    return Variant


def fill(name, value):
    return lambda adapter: nn.init.constant_(adapter.get_parameter(name), value)


def extra(adapter):
    adapter.gate = nn.Parameter(torch.zeros(3))


class NoLayers(nn.Module):
    def __init__(self, dim, ratio, inner_skip=False):
        super().__init__()
        self.down = torch.zeros(dim, int(ratio * dim))


class TooWide(Adapter):
    def __init__(self, dim, ratio, inner_skip=False):
        super().__init__(dim, 2 * ratio, inner_skip)


WRONG = {
    "hand over the class itself": Adapter(16),
    "self.down is Tensor": NoLayers,
    "down.weight has the shape": TooWide,
    "has 151 parameters": variant(prepare=extra),
    "neither matrix ever gets a gradient": variant(prepare=fill("down.weight", 0)),
    "up.weight does not start at zero": variant(prepare=fill("up.weight", 0.1)),
    "up.bias does not start at zero": variant(prepare=fill("up.bias", 0.1)),
    "without inner skip gives z": variant(skip=True),
    "the skip is missing": variant(skip=False),
    "has the shape": variant(last=lambda x: x[..., :3]),
    "the bend is missing": variant(bend=lambda x: x),
    "this is ReLU": variant(bend=F.relu),
    "this is SiLU": variant(bend=F.silu),
    "this is tanh": variant(bend=torch.tanh),
    "approximation by tanh": variant(bend=lambda x: F.gelu(x, approximate="tanh")),
    "the bend comes after up": variant(forward=lambda self, z: F.gelu(self.up(self.down(z)))),
    "a second bend": variant(last=F.gelu),
    "of an adapter with weights differs": variant(bend=lambda x: 2 * F.gelu(x)),
}


def test_the_library_s_adapter_passes():
    check_my_adapter(Adapter)


@pytest.mark.parametrize("words, wrong", WRONG.items(), ids=WRONG)
def test_a_usual_mistake_is_named(words, wrong):
    with pytest.raises(ExerciseError, match=words):
        check_my_adapter(wrong)
