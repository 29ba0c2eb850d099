"""Random draws and moving things -> the tracks of a clip: the small language in which every action is written."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

N_SHAPES, N_TEXTURES, N_COLOURS = 8, 4, 8
MARGIN = 0.72  # places stay within [-MARGIN, MARGIN]
_GOLDEN = -7046029254386353131  # 2**64 / golden ratio, as a signed 64-bit integer


def mix(z: Tensor) -> Tensor:
    """Scramble 64-bit integers so that neighbouring inputs give unrelated outputs (splitmix64: Steele et al., 2014)."""
    z = (z ^ ((z >> 30) & ((1 << 34) - 1))) * -4658895280553007687
    z = (z ^ ((z >> 27) & ((1 << 37) - 1))) * -7723592293110705685
    return z ^ ((z >> 31) & ((1 << 33) - 1))


class Draws:
    """Random numbers by counting, not by state: draw j of a clip depends on (its key, j) alone, on any device.

    Args:
        keys: int64 (B,), one a clip.
    """

    def __init__(self, keys: Tensor):
        self.keys, self.count = keys, 0

    def uniform(self, low: float | Tensor = 0.0, high: float | Tensor = 1.0, n: int = 1) -> Tensor:
        """Uniform draws in [low, high), float64 (B, n): rounding stays far below a grey level, whatever the batch."""
        slots = torch.arange(self.count + 1, self.count + n + 1, device=self.keys.device)
        self.count += n
        bits = (mix(self.keys[:, None] + slots * _GOLDEN) >> 40) & 0xFFFFFF
        return low + (high - low) * (bits.double() / 0x1000000)

    def integer(self, high: int) -> Tensor:
        """Integers in 0..high-1, int64 (B, 1)."""
        return (self.uniform() * high).long().clamp_(max=high - 1)

    def sign(self) -> Tensor:
        """-1 or 1, float (B, 1)."""
        return self.integer(2) * 2.0 - 1

    def direction(self) -> tuple[Tensor, Tensor]:
        """A unit vector (x, y), two float (B, 1)."""
        angle = self.uniform(0, 2 * math.pi)
        return torch.cos(angle), torch.sin(angle)


@dataclass
class Thing:
    """One sprite of B clips. Every track is (B, 1), constant, or (B, F), one value a frame.

    Positions are in half image sizes from the middle: x to the right, y down, the image is [-1, 1]. `size` is half
    the extent in that unit, `angle` in radians (clockwise as seen), `opacity` in [0, 1], `hue` in turns;
    `flatness` f divides the height of the thing by f.
    """

    shape: Tensor
    texture: Tensor
    saturation: Tensor
    value: Tensor
    hue: Tensor
    x: Tensor
    y: Tensor
    size: Tensor
    angle: Tensor
    opacity: Tensor
    flatness: Tensor

    def backwards(self) -> Thing:
        """The same thing with time reversed."""
        return Thing(**{f.name: getattr(self, f.name).flip(1) for f in fields(self)})

    def copy(self, **changes: Tensor) -> Thing:
        """A second thing that looks the same, with some tracks replaced."""
        return replace(self, **changes)


def ramp(u: Tensor, start: float | Tensor, end: float | Tensor) -> Tensor:
    """0 before `start`, 1 after `end`, linear between."""
    return ((u - start) / (end - start)).clamp(0, 1)


def there_and_back(u: Tensor) -> Tensor:
    """0 at both ends, 1 in the middle."""
    return 1 - (2 * u - 1).abs()


class Stage:
    """What an action is told: when it is (`u`), and where to draw looks and places from.

    Args:
        draws: the clips' random numbers.
        n_frames: F; frame times are i / (F - 1).
        looks: "hue", "shape" and "texture" of the first thing, (B, 1) each, instead of drawn ones; the draws after it
            stay what they are.

    Attributes:
        u: progress of the action, (B, F) in [0, 1]; starts late, ends early and eases at random.
        first, second: progress of its first and its second half.
    """

    def __init__(self, draws: Draws, n_frames: int, looks: dict[str, Tensor] | None = None):
        self.draws, self._looks = draws, looks
        time = torch.linspace(0, 1, n_frames, dtype=torch.float64, device=draws.keys.device)
        start, end = draws.uniform(0, 0.15), draws.uniform(0.85, 1)
        self.u = ramp(time, start, end) ** torch.exp(draws.uniform(-0.17, 0.17))
        turn = draws.uniform(0.42, 0.58)
        self.first, self.second = ramp(self.u, 0, turn), ramp(self.u, turn, 1)

    def draw(self, low: float, high: float) -> Tensor:
        """Uniform, (B, 1)."""
        return self.draws.uniform(low, high)

    def thing(self, low: float = 0.2, high: float = 0.34) -> Thing:
        """A thing of random looks at a random place: nothing here knows the class. `low`, `high` bound its size."""
        d = self.draws
        hue = (d.integer(N_COLOURS) + d.uniform(-0.3, 0.3)) / N_COLOURS
        place = d.uniform(-0.6, 0.6, n=2)
        one = torch.ones_like(hue)
        thing = Thing(
            shape=d.integer(N_SHAPES),
            texture=d.integer(N_TEXTURES),
            saturation=d.uniform(0.65, 1),
            value=d.uniform(0.7, 1),
            hue=hue,
            x=place[:, :1],
            y=place[:, 1:],
            size=d.uniform(low, high),
            angle=d.uniform(0, 2 * math.pi),
            opacity=one,
            flatness=one,
        )
        looks, self._looks = self._looks or {}, None
        return thing.copy(**looks)

    def glide(self, thing: Thing, u: Tensor, dx: float | Tensor, dy: float | Tensor) -> Thing:
        """Move `thing` by (dx, dy) while `u` goes from 0 to 1, starting where the whole way fits the image."""
        thing.x, thing.y = self._start(dx) + dx * u, self._start(dy) + dy * u
        return thing

    def glide_anywhere(self, thing: Thing, u: Tensor, low: float = 0.6, high: float = 1.1) -> Thing:
        """Move `thing` in a random direction."""
        x, y = self.draws.direction()
        length = self.draw(low, high)
        return self.glide(thing, u, x * length, y * length)

    def _start(self, d: float | Tensor) -> Tensor:
        d = torch.as_tensor(d, dtype=torch.float64, device=self.u.device)
        low, high = torch.maximum(-d, torch.zeros_like(d)), torch.minimum(-d, torch.zeros_like(d))
        return self.draws.uniform(low - MARGIN, high + MARGIN)

    def middle(self, reach: float = 0.2) -> tuple[Tensor, Tensor]:
        """A place near the middle of the image."""
        place = self.draws.uniform(-reach, reach, n=2)
        return place[:, :1], place[:, 1:]
