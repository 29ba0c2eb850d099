"""The section on real videos of the results page: its rows and sentences are those of the files."""

import functools
import json
import re
from statistics import fmean

import numpy as np
import pandas as pd
import pytest
from test_readme import PAGE, README, RESULTS, ROOT

from taskadapter_lite.results import RunResult, accuracy_interval, comparison_table, saved_results
from taskadapter_lite.studies.embedding_start import embedding_start_table
from taskadapter_lite.studies.real_training import PARTS, RUNGS, load_real_training, real_training_table
from taskadapter_lite.studies.same_source import same_source_table
from taskadapter_lite.studies.sim_to_real import TEST, VALIDATION, load_sim_to_real, sim_to_real_table

REAL = RESULTS / "real"
SETS = {VALIDATION: VALIDATION, TEST: TEST, "ssv2_toy": "Something-Something", "signs": "signs"}


@functools.cache
def sim_results() -> list[RunResult]:
    """Results of sprites to real videos."""
    return list(load_sim_to_real(REAL / "sim_to_real"))


@functools.cache
def sim_lines() -> list[str]:
    """Rows of the table of sprites to real videos."""
    results, lines = sim_results(), []
    for name, shown in SETS.items():
        for _, row in sim_to_real_table(results, name).iterrows():
            cells = [shown, row["name"], str(row["seeds"]), f"{row['mean']:.1f} +- {row['ci95']:.1f}"]
            cells += [f"{row[f'{kind}_low']:.1f} to {row[f'{kind}_high']:.1f}" for kind in ("clip", "class")]
            lines.append("| " + " | ".join([*cells, *gain_cells(row, "Frozen, OTAM")]) + " |")
    return lines


def gain_cells(row: pd.Series, baseline: str) -> list[str]:
    """A row's difference from its baseline: over episodes, and for other clips."""
    if baseline in (row.get("name"), row.name):
        return ["-", "-"]
    over_clips = f"{row['difference_clip_low']:.1f} to {row['difference_clip_high']:.1f}"
    return [f"{row['difference']:.1f} +- {row['difference_ci95']:.1f}", over_clips]


@functools.cache
def sim_runs() -> dict[tuple[str, str], dict[int, np.ndarray]]:
    """(rung, set) -> seed -> accuracies in percent, of sprites to real videos."""
    runs: dict[tuple[str, str], dict[int, np.ndarray]] = {}
    for r in sim_results():
        runs.setdefault((r.name, r.metadata["set"]), {})[r.seeds["training"]] = 100 * np.array(r.accuracies)
    return runs


def paired(own: dict[int, np.ndarray], beside: dict[int, np.ndarray]) -> list[str]:
    """Cells of a difference, seed by seed: seeds, interval, range of single seeds."""
    gains = np.array([own[seed] - beside[seed] for seed in sorted(own)])
    mean, half = accuracy_interval(gains.mean(axis=0))
    single = gains.mean(axis=1)
    return [str(len(single)), f"{mean:.1f} +- {half:.1f}", f"{single.min():.1f} to {single.max():.1f}"]


def step_cells(rung: str, below: str, name: str) -> list[str]:
    """Cells of a rung beside the one below it on one set; after the interval over episodes that for other clips."""
    runs, both = sim_runs(), [r for r in sim_results() if r.name in (rung, below) and r.metadata["set"] == name]
    table = comparison_table(both, baseline=below).set_index("name")
    seeds, episodes, single = paired(runs[(rung, name)], runs[(below, name)])
    assert episodes == gain_cells(table.loc[rung], below)[0]
    return [seeds, *gain_cells(table.loc[rung], below), single]


@functools.cache
def beside_time_lines() -> list[str]:
    """Rows of the table of what else was trained, beside adapters for time with OTAM."""
    time, runs, lines = "+ time, OTAM", sim_runs(), []
    for rung in dict.fromkeys(name for name, _ in runs if name.startswith("+ time, OTAM") and name != time):
        for name, shown in SETS.items():
            if (rung, name) in runs:
                lines.append("| " + " | ".join([rung, shown, *step_cells(rung, time, name)]) + " |")
    return lines


STEPS = {  # a step of the ladder: the rung, and the one below it
    f"{over}, {head}": (f"{rung}, {head}", f"{below}, {head}")
    for head in ("OTAM", "cosine")
    for over, rung, below in (
        ("time over order-blind", "+ time", "Space + joint (order-blind)"),
        ("task attention over time", "+ task, inductive", "+ time"),
    )
} | {
    "OTAM over cosine, time": ("+ time, OTAM", "+ time, cosine"),
    "OTAM over cosine, task attention": ("+ task, inductive, OTAM", "+ task, inductive, cosine"),
}


@functools.cache
def step_lines() -> list[str]:
    """Rows of the table of the ladder's steps, on every set."""
    return [
        "| " + " | ".join([step, shown, *step_cells(rung, below, name)]) + " |"
        for step, (rung, below) in STEPS.items()
        for name, shown in SETS.items()
    ]


def source_lines() -> list[str]:
    """Rows of the table of pieces of one video."""
    lines = []
    for _, row in same_source_table(list(saved_results(REAL / "same_source"))).iterrows():
        split = [f"{row[name]:.1f}" if row[name] == row[name] else "-" for name in ("with_source", "without_source")]
        interval = f"{row['mean']:.1f} +- {row['ci95']:.1f}", f"{row['clip_low']:.1f} to {row['clip_high']:.1f}"
        cells = [str(row["shots"]), row["metric"], row["rule"], *interval, f"{row['share']:.1f}", *split]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def start_lines() -> list[str]:
    """Rows of the table of the embedding's start."""
    lines = []
    for _, row in embedding_start_table(list(saved_results(REAL / "embedding_start"))).iterrows():
        cells = [f"{row['blocks']}", f"{row['spread']:g}", f"{row['token']:.1f}", f"{row['embedding']:.1f}"]
        cells += [f"{row['alike']:.3f}", f"{row['spread_of_scores']:.2f}", f"{row['accuracy']:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def training_tables(name: str) -> list[pd.DataFrame]:
    """Both parts of a set, by the names of the rungs."""
    results = list(load_real_training(REAL / "real_training"))
    return [real_training_table(results, name, part).set_index("name") for part in PARTS]


def training_lines() -> list[str]:
    """Rows of the table of models trained on a few real clips."""
    lines = []
    for name in ("ssv2_toy", "signs"):
        seen, other = training_tables(name)
        for rung, row in other.iterrows():
            cells = [SETS[name], rung, str(row["seeds"])]
            cells += [f"{seen.loc[rung, 'mean']:.1f} +- {seen.loc[rung, 'ci95']:.1f}"]
            cells += [gain_cells(seen.loc[rung], "Frozen")[0], f"{row['mean']:.1f} +- {row['ci95']:.1f}"]
            cells += [f"{row[f'{kind}_low']:.1f} to {row[f'{kind}_high']:.1f}" for kind in ("clip", "class")]
            lines.append("| " + " | ".join([*cells, *gain_cells(row, "Frozen")]) + " |")
    return lines


@pytest.mark.parametrize("lines", [sim_lines, step_lines, beside_time_lines, source_lines, start_lines, training_lines])
def test_each_row_says_what_its_files_say(lines):
    rows = lines()
    assert len(rows) >= 2
    assert all(row in PAGE.splitlines() for row in rows)


def words() -> str:
    """The section in one line."""
    return " ".join(section_of("Real videos").split())


def section_of(title: str) -> str:
    """Text under a heading, with its own smaller headings."""
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_what_is_said_of_sprites_to_real_videos():
    results = sim_results()
    held = {}
    for name, shown in (("ssv2_toy", "Something-Something"), ("signs", "signs")):
        table = sim_to_real_table(results, name).set_index("name")
        said = []
        for rung in ("+ time, OTAM", "+ task, inductive, OTAM"):
            episodes, clips = gain_cells(table.loc[rung], "Frozen, OTAM")
            said.append(f"{episodes} (other clips: {clips})")
        assert f"{shown} by {said[0]} with time and {said[1]} with task attention too" in words()
        held[name] = table.loc[rung, "difference_clip_low"] > 0
        best = table.loc[[rung for rung in table.index if rung.startswith(("+", "Space"))], "mean"].max()
        aim = {"ssv2_toy": 40, "signs": 35}[name]
        assert best < aim
        assert f"{best:.1f} of {aim} on {shown}" in words()
    assert held == {"ssv2_toy": False, "signs": True}
    reading, runs = "Frozen, OTAM minus clip mean", sim_runs()
    trained = [runs[(rung, "signs")] for rung in ("+ time, OTAM", "+ task, inductive, OTAM")]
    base = runs[(reading, "signs")][0]
    said = [paired(own, dict.fromkeys(own, base))[1] for own in trained]
    assert f"the same features reach {base.mean():.1f}" in words()
    assert f"{said[0]} points with time, {said[1]} with task attention" in words()
    frozen, task = (
        np.mean(list(runs[(rung, "signs")].values())) for rung in ("Frozen, OTAM", "+ task, inductive, OTAM")
    )
    said = f"lift signs from {frozen:.1f} to {task:.1f}%, below the frozen model's best reading ({base.mean():.1f}%)"
    assert said in " ".join(README.split())
    signs = [np.mean(list(run.values())) for (name, where), run in runs.items() if where == "signs" and name != reading]
    assert max(signs) < base.mean()  # "nothing that was trained on sprites"


def test_what_is_said_of_the_ladders_steps():
    rows = {tuple(line.strip("| ").split(" | ")[:2]): line.strip("| ").split(" | ")[2:] for line in step_lines()}
    clips, single = ({key: [float(x) for x in c[at].split(" to ")] for key, c in rows.items()} for at in (2, 3))
    assert {cells[0] for cells in rows.values()} == {"3"}
    time = {key: low for key, (low, _) in clips.items() if key[0].startswith("time over")}
    assert all(single[key][0] > 0 for key in time)  # "in every seed"
    unsure = {(f"time over order-blind, {head}", "Something-Something") for head in ("OTAM", "cosine")}
    assert {key for key, low in time.items() if low < 0} == unsure | {("time over order-blind, cosine", "signs")}
    task, cosine = "task attention over time, OTAM", "task attention over time, cosine"
    assert (
        f"by {rows[(task, TEST)][1]} points with OTAM (other clips: {rows[(task, TEST)][2]}), in every seed" in words()
    )
    assert min(single[(task, TEST)][0], clips[(task, TEST)][0]) > 0
    assert f"it adds {rows[(task, TEST)][1]} points on sprites" in " ".join(README.split())
    lesson = (ROOT / "notebooks" / "07_train.ipynb").read_text(encoding="utf-8")
    assert f"is ahead by {rows[(task, TEST)][1].replace('+-', '±')} points with task attention" in lesson
    assert f"by {rows[(cosine, TEST)][1]} with cosine" in words()
    others = [(cosine, TEST), *((step, name) for step in (task, cosine) for name in ("Something-Something", "signs"))]
    assert all(low < 0 < high for low, high in (single[key] for key in others))
    for head in ("OTAM over cosine, time", "OTAM over cosine, task attention"):
        assert all(min(single[key][0], clips[key][0]) > 0 for key in ((head, s) for s in (VALIDATION, TEST, "signs")))
        assert single[(head, "Something-Something")][0] < 0 < single[(head, "Something-Something")][1]


def test_what_is_said_of_what_else_was_trained():
    rows = {tuple(line.strip("| ").split(" | ")[:2]): line.strip("| ").split(" | ")[2:] for line in beside_time_lines()}
    single = {key: [float(x) for x in cells[3].split(" to ")] for key, cells in rows.items()}
    plain, minus, photos = (
        {shown: (f"+ time, OTAM{name}", shown) for shown in SETS.values()}
        for name in (", plain sprites alone", " minus clip mean", ", photos behind clutter")
    )
    assert f"lose {rows[plain['signs']][1][1:]} points on signs, in every seed" in words()
    assert f"and {rows[plain[VALIDATION]][1][1:]} on sprites" in words()
    assert max(single[plain["signs"]][1], single[photos[VALIDATION]][1]) < 0
    assert f"lose {rows[photos[VALIDATION]][1][1:]} points on sprites" in words()
    real = ("Something-Something", "signs")
    undecided = [plain[real[0]], *(minus[name] for name in (VALIDATION, *real)), *(photos[name] for name in real)]
    assert all(low < 0 < high for low, high in (single[key] for key in undecided))


def test_what_is_said_of_training_on_a_few_real_videos():
    for name, shown in (("ssv2_toy", "Something-Something"), ("signs", "signs")):
        seen, other = training_tables(name)
        assert [set(table.index) for table in (seen, other)] == [{rung.name for rung in RUNGS}] * 2
        assert other["seeds"].to_dict() == {rung: 1 if rung == "Frozen" else 3 for rung in other.index}
        said = []
        for rung in ("Adapters", "Full fine-tuning", "Adapters, started from those of sprites"):
            episodes, clips = gain_cells(other.loc[rung], "Frozen")
            said.append(f"{seen.loc[rung, 'mean']:.1f} and {episodes} ({clips})")
        assert f"{shown}: adapters {said[0]}, full fine-tuning {said[1]}, started from sprites {said[2]}" in words()
        started = other.loc[["Adapters", "Adapters, started from those of sprites"], "difference_clip_low"]
        assert (started > 0).tolist() == [name == "signs"] * 2
        full = other.loc["Full fine-tuning"]
        assert full["difference_clip_low"] < 0 < full["difference_clip_high"]  # "not shown"
        if name == "signs":
            means = {rung: f"{row['mean']:.1f} +- {row['ci95']:.1f}%" for rung, row in other.iterrows()}
            assert f"({means['Frozen']} frozen," in " ".join(README.split())
            assert f"{means['Adapters']} adapted)" in " ".join(README.split())
    results = [r for r in load_real_training(REAL / "real_training") if r.metadata["set"] == "signs"]
    other = [(r.name, fmean(r.accuracies)) for r in results if r.metadata["part"] == PARTS[1]]
    frozen = dict(other)["Frozen"]
    assert all(mean > frozen + 0.09 for name, mean in other if name in ("Adapters", RUNGS[3].name))


def test_what_is_said_of_pieces_of_one_video():
    table = same_source_table(list(saved_results(REAL / "same_source")))
    for shots, metric in ((1, "cosine"), (5, "cosine"), (5, "otam")):
        rows = table[(table.shots == shots) & (table.metric == metric)].set_index("rule")
        never, allowed = rows.loc["never"], rows.loc["same source allowed"]
        shown = {"cosine": "cosine", "otam": "OTAM"}[metric]
        assert (
            f"from {never['mean']:.1f} to {allowed['mean']:.1f} ({shots} shot{'s' * (shots > 1)}, {shown})" in words()
        )
        assert abs(allowed["without_source"] - never["mean"]) < 2


def test_what_is_said_of_the_start():
    table = embedding_start_table(list(saved_results(REAL / "embedding_start"))).set_index(["blocks", "spread"])
    long, short = table.loc[(8, 0.5)], table.loc[(8, 0.1)]
    assert f"tokens there are {long['token']:.1f} long and the embedding {long['embedding']:.1f}" in words()
    assert f"{long['accuracy']:.0f}% with spread 0.5 and {short['accuracy']:.0f}% with 0.1" in words()
    assert long["alike"] > 0.99
    assert long["spread_of_scores"] < 0.1 * long["spread_of_scores_without"]


def test_every_result_names_the_weights_and_is_whole():
    files = sorted(REAL.rglob("*.json"))
    results = [RunResult.load(file) for file in files]
    (checksum,) = {result.config["weights"]["sha256"] for result in results}
    assert checksum[:16] in words()
    assert "fine-tuned for saliency" in words()
    assert not any(result.interrupted for result in results)
    assert not any(re.search(r"(^|[\s\"'])/(?!\s)", json.dumps([r.command, r.skipped])) for r in results)


def test_one_list_of_episodes_for_each_set_and_no_real_video_in_training():
    results = sim_results()
    for name in SETS:
        assert len({r.episodes for r in results if r.metadata["set"] == name}) == 1
    assert all(r.metadata["real_videos_trained_on"] == 0 for r in results)


def test_no_frame_of_the_videos_is_among_the_results():
    assert {file.suffix for file in REAL.rglob("*") if file.is_file()} == {".json"}
    assert all(np.all(np.isfinite(RunResult.load(file).accuracies)) for file in REAL.rglob("*.json"))
