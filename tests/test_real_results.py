"""The section on real videos of the results page: its rows and sentences are those of the files."""

import json
import re
from statistics import fmean

import numpy as np
import pandas as pd
import pytest
from test_readme import PAGE, README, RESULTS

from taskadapter_lite.results import RunResult, accuracy_interval, saved_results
from taskadapter_lite.studies.embedding_start import embedding_start_table
from taskadapter_lite.studies.real_training import PARTS, RUNGS, load_real_training, real_training_table
from taskadapter_lite.studies.same_source import same_source_table
from taskadapter_lite.studies.sim_to_real import VALIDATION, load_sim_to_real, sim_to_real_table

REAL = RESULTS / "real"
SETS = {VALIDATION: "sprites, validation classes", "ssv2_toy": "Something-Something", "signs": "signs"}


def sim_lines() -> list[str]:
    """Rows of the table of sprites to real videos."""
    results, lines = list(load_sim_to_real(REAL / "sim_to_real")), []
    for name, shown in SETS.items():
        for _, row in sim_to_real_table(results, name).iterrows():
            cells = [shown, row["name"], str(row["seeds"]), f"{row['mean']:.1f} +- {row['ci95']:.1f}"]
            cells += [f"{row[f'{kind}_low']:.1f} to {row[f'{kind}_high']:.1f}" for kind in ("clip", "class")]
            gain = f"{row['difference']:.1f} +- {row['difference_ci95']:.1f}"
            lines.append("| " + " | ".join([*cells, "-" if row["name"] == "Frozen, OTAM" else gain]) + " |")
    return lines


def beside_time_lines() -> list[str]:
    """Rows of the table of what else was trained, beside adapters for time with OTAM, seed by seed."""
    time, runs = "+ time, OTAM", {}
    for r in load_sim_to_real(REAL / "sim_to_real"):
        runs.setdefault((r.name, r.metadata["set"]), {})[r.seeds["training"]] = 100 * np.array(r.accuracies)
    lines = []
    for rung in [name for name, first in runs if name.startswith("+") and name != time and first == VALIDATION]:
        for name, shown in SETS.items():
            own, beside = runs[(rung, name)], runs[(time, name)]
            gains = np.array([own[seed] - beside[seed] for seed in sorted(own)])
            mean, half = accuracy_interval(gains.mean(axis=0))
            single = gains.mean(axis=1)
            range_ = f"{single.min():.1f} to {single.max():.1f}" if len(single) > 1 else "-"
            lines.append("| " + " | ".join([rung, shown, str(len(single)), f"{mean:.1f} +- {half:.1f}", range_]) + " |")
    return lines


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
            for part in (seen.loc[rung], row):
                gain = f"{part['difference']:.1f} +- {part['difference_ci95']:.1f}"
                cells += [f"{part['mean']:.1f} +- {part['ci95']:.1f}", "-" if rung == "Frozen" else gain]
            lines.append("| " + " | ".join([*cells, f"{row['clip_low']:.1f} to {row['clip_high']:.1f}"]) + " |")
    return lines


@pytest.mark.parametrize("lines", [sim_lines, beside_time_lines, source_lines, start_lines, training_lines])
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
    results = list(load_sim_to_real(REAL / "sim_to_real"))
    for name, shown in (("ssv2_toy", "Something-Something"), ("signs", "signs")):
        table = sim_to_real_table(results, name).set_index("name")
        said = []
        for rung in ("+ time, OTAM", "+ task, inductive, OTAM"):
            row = table.loc[rung]
            said.append(f"{row['difference']:.1f} +- {row['difference_ci95']:.1f}")
            assert row["clip_low"] < table.loc["Frozen, OTAM", "clip_high"]  # the intervals over clips overlap
            assert row["mean"] < 40
        assert f"{shown} by {said[0]} points with time and {said[1]} with task attention too" in words()
    assert table.loc["Frozen, OTAM", "mean"] < 20 < table.loc["+ time, OTAM", "clip_high"]


def test_what_is_said_of_what_else_was_trained():
    rows = {tuple(line.strip("| ").split(" | ")[:2]): line.strip("| ").split(" | ")[2:] for line in beside_time_lines()}
    single = {key: [float(x) for x in cells[2].split(" to ")] for key, cells in rows.items()}
    plain, task, minus, cosine = (
        {shown: (name, shown) for shown in SETS.values()}
        for name in (
            "+ time, OTAM, plain sprites alone",
            "+ task, inductive, OTAM",
            "+ time, OTAM minus clip mean",
            "+ time, cosine",
        )
    )
    assert f"lose {rows[plain['signs']][1][1:]} points on signs, in every seed" in words()
    assert f"and {rows[plain[SETS[VALIDATION]]][1][1:]} on sprites" in words()
    assert single[plain["signs"]][1] < 0
    both_signs = [plain["Something-Something"], *task.values(), *minus.values()]
    assert all(low < 0 < high for low, high in (single[key] for key in both_signs))
    assert single[cosine[SETS[VALIDATION]]][1] < 0
    assert single[cosine["signs"]][1] < 0 < single[cosine["Something-Something"]][0]
    assert [cells[0] for (name, _), cells in rows.items() if name == "+ time, cosine"] == ["2"] * 3  # "in both seeds"


def test_what_is_said_of_training_on_a_few_real_videos():
    for name, shown in (("ssv2_toy", "Something-Something"), ("signs", "signs")):
        seen, other = training_tables(name)
        assert [set(table.index) for table in (seen, other)] == [{rung.name for rung in RUNGS}] * 2
        assert other["seeds"].to_dict() == {rung: 1 if rung == "Frozen" else 3 for rung in other.index}
        said = []
        for rung in ("Adapters", "Full fine-tuning", "Adapters, started from those of sprites"):
            row = other.loc[rung]
            said.append(f"{seen.loc[rung, 'mean']:.1f} and {row['difference']:.1f} +- {row['difference_ci95']:.1f}")
        assert (
            f"{shown}: adapters {said[0]}, full fine-tuning {said[1]}, adapters started from sprites {said[2]}"
            in words()
        )
        if name == "signs":
            means = {rung: f"{row['mean']:.1f} +- {row['ci95']:.1f}%" for rung, row in other.iterrows()}
            assert f"({means['Frozen']} frozen, {means['Adapters']} adapted)" in " ".join(README.split())
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
    results = list(load_sim_to_real(REAL / "sim_to_real"))
    for name in SETS:
        assert len({r.episodes for r in results if r.metadata["set"] == name}) == 1
    assert all(r.metadata["real_videos_trained_on"] == 0 for r in results)


def test_no_frame_of_the_videos_is_among_the_results():
    assert {file.suffix for file in REAL.rglob("*") if file.is_file()} == {".json"}
    assert all(np.all(np.isfinite(RunResult.load(file).accuracies)) for file in REAL.rglob("*.json"))
