"""One frozen ViT block, its attention used along three axes, an adapter after each use.

Cao et al., Task-Adapter: Task-specific Adaptation of Image Models for Few-shot Action Recognition, ACM Multimedia 2024,
arXiv 2408.00249.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from einops import rearrange
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

# The paper's idea in three lines: which tokens form one sequence (e episodes, b clips, t frames, n tokens a frame)
SEQUENCE = {
    "time": "(e b n) t d",  # the frames of one clip, at one place
    "space": "(e b t) n d",  # the tokens of one frame: what the image model was trained for
    "task": "(e t n) b d",  # the clips of one episode, at one frame and one place
}
AXES = ("time", "space", "task", "joint")
SCOPES = ("split", "joint", "inductive")
TASK_FRAMES = ("same", "all")
N_MARKS = 20  # classes of an episode that a block can mark


def attend_along(axis: str, attend: Callable[..., Tensor], tokens: Tensor, mask: Tensor | None = None) -> Tensor:
    """Apply one self-attention along one axis of a batch of clips.

    Args:
        axis: "time", "space" or "task".
        attend: self-attention over sequences, (batch, length, D) -> (batch, length, D); given a mask, it's called with
            `attn_mask=mask`. A timm `block.attn` is one.
        tokens: (B, T, N, D), or (E, B, T, N, D) for E episodes that do not see each other.
        mask: bool (length, length), True where the row may attend to the column; None lets every pair attend.

    Returns:
        The attended tokens, of the same shape.

    Raises:
        ValueError: an unknown axis.
    """
    if axis not in SEQUENCE:
        raise ValueError(f"unknown axis {axis!r}: choose one of {', '.join(SEQUENCE)}")
    sequences = to_sequences(axis, tokens)
    attended = attend(sequences) if mask is None else attend(sequences, attn_mask=mask)
    *episodes, B, T, N, _ = tokens.shape
    E = episodes[0] if episodes else 1
    return rearrange(attended, f"{SEQUENCE[axis]} -> e b t n d", e=E, b=B, t=T, n=N).reshape(tokens.shape)


def to_sequences(axis: str, tokens: Tensor) -> Tensor:
    """Tokens (B, T, N, D) or (E, B, T, N, D) -> (batch, length, D), each sequence lying along one axis."""
    *_, B, T, N, D = tokens.shape
    sequences = rearrange(tokens.reshape(-1, B, T, N, D), f"e b t n d -> {SEQUENCE[axis]}")
    return sequences.contiguous()  # or torch's linear layers copy their weights once for every sequence


def scope_mask(n_support: int, n_query: int, scope: str, device: torch.device | str | None = None) -> Tensor:
    """Say which clips of an episode see which others in task attention.

    - "split", as published: support with support, queries with queries, so a query's features depend on the others;
    - "joint": every clip with every clip;
    - "inductive": support with support; each query with the support and itself.

    Args:
        n_support: support clips S, at least 1; they come first.
        n_query: query clips Q, at least 0.
        scope: "split", "joint" or "inductive".
        device: where the mask is made.

    Returns:
        Bool (B, B) with B = S + Q, True where the row's clip may attend to the column's.

    Raises:
        ValueError: an unknown scope, or counts out of range.
    """
    check_scope(scope)
    if n_support < 1 or n_query < 0:
        raise ValueError(f"n_support={n_support} of {n_support + n_query} clips: at least 1, at most all are support")
    is_query = torch.arange(n_support + n_query, device=device) >= n_support
    row, column = is_query[:, None], is_query[None, :]
    if scope == "joint":
        return torch.ones_like(row | column)
    if scope == "split":
        return row == column
    return ~column | torch.eye(len(is_query), dtype=torch.bool, device=device)


def check_scope(scope: str) -> str:
    """Return the scope, or raise a ValueError that lists those that exist."""
    if scope not in SCOPES:
        raise ValueError(f"unknown scope {scope!r}: choose one of {', '.join(SCOPES)}")
    return scope


def check_task_frames(task_frames: str) -> str:
    """Return which frames task attention meets, or raise a ValueError that lists the choices."""
    if task_frames not in TASK_FRAMES:
        raise ValueError(f"unknown task_frames {task_frames!r}: choose one of {', '.join(TASK_FRAMES)}")
    return task_frames


def frames_as_clips(tokens: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Make a clip of each frame: tokens (..., B, T, N, D) -> (..., B T, 1, N, D), a mask (B, B) -> (B T, B T)."""
    T = tokens.shape[-3]
    if mask is not None:
        mask = mask.repeat_interleave(T, 0).repeat_interleave(T, 1)
    return tokens.flatten(-4, -3).unsqueeze(-3), mask


def class_slots(n_support: int, n_way: int | None, device: torch.device | str | None = None) -> Tensor:
    """Number the classes of the support clips, which lie class after class: (S,) in 0..n_way-1.

    Raises:
        ValueError: n_way is missing, above 20, or no divisor of n_support.
    """
    if n_way is None:
        raise ValueError("n_way=None: a model with class_mark=True must know how many classes the episode has")
    if not 1 <= n_way <= N_MARKS:
        raise ValueError(f"n_way={n_way}: 1 to {N_MARKS} classes can be marked")
    if n_support % n_way:
        raise ValueError(f"n_support={n_support}: class_mark=True needs equally many clips of each of {n_way} classes")
    return torch.arange(n_way, device=device).repeat_interleave(n_support // n_way)


class Adapter(nn.Module):
    """Bottleneck A(z) = W2 GELU(W1 z), or z + A(z) with the inner skip (Houlsby et al., ICML 2019; biases not written).

    Args:
        dim: D, the width of the tokens.
        ratio: width of the bottleneck over D; 0.25 as published: 295,872 parameters at D = 768.
        inner_skip: add the input to the output.
        zero_init: start with W2 = 0, so that A(z) = 0 and the network starts as the pre-trained one.

    Raises:
        ValueError: the ratio leaves no channel.
    """

    def __init__(self, dim: int, ratio: float = 0.25, inner_skip: bool = False, zero_init: bool = True):
        super().__init__()
        width = int(dim * ratio)
        if width < 1:
            raise ValueError(f"ratio={ratio} leaves no channel of {dim}: the bottleneck needs at least 1")
        self.inner_skip = inner_skip
        self.down = nn.Linear(dim, width)
        self.up = nn.Linear(width, dim)
        if zero_init:
            nn.init.zeros_(self.up.weight)
            nn.init.zeros_(self.up.bias)

    def forward(self, z: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        adapted = self.up(F.gelu(self.down(z)))
        return z + adapted if self.inner_skip else adapted


class AdaptedBlock(nn.Module):
    """One frozen block, adapted in time, space and task, and jointly beside its MLP (the four steps of the paper).

    LN1, MSA, LN2, MLP are the frozen parts of the pre-trained block; MSA is the same weights along each axis. Layer
    scale, where the block has it, is a factor on the last linear map of MSA and of MLP, and counts as part of them.

    Args:
        block: timm ViT block of width D, kept as it is.
        axes: any of "time", "space", "task", "joint". Without "time" or "task" that step is left out; without "space"
            or "joint" it is the frozen block's own.
        ratio: bottleneck of the adapters over D.
        zero_init: False starts the task adapter at random, as in the published code, where matching parameters by name
            missed it. The others start at zero either way.
        task_frames: in task attention a token meets those at its place, of "same": its own frame (published), or of
            "all" frames of the clips that it may see, its own clip's included.
        class_mark: with task attention, add `marks` (20, D), drawn with standard deviation 0.5, by class to the normed
            tokens of support clips that enter it. The task adapter's zero start hides them at first.

    Raises:
        ValueError: an unknown task_frames, or a ratio that leaves no channel.
    """

    def __init__(
        self,
        block: Block,
        axes: Sequence[str] = AXES,
        ratio: float = 0.25,
        zero_init: bool = True,
        task_frames: str = "same",
        class_mark: bool = False,
    ):
        super().__init__()
        dim = block.norm1.get_parameter("weight").numel()
        self.block = block
        self.time = Adapter(dim, ratio) if "time" in axes else None
        self.space = Adapter(dim, ratio, inner_skip=True) if "space" in axes else nn.Identity()
        self.task = Adapter(dim, ratio, zero_init=zero_init) if "task" in axes else None
        self.joint = Adapter(dim, ratio) if "joint" in axes else None
        self.task_frames = check_task_frames(task_frames)
        self.marks = nn.Parameter(0.5 * torch.randn(N_MARKS, dim)) if class_mark and "task" in axes else None
        self.observer: Callable[[str, Tensor, Tensor | None], None] | None = None  # see attention.py

    def forward(
        self, x: Tensor, mask: Tensor | None = None, n_read: int | None = None, slots: Tensor | None = None
    ) -> Tensor:
        """Run the four steps of the paper.

        Args:
            x: tokens (..., B, T, N, D).
            mask: bool (B, B), which clips see which; see `scope_mask`.
            n_read: only the first n_read tokens of each frame are read afterwards: the others are dropped as soon as
                no remaining step looks at them. None keeps all.
            slots: (S,), the class of each support clip in 0..19, see `class_slots`; None marks no clip.

        Returns:
            Tokens (..., B, T, N, D), or (..., B, T, n_read, D).
        """
        if self.time is not None:
            x = x + self.time(self.attend("time", x))  # 1. temporal
        x = x + self.space(self.attend("space", x))  # 2. spatial; the inner skip keeps the frozen attention
        x = x[..., :n_read, :]  # the steps that follow treat each token by itself
        if self.task is not None:
            x = x + self.task(self.attend("task", x, mask, slots))  # 3. task
        normed = self.block.norm2(x)
        x = x + self.block.ls2(self.block.mlp(normed))  # 4. joint: an adapter parallel to the MLP
        return x if self.joint is None else x + self.joint(normed)

    def attend(self, axis: str, x: Tensor, mask: Tensor | None = None, slots: Tensor | None = None) -> Tensor:
        """Return MSA(LN1 x) along one axis, with the frozen weights: (..., B, T, N, D) -> the same shape."""
        normed = self.block.norm1(x)
        if self.marks is not None and slots is not None:  # queries follow, and get zeros
            normed = normed + F.pad(self.marks[slots], (0, 0, 0, x.shape[-4] - len(slots)))[:, None, None]
        if axis == "task" and self.task_frames == "all":
            normed, mask = frames_as_clips(normed, mask)
        if self.observer is not None:
            self.observer(axis, normed, mask)
        return self.block.ls1(attend_along(axis, self.block.attn, normed, mask).reshape(x.shape))
