"""Something-Sprites: action names and clip numbers -> rendered clips, and still images for pre-training."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

from taskadapter_lite.sprites.actions import ACTIONS
from taskadapter_lite.sprites.motions import _GOLDEN, Draws, Stage, Thing, mix

SHAPES = ("arrow", "crescent", "half disc", "L", "T", "drop", "notched disc", "wedge")
TEXTURES = ("plain", "stripes", "checks", "shaded")
LEVELS = ("plain", "cluttered")
N_THINGS = 4  # the most things in a still image
_TILE, _REACH = 64, 1.3  # atlas tiles of 64 x 64 cover [-1.3, 1.3] of a thing's own coordinates
_SCENE = 0.3  # extent of a scene that is set at a place, over that of a whole one
_CHUNK = 32  # clips rendered at once: the working set stays in the cache


def partners() -> dict[str, str]:
    """Class name -> name of its reversed or related partner."""
    return {name: action.pair for name, action in ACTIONS.items()}


def render_clips(
    actions: str | Sequence[str],
    indices: Sequence[int] | Tensor,
    seed: int = 0,
    n_frames: int = 16,
    size: int = 64,
    level: str = "plain",
    device: str | torch.device = "cpu",
    looks: dict[str, Tensor] | None = None,
    grounds: Tensor | None = None,
) -> Tensor:
    """Render clips of Something-Sprites.

    Clip i of a class depends on (seed, class name, i) alone; devices agree up to rounding.

    Args:
        actions: one class name, or one a clip (keys of `ACTIONS`).
        indices: clip numbers, B of them, 0 or more.
        seed: a non-negative integer.
        n_frames: F, at least 2.
        size: height and width in pixels.
        level: "plain", or "cluttered": one to three things that stand still, an occluder, a shakier camera.
        device: where to render.
        looks: any of "hue" (B,) in turns, "shape" and "texture" (B,) int64 numbers in `SHAPES` and `TEXTURES`: what
            the first thing of each clip looks like, instead of drawn at random; and "x" and "y" (B,), both or neither,
            -1 to 1: the place around which everything moves, its ways cut to 0.3 of their length.
        grounds: uint8 (B, 3, size, size), what lies behind each clip, instead of a pale gradient.

    Returns:
        uint8 (B, F, 3, size, size), RGB.

    Raises:
        ValueError: an unknown class or level, or lists of different lengths.
    """
    indices = torch.as_tensor(indices, dtype=torch.int64, device=device).reshape(-1)
    names = [actions] * len(indices) if isinstance(actions, str) else list(actions)
    if len(names) != len(indices):
        raise ValueError(f"{len(names)} actions for {len(indices)} clips: give one action, or one a clip")
    if unknown := sorted(set(names) - set(ACTIONS)):
        raise ValueError(f"no action is called {unknown[0]!r}: see taskadapter_lite.sprites.ACTIONS for the 100 names")
    if level not in LEVELS:
        raise ValueError(f"level is {level!r}, but must be one of {', '.join(LEVELS)}")
    if n_frames < 2:
        raise ValueError(f"n_frames is {n_frames}, but a motion needs at least 2 frames")
    clips = torch.empty(len(indices), n_frames, 3, size, size, dtype=torch.uint8, device=device)
    for name in dict.fromkeys(names):
        rows = torch.tensor([i for i, n in enumerate(names) if n == name], device=device)
        for chunk in rows.split(_CHUNK):
            keys = clip_keys(name, indices[chunk], seed)
            own = {key: values[chunk, None].to(device) for key, values in (looks or {}).items()}
            ground = None if grounds is None else grounds[chunk].to(device)
            clips[chunk] = _render(name, keys, n_frames, size, level, own, ground)
    return clips


def clip_keys(name: str, indices: Tensor, seed: int) -> Tensor:
    """The random key of clip (seed, class name, index): int64 (B,)."""
    class_key = mix(torch.tensor(zlib.crc32(name.encode()) + (seed << 32), device=indices.device))
    return mix(class_key + indices * _GOLDEN)


def _render(
    name: str, keys: Tensor, n_frames: int, size: int, level: str, looks: dict[str, Tensor], ground: Tensor | None
) -> Tensor:
    draws = Draws(keys)
    cluttered = level == "cluttered"
    drawn = _background(draws, size)  # always, so that what is drawn after it stays what it is
    canvas = (drawn if ground is None else ground.flatten(2)[:, None]).expand(-1, n_frames, -1, -1).clone()
    step = (0.03 if cluttered else 0.01) * (draws.uniform(-1, 1, n_frames) + draws.uniform(-1, 1, n_frames))
    shake_x, shake_y = step.cumsum(1), (draws.uniform(-1, 1, n_frames) * step.abs()).cumsum(1)
    stage = Stage(draws, n_frames, looks={key: looks[key] for key in looks.keys() - {"x", "y"}})
    things = ACTIONS[name].program(stage)
    if "x" in looks:
        things = [t.copy(x=looks["x"] + _SCENE * t.x, y=looks["y"] + _SCENE * t.y) for t in things]
    if cluttered:
        things = [*_bystanders(stage), *things, _occluder(stage)]
    for thing in things:
        moved = thing.copy(x=thing.x + shake_x, y=thing.y + shake_y)
        _paint(canvas, moved, size)
    return canvas.view(len(keys), n_frames, 3, size, size)


def _bystanders(stage: Stage) -> list[Thing]:
    """One to three small things that do nothing."""
    things, n = [], stage.draws.integer(3)
    for i in range(3):
        thing = stage.thing(0.1, 0.18)
        things.append(thing.copy(x=thing.x * 1.4, y=thing.y * 1.4, opacity=(i <= n).float()))
    return things


def _occluder(stage: Stage) -> Thing:
    """A narrow post in front of the scene, in half of the clips."""
    post = stage.thing(0.9, 0.9)
    level = torch.zeros_like(post.angle)
    return post.copy(
        shape=torch.full_like(post.shape, SHAPES.index("half disc")),
        angle=level + math.pi / 2,
        flatness=level + 7,
        y=level,
        opacity=stage.draws.integer(2).float(),
    )


def render_images(
    n: int, seed: int = 0, size: int = 64, device: str | torch.device = "cpu"
) -> tuple[Tensor, dict[str, Tensor]]:
    """Still images of one to four things, with labels: what the backbone is pre-trained on. No label speaks of motion.

    Args:
        n: number of images, B.
        seed: a non-negative integer; image i depends on (seed, i) alone.
        size: height and width in pixels.
        device: where to render.

    Returns:
        images: uint8 (B, 3, size, size), RGB.
        labels: each (B, 4), one a thing, the main thing (the largest, in front) first: `shape`, `texture`,
            `colour` (int64 class numbers), `x`, `y` (-1 to 1, x to the right, y down), `size` (half extent in
            half image sizes), `angle` (radians), `opacity`, and `present` (bool; False rows are not in the
            image); and `count`, int64 (B,), 1 to 4.
    """
    images, labels = [], []
    for indices in torch.arange(n, device=device).split(256):
        draws = Draws(clip_keys("still image", indices, seed))
        stage = Stage(draws, 2)
        count = draws.integer(N_THINGS) + 1
        things = [_still_thing(stage, i, count) for i in range(N_THINGS)]
        things = [things[0], *(t.copy(size=torch.minimum(t.size, 0.85 * things[0].size)) for t in things[1:])]
        canvas = _background(draws, size).clone()
        for thing in reversed(things):
            _paint(canvas, thing, size)
        images.append(canvas.view(-1, 3, size, size))
        labels.append(_labels(things, count))
    return torch.cat(images), {key: torch.cat([part[key] for part in labels]) for key in labels[0]}


def render_portraits(
    indices: Sequence[int] | Tensor, looks: dict[str, Tensor], seed: int = 0, size: int = 64
) -> Tensor:
    """One large thing near the middle of a grey ground: the plainest picture of a look.

    Args:
        indices: picture numbers, B of them; place, size and angle depend on (seed, number) alone.
        looks: "hue" (B,) in turns, "shape" and "texture" (B,) int64 numbers in `SHAPES` and `TEXTURES`.
        seed: a non-negative integer.
        size: height and width in pixels.

    Returns:
        uint8 (B, 3, size, size), RGB.
    """
    indices = torch.as_tensor(indices, dtype=torch.int64)
    draws = Draws(clip_keys("portrait", indices, seed))
    own = {key: values[:, None] for key, values in looks.items()}
    x, y, angle = (draws.uniform(-bound, bound) for bound in (0.1, 0.1, 0.3))
    thing = Stage(draws, 2, looks=own).thing(0.45, 0.6)
    canvas = torch.full((len(indices), 1, 3, size * size), 200, dtype=torch.uint8)
    _paint(canvas, thing.copy(x=x, y=y, angle=angle), size)
    return canvas.view(-1, 3, size, size)


def _still_thing(stage: Stage, i: int, count: Tensor) -> Thing:
    d = stage.draws
    size = d.uniform(0.18, 0.46) if i == 0 else d.uniform(0.08, 0.32)
    thing = stage.thing().copy(size=size, x=d.uniform(-0.85, 0.85), y=d.uniform(-0.85, 0.85))
    faded, flat = d.uniform(-2.5, 1), d.uniform(-3, 1)  # most things are opaque and not flattened
    opacity = torch.where(faded > 0, 0.3 + 0.7 * faded, 1.0) * (i < count)
    return thing.copy(opacity=opacity, flatness=torch.where(flat > 0, 1 + 2 * flat, 1.0))


def _labels(things: list[Thing], count: Tensor) -> dict[str, Tensor]:
    def column(name: str) -> Tensor:
        return torch.cat([getattr(thing, name) for thing in things], 1)

    labels = {name: column(name) for name in ("shape", "texture", "x", "y", "size", "angle", "opacity")}
    labels["colour"] = (column("hue") * 8).round().long() % 8
    labels["present"] = labels["opacity"] > 0
    labels = {key: value.float() if value.is_floating_point() else value for key, value in labels.items()}
    return labels | {"count": count[:, 0]}


def _background(draws: Draws, size: int) -> Tensor:
    """A pale two-colour gradient with grain: uint8 (B, 1, 3, size * size)."""
    axis = torch.linspace(-1, 1, size, dtype=torch.float64, device=draws.keys.device)
    x, y = draws.direction()
    blend = 0.5 + 0.35 * ((x * axis)[:, None, :] + (y * axis)[:, :, None])  # (B, size, size)
    colours = [_rgb(draws.uniform(), draws.uniform(0, 0.35), draws.uniform(0.15, 0.9)) for _ in range(2)]
    one, other = (c[:, 0, :, None, None].float() for c in colours)
    blend = blend[:, None].float()
    image = one * blend + other * (1 - blend)
    grain = mix(draws.keys[:, None] + torch.arange(size * size, device=draws.keys.device) * _GOLDEN) & 0xFF
    image = image.flatten(2) + (grain.float()[:, None] / 255 - 0.5) * 0.06
    return (image.clamp(0, 1) * 255).to(torch.uint8)[:, None]


def _paint(canvas: Tensor, thing: Thing, size: int) -> None:
    """Paint a thing onto canvas, uint8 (B, F, 3, size * size), in a window just large enough for it."""
    B, F, _, _ = canvas.shape
    atlas_distance, atlas_shade = _atlas(canvas.device)
    window = min(size, math.ceil(float(thing.size.max()) * 1.35 * size) + 2)

    def track(values: Tensor) -> Tensor:
        return torch.broadcast_to(values, (B, F)).float()

    centre_x, centre_y = track((thing.x + 1) * (size / 2)), track((thing.y + 1) * (size / 2))
    left = (centre_x - window / 2).round().clamp(0, size - window)
    top = (centre_y - window / 2).round().clamp(0, size - window)
    steps = torch.arange(window, device=canvas.device)
    unit = track(2 / size / thing.size)[..., None]  # pixels to the thing's own coordinates
    dx = (left[..., None] + steps + 0.5 - centre_x[..., None]) * unit
    dy = (top[..., None] + steps + 0.5 - centre_y[..., None]) * unit
    cos, sin = track(torch.cos(thing.angle))[..., None], track(torch.sin(thing.angle))[..., None]
    # own coordinates of each pixel, (B, F, window, window), in atlas cells
    scale, flat = _TILE / (2 * _REACH), track(thing.flatness)[..., None] * _TILE / (2 * _REACH)
    own_x = (cos * dx * scale)[..., None, :] + (sin * dy * scale + _TILE / 2)[..., :, None]
    own_y = (-sin * dx * flat)[..., None, :] + (cos * dy * flat + _TILE / 2)[..., :, None]
    cell = own_y.clamp_(0, _TILE - 1).long() * _TILE + own_x.clamp_(0, _TILE - 1).long()
    distance = atlas_distance.take(cell + thing.shape[..., None, None] * _TILE**2)
    cover = (0.5 - distance * track(thing.size * (size / 2))[..., None, None]).clamp_(0, 1)
    cover = cover.mul_(track(thing.opacity)[..., None, None]).flatten(2)[:, :, None]
    shade = atlas_shade.take(cell + thing.texture[..., None, None] * _TILE**2).flatten(2)[:, :, None]
    colour = _rgb(thing.hue, thing.saturation, thing.value).expand(B, F, 3).float()[..., None] * 255
    place = (top.long()[..., None] + steps)[..., None] * size + (left.long()[..., None] + steps)[..., None, :]
    place = place.flatten(2)[:, :, None].expand(-1, -1, 3, -1)
    below = canvas.gather(3, place).float()
    canvas.scatter_(3, place, below.add_(cover * (colour * shade - below)).to(torch.uint8))


def _rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Hue (B, F) in turns, saturation and value (B, 1) in [0, 1] -> RGB (B, F, 3) in [0, 1]."""
    k = (torch.tensor([5.0, 3.0, 1.0], dtype=torch.float64, device=hue.device) + hue[..., None] * 6) % 6
    ramp = torch.minimum(k, 4 - k).clamp(0, 1)
    return value[..., None] * (1 - saturation[..., None] * ramp)


_ATLASES: dict[torch.device, tuple[Tensor, Tensor]] = {}


def _atlas(device: torch.device) -> tuple[Tensor, Tensor]:
    """Signed distances of all shapes and brightness of all textures, drawn once a device: (8, 64, 64), (4, 64, 64)."""
    if device not in _ATLASES:
        axis = (torch.arange(_TILE) + 0.5) * (2 * _REACH / _TILE) - _REACH
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        distances = torch.stack([_distance(shape, x, y) for shape in SHAPES])
        distances[:, torch.maximum(x.abs(), y.abs()) > _REACH * (1 - 1.5 / _TILE)] = 1.0  # beyond the edge is outside
        stripes = torch.where(torch.sin(7 * x) > 0, 1.0, 0.45)
        checks = torch.where(torch.sin(5.5 * x) * torch.sin(5.5 * y) > 0, 1.0, 0.45)
        shades = torch.stack([torch.ones_like(x), stripes, checks, (0.65 - 0.55 * y).clamp(0.25, 1)])
        _ATLASES[device] = distances.to(device), shades.to(device)
    return _ATLASES[device]


def _box(x: Tensor, y: Tensor, left: float, right: float, top: float, bottom: float) -> Tensor:
    sides_x = (x - (left + right) / 2).abs() - (right - left) / 2
    sides_y = (y - (top + bottom) / 2).abs() - (bottom - top) / 2
    return torch.maximum(sides_x, sides_y)


def _distance(shape: str, x: Tensor, y: Tensor) -> Tensor:
    """Signed distance (negative inside) of a shape of half extent about 1; every shape shows its orientation."""
    r = torch.hypot(x, y)
    if shape == "arrow":
        head = torch.maximum(0.77 * x.abs() - 0.64 * (y + 1.0), y + 0.05)
        return torch.minimum(head, _box(x, y, -0.3, 0.3, -0.1, 0.95))
    if shape == "crescent":
        return torch.maximum(r - 1, 0.85 - torch.hypot(x - 0.6, y))
    if shape == "half disc":
        return torch.maximum(torch.hypot(x, y + 0.4) - 1.1, -(y + 0.4))
    if shape == "L":
        return torch.minimum(_box(x, y, -0.7, -0.1, -0.95, 0.95), _box(x, y, -0.7, 0.8, 0.4, 0.95))
    if shape == "T":
        return torch.minimum(_box(x, y, -0.9, 0.9, -0.95, -0.4), _box(x, y, -0.28, 0.28, -0.95, 0.95))
    if shape == "drop":
        point = torch.maximum(0.9 * x.abs() - 0.43 * (y + 1.05), y - 0.1)
        return torch.minimum(torch.hypot(x, y - 0.35) - 0.62, point)
    if shape == "notched disc":
        return torch.maximum(r - 0.95, -torch.maximum(x.abs() - 0.3, y + 0.05))
    assert shape == "wedge", shape
    return torch.maximum(0.95 * x.abs() + 0.32 * (-y) - 0.42, y - 0.95).maximum(-y - 0.95)
