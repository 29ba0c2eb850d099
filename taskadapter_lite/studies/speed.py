"""The published way of running Task-Adapter, then one switch after the other -> seconds, memory, ratios."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median, median_high
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from taskadapter_lite.backbone import load_backbone, plain_blocks
from taskadapter_lite.cache import PrefixCache
from taskadapter_lite.data.datasets import ClipFolder
from taskadapter_lite.data.decoding import decord
from taskadapter_lite.metrics import cosine_scores
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.sprites import ACTIONS, render_clips, slug, write_mp4
from taskadapter_lite.studies.decoding_speed import plain_decord
from taskadapter_lite.training.estimate import seconds

LINE = "{:<28} {:>9} {:>16} {:>13} {:>16} {:>12}"  # of the table
TOLERANCE = {False: 2e-3, True: 6e-2}  # largest relative difference of features from the published way: fp32, bf16


@dataclass(frozen=True)
class Workload:
    """What is timed: one training episode, and evaluation episodes of the same shape.

    Attributes:
        backbone: a name for `load_backbone`; random weights, because speed does not depend on them.
        size: height and width of the frames in pixels.
        depth: adapted blocks L.
        n_way, k_shot, n_query, T: shape of the episodes and length of the clips.
        device: where.
    """

    backbone: str = "something_sprites"
    size: int = 64
    depth: int = 3
    n_way: int = 5
    k_shot: int = 1
    n_query: int = 1
    T: int = 8
    device: str = "cpu"

    @property
    def n_support(self) -> int:
        """Support clips of an episode."""
        return self.n_way * self.k_shot

    @property
    def n_clips(self) -> int:
        """Clips of an episode."""
        return self.n_way * (self.k_shot + self.n_query)


@dataclass(frozen=True)
class Switches:
    """One way of running it; the defaults are the published way."""

    name: str = "as published"
    prefix: bool = False  # temporal embedding at the first adapted block: no gradient below it
    fused: bool = False  # fused attention instead of softmax written out
    cache: bool = False  # frozen tokens of each clip computed once, clips decoded once
    episodes: int = 1  # episodes in one step
    bf16: bool = False
    compiled: bool = False


def ladder_of_switches(episodes: int, compiled: bool, bf16: bool = True, device: str = "cpu") -> list[Switches]:
    """The published way, then each switch on top of those before.

    Args:
        episodes: in one step of the last ways; 1 leaves that switch out.
        compiled, bf16: whether these switches are there.
        device: on a CPU, bf16 comes without fused attention, which is slow there (`without_slow_attention`).
    """
    changes: list[tuple[str, dict]] = [
        ("+ gradient-free prefix", {"prefix": True}),
        ("+ fused attention", {"fused": True}),
        ("+ prefix cache", {"cache": True}),
    ]
    if episodes > 1:
        changes.append((f"+ {episodes} episodes a step", {"episodes": episodes}))
    if bf16 and torch.device(device).type == "cpu":
        changes.append(("+ bf16, attention not fused", {"bf16": True, "fused": False}))
    elif bf16:
        changes.append(("+ bf16", {"bf16": True}))
    if compiled:
        changes.append(("+ compile", {"compiled": True}))
    ways = [Switches()]
    for name, change in changes:
        ways.append(replace(ways[-1], name=name, **change))
    return ways


class TimedModel:
    """A model that runs in one way, as its `switches` say, on clips from disk."""

    def __init__(self, switches: Switches, workload: Workload, clips: ClipFolder):
        self.switches, self.workload, self.clips = switches, workload, clips
        torch.manual_seed(0)
        place = "adapted" if switches.prefix else "input"
        options: dict[str, Any] = {} if workload.backbone == "something_sprites" else {"img_size": workload.size}
        backbone = load_backbone(workload.backbone, pretrained=False, **options)
        self.model = TaskAdapterViT(backbone, workload.depth, workload.T, temporal_embedding=place)
        self._fill_adapters()
        self.model.to(workload.device)
        for block in plain_blocks(backbone):
            attention: Any = block.attn
            attention.fused_attn = switches.fused
        self.adapt = torch.compile(self.model.adapt) if switches.compiled else self.model.adapt
        self.cache = PrefixCache(self.model, clips) if switches.cache else None
        self.optimizer = torch.optim.SGD(self.model.trainable_parameters(), lr=0.0)

    def _fill_adapters(self) -> None:
        """The same random adapters in every way (a zero start would hide differences); the embedding stays zero."""
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for name, parameter in sorted(self.model.adapter_state().items()):
                filled = 0.02 * torch.randn(parameter.shape, generator=generator)
                self.model.get_parameter(name).copy_(filled if name != "temporal" else torch.zeros_like(filled))

    def features(self, episodes: int) -> Tensor:
        """Frame features (E, B, T, D') of E episodes of the first clips."""
        w, s = self.workload, self.switches
        indices = [i % len(self.clips) for i in range(episodes * w.n_clips)]
        device = next(self.model.parameters()).device
        with torch.autocast(device.type, torch.bfloat16, enabled=s.bf16):
            if self.cache is not None:
                tokens = self.cache.tokens(indices)
            else:
                pixels = torch.stack([self.clips[i] for i in indices]).to(device)
                pixels = rearrange(pixels, "(e b) t c h w -> e b t c h w", e=episodes)
                if not s.prefix:
                    return torch.stack([self.model(clips, w.n_support, w.n_way) for clips in pixels]).float()
                tokens = self.model.prefix(rearrange(pixels, "e b t c h w -> (e b) t c h w"))
            tokens = rearrange(tokens, "(e b) t n d -> e b t n d", e=episodes)
            return self.adapt(tokens, w.n_support, w.n_way).float()

    def loss(self) -> Tensor:
        """Cross-entropy of one step's episodes."""
        w = self.workload
        support, query = self.features(self.switches.episodes).tensor_split([w.n_support], dim=1)
        scores = cosine_scores(rearrange(support, "e (way shot) t d -> e way shot t d", way=w.n_way), query)
        labels = torch.arange(w.n_way, device=scores.device).repeat_interleave(w.n_query)
        return F.cross_entropy(64 * scores.flatten(0, 1), labels.repeat(self.switches.episodes))

    def train_step(self) -> None:
        """Forward, backward, update."""
        self.optimizer.zero_grad(set_to_none=True)
        self.loss().backward()
        self.optimizer.step()

    @property
    def needs_a_first_step(self) -> bool:
        """True where the first training step also chooses or compiles kernels."""
        return self.switches.compiled or torch.device(self.workload.device).type != "cpu"

    def fill_seconds(self) -> float:
        """Seconds a clip to decode it and run its frozen blocks, once; 0 without a cache."""
        if not self.switches.cache:
            return 0.0
        indices = list(range(min(len(self.clips), self.workload.n_clips)))
        empty = PrefixCache(self.model, self.clips)
        with torch.autocast(torch.device(self.workload.device).type, torch.bfloat16, enabled=self.switches.bf16):
            return seconds(lambda: empty.tokens(indices), self.workload.device) / len(indices)

    @torch.no_grad()
    def evaluate_step(self) -> None:
        """Scores of the step's episodes."""
        self.loss()


def step_memory(way: TimedModel) -> int:
    """Bytes at the peak of a training step on CUDA; elsewhere the bytes that autograd keeps for the backward pass."""
    device = torch.device(way.workload.device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        way.train_step()
        return torch.cuda.max_memory_allocated(device)
    own = {p.untyped_storage().data_ptr() for p in way.model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # an output that its own node kept would keep the whole graph alive

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = way.loss()
    total = sum(kept.values())
    del loss
    return total


def matmul_seconds(way: TimedModel) -> float:
    """Seconds that the matrix products of one training step need at the device's measured rate."""
    with FlopCounterMode(display=False) as counter:
        way.train_step()
    device, dtype = way.workload.device, torch.bfloat16 if way.switches.bf16 else torch.float32
    n = 8192 if torch.device(device).type == "cuda" else 1024
    square = torch.randn(n, n, device=device, dtype=dtype)
    fastest = min(seconds(lambda: square @ square, device) for _ in range(5))
    return counter.get_total_flops() * fastest / (2 * n**3)


def run_benchmark(workload: Workload, folder: Path, ways: list[Switches], repeats: int = 5) -> dict:
    """Check that all ways agree, then time them in turn: A B C ... A B C ..., so that drift hits all alike.

    Args:
        workload: what is timed.
        folder: class folders of video files, enough clips for one episode.
        ways: the first is the one that the others are compared with.
        repeats: rounds after one warm-up round.

    Returns:
        `rows`, one a way: seconds of a training step and of evaluating an episode (per episode, all repeats), their
        ratios to the first way (median, least and largest of the rounds), `fill`: seconds a clip to fill the cache,
        once, memory, difference of the features; `matmul_seconds` of the last way's step; and `decoding`, see
        `decoding_rates`.

    Raises:
        ValueError: a way's features differ from the published way's by more than `TOLERANCE`.
    """
    clips = ClipFolder(folder, T=workload.T, size=workload.size)
    if len(clips) < workload.n_clips:
        raise ValueError(f"{folder} holds {len(clips)} clips, but an episode needs {workload.n_clips}")
    prepared = [TimedModel(switches, workload, clips) for switches in ways]
    with torch.no_grad():
        expected = prepared[0].features(1)
        differences = [_difference(way, expected) for way in prepared]
    times: list[dict[str, list[float]]] = [{"train": [], "evaluate": []} for _ in ways]
    for round_ in range(repeats + 1):
        for way, measured in zip(prepared, times, strict=True):
            for what, action in (("train", way.train_step), ("evaluate", way.evaluate_step)):
                if not round_ and what == "train" and not way.needs_a_first_step:
                    continue
                spent = seconds(action, workload.device) / way.switches.episodes
                if round_:
                    measured[what].append(spent)
    rows = [
        {
            "name": way.switches.name,
            "switches": asdict(way.switches),
            "seconds": measured,
            "ratios": {what: _ratios(times[0][what], measured[what]) for what in measured},
            "fill": way.fill_seconds(),
            "memory": step_memory(way) // way.switches.episodes,
            "difference": difference,
        }
        for way, measured, difference in zip(prepared, times, differences, strict=True)
    ]
    eager = [way for way in prepared if not way.switches.compiled][-1]
    return {
        "workload": asdict(workload),
        "rows": rows,
        "matmul_seconds": matmul_seconds(eager) / eager.switches.episodes,
        "decoding": decoding_rates(clips),
    }


def _difference(way: TimedModel, expected: Tensor) -> float:
    found = ((way.features(1) - expected).norm() / expected.norm()).item()
    limit = TOLERANCE[way.switches.bf16]
    if not found <= limit:
        raise ValueError(f"{way.switches.name}: features differ by {found:.2g}, more than the tolerance of {limit}")
    return found


def evaluation_seconds(row: dict, workload: dict, episodes: int = 1000, clips: int = 2400) -> float:
    """Seconds to evaluate so many episodes of a test set of so many clips, from what was measured a step and a clip.

    The defaults are 1,000 episodes and the 2,400 test videos of Kinetics-100. Without a cache every episode decodes its
    clips and runs their frozen blocks again; with one, each clip that the episodes draw pays once.

    Args:
        row: one of `run_benchmark`'s rows, and its workload.
    """
    drawn = episodes * Workload(**workload).n_clips
    met = clips * (1 - (1 - 1 / clips) ** drawn)
    return episodes * median(row["seconds"]["evaluate"]) + met * row["fill"]


def decoding_rates(clips: ClipFolder) -> dict[str, float]:
    """Frames a second of reading the clips' T frames, the median of three rounds.

    Keys: `"decord"`: opening each file and taking the frames, as public code does for every episode (missing where
    decord is not installed); `"read_clip"`: ours, which checks the file and resizes as well. Where tokens are kept,
    each clip is read once and no file is opened again.
    """
    readers: dict[str, Callable[[], object]] = {"read_clip": lambda: [clips[i] for i in range(len(clips))]}
    if decord is not None:
        readers["decord"] = lambda: [plain_decord(clips.root / path, clips.T) for path in clips.paths]
    rounds = [{name: seconds(read, "cpu") for name, read in readers.items()} for _ in range(3)]
    return {name: median(len(clips) * clips.T / spent[name] for spent in rounds) for name in sorted(readers)}


def _ratios(first: list[float], other: list[float]) -> dict[str, float]:
    """How many times faster, round by round: median, least, largest."""
    ratios = [a / b for a, b in zip(first, other, strict=True)]
    return {"median": median(ratios), "least": min(ratios), "largest": max(ratios)}


def write_clips(folder: Path, size: int, n: int) -> None:
    """n rendered clips of 30 frames as mp4 files, in two class folders."""
    names = list(ACTIONS)[:2]
    for name in names:
        for i, clip in enumerate(render_clips(name, range((n + 1) // 2), n_frames=30, size=size)):
            write_mp4(folder / slug(name) / f"{i:03d}.mp4", clip)


def table(found: dict) -> str:
    """One run as text."""
    w, rows = found["workload"], found["rows"]
    lines = [
        f"\n{w['backbone']}, {w['size']} pixels, L = {w['depth']}, {w['n_way']}-way {w['k_shot']}-shot, {w['device']}",
        LINE.format("", "step (s)", "ratio", "evaluate (s)", "ratio", "memory (MB)"),
    ]
    for row in rows:
        cells = []
        for what in ("train", "evaluate"):
            ratio = row["ratios"][what]
            cells += [f"{median_high(row['seconds'][what]):.3f}"]
            cells += [f"{ratio['median']:.1f} ({ratio['least']:.1f}-{ratio['largest']:.1f})"]
        lines.append(LINE.format(row["name"], *cells, f"{row['memory'] / 1e6:.1f}"))
    lines.append("evaluating 1,000 episodes of 2,400 test clips, from the above (s):")
    for row in rows:
        first, own = (evaluation_seconds(one, w) for one in (rows[0], row))
        lines.append(f"{row['name']:<28} {own:>9.0f} {first / own:>16.1f}")
    rates = ", ".join(f"{name} {rate:,.0f}" for name, rate in found["decoding"].items())
    lines.append(f"frames read a second: {rates}")
    lines.append(f"the matrix products of the last way's step alone: {found['matmul_seconds']:.3f} s; all per episode")
    return "\n".join(lines)
