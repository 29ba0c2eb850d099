"""Something-Sprites: pairs that only order tells apart, looks that know nothing of the class, clips made again."""

import math
from collections import Counter

import pytest
import torch

from taskadapter_lite.sprites.actions import ACTIONS, backwards
from taskadapter_lite.sprites.motions import MARGIN, Draws, Stage, mix, ramp, there_and_back
from taskadapter_lite.sprites.render import (
    SHAPES,
    TEXTURES,
    clip_keys,
    partners,
    render_clips,
    render_images,
    render_portraits,
)

REVERSED = [name for name, action in ACTIONS.items() if action.kind == "reversed"]


# ---- motions ---------------------------------------------------------------------------------------------------------


def test_mix_is_splitmix64():
    """The first outputs of the published generator for seed 0: mix(golden), mix(2 golden)."""
    golden = 0x9E3779B97F4A7C15
    state = torch.tensor([golden - 2**64, (2 * golden) % 2**64])
    signed = [v - 2**64 if v >= 2**63 else v for v in (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4)]
    assert mix(state).tolist() == signed


def test_draws_are_uniform_and_depend_on_key_and_place_alone():
    keys = mix(torch.arange(20_000))
    draws = Draws(keys)
    first, second = draws.uniform(), draws.uniform(-2, 3)
    assert abs(first.mean() - 0.5) < 0.01
    assert abs(first.var() - 1 / 12) < 0.003
    assert -2 <= second.min() < -1.99
    assert 2.99 < second.max() < 3
    assert abs(torch.corrcoef(torch.cat([first, second], 1).T)[0, 1]) < 0.03
    some = Draws(keys[7:9])
    some.uniform()
    torch.testing.assert_close(some.uniform(-2, 3), second[7:9], rtol=0, atol=0)


def test_ramp_and_there_and_back_by_hand():
    u = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
    assert ramp(u, 0.25, 0.75).tolist() == [0, 0, 0.5, 1, 1]
    assert there_and_back(u).tolist() == [0, 0.5, 1, 0.5, 0]


def test_glide_stays_inside_the_image():
    stage = Stage(Draws(mix(torch.arange(500))), 16)
    thing = stage.glide(stage.thing(), stage.u, 1.3, -0.9)
    assert thing.x.abs().max() <= MARGIN + 1e-6
    assert thing.y.abs().max() <= MARGIN + 1e-6
    torch.testing.assert_close(thing.x[:, -1] - thing.x[:, 0], torch.full((500,), 1.3).double(), rtol=0, atol=1e-5)


# ---- the classes -----------------------------------------------------------------------------------------------------


def test_a_hundred_classes_in_whole_pairs():
    assert Counter(a.split for a in ACTIONS.values()) == {"train": 64, "val": 12, "test": 24}
    for name, partner in partners().items():
        assert partners()[partner] == name != partner
        assert ACTIONS[name].split == ACTIONS[partner].split
        assert ACTIONS[name].kind == ACTIONS[partner].kind


def test_unseen_classes_say_what_is_new():
    assert all((action.new is None) == (action.split == "train") for action in ACTIONS.values())
    new = Counter(a.new for a in ACTIONS.values() if a.split == "test")
    assert new["motion"] >= 2 * new["combination"]


@pytest.mark.parametrize("name", REVERSED)
def test_reversed_classes_are_each_other_backwards(name):
    """With the same random numbers, one class's tracks are the other's with time reversed."""
    keys = mix(torch.arange(8))
    things = ACTIONS[name].program(Stage(Draws(keys), 16))
    partner = backwards(ACTIONS[ACTIONS[name].pair].program)(Stage(Draws(keys), 16))
    for one, other in zip(things, partner, strict=True):
        for track in vars(one):
            assert torch.equal(getattr(one, track), getattr(other, track)), track


def test_something_changes_in_every_class():
    for name in ACTIONS:
        clips = render_clips(name, range(4), n_frames=8).float()
        change = (clips[:, 1:] - clips[:, :-1]).abs().amax((2, 3, 4))  # (4, 7): the pixel that changes most
        assert (change > 12).sum(1).min() >= 3, f"too little moves in {name!r}"


def _looks(name: str, n: int = 400) -> torch.Tensor:
    """Shape, texture, sine and cosine of the colour, size and brightness of the first thing made: (n, 6)."""
    stage = Stage(Draws(clip_keys(name, torch.arange(n), 0)), 2)
    thing = stage.thing()
    hue = 2 * math.pi * thing.hue
    columns = (thing.shape, thing.texture, torch.sin(hue), torch.cos(hue), thing.size, thing.value)
    return torch.cat([column.float() for column in columns], 1)


def test_looks_do_not_depend_on_the_class():
    """Class means of each attribute differ no more than chance: |z| over 100 classes x 6 attributes stays below 4.5."""
    looks = torch.stack([_looks(name) for name in ACTIONS])
    spread, n = looks.flatten(0, 1).std(0), looks.shape[1]
    z = (looks.mean(1) - looks.flatten(0, 1).mean(0)) / (spread / math.sqrt(n))
    assert z.abs().max() < 4.5
    assert 0.8 < z.std() < 1.2


def linear_accuracy(one: torch.Tensor, other: torch.Tensor) -> float:
    """Held-out accuracy of a two-class linear classifier (ridge regression on features (n, d)), trained on half."""
    half = len(one) // 2
    train = torch.cat([one[:half], other[:half]]).double()
    test = torch.cat([one[half:], other[half:]]).double()
    sign = torch.cat([torch.ones(half), -torch.ones(half)]).double()
    mean = train.mean(0)
    kernel = (train - mean) @ (train - mean).T
    weights = torch.linalg.solve(kernel + 0.05 * kernel.trace() / len(train) * torch.eye(len(train)), sign)
    guess = ((test - mean) @ (train - mean).T @ weights).sign()
    truth = torch.cat([torch.ones(len(one) - half), -torch.ones(len(other) - half)]).double()
    return (guess == truth).double().mean().item()


def moments(clips: torch.Tensor) -> torch.Tensor:
    """Where colour is in each frame: its mass, mean x, mean y and spread, standardised: (n, frames, 4)."""
    colour = (clips.amax(2).float() - clips.amin(2)).sub(70).clamp(min=0) + 1e-3  # backgrounds are pale
    mass, axis = colour.sum((2, 3)), torch.linspace(-1, 1, clips.shape[-1])
    x, y = (colour.sum(2) * axis).sum(-1) / mass, (colour.sum(3) * axis).sum(-1) / mass
    spread = (colour.sum(2) * axis**2).sum(-1) / mass - x**2 + (colour.sum(3) * axis**2).sum(-1) / mass - y**2
    features = torch.stack([mass.log(), x, y, spread], -1)
    return (features - features.mean((0, 1))) / features.std((0, 1))


@pytest.mark.parametrize(
    "name", ["Moving something from left to right", "Something disappearing", "Moving something closer to something"]
)
def test_order_tells_a_pair_apart_and_neither_one_frame_nor_shuffled_frames_do(name):
    n = 300
    both = moments(torch.cat([render_clips(c, range(n), size=32) for c in (name, ACTIONS[name].pair)]))
    middle, ordered = both[:, 8], both.flatten(1)
    shuffled = torch.cat([both.mean(1), both.std(1), both.amax(1), both.amin(1)], 1)  # the same in any order
    assert abs(linear_accuracy(middle[:n], middle[n:]) - 0.5) < 0.12
    assert abs(linear_accuracy(shuffled[:n], shuffled[n:]) - 0.5) < 0.12
    assert linear_accuracy(ordered[:n], ordered[n:]) > 0.8


# ---- rendering -------------------------------------------------------------------------------------------------------


def test_a_clip_depends_on_seed_class_and_number_alone():
    names = ["Lifting something up", "Something appearing", "Lifting something up"]
    mixed = render_clips(names, [3, 5, 40], seed=1)
    assert torch.equal(mixed[2], render_clips(names[0], torch.arange(38, 44), seed=1)[2])
    assert not torch.equal(mixed[2], render_clips(names[0], [40], seed=2)[0])
    assert not torch.equal(mixed[0], mixed[2])
    assert mixed.shape == (3, 16, 3, 64, 64)
    assert mixed.dtype == torch.uint8


def test_a_thing_is_painted_where_its_track_says():
    """One thing moving right: the centre of what differs from the first frame's background moves right too."""
    clips = render_clips("Moving something from left to right", range(20)).float()
    background = clips.median(1, keepdim=True).values
    mask = ((clips - background).abs().amax(2) > 50).float()  # (20, 16, 64, 64)
    column = (mask.sum(2) * torch.arange(64)).sum(-1) / mask.sum((2, 3)).clamp(min=1)
    assert (column[:, 15] - column[:, 0]).min() > 8


def test_shapes_and_textures_differ_and_fill_their_size():
    every = torch.cartesian_prod(torch.arange(len(SHAPES)), torch.arange(len(TEXTURES)))
    looks = {"hue": torch.zeros(len(every), dtype=torch.float64), "shape": every[:, 0], "texture": every[:, 1]}
    drawn = render_portraits([5] * len(every), looks).float()  # one place, size and angle for all of them
    pictures = {(SHAPES[s], TEXTURES[t]): picture for (s, t), picture in zip(every.tolist(), drawn, strict=True)}
    for shape in SHAPES:
        covered = ((pictures[shape, "plain"] - 200).abs().amax(0) > 30).float().mean()
        assert 0.08 < covered < 0.45, shape
    flat = torch.stack([p.flatten() for p in pictures.values()])
    gaps = (flat[:, None] - flat[None]).abs().mean(-1) + 1000 * torch.eye(len(flat))
    assert gaps.min() > 2


def test_cluttered_clips_hold_more():
    plain, cluttered = (
        render_clips("Lifting something up", range(40), level=level) for level in ("plain", "cluttered")
    )
    assert cluttered.float().std((3, 4)).mean() > plain.float().std((3, 4)).mean()


def test_still_images_are_labelled_as_painted():
    images, labels = render_images(64, seed=5)
    again, _ = render_images(8, seed=5)
    assert torch.equal(images[:8], again)
    assert labels["present"].sum(1).tolist() == labels["count"].tolist()
    assert set(labels["count"].tolist()) == {1, 2, 3, 4}
    biggest = torch.where(labels["present"], labels["size"], 0).argmax(1)
    assert biggest.eq(0).all(), "the main thing comes first"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("Juggling", [0]), "no action is called 'Juggling'"),
        ((["Something appearing"], [0, 1]), "1 actions for 2 clips"),
        (("Something appearing", [0], 0, 1), "n_frames is 1"),
        (("Something appearing", [0], 0, 16, 64, "wild"), "level is 'wild'"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        render_clips(*arguments)
