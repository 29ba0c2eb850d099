"""Numbers made by a formula, not drawn: the same with every version of every library."""

import math

import torch


def wave(*shape, step=0.37, start=0.0):
    """Numbers in -1..1 that look irregular, in float64."""
    return torch.sin(start + step * torch.arange(math.prod(shape), dtype=torch.float64) ** 1.5).view(shape)


def check(found, expected, tolerance=2e-6):
    torch.testing.assert_close(found.double(), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=tolerance)
