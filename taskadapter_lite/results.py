"""A run as data: per-episode accuracies with all that is needed to trust, repeat and compare them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from taskadapter_lite.files import write_json
from taskadapter_lite.intervals import accuracy_interval, class_interval, text_interval
from taskadapter_lite.provenance import environment, peak_memory

__all__ = [
    "RunResult",
    "accuracy_interval",
    "class_interval",
    "comparison_table",
    "environment",
    "markdown_table",
    "peak_memory",
    "text_interval",
]

RESULT_FORMAT = 1


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
    def class_accuracies(self) -> dict[str, float]:
        """Accuracy of each class that had a query."""
        rows = zip(self.class_names, self.confusion, strict=True)
        return {name: row[i] / sum(row) for i, (name, row) in enumerate(rows) if sum(row)}

    @property
    def pair_accuracy(self) -> tuple[float, float] | None:
        """Share of right answers among those that name a query's class or its reversed partner, and its binomial 95%
        half width (as if queries were independent); 0.5 is a coin, None means no such answer."""
        right, n = self.pairs.get("right", 0), self.pairs.get("right", 0) + self.pairs.get("partner", 0)
        return (right / n, 1.96 * math.sqrt(right * (n - right) / n**3)) if n else None

    def summary(self) -> str:
        """One line: mean and interval of each score, number of episodes, metric and scope."""
        cut = " (interrupted)" if self.interrupted else ""
        if not self.accuracies:
            return f"{self.name}: not evaluated, {len(self.history)} rows of history{cut}"
        scores = self.variants or {"": self.accuracies}
        means = ", ".join(f"{name} {text_interval(values)} %".strip() for name, values in scores.items())
        return (
            f"{self.name}: {means} on {len(self.accuracies):,} episodes{cut}, "
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


def comparison_table(results: Sequence[RunResult], baseline: str | None = None) -> pd.DataFrame:
    """Runs side by side, in percent; one row a name, or a name and variant (visual, semantic, fused).

    Runs of one name are training seeds: `mean` and `ci95` are those of the per-episode mean over seeds, and
    `seed_sd` is the standard deviation of the seeds' own means. `class_low` and `class_high` bound the mean class
    accuracy for other classes (see `class_interval`). `difference` and `difference_ci95` compare with the baseline
    episode by episode, which is sharper than comparing two intervals.

    Args:
        results: evaluations.
        baseline: name of the row that the others are compared with.

    Raises:
        ValueError: if runs of one name, or a run and the baseline, used different episodes; or there is no such row.
    """
    rows = _rows(results)
    if baseline is not None and baseline not in rows:
        raise ValueError(f"baseline is {baseline!r}; the rows are {', '.join(rows)}")
    return pd.DataFrame([_table_row(name, *rows[name], rows.get(baseline)) for name in rows])


def _rows(results: Sequence[RunResult]) -> dict[str, tuple[list[RunResult], np.ndarray]]:
    """Row name -> its runs and their accuracies (seeds, episodes)."""
    rows: dict[str, tuple[list[RunResult], list]] = {}
    for result in results:
        for variant, values in (result.variants or {"": result.accuracies}).items():
            runs, accuracies = rows.setdefault(f"{result.name} {variant}".strip(), ([], []))
            runs.append(result)
            accuracies.append(values)
            _refuse_other_episodes(runs[0], result)
            for what in ("metric", "scope", "spec"):
                if getattr(runs[0], what) != getattr(result, what):
                    raise ValueError(
                        f"two runs are named {result.name!r}, as seeds of one row are, but their {what} differs "
                        f"({getattr(runs[0], what)}, {getattr(result, what)}): give them names of their own"
                    )
    return {name: (runs, np.array(accuracies)) for name, (runs, accuracies) in rows.items()}


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
        low, high = class_interval(sum(np.array(run.confusion) for run in runs))
        row |= {"class_low": 100 * low, "class_high": 100 * high}
    if baseline is not None:
        _refuse_other_episodes(baseline[0][0], first)
        mean, half_width = accuracy_interval(per_episode - baseline[1].mean(0))
        row |= {"difference": 100 * mean, "difference_ci95": 100 * half_width}
    return row


def markdown_table(table: pd.DataFrame) -> str:
    """A comparison table as Markdown; numbers with one decimal, each mean with its interval."""
    text = table.drop(columns=["ci95", "difference_ci95"], errors="ignore").astype(object)
    for column, interval in (("mean", "ci95"), ("difference", "difference_ci95")):
        if column in table:
            text[column] = [f"{m:.1f} +- {c:.1f}" for m, c in zip(table[column], table[interval], strict=True)]
    lines = [[f"{v:.1f}" if isinstance(v, float) else str(v) for v in row] for row in text.to_numpy().tolist()]
    lines = [list(text.columns), ["---"] * text.shape[1], *lines]
    return "\n".join("| " + " | ".join("" if v in ("nan", "None") else v for v in line) + " |" for line in lines)
