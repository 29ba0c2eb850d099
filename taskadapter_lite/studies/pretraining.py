"""Still sprite images -> a small frozen backbone: a plain timm ViT that has never seen a motion."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from taskadapter_lite.backbone import BUNDLED, Normalise, load_backbone, something_sprites_vit, without_slow_attention
from taskadapter_lite.bars import progress_bar
from taskadapter_lite.sprites.render import SHAPES, TEXTURES, render_images

N_COLOURS, N_COUNTS = 8, 4
SINES = 0.5  # height of the waves that the position embedding starts from
DECAY = 1e-4  # of the read-outs
LOG_EVERY = 200  # steps
HELD_OUT = 1_000_003  # seeds from here on are never trained on


@dataclass(frozen=True)
class PretrainConfig:
    """How to pre-train.

    Attributes:
        images: number of images to train on (each rendered image counts four times, once a quarter turn).
        minutes: stop after this time and anneal the learning rate by it; None: no limit.
        batch_size, learning_rate, weight_decay, warmup_steps: of AdamW with a cosine schedule.
        seed: of the images and of the start.
        architecture: "something_sprites" (the bundled one), or the timm name of a plain ViT with a class token, such as
            "vit_small_patch16_224".
        image_size: side of the images in pixels.
        precision: "fp32", or "bf16" for the transformer (its weights, the read-outs and the losses stay in 32 bit):
            some 2.5 times as many images a second on processors with bfloat16 instructions, far fewer on others.
    """

    images: int = 2_000_000
    minutes: float | None = None
    batch_size: int = 128
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    warmup_steps: int = 200
    seed: int = 0
    architecture: str = BUNDLED
    image_size: int = 64
    precision: str = "fp32"

    def __post_init__(self):
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f"precision is {self.precision!r}, but must be 'fp32' or 'bf16'")
        if self.images < self.batch_size:
            raise ValueError(f"images is {self.images}, but one step needs batch_size = {self.batch_size} of them")

    def learning_rate_at(self, step: int, share: float) -> float:
        """Warm-up x cosine schedule, of which `share` has passed."""
        warm = min(1.0, (step + 1) / self.warmup_steps)
        return self.learning_rate * warm * (0.5 + 0.5 * math.cos(math.pi * share)) + 1e-6


class Heads(nn.Module):
    """Linear read-outs of the class token (what and where is the main thing) and of each patch (what covers it)."""

    def __init__(self, dim: int, patches: int):
        super().__init__()
        image = dict(shape=len(SHAPES), texture=len(TEXTURES), colour=N_COLOURS, count=N_COUNTS, place=3, turn=2)
        patch = dict(shape=len(SHAPES) + 1, texture=len(TEXTURES) + 1, colour=N_COLOURS + 1, place=3)
        self.image = nn.ModuleDict({name: nn.Linear(dim, n) for name, n in image.items()})
        self.image["centres"] = nn.Linear(dim, patches)
        self.patch = nn.ModuleDict({name: nn.Linear(dim, n) for name, n in patch.items()})

    def losses(self, tokens: Tensor, labels: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of tokens (B, 1 + patches, D) against the labels of `render_images`."""
        cls, patches = tokens[:, 0], tokens[:, 1:]
        losses = {}
        for name in ("shape", "texture", "colour"):
            losses[name] = F.cross_entropy(self.image[name](cls), labels[name][:, 0])
        losses["count"] = F.cross_entropy(self.image["count"](cls), labels["count"] - 1)
        place = torch.stack([labels["x"], labels["y"], 3 * labels["size"]], -1)  # (B, 4, 3), of which the main thing
        losses["place"] = 10 * F.smooth_l1_loss(self.image["place"](cls), place[:, 0], beta=0.1)
        turn = torch.stack([labels["angle"].cos(), labels["angle"].sin()], -1)
        losses["turn"] = (self.image["turn"](cls) - turn[:, 0]).square().mean()
        centres, owner, offset = patch_targets(labels, grid=int(math.sqrt(patches.shape[1])))
        losses["centres"] = 4 * F.binary_cross_entropy_with_logits(self.image["centres"](cls), centres)
        covered = owner >= 0
        for name in ("shape", "texture", "colour"):
            target = torch.where(covered, labels[name].gather(1, owner.clamp(min=0)) + 1, 0)
            losses[f"patch {name}"] = F.cross_entropy(self.patch[name](patches).flatten(0, 1), target.flatten())
        error = F.smooth_l1_loss(self.patch["place"](patches), offset, beta=0.1, reduction="none").mean(-1)
        losses["patch place"] = 10 * (error * covered).sum() / covered.sum().clamp(min=1)
        return losses


def patch_targets(labels: dict[str, Tensor], grid: int) -> tuple[Tensor, Tensor, Tensor]:
    """What each of the grid x grid patches should know.

    Returns:
        centres (B, patches): 1 where the centre of a thing lies in the patch.
        owner (B, patches): which of the four things covers most of the patch's middle, -1 for none.
        offset (B, patches, 3): x, y from the patch's middle to the owner's centre, and the owner's size.
    """
    axis = (torch.arange(grid, device=labels["x"].device) + 0.5) * (2 / grid) - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    dx = labels["x"][:, None] - x.flatten()[None, :, None]  # (B, patches, 4)
    dy = labels["y"][:, None] - y.flatten()[None, :, None]
    present = labels["present"][:, None]
    half = 1 / grid
    centres = ((dx.abs() <= half) & (dy.abs() <= half) & present).any(-1).float()
    nearness = torch.hypot(dx, dy) - labels["size"][:, None]
    nearness = torch.where(present & (nearness < 0.5 * half), nearness, torch.inf)
    nearest = nearness.min(-1)
    owner = torch.where(nearest.values.isfinite(), nearest.indices, -1)
    pick = owner.clamp(min=0)[..., None]
    size = (3 * labels["size"])[:, None].expand_as(dx)
    offset = torch.cat([part.gather(2, pick) for part in (dx, dy, size)], -1)
    return centres, owner, offset


def quarter_turns(images: Tensor, labels: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """The images in their four rotations (an exact augmentation here), labels turned with them: (4 B, ...)."""
    all_images, all_labels = [images], [labels]
    for _ in range(3):  # counterclockwise: what was on the right is now at the top
        images = torch.rot90(images, 1, (2, 3))
        labels = labels | {"x": labels["y"], "y": -labels["x"], "angle": labels["angle"] - math.pi / 2}
        all_images.append(images)
        all_labels.append(labels)
    return torch.cat(all_images), {key: torch.cat([part[key] for part in all_labels]) for key in labels}


def batches(config: PretrainConfig, device: str) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """Endless shuffled training batches."""
    generator = torch.Generator().manual_seed(config.seed)
    for round_ in range(HELD_OUT):
        rendered = render_images(2 * config.batch_size, config.seed + round_, config.image_size, device)
        images, labels = quarter_turns(*rendered)
        for rows in torch.randperm(len(images), generator=generator).to(device).split(config.batch_size):
            yield images[rows], {key: value[rows] for key, value in labels.items()}


def build(architecture: str, image_size: int) -> VisionTransformer:
    """A trainable ViT at its random start, without a classifier.

    Raises:
        ValueError: an unknown architecture, one that the adapters can't reuse, one without a class token, or an image
            size that its patches do not divide.
    """
    if architecture == BUNDLED:
        vit = something_sprites_vit(img_size=image_size)
    else:
        vit = load_backbone(architecture, pretrained=False, img_size=image_size, num_classes=0)
    patch = vit.patch_embed.patch_size[0]
    if image_size % patch:
        raise ValueError(
            f"image_size is {image_size}, but {architecture} has patches of {patch} pixels: take a multiple"
        )
    if vit.cls_token is None or vit.num_prefix_tokens != 1:
        raise ValueError(f"{architecture} can't be pre-trained here: what is in an image is read from one class token")
    return vit.requires_grad_(True).train()


def start_from_sines(vit: VisionTransformer) -> None:
    """Let the position embedding begin as sines and cosines of the patch's place: neighbours start alike."""
    grid, dim = vit.patch_embed.grid_size[0], vit.embed_dim
    axis = (torch.arange(grid) + 0.5) * (2 / grid) - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    frequencies = math.pi * torch.logspace(-1, math.log2(grid / 2), dim // 4, base=2)
    waves = [f(rearrange(p, "h w -> (h w) 1") * frequencies) for p in (x, y) for f in (torch.sin, torch.cos)]
    with torch.no_grad():
        vit.get_parameter("pos_embed")[0, 1:] = SINES * torch.cat(waves, -1)


def build_optimizer(config: PretrainConfig, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """AdamW; only matrices are decayed, and of these not what is a single row, such as the class token."""
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for parameter in parameters:
        groups[parameter.ndim >= 2 and parameter.shape[0] > 1].append(parameter)
    decays = [{"params": groups[is_matrix], "weight_decay": config.weight_decay * is_matrix} for is_matrix in groups]
    return torch.optim.AdamW(decays, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)


def pretrain(config: PretrainConfig, device: str = "cpu", on_log=None) -> tuple[VisionTransformer, list[dict]]:
    """Train a ViT, by default the bundled architecture, on still images rendered on the fly.

    Args:
        config: how long and how.
        device: where.
        on_log: called with (vit, history) every 200 steps, e.g. to save what there is.

    Returns:
        The trained ViT, and a history of rows (images, minutes, one mean loss a target).
    """
    torch.manual_seed(config.seed)
    vit = build(config.architecture, config.image_size).to(device)
    normalise = Normalise(vit).to(device)
    start_from_sines(vit)
    low = config.precision == "bf16"
    if low:
        without_slow_attention(vit)
    heads = Heads(vit.embed_dim, vit.patch_embed.num_patches).to(device)
    optimizer = build_optimizer(config, [*vit.parameters(), *heads.parameters()])
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    start = time.monotonic()
    history: list[dict] = []
    sums: dict[str, Tensor] = {}
    n_steps = config.images // config.batch_size
    bar = progress_bar(batches(config, device), total=n_steps, desc="pre-training", unit="step", mininterval=5)
    for step, (images, labels) in enumerate(bar):
        minutes = (time.monotonic() - start) / 60
        share = max(step / n_steps, minutes / config.minutes if config.minutes else 0.0)
        if share >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate_at(step, share)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=low):
            tokens = vit.forward_features(normalise(images))  # (B, 1 + patches, D)
        losses = heads.losses(tokens.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        sum(losses.values(), torch.zeros((), device=device)).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        for name, loss in losses.items():
            sums[name] = sums.get(name, 0) + loss.detach()
        if (step + 1) % LOG_EVERY == 0:
            row = {"images": (step + 1) * config.batch_size, "minutes": round(minutes, 2)}
            history.append(row | {name: round(float(value) / LOG_EVERY, 4) for name, value in sums.items()})
            sums = {}
            bar.set_postfix(shape=history[-1]["shape"], place=history[-1]["place"])
            if on_log:
                on_log(vit, history)
    return vit.eval(), history


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
    values = {}  # one a test image: 1 where right, else 0; or how far off
    for name in ("shape", "texture", "colour"):
        values[name] = _hits(test, fit_classes(train, known[name][:, 0]), truth[name][:, 0])
    values["count"] = _hits(test, fit_classes(train, known["count"] - 1), truth["count"] - 1)
    place = [torch.stack([labels["x"], labels["y"]], -1)[:, 0] for labels in (known, truth)]
    values["position_error"] = (_predict(train, place[0], test) - place[1]).norm(dim=-1) / 2
    log_size = [labels["size"][:, :1].log() for labels in (known, truth)]
    values["size_error"] = (_predict(train, log_size[0], test) - log_size[1])[:, 0].abs().expm1()
    turn = [labels["angle"][:, 0] for labels in (known, truth)]
    guess = _predict(train, torch.stack([turn[0].cos(), turn[0].sin()], -1), test)
    off = torch.remainder(torch.atan2(guess[:, 1], guess[:, 0]) - turn[1] + math.pi, 2 * math.pi) - math.pi
    values["angle_error"] = off.abs().rad2deg()
    alone = truth["count"] == 1
    scores = {name: round(value.mean().item(), 4) for name, value in values.items()}
    return scores | {"one_thing": {name: round(value[alone].mean().item(), 4) for name, value in values.items()}}


def fit_classes(features: Tensor, labels: Tensor) -> Tensor:
    """Multinomial logistic regression by L-BFGS: weights (D + 1, classes), the last row the bias."""
    inputs = F.pad(features, (0, 1), value=1.0)
    weights = torch.zeros(inputs.shape[1], int(labels.max()) + 1, device=features.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(inputs @ weights, labels) + DECAY * weights.square().sum()
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
