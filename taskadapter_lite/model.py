"""Clips -> frame features: a frozen prefix of the image model, then an adapted tail."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from einops import rearrange
from timm.data import resolve_model_data_config
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from taskadapter_lite.adapters import AXES, AdaptedBlock, Adapter, check_scope, scope_mask
from taskadapter_lite.backbone import check_plain

TEMPORAL_PLACES = ("adapted", "input", None)


class TaskAdapterViT(nn.Module):
    """A frozen image transformer whose last blocks see time and the task (Cao et al., ACM Multimedia 2024).

    Trained are the adapters of the last `depth` blocks and a temporal embedding (T, D); nothing else. With the defaults
    the untrained model gives the features that `backbone` gives each frame by itself.

    Args:
        backbone: Plain timm vision transformer, see `load_backbone`. It's frozen in place, and its `pretrained_cfg`
            says how pixels are normalised.
        depth: Adapted blocks L, counted from the end. 0 is the frozen baseline: nothing is trained.
        T: Frames a clip.
        scope: Who attends to whom in task attention: "inductive", "split" (published) or "joint"; see `scope_mask`.
        axes: Any of "time", "space", "task", "joint". ("time", "space", "joint") is AIM (Yang et al., ICLR 2023);
            ("space", "joint") adapts the image model alone.
        ratio: Bottleneck of the adapters over D.
        zero_init: False starts the task adapters at random, as in the published code.
        temporal_embedding: Where it's added: "adapted" (before the first adapted block, so that `prefix` depends on the
            clip alone), "input" (before block 1 and before CLIP's pre-norm, as in the published code), or None.
        temporal_std: Standard deviation of the embedding's start; above 0 the model doesn't start as the backbone.
        checkpointing: Recompute each adapted block in the backward pass: less memory for more time.

    Raises:
        ValueError: An argument out of its range, or a backbone that is no plain vision transformer.
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
        checkpointing: bool = False,
    ):
        super().__init__()
        check_plain(backbone)
        n_blocks = len(backbone.blocks)
        if not 0 <= depth <= n_blocks:
            raise ValueError(
                f"depth={depth}: this backbone has {n_blocks} blocks, so depth is between 0 and {n_blocks}."
            )
        if T < 1:
            raise ValueError(f"T={T}: a clip has at least 1 frame.")
        if unknown := set(axes) - set(AXES):
            raise ValueError(f"Unknown axis {min(unknown)!r}: choose any of {', '.join(AXES)}.")
        if temporal_embedding not in TEMPORAL_PLACES:
            raise ValueError(f"Unknown temporal_embedding {temporal_embedding!r}: choose 'adapted', 'input' or None.")
        self.backbone = backbone.requires_grad_(False).eval()
        self.depth, self.T, self.scope = depth, T, scope
        self.axes, self.ratio, self.zero_init = tuple(axis for axis in AXES if axis in axes), ratio, zero_init
        self.temporal_place = temporal_embedding if depth else None
        self.checkpointing = checkpointing
        self.skip_unread = True  # let the last block drop tokens that the head doesn't read

        data = resolve_model_data_config(backbone)
        self.register_buffer("mean", torch.tensor(data["mean"]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(data["std"]).view(3, 1, 1), persistent=False)
        tail = range(n_blocks - depth, n_blocks)
        self.adapted = nn.ModuleDict(
            {str(i): AdaptedBlock(backbone.blocks[i], self.axes, ratio, zero_init) for i in tail}
        )
        self.temporal = None
        if self.temporal_place is not None:
            self.temporal = nn.Parameter(temporal_std * torch.randn(T, backbone.embed_dim))
        self.to(next(backbone.parameters()).device)

    # ---- clips -> tokens -> features

    def forward(self, clips: Tensor, n_support: int) -> Tensor:
        """Clips of one episode -> frame features; equals `adapt(prefix(clips), n_support)`.

        Args:
            clips: (B, T, 3, H, W), support first, uint8 or float RGB in [0, 1]; or (E, B, T, 3, H, W), E episodes.
            n_support: How many of the B clips are support clips, 1 to B.

        Returns:
            Features (B, T, D') or (E, B, T, D').
        """
        if self.temporal_place != "input":
            return self.adapt(self.prefix(clips), n_support)
        tokens = self._embed(clips) + self.temporal[:, None]
        return self.adapt(self._frozen_blocks(tokens), n_support)

    @torch.no_grad()
    def prefix(self, clips: Tensor) -> Tensor:
        """Run the frozen blocks, each clip by itself and without gradient: computed once a clip, it can be cached.

        Args:
            clips: (..., T, 3, H, W), uint8 or float RGB in [0, 1].

        Returns:
            Tokens (..., T, N, D) before the first adapted block.

        Raises:
            ValueError: Clips of another shape or range, or a temporal embedding at the input.
        """
        if self.temporal_place == "input":
            raise ValueError(
                "temporal_embedding='input' is trained below the frozen blocks, so there is no prefix to cache: "
                "call model(clips, n_support), or choose temporal_embedding='adapted'."
            )
        return self._frozen_blocks(self._embed(clips))

    def adapt(self, tokens: Tensor, n_support: int) -> Tensor:
        """Run the adapted blocks, the final norm and the head.

        Args:
            tokens: (B, T, N, D) from `prefix`, support first; or (E, B, T, N, D), E episodes of equal shape.
            n_support: How many of the B clips are support clips, 1 to B.

        Returns:
            Features (B, T, D') or (E, B, T, D').
        """
        self._check_tokens(tokens, n_support)
        *lead, B, T, _, _ = tokens.shape
        mask = scope_mask(n_support, B - n_support, self.scope, device=tokens.device)
        if self.temporal_place == "adapted":
            tokens = tokens + self.temporal[:, None]
        for i, block in self.adapted.items():
            is_last = int(i) == len(self.backbone.blocks) - 1
            n_read = 1 if is_last and self.skip_unread and self._reads_class_token_only else None
            if self.checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, mask, n_read, use_reentrant=False)
            else:
                tokens = block(tokens, mask, n_read)
        frames = rearrange(self.backbone.norm(tokens), "... n d -> (...) n d")
        return self.backbone.forward_head(frames).reshape(*lead, B, T, self.feature_dim)

    def _embed(self, clips: Tensor) -> Tensor:
        """Clips (..., T, 3, H, W) -> patches, class and register tokens with their positions (..., T, N, D)."""
        self._check_clips(clips)
        pixels = clips.to(self.mean.dtype)
        if clips.dtype == torch.uint8:
            pixels = pixels / 255
        pixels = (pixels - self.mean) / self.std
        frames = rearrange(pixels, "... c h w -> (...) c h w")
        tokens = self.backbone._pos_embed(self.backbone.patch_embed(frames))
        return tokens.reshape(*clips.shape[:-3], *tokens.shape[1:])

    def _frozen_blocks(self, tokens: Tensor) -> Tensor:
        """Pre-norm (CLIP) and the blocks before the adapted ones, frame by frame: (..., T, N, D) -> the same shape."""
        frames = rearrange(tokens, "... n d -> (...) n d")
        frames = self.backbone.norm_pre(frames)
        for block in self.backbone.blocks[: len(self.backbone.blocks) - self.depth]:
            frames = block(frames)
        return frames.reshape(tokens.shape)

    # ---- what is trained

    def train(self, mode: bool = True) -> TaskAdapterViT:
        """Switch the adapters; the frozen backbone stays in eval mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def trainable_parameters(self) -> list[nn.Parameter]:
        """Adapters and temporal embedding, and whatever the caller has unfrozen."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def adapter_state(self) -> dict[str, Tensor]:
        """Copy the trained tensors: name -> tensor. Names carry the block's index in the backbone."""
        return {name: p.detach().clone() for name, p in self.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def load_adapter_state(self, state: Mapping[str, Tensor]) -> None:
        """Load what `adapter_state` gave; a temporal embedding for another T is interpolated, with a warning.

        Raises:
            ValueError: The tensors are those of another model.
        """
        own = {name: p for name, p in self.named_parameters() if p.requires_grad}
        state = dict(state)
        if self.temporal is not None and "temporal" in state:
            state["temporal"] = _fit_frames(state["temporal"], self.T)
        for name in sorted(own.keys() | state.keys()):
            expected = tuple(own[name].shape) if name in own else "no such tensor"
            found = tuple(state[name].shape) if name in state else "no such tensor"
            if expected != found:
                raise ValueError(f"These adapters do not fit the model: {name} expected {expected}, found {found}.")
        for name, parameter in own.items():
            parameter.copy_(state[name])

    def summary(self) -> pd.DataFrame:
        """Tabulate what is trained: one row an adapter, with block, adapter, shape and parameters."""
        rows = [
            {"block": int(i), "adapter": axis, "shape": _bottleneck(module), "parameters": _count(module.parameters())}
            for i, block in self.adapted.items()
            for axis, module in block.named_children()
            if isinstance(module, Adapter)
        ]
        if self.temporal is not None:
            place = int(next(iter(self.adapted))) if self.temporal_place == "adapted" else 0
            T, D = self.temporal.shape
            row = {"block": place, "adapter": "temporal embedding", "shape": f"{T} x {D}", "parameters": T * D}
            rows.insert(0, row)
        return pd.DataFrame(rows, columns=["block", "adapter", "shape", "parameters"])

    def describe(self) -> str:
        """Say in one line how much is trained."""
        trained, total = _count(self.trainable_parameters()), _count(self.parameters())
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
        return {
            "depth": self.depth,
            "T": self.T,
            "scope": self.scope,
            "axes": list(self.axes),
            "ratio": self.ratio,
            "zero_init": self.zero_init,
            "temporal_embedding": self.temporal_place,
        }

    @property
    def feature_dim(self) -> int:
        """D', the width of a frame's feature."""
        head = self.backbone.head
        return head.out_features if isinstance(head, nn.Linear) else self.backbone.embed_dim

    @property
    def _reads_class_token_only(self) -> bool:
        return self.backbone.global_pool == "token" and self.backbone.attn_pool is None

    # ---- what a caller can get wrong

    def _check_clips(self, clips: Tensor) -> None:
        size = tuple(self.backbone.patch_embed.img_size)
        shape = tuple(clips.shape)
        if clips.ndim < 4 or shape[-3] != 3:
            raise ValueError(f"Clips of shape {shape}: (B, T, 3, H, W) is expected.")
        if shape[-4] != self.T:
            raise ValueError(f"Clips of {shape[-4]} frames: this model was built for T={self.T}.")
        if shape[-2:] != size:
            raise ValueError(f"Frames of {shape[-2]} x {shape[-1]} pixels: this backbone takes {size[0]} x {size[1]}.")
        if clips.dtype == torch.uint8:
            return
        if not clips.is_floating_point():
            raise ValueError(f"Clips of type {clips.dtype}: uint8, or float RGB in [0, 1] is expected.")
        if not torch.compiler.is_compiling() and not (clips.min() >= 0 and clips.max() <= 1):
            raise ValueError(f"Float clips from {clips.min():.3g} to {clips.max():.3g}: RGB in [0, 1] is expected.")

    def _check_tokens(self, tokens: Tensor, n_support: int) -> None:
        shape, D = tuple(tokens.shape), self.backbone.embed_dim
        if tokens.ndim not in (4, 5) or shape[-1] != D:
            raise ValueError(f"Tokens of shape {shape}: (B, T, N, D) or (E, B, T, N, D) with D={D} is expected.")
        if shape[-3] != self.T:
            raise ValueError(f"Tokens of {shape[-3]} frames: this model was built for T={self.T}.")
        if not 1 <= n_support <= shape[-4]:
            raise ValueError(f"n_support={n_support}: of {shape[-4]} clips, 1 to {shape[-4]} can be support clips.")


def _fit_frames(temporal: Tensor, T: int) -> Tensor:
    """Interpolate a temporal embedding (T', D) to (T, D); frames sit in the middle of equal segments."""
    if len(temporal) == T:
        return temporal
    warnings.warn(f"A temporal embedding trained for T={len(temporal)} is interpolated to T={T}.", stacklevel=3)
    channels = rearrange(temporal, "t d -> 1 d t")
    return rearrange(F.interpolate(channels, size=T, mode="linear", align_corners=False), "1 d t -> t d")


def _bottleneck(adapter: Adapter) -> str:
    return f"{adapter.down.in_features} -> {adapter.down.out_features} -> {adapter.up.out_features}"


def _count(parameters) -> int:
    return sum(parameter.numel() for parameter in parameters)
