"""The 100 action classes of Something-Sprites: 50 pairs of motion programs that no single frame can tell apart.

The two classes of a pair are one program and the same program played backwards (`kind="reversed"`), or two programs
that differ in one relation, such as in front of / behind (`kind="relation"`). Pairs are never cut apart by the split:
64 training, 12 validation and 24 test classes, as in SSv2's few-shot split. A program takes a `Stage` and returns its
things, back to front. Test pairs say what is new about them: a `"motion"` that no training class makes, or only a
`"combination"` of two motions that training classes make separately.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from taskadapter_lite.sprites.motions import Stage, Thing, ramp, there_and_back

Program = Callable[[Stage], list[Thing]]


@dataclass(frozen=True)
class Action:
    """One action class: `program` draws it, `pair` names its partner, `new` says what is new beside training."""

    name: str
    split: str
    pair: str
    kind: str
    new: str | None
    program: Program


ACTIONS: dict[str, Action] = {}


def _add(one: str, other: str, split: str, kind: str, new: str | None, programs: tuple[Program, Program]) -> None:
    for name, partner, program in ((one, other, programs[0]), (other, one, programs[1])):
        assert name not in ACTIONS
        ACTIONS[name] = Action(name, split, partner, kind, new, program)


def backwards(program: Program) -> Program:
    """The program with time reversed."""
    return lambda stage: [thing.backwards() for thing in program(stage)]


def reversed_pair(forward: str, backward: str, split: str = "train", new: str | None = None):
    """Register `program` as class `forward` and, played backwards, as class `backward`."""
    return lambda program: _add(forward, backward, split, "reversed", new, (program, backwards(program)))


def relation_pair(one: str, other: str, split: str = "train", new: str | None = None):
    """Register a program with a switch: `program(stage, True)` draws `one`, `False` `other`."""

    def register(program: Callable[[Stage, bool], list[Thing]]) -> None:
        _add(one, other, split, "relation", new, (lambda s: program(s, True), lambda s: program(s, False)))

    return register


# ---- one thing moves -------------------------------------------------------------------------------------------------


@reversed_pair("Moving something from left to right", "Moving something from right to left")
def _(s):
    return [s.glide(s.thing(), s.u, s.draw(0.6, 1.3), s.draw(-0.15, 0.15))]


@reversed_pair("Lifting something up", "Lowering something down")
def _(s):
    return [s.glide(s.thing(), s.u, s.draw(-0.15, 0.15), -s.draw(0.6, 1.3))]


@reversed_pair("Moving something up to the right", "Moving something down to the left")
def _(s):
    length = s.draw(0.5, 1.0)
    return [s.glide(s.thing(), s.u, length, -length * s.draw(0.8, 1.25))]


@reversed_pair("Moving something down to the right", "Moving something up to the left", "test", "motion")
def _(s):
    length = s.draw(0.5, 1.0)
    return [s.glide(s.thing(), s.u, length, length * s.draw(0.8, 1.25))]


@reversed_pair("Waiting and then moving something", "Moving something and then stopping")
def _(s):
    return [s.glide_anywhere(s.thing(), s.second)]


@relation_pair("Moving something away and back again", "Moving something away and leaving it there")
def _(s, back):
    return [s.glide_anywhere(s.thing(), there_and_back(s.u) if back else ramp(s.u, 0, 0.5), 0.6, 1.0)]


@relation_pair("Throwing something up and letting it fall", "Letting something fall and bounce up", "test", "motion")
def _(s, up):
    thing, height = s.thing(), s.draw(0.7, 1.1)
    s.glide(thing, 0 * s.u, 0, -height if up else height)
    thing.y = thing.y + height * (-1 if up else 1) * (1 - (2 * s.u - 1) ** 2)
    return [thing]


@relation_pair("Dropping something so that it bounces", "Dropping something so that it stays down")
def _(s, bounce):
    thing, height = s.thing(), s.draw(0.8, 1.1)
    s.glide(thing, 0 * s.u, 0, height)
    hop = s.draw(0.5, 0.75) if bounce else 0
    thing.y = thing.y + height * (s.first**2 - hop * 4 * s.second * (1 - s.second))
    return [thing]


@reversed_pair("Moving something right and then up", "Moving something down and then left")
def _(s):
    return [_corner(s, 1, -1)]


@reversed_pair("Moving something left and then up", "Moving something down and then right", "test", "combination")
def _(s):
    return [_corner(s, -1, -1)]


def _corner(s: Stage, right: int, down: int) -> Thing:
    thing, dx, dy = s.thing(), right * s.draw(0.5, 1.0), down * s.draw(0.5, 1.0)
    s.glide(thing, 0 * s.u, dx, dy)
    thing.x, thing.y = thing.x + dx * s.first, thing.y + dy * s.second
    return thing


@reversed_pair("Moving something to the right in zig-zag", "Moving something to the left in zig-zag")
def _(s):
    thing = s.glide(s.thing(), s.u, s.draw(0.8, 1.3), 0)
    thing.y = thing.y.clamp(-0.4, 0.4) + _zigzag(s)
    return [thing]


@reversed_pair("Something climbing in zig-zag", "Something falling like a leaf", "test", "motion")
def _(s):
    thing = s.glide(s.thing(), s.u, 0, -s.draw(0.8, 1.3))
    thing.x = thing.x.clamp(-0.4, 0.4) + _zigzag(s)
    return [thing]


def _zigzag(s: Stage) -> torch.Tensor:
    phase = s.draw(1.3, 2) * s.u + s.draw(0, 1)
    return s.draw(0.2, 0.35) * torch.asin(torch.sin(2 * math.pi * phase)) * (2 / math.pi)


@relation_pair("Swinging something from side to side", "Swinging something up and down")
def _(s, sideways):
    thing = s.thing()
    swing = s.draw(0.25, 0.42) * torch.sin(2 * math.pi * (s.draw(1.2, 2) * s.u + s.draw(0, 1)))
    if sideways:
        thing.x = thing.x * 0.6 + swing
    else:
        thing.y = thing.y * 0.6 + swing
    return [thing]


@reversed_pair("Moving something around clockwise", "Moving something around counterclockwise")
def _(s):
    return [_circle(s, s.thing(), *s.middle(), s.draw(0.35, 0.55))]


@reversed_pair("Something spiralling inwards", "Something spiralling outwards")
def _(s):
    return [_circle(s, s.thing(), *s.middle(0.1), s.draw(0.6, 0.7) * (1 - 0.85 * s.u), s.draws.sign())]


def _circle(s: Stage, thing: Thing, x, y, radius, sign=1.0) -> Thing:
    angle = s.draw(0, 2 * math.pi) + sign * s.draw(3, 5.5) * s.u
    thing.x, thing.y = x + radius * torch.cos(angle), y + radius * torch.sin(angle)
    return thing


@reversed_pair(
    "Throwing something over from left to right", "Throwing something over from right to left", "val", "motion"
)
def _(s):
    thing = s.glide(s.thing(), s.u, s.draw(0.8, 1.3), 0)
    thing.y = s.draw(0.1, 0.6) - s.draw(0.5, 0.8) * 4 * s.u * (1 - s.u)
    return [thing]


@reversed_pair("Something making a U-turn downwards", "Something making a U-turn upwards", "test", "motion")
def _(s):
    thing, reach, half_height = s.thing(), s.draw(0.6, 1.0), s.draw(0.25, 0.45)
    sign, angle = s.draws.sign(), math.pi * (s.u - 0.5)
    thing.x = s.draw(-0.2, 0.2) + sign * reach * (torch.cos(angle) - 0.5)
    thing.y = s.draw(-0.2, 0.2) + half_height * torch.sin(angle)
    return [thing]


# ---- one thing changes -----------------------------------------------------------------------------------------------


def _grow(s: Stage, thing: Thing, u) -> Thing:
    small, big = s.draw(0.12, 0.18), s.draw(0.34, 0.46)
    thing.size = small + (big - small) * u
    return thing


def _turn(s: Stage, thing: Thing, u, sign=None) -> Thing:
    thing.angle = thing.angle + (s.draws.sign() if sign is None else sign) * s.draw(1.6, 3.6) * u
    return thing


def _recolour(s: Stage, thing: Thing, u) -> Thing:
    thing.hue = thing.hue + s.draws.sign() * s.draw(0.3, 0.5) * u
    return thing


def _shake(s: Stage, thing: Thing, u) -> Thing:
    x, y = s.draws.direction()
    sway = s.draw(0.1, 0.16) * torch.sin(2 * math.pi * 2 * u)
    thing.x, thing.y = thing.x + x * sway, thing.y + y * sway
    return thing


@reversed_pair("Moving something towards the camera", "Moving something away from the camera")
def _(s):
    return [_grow(s, s.thing(), s.u)]


@reversed_pair("Turning something clockwise", "Turning something counterclockwise")
def _(s):
    return [_turn(s, s.thing(0.26, 0.4), s.u, 1.0)]


@reversed_pair("Something appearing", "Something disappearing")
def _(s):
    return [s.thing().copy(opacity=s.u)]


@relation_pair("Something growing and shrinking back", "Something shrinking and growing back")
def _(s, grow):
    change = there_and_back(s.u)
    return [_grow(s, s.thing(), change if grow else 1 - change)]


@relation_pair("Turning something and turning it back", "Turning something and leaving it turned")
def _(s, back):
    return [_turn(s, s.thing(0.26, 0.4), there_and_back(s.u) if back else s.first)]


@reversed_pair("Squashing something flat", "Letting something flat spring up")
def _(s):
    thing = s.thing(0.28, 0.4)
    thing.flatness = 1 + s.draw(1.6, 2.6) * s.u
    thing.angle = s.draw(-0.3, 0.3) + math.pi * s.draws.integer(2)
    return [thing]


@relation_pair(
    "Something vanishing and coming back in its place", "Something vanishing and coming back elsewhere", "val", "motion"
)
def _(s, same):
    thing = s.thing()
    thing.opacity = (there_and_back(s.u) * -2.5 + 1.6).clamp(0, 1)
    if not same:
        s.glide_anywhere(thing, (s.u > 0.5).float(), 0.6, 1.0)
    return [thing]


# ---- two phases ------------------------------------------------------------------------------------------------------


@reversed_pair("Turning something and then moving it", "Moving something and then turning it")
def _(s):
    return [_turn(s, s.glide_anywhere(s.thing(0.24, 0.36), s.second), s.first)]


@reversed_pair("Moving something and then making it grow", "Making something shrink and then moving it")
def _(s):
    return [_grow(s, s.glide_anywhere(s.thing(), s.first), s.second)]


@reversed_pair(
    "Making something grow and then moving it", "Moving something and then making it shrink", "val", "combination"
)
def _(s):
    return [_grow(s, s.glide_anywhere(s.thing(), s.second), s.first)]


@reversed_pair("Something appearing and then moving", "Something moving and then disappearing")
def _(s):
    return [s.glide_anywhere(s.thing(), s.second).copy(opacity=s.first)]


@reversed_pair("Something turning and then disappearing", "Something appearing and then turning")
def _(s):
    return [_turn(s, s.thing(0.26, 0.4), s.first).copy(opacity=1 - s.second)]


@reversed_pair("Something growing and then disappearing", "Something appearing and then shrinking")
def _(s):
    return [_grow(s, s.thing(), s.first).copy(opacity=1 - s.second)]


@reversed_pair("Shaking something and then moving it", "Moving something and then shaking it")
def _(s):
    return [_shake(s, s.glide_anywhere(s.thing(), s.second), s.first)]


@reversed_pair("Something changing colour and then growing", "Something shrinking and then changing colour")
def _(s):
    return [_recolour(s, _grow(s, s.thing(), s.second), s.first)]


@reversed_pair(
    "Something changing colour and then turning", "Something turning and then changing colour", "val", "combination"
)
def _(s):
    return [_recolour(s, _turn(s, s.thing(0.26, 0.4), s.second), s.first)]


@reversed_pair(
    "Something changing colour and then moving", "Something moving and then changing colour", "test", "combination"
)
def _(s):
    return [_recolour(s, s.glide_anywhere(s.thing(), s.second), s.first)]


@reversed_pair("Something turning and then shrinking", "Something growing and then turning", "test", "combination")
def _(s):
    return [_turn(s, _grow(s, s.thing(), 1 - s.second), s.first)]


# ---- two things and more ---------------------------------------------------------------------------------------------


def _two(s: Stage, reach: float = 0.2) -> tuple[Thing, Thing]:
    one, other = s.thing(), s.thing()
    one.x, one.y = s.middle(reach)
    other.x, other.y = one.x, one.y
    return one, other


def _shift(thing: Thing, x, y, by) -> Thing:
    thing.x, thing.y = thing.x + x * by, thing.y + y * by
    return thing


@reversed_pair("Two things moving towards each other", "Two things moving away from each other")
def _(s):
    (one, other), (x, y) = _two(s), s.draws.direction()
    touch, far = (one.size + other.size) / 2, s.draw(0.55, 0.72)
    half = far + (touch - far) * s.u
    return [_shift(one, x, y, -half), _shift(other, x, y, half)]


@reversed_pair("Moving something closer to something", "Moving something further from something", "test", "motion")
def _(s):
    (one, other), (x, y) = _two(s, 0.1), s.draws.direction()
    touch, far = one.size + other.size, s.draw(1.05, 1.3)
    side = s.draw(0.45, 0.6)
    return [_shift(other, x, y, side), _shift(one, x, y, side - far + (far - touch) * s.u)]


@relation_pair("Passing something in front of something", "Passing something behind something")
def _(s, front):
    (one, other), (x, y) = _two(s), s.draws.direction()
    one.size, other.size = s.draw(0.2, 0.28), s.draw(0.3, 0.38)
    _shift(one, x, y, s.draw(0.55, 0.75) * (2 * s.u - 1))
    return [other, one] if front else [one, other]


@relation_pair("Pushing something so that it moves", "Pushing something so that it stays")
def _(s, moves):
    (one, other), (x, y) = _two(s), s.draws.direction()
    touch, far, way = (one.size + other.size) * 0.85, s.draw(0.75, 0.95), s.draw(0.45, 0.65)
    if moves:
        _shift(other, x, y, way * s.second)
    return [_shift(one, x, y, -far + (far - touch) * s.first), other]


@relation_pair("Hitting something so that it vanishes", "Hitting something with no effect", "test", "motion")
def _(s, vanishes):
    (one, other), (x, y) = _two(s), s.draws.direction()
    touch, far = (one.size + other.size) * 0.85, s.draw(0.75, 0.95)
    way = s.first - s.second  # it comes and goes back, in both classes
    if vanishes:
        other.opacity = 1 - ramp(s.second, 0.05, 0.35)
    return [_shift(one, x, y, -far + (far - touch) * way), other]


@relation_pair("Moving two things together", "Moving one of two things and leaving the other")
def _(s, together):
    one, other = s.thing(0.18, 0.28), s.thing(0.18, 0.28)
    x, y = s.draws.direction()
    s.glide_anywhere(one, s.u, 0.6, 1.0)
    gap = one.size + other.size
    other.x, other.y = one.x + x * gap, one.y + y * gap
    if not together:
        other.x, other.y = other.x[:, :1].expand_as(one.x), other.y[:, :1].expand_as(one.y)
    return [other, one]


@relation_pair("Two things changing places", "Two things meeting and going back")
def _(s, swap):
    (one, other), (x, y) = _two(s), s.draws.direction()
    half, bow = s.draw(0.45, 0.65), 0.2 * torch.sin(math.pi * s.u)
    along = half * ((1 - 2 * s.u) if swap else 1 - 0.85 * there_and_back(s.u))
    _shift(_shift(one, x, y, -along), -y, x, bow)
    return [one, _shift(_shift(other, x, y, along), -y, x, -bow)]


@reversed_pair(
    "Something circling something clockwise", "Something circling something counterclockwise", "test", "motion"
)
def _(s):
    one, other = _two(s)
    one.size = s.draw(0.16, 0.22)
    return [other, _circle(s, one, other.x, other.y, s.draw(0.48, 0.62))]


@reversed_pair("Covering something with something", "Uncovering something")
def _(s):
    (one, cover), (x, y) = _two(s), s.draws.direction()
    one.size, cover.size = s.draw(0.16, 0.22), s.draw(0.4, 0.48)
    return [one, _shift(cover, x, y, s.draw(0.75, 0.95) * (1 - s.u))]


@reversed_pair("Opening two doors to show something", "Closing two doors to hide something", "val", "motion")
def _(s):
    (one, left), (x, y) = _two(s), s.draws.direction()
    one.size, left.size = s.draw(0.16, 0.22), s.draw(0.34, 0.4)
    right, way = left.copy(), 0.15 + s.draw(0.4, 0.55) * s.u
    return [one, _shift(left, x, y, -way), _shift(right, x, y, way)]


@reversed_pair("Dropping something onto something", "Lifting something off something", "val", "motion")
def _(s):
    top, base = _two(s, 0.5)
    base.y = s.draw(0.35, 0.6)
    landing, start = base.y - (top.size + base.size) * 0.85, -s.draw(0.6, 0.8)
    top.y = start + (landing - start) * s.u
    return [base, top]


@reversed_pair("Something splitting into two", "Two things becoming one", "test", "motion")
def _(s):
    (one, _), (x, y) = _two(s), s.draws.direction()
    half = s.draw(0.4, 0.6) * ramp(s.u, 0.2, 1)
    twin = one.copy()
    return [_shift(one, x, y, -half), _shift(twin, x, y, half)]


@reversed_pair("Gathering three things", "Scattering three things", "test", "motion")
def _(s):
    x, y = s.middle(0.1)
    angle, things = s.draw(0, 2 * math.pi), []
    for i in range(3):
        thing = s.thing(0.15, 0.22)
        turn = angle + 2 * math.pi * i / 3 + s.draw(-0.3, 0.3)
        radius = 0.17 + s.draw(0.35, 0.5) * (1 - s.u)
        thing.x, thing.y = x + radius * torch.cos(turn), y + radius * torch.sin(turn)
        things.append(thing)
    return things


@reversed_pair("Pouring something into something", "Something rising out of something into another")
def _(s):
    top, bottom = _two(s, 0.45)
    top.y, bottom.y = -s.draw(0.55, 0.7), s.draw(0.55, 0.7)
    drops = []
    for i in range(3):
        fall = ramp(s.u, 0.25 * i, 0.25 * i + 0.5)
        drop = s.thing(0.08, 0.11)
        drop.x, drop.y = top.x + s.draw(-0.08, 0.08), top.y + (bottom.y - top.y) * fall
        drops.append(drop.copy(hue=top.hue))
    return [*drops, top, bottom]


@relation_pair("Squeezing something between two things", "Moving two things past something")
def _(s, squeeze):
    (one, left), (x, y) = _two(s), s.draws.direction()
    one.size, left.size = s.draw(0.16, 0.22), s.draw(0.18, 0.24)
    right, far = left.copy(hue=left.hue + 0.5), s.draw(0.6, 0.72)
    if squeeze:  # both close in from their own side
        half = far + (one.size + left.size - far) * s.u
        return [one, _shift(left, x, y, -half), _shift(right, x, y, half)]
    along, aside = far * (2 * s.u - 1), one.size + left.size
    _shift(_shift(left, x, y, along), -y, x, aside)
    return [one, left, _shift(_shift(right, x, y, along), -y, x, -aside)]
