"""Frozen backbone -> what can be read linearly from its class token, on still images it has not seen."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from taskadapter_lite.backbone import Normalise
from taskadapter_lite.sprites.render import render_images
from taskadapter_lite.studies.pretraining import HELD_OUT


@torch.no_grad()
def class_tokens(backbone: VisionTransformer, images: Tensor) -> Tensor:
    """Class tokens (n, D) of uint8 images (n, 3, H, W)."""
    normalise = Normalise(backbone).to(images.device)
    return torch.cat([backbone.forward_features(normalise(part))[:, 0] for part in images.split(256)])


def linear_probes(
    backbone: VisionTransformer, n_train: int = 12_288, n_test: int = 4_096
) -> dict[str, float | dict[str, float]]:
    """Fit linear read-outs of the class token on one set of held-out images and score them on another.

    An image holds one to four things, and the read-outs are asked for the main one, which is the largest.

    Args:
        backbone: with a class token; it gets images of its own size, normalised as it expects them.
        n_train, n_test: numbers of images; their seeds are never used in pre-training.

    Returns:
        Accuracies in [0, 1] of `shape`, `texture`, `colour` of the main thing and of the `count`;
        `position_error`, mean distance of predicted and true centre as a share of the image width;
        `size_error`, mean error of the half extent relative to itself; `angle_error` in degrees.
        `one_thing` holds the same scores of the same read-outs over the test images with a single thing, where
        nothing else can be meant and nothing is covered.
    """
    device = next(backbone.parameters()).device
    size = backbone.patch_embed.img_size[0]
    sets = [render_images(n, HELD_OUT + i, size, device) for i, n in enumerate((n_train, n_test))]
    tokens = [class_tokens(backbone, images) for images, _ in sets]
    mean, std = tokens[0].mean(0), tokens[0].std(0) + 1e-6
    train, test = ((t - mean) / std for t in tokens)
    (_, known), (_, truth) = sets
    right, errors = {}, {}  # a value a test image: 1 or 0, and how far off
    for name in ("shape", "texture", "colour"):
        right[name] = _hits(test, fit_classes(train, known[name][:, 0]), truth[name][:, 0])
    right["count"] = _hits(test, fit_classes(train, known["count"] - 1), truth["count"] - 1)
    place = [torch.stack([labels["x"], labels["y"]], -1)[:, 0] for labels in (known, truth)]
    errors["position_error"] = (_predict(train, place[0], test) - place[1]).norm(dim=-1) / 2
    log_size = [labels["size"][:, :1].log() for labels in (known, truth)]
    errors["size_error"] = (_predict(train, log_size[0], test) - log_size[1])[:, 0].abs().expm1()
    turn = [labels["angle"][:, 0] for labels in (known, truth)]
    guess = _predict(train, torch.stack([turn[0].cos(), turn[0].sin()], -1), test)
    off = torch.remainder(torch.atan2(guess[:, 1], guess[:, 0]) - turn[1] + math.pi, 2 * math.pi) - math.pi
    errors["angle_error"] = off.abs().rad2deg()
    alone = truth["count"] == 1
    values = right | errors
    scores = {name: round(value.mean().item(), 4) for name, value in values.items()}
    return scores | {"one_thing": {name: round(value[alone].mean().item(), 4) for name, value in values.items()}}


def fit_classes(features: Tensor, labels: Tensor, decay: float = 1e-4) -> Tensor:
    """Multinomial logistic regression by L-BFGS: weights (D + 1, classes), the last row the bias."""
    inputs = F.pad(features, (0, 1), value=1.0)
    weights = torch.zeros(inputs.shape[1], int(labels.max()) + 1, device=features.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(inputs @ weights, labels) + decay * weights.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weights.detach()


def _hits(features: Tensor, weights: Tensor, labels: Tensor) -> Tensor:
    """1 where the read-out names the label, else 0: (n,)."""
    return ((F.pad(features, (0, 1), value=1.0) @ weights).argmax(1) == labels).float()


def _predict(train: Tensor, values: Tensor, test: Tensor) -> Tensor:
    """Least squares from features to values, applied to test features."""
    weights = torch.linalg.lstsq(F.pad(train, (0, 1), value=1.0), values).solution
    return F.pad(test, (0, 1), value=1.0) @ weights
