"""Clips -> frame features: a frozen prefix of the image model, then an adapted tail."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from einops import rearrange
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from taskadapter_lite.adapters import (
    AXES,
    AdaptedBlock,
    Adapter,
    check_scope,
    check_task_frames,
    class_slots,
    scope_mask,
)
from taskadapter_lite.backbone import Normalise, check_plain, find_misfit, plain_blocks


class TaskAdapterViT(nn.Module):
    """A frozen image transformer whose last blocks see time and the task (Cao et al., ACM Multimedia 2024).

    Trained are the adapters of the last `depth` blocks and a temporal embedding (T, D); nothing else. With the defaults
    the untrained model gives the features that `backbone` gives each frame by itself.

    Args:
        backbone: plain timm vision transformer, see `load_backbone`. It's frozen in place, and its `pretrained_cfg`
            says how pixels are normalised.
        depth: adapted blocks L, counted from the end. 0 is the frozen baseline: nothing is trained.
        T: frames a clip.
        scope: who attends to whom in task attention: "inductive", "split" (published) or "joint"; see `scope_mask`.
        axes: any of "time", "space", "task", "joint". ("time", "space", "joint") is AIM (Yang et al., ICLR 2023);
            ("space", "joint") adapts the image model alone.
        ratio: bottleneck of the adapters over D.
        zero_init: False starts the task adapters at random, as in the published code.
        temporal_embedding: where it's added: "adapted" (before the first adapted block, so that `prefix` depends on the
            clip alone), "input" (before block 1 and before CLIP's pre-norm, as in the published code), or None.
        temporal_std: standard deviation of the embedding's start; above 0 the model doesn't start as the backbone.
        task_frames: which frames of the clips that it may see a token meets in task attention, at its own place: "same"
            as its own (published), or "all" of them, its own clip's included.
        class_mark: let task attention know the labels: each adapted block adds a learned vector of the class to the
            tokens of support clips, for up to 20 classes. Without task attention there are no marks. Like
            task_frames="all" this is not in the paper; with either the untrained model still is the backbone.

    Raises:
        ValueError: an argument out of its range, or a backbone that is no plain vision transformer.
    """

    def __init__(
        self,
        backbone: VisionTransformer,
        depth: int,
        T: int = 8,
        scope: str = "inductive",
        axes: Sequence[str] = AXES,
        ratio: float = 0.25,
        zero_init: bool = True,
        temporal_embedding: str | None = "adapted",
        temporal_std: float = 0.0,
        task_frames: str = "same",
        class_mark: bool = False,
    ):
        super().__init__()
        check_plain(backbone)
        blocks, D = plain_blocks(backbone), backbone.embed_dim
        _check_arguments(depth, len(blocks), T, axes, temporal_embedding)
        self.backbone = backbone.requires_grad_(False).eval()
        self.normalise = Normalise(backbone)
        self.depth, self.T, self.scope = depth, T, scope
        self.axes, self.ratio, self.zero_init = tuple(axis for axis in AXES if axis in axes), ratio, zero_init
        self.task_frames = check_task_frames(task_frames)
        self.class_mark = class_mark and depth > 0 and "task" in axes
        options = (self.axes, ratio, zero_init, task_frames, class_mark)
        tail = range(len(blocks) - depth, len(blocks))
        self.adapted = nn.ModuleDict({str(i): AdaptedBlock(blocks[i], *options) for i in tail})
        self.temporal_place = temporal_embedding if depth else None
        self.temporal = nn.Parameter(temporal_std * torch.randn(T, D)) if self.temporal_place else None
        self.trained_with: dict | None = None  # metric, aggregation and temperature of its adapters, where known
        # The head reads the first token of a frame (the class token) or, for average and attention pooling, all of them
        self.n_read = 1 if backbone.global_pool == "token" else None
        self.feature_dim = getattr(backbone.head, "out_features", D)  # D': of the projection, where there is one
        self.to(next(backbone.parameters()).device)

    # ---- clips -> tokens -> features

    def forward(self, clips: Tensor, n_support: int, n_way: int | None = None) -> Tensor:
        """Clips of one episode -> frame features; equals `adapt(prefix(clips), n_support, n_way)`.

        Args:
            clips: (B, T, 3, H, W), support first, uint8 or float RGB in [0, 1]; or (E, B, T, 3, H, W), E episodes.
            n_support: how many of the B clips are support clips, 1 to B.
            n_way: as for `adapt`.

        Returns:
            Features (B, T, D') or (E, B, T, D').
        """
        return self.adapt(self.below(clips), n_support, n_way)

    @torch.no_grad()
    def prefix(self, clips: Tensor) -> Tensor:
        """Run the frozen blocks, each clip by itself and without gradient: computed once a clip, it can be cached.

        Args:
            clips: (..., T, 3, H, W), uint8 or float RGB in [0, 1].

        Returns:
            Tokens (..., T, N, D) before the first adapted block.

        Raises:
            ValueError: clips of another shape or range, or a temporal embedding at the input.
        """
        if self.temporal_place == "input":
            raise ValueError(
                "temporal_embedding='input' is trained below the frozen blocks, so there is no prefix to cache: "
                "call model(clips, n_support), or choose temporal_embedding='adapted'"
            )
        return self.below(clips)

    def below(self, clips: Tensor) -> Tensor:
        """Run all that lies below the adapted blocks: `prefix`, but with gradient where something there is trained."""
        pixels = self.normalise(clips)
        if clips.shape[-4] != self.T:
            raise ValueError(f"clips of {clips.shape[-4]} frames: this model was built for T={self.T}")
        patches = self.backbone.patch_embed(rearrange(pixels, "... c h w -> (...) c h w"))
        tokens = self.backbone._pos_embed(patches).unflatten(0, clips.shape[:-3])
        if self.temporal is not None and self.temporal_place == "input":
            tokens = tokens + self.temporal[:, None]
        frames = self.backbone.norm_pre(rearrange(tokens, "... n d -> (...) n d"))  # CLIP's; others have none
        for block in self.backbone.blocks[: len(self.backbone.blocks) - self.depth]:
            frames = block(frames)
        return frames.reshape(tokens.shape)

    def adapt(self, tokens: Tensor, n_support: int, n_way: int | None = None) -> Tensor:
        """Run the adapted blocks, the final norm and the head.

        Args:
            tokens: (B, T, N, D) from `prefix`, support first; or (E, B, T, N, D), E episodes of equal shape.
            n_support: how many of the B clips are support clips, 1 to B.
            n_way: classes of the support clips, which then lie class after class, equally many of each; read with
                class_mark=True alone.

        Returns:
            Features (B, T, D') or (E, B, T, D').

        Raises:
            ValueError: tokens of another shape, n_support out of range, or a class_mark that n_way does not fit.
        """
        if tokens.ndim not in (4, 5) or tokens.shape[-3::2] != (self.T, self.backbone.embed_dim):
            expected = f"(B, T={self.T}, N, D={self.backbone.embed_dim}), or E such episodes (E, B, T, N, D)"
            raise ValueError(f"tokens of shape {tuple(tokens.shape)}: {expected} is expected")
        *episodes, B, T, _, _ = tokens.shape
        mask = scope_mask(n_support, B - n_support, self.scope, device=tokens.device)
        slots = class_slots(n_support, n_way, tokens.device) if self.class_mark else None
        if self.temporal is not None and self.temporal_place == "adapted":
            tokens = tokens + self.temporal[:, None]
        blocks = list(self.adapted.values())
        for block in blocks:
            tokens = block(tokens, mask, self.n_read if block is blocks[-1] else None, slots)
        frames = rearrange(self.backbone.norm(tokens), "... n d -> (...) n d")
        return self.backbone.forward_head(frames).reshape(*episodes, B, T, self.feature_dim)

    # ---- what is trained

    def train(self, mode: bool = True) -> TaskAdapterViT:
        """Switch the adapters; the frozen backbone stays in eval mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def trainable_parameters(self) -> list[nn.Parameter]:
        """Adapters, class marks and temporal embedding, and whatever the caller has unfrozen."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def adapter_state(self) -> dict[str, Tensor]:
        """Copy the trained tensors: name -> tensor. Names carry the block's index in the backbone."""
        return {name: p.detach().clone() for name, p in self.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def load_adapter_state(self, state: Mapping[str, Tensor]) -> None:
        """Load what `adapter_state` gave; a temporal embedding for another T is interpolated, with a warning.

        Raises:
            ValueError: the tensors are those of another model.
        """
        own = {name: p for name, p in self.named_parameters() if p.requires_grad}
        state = dict(state)
        if self.temporal is not None and "temporal" in state:
            state["temporal"] = _fit_frames(state["temporal"], self.T)
        if misfit := find_misfit(own, state):
            raise ValueError(f"these adapters do not fit the model: {misfit}")
        for name, parameter in own.items():
            parameter.copy_(state[name])

    def summary(self) -> pd.DataFrame:
        """Tabulate what is trained: one row an adapter or set of marks, with block, adapter, shape and parameters."""
        rows = []
        if self.temporal is not None:
            first = min(map(int, self.adapted)) if self.temporal_place == "adapted" else 0
            rows.append((first, "temporal embedding", " x ".join(map(str, self.temporal.shape)), self.temporal.numel()))
        for i, block in self.adapted.items():
            for axis, adapter in block.named_children():
                if isinstance(adapter, Adapter):
                    shape = f"{adapter.down.in_features} -> {adapter.down.out_features} -> {adapter.up.out_features}"
                    rows.append((int(i), axis, shape, sum(p.numel() for p in adapter.parameters())))
            if isinstance(block.marks, Tensor):
                rows.append((int(i), "class marks", " x ".join(map(str, block.marks.shape)), block.marks.numel()))
        return pd.DataFrame(rows, columns=["block", "adapter", "shape", "parameters"])

    def describe(self) -> str:
        """Say in one line how much is trained."""
        sets = self.trainable_parameters(), self.parameters()
        trained, total = (sum(p.numel() for p in parameters) for parameters in sets)
        return f"{trained:,} of {total:,} parameters are trained ({trained / total:.1%})"

    # ---- facts about the model

    @property
    def scope(self) -> str:
        """Who attends to whom in task attention; may be changed after training."""
        return self._scope

    @scope.setter
    def scope(self, scope: str) -> None:
        self._scope = check_scope(scope)

    @property
    def config(self) -> dict:
        """The arguments that build this model again: `TaskAdapterViT(backbone, **model.config)`."""
        names = ("depth", "T", "scope", "axes", "ratio", "zero_init", "task_frames", "class_mark")
        return {**{name: getattr(self, name) for name in names}, "temporal_embedding": self.temporal_place}


def _check_arguments(depth: int, n_blocks: int, T: int, axes: Sequence[str], temporal_embedding: str | None) -> None:
    if not 0 <= depth <= n_blocks:
        raise ValueError(f"depth={depth}: of this backbone's blocks, 0 to {n_blocks} can be adapted")
    if T < 1:
        raise ValueError(f"T={T}: a clip has at least 1 frame")
    if unknown := set(axes) - set(AXES):
        raise ValueError(f"unknown axis {min(unknown)!r}: choose any of {', '.join(AXES)}")
    if temporal_embedding not in ("adapted", "input", None):
        raise ValueError(f"unknown temporal_embedding {temporal_embedding!r}: choose 'adapted', 'input' or None")


def _fit_frames(temporal: Tensor, T: int) -> Tensor:
    """Interpolate a temporal embedding (T', D) to (T, D); frames sit in the middle of equal segments."""
    if len(temporal) == T:
        return temporal
    warnings.warn(f"a temporal embedding trained for T={len(temporal)} is interpolated to T={T}", stacklevel=3)
    channels = rearrange(temporal, "t d -> 1 d t")
    return rearrange(F.interpolate(channels, size=T, mode="linear", align_corners=False), "1 d t -> t d")
