"""What the demo trains, prints and draws: Task-Adapter on the bundled clips, and the tables and figures of both halves.

The second half, constructed tasks, is trained in `attribute_minute`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from taskadapter_lite import figures
from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.cache import PrefixCache
from taskadapter_lite.data.labelled import LabelledClips
from taskadapter_lite.data.which_attribute import AttributeEpisodes, AttributePortraits
from taskadapter_lite.episodes import EpisodeSampler, EpisodeSpec
from taskadapter_lite.evaluation import evaluate
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.results import RunResult, accuracy_interval, text_interval
from taskadapter_lite.sprites.render import partners
from taskadapter_lite.studies import attribute_minute
from taskadapter_lite.studies.cross_video import answer, draw_attention, first_right
from taskadapter_lite.studies.ladder import saved_episodes
from taskadapter_lite.training.config import TrainConfig
from taskadapter_lite.training.loop import train

SPEC = EpisodeSpec(n_way=5, k_shot=1, n_query=3)  # of training
N_TEST = {1: 300, 5: 100}  # shots -> the first so many of the saved test episodes
DEPTH = 3
METRIC = "otam"  # keeps the order of the frames; the paper's mean over time loses it (see the ladder)
AGGREGATION = "prototype"  # as in the committed file of the demo, and better here with five shots (results/aggregation)
METRIC_NAMES = {"cosine": "cosine", "otam": "OTAM"}
KEPT = ("name", "scope", "metric", "episodes", "accuracies", "trainable_parameters", "seconds", "pairs", "metadata")
ACTIONS_LINE = "{:<23} {:>8}  {:>13}  {:>13}  {:<10} {:>9} {:>8}"
TASKS_LINE = "{:<35} {:>8}  {:>13}  {:>8} {:>8}"


def new_model(seed: int, device: torch.device) -> TaskAdapterViT:
    """Task-Adapter in the last blocks of the bundled backbone, at its start."""
    torch.manual_seed(seed)
    return TaskAdapterViT(load_backbone(), depth=DEPTH, temporal_std=0.5).to(device)


def score_frozen(clips: LabelledClips, device: torch.device, quick: bool) -> Iterator[RunResult]:
    """The bundled backbone with nothing added, by each metric."""
    for metric in METRIC_NAMES:
        model = TaskAdapterViT(load_backbone(), depth=0, axes=()).to(device)
        yield from score_shots(model, clips, "Frozen backbone", metric, quick)


def train_adapters(model: TaskAdapterViT, clips: LabelledClips, seed: int, quick: bool) -> RunResult:
    """As many steps as fit the demo's minutes on two cores."""
    n_steps = 20 if quick else 500
    config = TrainConfig.recommended(
        n_steps=n_steps,
        seed=seed,
        metric=METRIC,
        aggregation=AGGREGATION,
        temperature=2.0,
        validation_every=0,
        checkpoint_every=10**9,
    )
    return train(model, clips, EpisodeSampler.of(clips, SPEC, n_steps, seed), config, name="Task-Adapter")


def score_shots(
    model: TaskAdapterViT, clips: LabelledClips, method: str, metric: str, quick: bool, training_seconds: float = 0.0
) -> Iterator[RunResult]:
    """One result a number of shots."""
    cache = PrefixCache(model, clips)
    for shots, n_episodes in N_TEST.items():
        yield evaluate(
            model,
            cache,
            saved_episodes(shots, clips)[: 20 if quick else n_episodes],
            metric,
            aggregation=AGGREGATION,
            pairs=partners(),
            name=f"{method}, {METRIC_NAMES[metric]}, {shots}-shot",
            metadata={"method": method, "shots": shots, "training_seconds": round(training_seconds, 1)},
        )


def save_with_rows(record: RunResult, results: list[RunResult], path: Path) -> None:
    """One file that holds a whole table: one run, with what is shown of all of them inside."""
    rows = [{key: getattr(result, key) for key in KEPT} for result in results]
    record.metadata = record.metadata | {"rows": rows}
    record.save(path)


def table_of_actions(record: RunResult) -> str:
    """The demo's results, computed from the saved file: a line a method."""
    rows: dict[str, dict[int, dict]] = {}
    for row in record.metadata["rows"]:
        rows.setdefault(row["name"].rpartition(", ")[0], {})[row["metadata"]["shots"]] = row
    lines = [ACTIONS_LINE.format("method", "trained", "1-shot", "5-shot", "scope", "episodes", "seconds")]
    for method, by_shots in rows.items():
        first, accuracies = by_shots[1], [by_shots[shots]["accuracies"] for shots in N_TEST]
        means = [f"{text_interval(values)} %" for values in accuracies]
        seconds = first["metadata"]["training_seconds"] + sum(row["seconds"] for row in by_shots.values())
        episodes = "+".join(str(len(values)) for values in accuracies)
        cells = (f"{first['trainable_parameters']:,}", *means, first["scope"] or "-", episodes, f"{seconds:.0f}")
        lines.append(ACTIONS_LINE.format(method, *cells))
    said = "5-way, classes never trained on; mean and 95% interval over the episodes; chance is 20 %"
    return "\n".join(["", *lines, said])


def table_of_tasks(record: RunResult) -> str:
    """The second table, computed from the saved file."""
    lines = [TASKS_LINE.format("which attribute counts?", "trained", "5-way 1-shot", "episodes", "seconds")]
    for row in record.metadata["rows"]:
        mean, seconds = f"{text_interval(row['accuracies'])} %", row["metadata"]["training_seconds"] + row["seconds"]
        cells = (f"{row['trainable_parameters']:,}", mean, len(row["accuracies"]), f"{seconds:.0f}")
        lines.append(TASKS_LINE.format(row["name"], *cells))
    said = "constructed tasks, colours and forms never trained on; in half of them the colour counts, else the form;"
    return "\n".join(["", *lines, said, "mean and 95% interval over the episodes; chance is 20 %"])


def draw_actions(results: list[RunResult], model: TaskAdapterViT, clips: LabelledClips, out: Path) -> None:
    """ladder.png and cross_video_attention.png."""
    figures.use_style()
    figure, axes = plt.subplots(1, len(N_TEST), figsize=(10, 2.8), sharex=True, layout="constrained")
    for ax, shots in zip(axes, N_TEST, strict=True):
        rows = [result for result in results if result.metadata["shots"] == shots]
        means, halves = zip(*(accuracy_interval(result.accuracies) for result in rows), strict=True)
        names = [result.name.rpartition(", ")[0] for result in rows]
        figures.plot_ladder(names, means, halves, len(rows[0].accuracies), 0.2, highlight=names[-1:], ax=ax)
        ax.set_title(f"5-way {shots}-shot, unseen classes")
    for ax in axes[1:]:
        ax.set_yticklabels([])  # the same rows
    figure.savefig(out / "ladder.png")
    plt.close(figure)
    episode = first_right(model, clips, saved_episodes(1, clips)[:20])
    draw_attention(model, clips, episode, out / "cross_video_attention.png")


def draw_two_tasks(record: RunResult, model: TaskAdapterViT, path: Path) -> None:
    """One query in two tasks, and the second table, as a picture: the first query of the list answered right twice."""
    pool = AttributePortraits("test")
    n_episodes = len(record.accuracies)
    episodes = AttributeEpisodes(pool, attribute_minute.SPEC, n_episodes, attribute_minute.TEST_SEED)
    shown = None
    for clip, tasks in attribute_minute.queries_in_two_tasks(episodes):
        answers = [answer(model, pool, task) for task in tasks]
        is_right = all(torch.equal(a.labels.cpu(), task.query_labels) for a, task in zip(answers, tasks, strict=True))
        if is_right or shown is None:
            shown = clip, tasks, answers
        if is_right:
            break
    if shown is None:  # a handful of tasks may ask no clip twice
        return
    clip, tasks, answers = shown
    rows = record.metadata["rows"]
    means, halves = zip(*(accuracy_interval(row["accuracies"]) for row in rows), strict=True)
    figures.use_style()
    figure = figures.plot_two_tasks(
        pool[clip],
        [pool.read_batch(task.support) for task in tasks],
        [a.scores[0].cpu() for a in answers],
        list(episodes.rules),
        [row["name"] for row in rows],
        means,
        halves,
        n_episodes,
        0.2,
    )
    figure.savefig(path, dpi=100)
    plt.close(figure)
