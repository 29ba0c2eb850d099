"""A run as data: per-episode accuracies with all that is needed to trust, repeat and compare them."""

from __future__ import annotations

import json
import math
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from taskadapter_lite.files import write_json

RESULT_FORMAT = 1
N_DRAWS = 2000  # of a bootstrap


@dataclass
class RunResult:
    """One evaluation or one training run.

    Attributes:
        name: what the run is called in tables; runs of one name are seeds of one row.
        accuracies: accuracy of each episode, in 0..1.
        metric: name of the metric, None where there is none.
        scope: who could attend to whom; None where the features don't depend on the episode.
        dataset: fingerprint of the clips.
        episodes: hash of the episode list.
        spec: size of the episodes.
        seeds: every seed that was used.
        class_names: names of the rows and columns of `confusion`.
        confusion: query counts [true class][predicted class].
        pairs: {"right": n, "partner": n, "total": n} of the queries whose reversed partner was in the episode.
        queries: of each query, if asked for: its "clip", the "support" clips of its class, and "right" (0 or 1).
        variants: accuracies of each episode by another score, such as visual, semantic and fused.
        config: what was chosen: model, aggregation, training.
        history: one dict a logged step of a training run.
        skipped: files that could not be read.
        seconds: wall-clock time.
        peak_memory: bytes, of the process or of the accelerator.
        trainable_parameters: number of trained values.
        interrupted: True where the run was stopped and holds what was done by then.
        device, versions, commit, command, created: see `environment`.
        metadata: anything else that JSON can hold.
    """

    name: str
    accuracies: list[float] = field(default_factory=list)
    metric: str | None = None
    scope: str | None = None
    dataset: str | None = None
    episodes: str | None = None
    spec: dict = field(default_factory=dict)
    seeds: dict[str, int] = field(default_factory=dict)
    class_names: list[str] = field(default_factory=list)
    confusion: list[list[int]] = field(default_factory=list)
    pairs: dict[str, int] = field(default_factory=dict)
    queries: dict[str, list] = field(default_factory=dict)
    variants: dict[str, list[float]] = field(default_factory=dict)
    config: dict = field(default_factory=dict)
    history: list[dict] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0
    peak_memory: int = 0
    trainable_parameters: int = 0
    interrupted: bool = False
    device: str = "cpu"
    versions: dict[str, str] = field(default_factory=dict)
    commit: str | None = None
    command: str = ""
    created: str = ""
    metadata: dict = field(default_factory=dict)

    @property
    def pair_accuracy(self) -> tuple[float, float] | None:
        """Share of right answers among those that name a query's class or its reversed partner, and its 95% half
        width (as if queries were independent); 0.5 is a coin, None means no such answer."""
        right, partner = self.pairs.get("right", 0), self.pairs.get("partner", 0)
        return accuracy_interval([1.0] * right + [0.0] * partner) if right + partner else None

    def summary(self) -> str:
        """One line: mean and interval of each score, number of episodes and of tested classes, metric and scope."""
        cut = " (interrupted)" if self.interrupted else ""
        if not self.accuracies:
            return f"{self.name}: not evaluated, {len(self.history)} rows of history{cut}"
        scores = self.variants or {"": self.accuracies}
        means = ", ".join(f"{name} {text_interval(values)} %".strip() for name, values in scores.items())
        n_classes = sum(map(any, self.confusion))
        classes = f" of {n_classes} classes" if n_classes else ""
        return (
            f"{self.name}: {means} on {len(self.accuracies):,} episodes{classes}{cut}, "
            f"metric {self.metric or 'none'}, scope {self.scope or 'none'}"
        )

    def save(self, path: str | Path) -> None:
        """Writes JSON in one step."""
        write_json(path, {"format": RESULT_FORMAT, **asdict(self)})

    @classmethod
    def load(cls, path: str | Path) -> RunResult:
        """Reads what `save` wrote, exactly.

        Raises:
            ValueError: if the file is no result or has a newer format.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            found = data.pop("format")
            if found > RESULT_FORMAT:
                raise ValueError(f"{path} has format {found}; this version reads up to {RESULT_FORMAT}: please upgrade")
            return cls(**data)
        except (AttributeError, KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not a saved result ({error!r})") from error


def saved_results(folder: Path, names: Iterable[str] | None = None) -> Iterator[RunResult]:
    """The results of a folder, in the order of their files' names, or of `names` where these are given.

    Args:
        folder: holds one file a result.
        names: of results; those of other names are left out.
    """
    found = [RunResult.load(file) for file in sorted(folder.glob("*.json"))]
    yield from found if names is None else (result for name in names for result in found if result.name == name)


def comparison_table(results: Sequence[RunResult], baseline: str | None = None) -> pd.DataFrame:
    """Runs side by side, in percent; one row a name, or a name and variant (visual, semantic, fused).

    Runs of one name are training seeds: `mean` and `ci95` are those of the per-episode mean over seeds, and
    `seed_sd` is the standard deviation of the seeds' own means. `class_low` and `class_high` bound the mean class
    accuracy for other classes, of which there were `classes` (see `class_interval`), and `clip_low` and `clip_high` the
    accuracy for other clips of the same classes, where results keep their queries (see `clip_interval`). `difference`
    and `difference_ci95` compare with the baseline episode by episode, which is sharper than comparing two intervals;
    `difference_clip_low` and `difference_clip_high` bound that difference for other clips, where both rows keep their
    queries. A difference may hold on these clips (its interval over episodes leaves out 0) and not be shown for others.

    Args:
        results: evaluations.
        baseline: name of the row that the others are compared with.

    Raises:
        ValueError: if runs of one name, or a run and the baseline, used different episodes; or there is no such row.
    """
    rows = _rows(results)
    if baseline is not None and baseline not in rows:
        raise ValueError(f"baseline is {baseline!r}; the rows are {', '.join(rows)}")
    beside = None if baseline is None else rows[baseline]
    return pd.DataFrame([_table_row(name, *rows[name], beside) for name in rows])


def _rows(results: Sequence[RunResult]) -> dict[str, tuple[list[RunResult], np.ndarray]]:
    """Row name -> its runs and their accuracies (seeds, episodes)."""
    rows: dict[str, tuple[list[RunResult], list]] = {}
    for result in results:
        for variant, values in (result.variants or {"": result.accuracies}).items():
            runs, accuracies = rows.setdefault(f"{result.name} {variant}".strip(), ([], []))
            runs.append(result)
            accuracies.append(values)
            _refuse_other_episodes(runs[0], result)
            _refuse_other_scores(runs[0], result)
    return {name: (runs, np.array(accuracies)) for name, (runs, accuracies) in rows.items()}


def _refuse_other_scores(first: RunResult, second: RunResult) -> None:
    known = [{key: getattr(run, key) for key in ("metric", "scope", "spec")} for run in (first, second)]
    if first.spec.get("k_shot") != 1:  # with one shot there is nothing to bring together
        for scores, run in zip(known, (first, second), strict=True):
            scores["aggregation"] = run.config.get("aggregation")
    for what, value in known[0].items():
        if value != known[1].get(what):
            raise ValueError(
                f"two runs are named {second.name!r}, as seeds of one row are, but their {what} differs "
                f"({value}, {known[1].get(what)}): give them names of their own"
            )


def _refuse_other_episodes(first: RunResult, second: RunResult) -> None:
    used = [(run.dataset, run.episodes) for run in (first, second)]
    if first is not second and (used[0] != used[1] or first.episodes is None):
        raise ValueError(
            f"{first.name} and {second.name} can't be paired: they used the episodes {first.episodes} of "
            f"{first.dataset} and {second.episodes} of {second.dataset}"
        )


def _table_row(name: str, runs: list[RunResult], accuracies: np.ndarray, baseline: tuple | None) -> dict:
    first, per_episode = runs[0], accuracies.mean(0)
    mean, half_width = accuracy_interval(per_episode)
    row = {"name": name, "metric": first.metric, "scope": first.scope, "episodes": per_episode.size}
    row |= {"seeds": len(runs), "mean": 100 * mean, "ci95": 100 * half_width}
    row["seed_sd"] = 100 * accuracies.mean(1).std(ddof=1) if len(runs) > 1 else math.nan
    if first.confusion and not first.variants:
        confusion = np.sum([run.confusion for run in runs], axis=0)
        low, high = class_interval(confusion.tolist())
        row |= {"classes": int(confusion.any(1).sum()), "class_low": 100 * low, "class_high": 100 * high}
    if _keep_queries(runs):
        low, high = clip_interval([run.queries for run in runs])
        row |= {"clip_low": 100 * low, "clip_high": 100 * high}
    if baseline is not None:
        _refuse_other_episodes(baseline[0][0], first)
        mean, half_width = accuracy_interval(per_episode - baseline[1].mean(0))
        row |= {"difference": 100 * mean, "difference_ci95": 100 * half_width}
        if _keep_queries(runs) and _keep_queries(baseline[0]):
            low, high = clip_interval([run.queries for run in runs], [run.queries for run in baseline[0]])
            row |= {"difference_clip_low": 100 * low, "difference_clip_high": 100 * high}
    return row


def _keep_queries(runs: list[RunResult]) -> bool:
    return all(run.queries and not run.variants for run in runs)


def markdown_table(table: pd.DataFrame) -> str:
    """A comparison table as Markdown; numbers with one decimal, each mean with its interval."""
    text = table.drop(columns=["ci95", "difference_ci95"], errors="ignore").astype(object)
    for column, interval in (("mean", "ci95"), ("difference", "difference_ci95")):
        if column in table:
            text[column] = [f"{m:.1f} +- {c:.1f}" for m, c in zip(table[column], table[interval], strict=True)]
    lines = [[f"{v:.1f}" if isinstance(v, float) else str(v) for v in row] for row in text.to_numpy().tolist()]
    lines = [list(text.columns), ["---"] * text.shape[1], *lines]
    return "\n".join("| " + " | ".join("" if v in ("nan", "None") else v for v in line) + " |" for line in lines)


# ---- accuracies -> a mean that never comes without its interval


def accuracy_interval(accuracies: Sequence[float]) -> tuple[float, float]:
    """Mean and half width of its 95% interval: t s / sqrt(n), s with n - 1 in the denominator, t from `t_factor`.

    The interval covers which episodes were drawn from these clips and classes. It covers neither other training
    seeds nor other classes (see `comparison_table` and `class_interval`), and shrinks with every further episode
    although the clips stay the same. With fewer than 20 episodes it supposes that accuracies are spread evenly around
    their mean: near 0 or 1 they are not, and it then covers less (90% of the time for 5 episodes around 0.9).

    Args:
        accuracies: one number an episode, in 0..1.

    Returns:
        (mean, half width); the half width of a single episode is infinite.
    """
    values = np.asarray(accuracies, dtype=np.float64)
    if values.size == 0:
        raise ValueError("no accuracies: an interval needs at least one episode")
    half_width = t_factor(values.size) * values.std(ddof=1) / math.sqrt(values.size) if values.size > 1 else math.inf
    return float(values.mean()), float(half_width)


@lru_cache(maxsize=4096)
def t_factor(n: int) -> float:
    """How many standard errors the 95% interval of a mean of n values reaches: Student's t with n - 1 degrees.

    12.7 for 2 values, 2.78 for 5, 2.09 for 20, 1.98 for 100; 1.96, that of the bell curve, for very many. The mass of
    t = sqrt(n - 1) tan(angle) grows as cos(angle)^(n - 2); the angle that holds 95% of it is read from the sum.
    """
    angle = np.linspace(0, min(np.pi / 2, 40 / math.sqrt(n)), 20_001)  # beyond lies less than 1e-9 of the mass
    density = np.cos(angle) ** (n - 2)
    mass = np.append(0, np.cumsum(density[1:] + density[:-1]))
    return math.sqrt(n - 1) * math.tan(np.interp(0.95 * mass[-1], mass, angle))


def class_interval(confusion: Sequence[Sequence[int]]) -> tuple[float, float]:
    """95% interval of the mean class accuracy if the test classes had been others: Student's t over classes.

    Each class counts as one value, as if its accuracy didn't depend on which other classes it met. What
    `accuracy_interval` supposes of few episodes, this supposes of few classes.

    Args:
        confusion: counts [true class][predicted class]; rows without a query are left out.

    Returns:
        (lower end, upper end), within 0 and 1; a single class says nothing of others: (0, 1).
    """
    counts = np.asarray(confusion, dtype=np.float64)
    totals = counts.sum(1)
    if not totals.any():
        raise ValueError("the confusion matrix is empty: an interval over classes needs queries")
    mean, half_width = accuracy_interval((counts.diagonal()[totals > 0] / totals[totals > 0]).tolist())
    return max(0.0, mean - half_width), min(1.0, mean + half_width)


def clip_interval(
    runs: Sequence[Mapping[str, Sequence]], baseline: Sequence[Mapping[str, Sequence]] | None = None
) -> tuple[float, float]:
    """95% interval of the accuracy if other clips of the same classes had been there: a bootstrap over clips.

    With a baseline it is the interval of the paired difference: each draw gives both the same clips.

    With few clips a class every clip is in many episodes, and an interval over episodes is too narrow. Here clips are
    drawn with replacement; a query counts as often as its own clip was drawn times the mean of how often the support
    clips of its class were. Clips of the other classes are kept as they are, so that it is still a little too narrow.

    Args:
        runs: `RunResult.queries` of runs on the same episodes, such as training seeds; their answers are averaged.
        baseline: the same of the row that is subtracted.

    Returns:
        (lower end, upper end): percentiles 2.5 and 97.5.

    Raises:
        ValueError: if there are no queries, or the baseline was asked others.
    """
    clip, support = np.asarray(runs[0]["clip"]), np.asarray(runs[0]["support"])
    right = np.mean([run["right"] for run in runs], axis=0)
    if clip.size == 0:
        raise ValueError("no queries: a bootstrap over clips needs some")
    if baseline is not None:
        if any(not np.array_equal(run[key], runs[0][key]) for run in baseline for key in ("clip", "support")):
            raise ValueError("the baseline answered other queries: a paired difference needs the same ones")
        right = right - np.mean([run["right"] for run in baseline], axis=0)
    support = support.reshape(len(clip), -1)
    rng, n_clips = np.random.default_rng(0), int(max(clip.max(), support.max())) + 1
    known = np.union1d(clip, support)
    accuracies = []
    for _ in range(N_DRAWS):
        drawn = np.bincount(rng.choice(known, known.size), minlength=n_clips)
        weight = drawn[clip] * drawn[support].mean(1)
        accuracies.append((weight * right).sum() / weight.sum() if weight.any() else right.mean())
    low, high = np.percentile(accuracies, [2.5, 97.5])
    return float(low), float(high)


def text_interval(accuracies: Sequence[float]) -> str:
    """A mean in percent, never without its interval: "71.3 +- 0.9"."""
    mean, half_width = accuracy_interval(accuracies)
    return f"{100 * mean:.1f} +- {100 * half_width:.1f}"


# ---- a process -> what it ran on


def environment(device: str | torch.device = "cpu") -> dict:
    """What a run ran on, as keyword arguments of `RunResult`: device, versions, commit, command and time."""
    device = torch.device(device)
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": f"{device.type} ({named})",
        "versions": {"python": platform.python_version(), **_versions("torch", "timm", "numpy", "taskadapter_lite")},
        "commit": git_commit(),
        "command": command_line(),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def command_line() -> str:
    """The command that started this process, without the folders of this machine."""
    program = Path(sys.argv[0]).name
    start = ["python", "-m", "taskadapter_lite"] if program == "__main__.py" else [program]
    return shlex.join([*start, *sys.argv[1:]])


def _versions(*packages: str) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a source tree on the path, not installed
            found[package] = "unknown"
    return found


def git_commit() -> str | None:
    """The commit of the package's repository, with "+changes" where tracked files differ; None outside of one."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def peak_memory(device: str | torch.device = "cpu") -> int:
    """Bytes: the most that PyTorch held on the accelerator, or that the process has held in RAM (0 if unknown)."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
