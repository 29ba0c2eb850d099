"""Pre-training: targets by hand, exact rotations, a short run that learns, and probes that read what is there."""

import math

import pytest
import torch

from taskadapter_lite.backbone import something_sprites_vit
from taskadapter_lite.sprites.render import SHAPES, render_images
from taskadapter_lite.studies.pretraining import (
    HELD_OUT,
    Heads,
    PretrainConfig,
    fit_classes,
    linear_probes,
    patch_targets,
    pretrain,
    quarter_turns,
    start_from_sines,
)


def labels_of(**things) -> dict[str, torch.Tensor]:
    """Labels of one image with four things, absent unless given: x, y, size lists."""
    n = len(things["x"])
    pad = [0.0] * (4 - n)
    labels = {key: torch.tensor([[*things[key], *pad]]) for key in ("x", "y", "size")}
    return labels | {"present": torch.tensor([[True] * n + [False] * (4 - n)])}


def test_patch_targets_by_hand():
    """A small thing in the middle of the top left of 4 x 4 patches, patch middles at -0.75, -0.25, 0.25, 0.75."""
    centres, owner, offset = patch_targets(labels_of(x=[-0.7], y=[-0.8], size=[0.1]), grid=4)
    assert centres.view(4, 4)[0, 0] == 1
    assert centres.sum() == 1
    assert owner.view(4, 4)[0, 0] == 0
    assert (owner == -1).sum() == 15
    torch.testing.assert_close(offset[0, 0], torch.tensor([0.05, -0.05, 0.3]))


def test_quarter_turns_turn_pixels_and_labels_alike():
    """Render; turn; the brightest colour's centre of mass must sit where the turned labels say."""
    images, labels = render_images(64, seed=3)
    turned, turned_labels = quarter_turns(images, labels)
    assert turned.shape[0] == 256
    assert torch.equal(turned[64:128], images.rot90(1, (2, 3)))
    # one full turn is the identity, two half turns flip both signs
    torch.testing.assert_close(turned_labels["x"][128:192], -labels["x"])
    torch.testing.assert_close(turned_labels["y"][128:192], -labels["y"])
    alone = labels["count"] == 1
    for quarter in range(4):
        rows = torch.arange(64)[alone] + 64 * quarter
        colour = (turned[rows].amax(1).float() - turned[rows].amin(1)).sub(90).clamp(min=0) + 1e-4
        axis = torch.linspace(-1, 1, 64)
        x, y = ((colour.sum(d) * axis).sum(-1) / colour.sum((1, 2)) for d in (1, 2))
        inside = (turned_labels["x"][rows, 0].abs() < 0.5) & (turned_labels["y"][rows, 0].abs() < 0.5)
        error = torch.hypot(x - turned_labels["x"][rows, 0], y - turned_labels["y"][rows, 0])[inside]
        assert error.median() < 0.2


def test_position_embedding_starts_from_sines():
    vit = something_sprites_vit()
    start_from_sines(vit)
    grid = vit.pos_embed[0, 1:].view(4, 4, -1)
    near = (grid[:, 1:] - grid[:, :-1]).norm(dim=-1).mean()
    far = (grid[:, 3] - grid[:, 0]).norm(dim=-1).mean()
    assert near < far
    assert vit.pos_embed[0, 1:].unique(dim=0).shape[0] == 16


def test_a_short_run_learns_and_repeats():
    config = PretrainConfig(images=128 * 12, batch_size=64, warmup_steps=2, seed=1)
    first, _ = pretrain(config)
    second, _ = pretrain(config)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    heads = Heads(128, 16)
    images, labels = render_images(8, HELD_OUT)
    losses = heads.losses(first.forward_features(images.float() / 127.5 - 1), labels)
    assert set(losses) >= {"shape", "colour", "place", "patch shape", "centres"}
    assert all(math.isfinite(loss.item()) for loss in losses.values())


def test_fit_classes_finds_a_linear_rule():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(600, 5, generator=generator)
    labels = (features[:, 0] + 0.5 > 0).long() + (features[:, 1] > 1).long()
    weights = fit_classes(features, labels)
    inputs = torch.cat([features, torch.ones(600, 1)], 1)
    assert ((inputs @ weights).argmax(1) == labels).float().mean() > 0.9


def test_probes_of_an_untrained_backbone_are_poor_and_of_the_bundled_one_better():
    from taskadapter_lite.backbone import load_backbone

    torch.manual_seed(0)
    blind, seeing = (linear_probes(vit, 1536, 512) for vit in (something_sprites_vit().eval(), load_backbone()))
    assert seeing["position_error"] < 0.6 * blind["position_error"]
    assert seeing["colour"] > blind["colour"]
    assert blind["shape"] < 3 / len(SHAPES)
    alone = seeing.pop("one_thing")
    assert alone.keys() == seeing.keys()
    assert alone["position_error"] < seeing["position_error"]
    assert alone["colour"] > seeing["colour"]
    assert alone["count"] > 0.9  # "one" is told from "several"


@pytest.mark.parametrize("name", ["texture", "count", "one_thing"])
def test_probe_names_are_documented(name):
    assert f"`{name}`" in linear_probes.__doc__
