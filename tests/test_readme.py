"""The README's numbers are those of the files it names, and its links lead somewhere."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from taskadapter_lite.results import RunResult, accuracy_interval, text_interval
from taskadapter_lite.studies.ladder import ladder_table, load_results

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\|.*\]\((notebooks/results/\S+\.json)\) \|$", README, re.MULTILINE)


def test_results_name_their_files():
    assert len(ROWS) >= 3


@pytest.mark.parametrize("file", ROWS)
def test_each_row_says_what_its_file_says(file):
    (row,) = [line for line in README.splitlines() if f"({file})" in line and line.startswith("|")]
    result = RunResult.load(ROOT / file)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert text_interval(result.accuracies) in cells
    assert f"{len(result.accuracies):,}" in cells
    assert (result.scope or "-") in cells
    assert f"{result.trainable_parameters:,}" in cells
    share, half = result.pair_accuracy
    assert f"{100 * share:.1f} +- {100 * half:.1f}" in cells


def ladder_lines(folder: str = "ladder") -> list[str]:
    """The README's rows of a ladder, from its result files."""
    results = list(load_results(ROOT / "notebooks" / "results" / folder))
    one, five = (ladder_table(results, shots).set_index("name") for shots in (1, 5))
    lines = []
    for name, row in one[one["group"] == "main"].iterrows():
        accuracy = [f"{row['mean']:.1f} +- {row['ci95']:.1f}", "-", f"{row['pairs']:.0f}", "-"]
        if row["seeds"] > 1:
            accuracy[1] = f"{row['seed_sd']:.1f}"
        if name in five.index:
            accuracy[3] = f"{five.loc[name, 'mean']:.1f} +- {five.loc[name, 'ci95']:.1f}"
        scope = row["scope"] if isinstance(row["scope"], str) else "-"
        cells = [name, scope, f"{row['parameters']:,}", str(row["seeds"]), *accuracy]
        lines.append("| " + " | ".join([*cells, f"{row['seconds']:.0f}"]) + " |")
    return lines


def test_the_ladders_rows_are_those_of_its_files():
    for line in ladder_lines():
        assert line in README.splitlines()


def test_the_cluttered_rows_are_those_of_their_files():
    table = README[README.index("**Harder to see.**") : README.index("Adapters are ahead of full fine-tuning here")]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 5
    assert set(rows) <= set(ladder_lines("ladder_cluttered"))


def test_the_cluttered_claims_are_those_of_their_files():
    text, adapted = " ".join(README.split()), "+ task, inductive, OTAM"
    for words, baseline in [
        ("ahead of full fine-tuning here too, by", "Full fine-tuning, OTAM"),
        ("result by", "+ time, OTAM"),
    ]:
        found = " / ".join(gain(adapted, baseline, shots, "ladder_cluttered") for shots in (1, 5))
        assert f"{words} {found}" in text
    first = list(load_results(ROOT / "notebooks" / "results" / "ladder_cluttered" / "rates_of_plain"))
    means = {shots: ladder_table(first, shots)["mean"].item() for shots in (1, 5)}
    assert f"which gave {means[1]:.1f} and {means[5]:.1f}" in text
    files = (ROOT / "notebooks" / "results" / "ladder_cluttered" / "learning_rates").glob("with_task_inductive_otam_*")
    chosen = {run.metadata["learning_rate"]: 100 * np.mean(run.accuracies) for run in map(RunResult.load, files)}
    assert max(chosen, key=chosen.get) == 0.003
    assert f"({chosen[0.003]:.1f} there, {chosen[0.01]:.1f} with 0.01)" in text
    lesson = (ROOT / "notebooks" / "07_train.ipynb").read_text(encoding="utf-8")
    for number in (means[1], chosen[0.003], chosen[0.01]):
        assert f"{number:.1f}%" in lesson


def test_the_probes_are_those_of_the_backbones_file():
    probes = json.loads((ROOT / "data_samples" / "something_sprites_vit.json").read_text(encoding="utf-8"))["probes"]
    text = README[README.index("What the frozen backbone sees") :]
    for found in (probes["one_thing"], probes):
        for name in ("colour", "texture", "shape", "position_error"):
            assert f"{100 * found[name]:.1f}%" in text


def gain(name: str, baseline: str, shots: int, folder: str = "ladder") -> str:
    """Paired difference of two rungs in points, over the seeds that both have."""
    runs = {one: {} for one in (name, baseline)}
    for result in load_results(ROOT / "notebooks" / "results" / folder):
        if result.name in runs and result.metadata["shots"] == shots:
            runs[result.name][result.seeds["training"]] = 100 * np.array(result.accuracies)
    differences = [runs[name][seed] - runs[baseline][seed] for seed in runs[name]]
    mean, half_width = accuracy_interval(np.mean(differences, axis=0))
    return f"{mean:.1f} +- {half_width:.1f}"


@pytest.mark.parametrize(
    "name, baseline",
    [
        ("+ task, split (published)", "Full fine-tuning"),
        ("+ task, inductive, OTAM", "Full fine-tuning, OTAM"),
        ("+ time", "Space + joint (order-blind)"),
        ("+ task, split (published)", "+ time"),
        ("+ task, joint", "+ time"),
        ("+ task, inductive", "+ time"),
        ("+ time, OTAM", "+ task, inductive, OTAM"),
        ("+ task, inductive, OTAM", "+ task, inductive"),
        ("L = 3", "L = 1"),
        ("L = 3", "1 queries a class"),
        ("Task adapter's start not zero", "L = 3"),
        ("Embedding at the input", "L = 3"),
        ("5 queries a class", "L = 3"),
    ],
)
def test_the_claims_quote_the_paired_differences(name, baseline):
    assert f"{gain(name, baseline, 1)} / {gain(name, baseline, 5)}" in " ".join(README.split())


def test_more_training_is_quoted_as_well():
    pair = "+ time, OTAM", "+ task, inductive, OTAM"
    found = " / ".join(gain(*pair, shots, "ladder_long") for shots in (1, 5))
    assert f"the model without it is ahead by {found}" in " ".join(README.split())


@pytest.mark.parametrize("scope", ["split", "joint"])
def test_the_leak_is_that_of_its_files(scope):
    def by_task(company: str) -> np.ndarray:
        files = sorted((ROOT / "notebooks" / "results" / "leak").glob(f"{scope}_{company}_1shot_seed*.json"))
        runs = [np.array(RunResult.load(file).accuracies) for file in files]
        return np.array([run.reshape(400, -1).mean(axis=1) for run in runs])

    lost = 100 * (by_task("balanced") - by_task("alone"))
    mean, half_width = accuracy_interval(lost.mean(axis=0))
    text = " ".join(README.split())
    assert f"{abs(mean):.1f} +- {half_width:.1f}" in text[text.index("What `split` gains") :][:300]
    if scope == "split":
        assert "({:.1f}, {:.1f} and {:.1f} by seed)".format(*abs(lost.mean(axis=1))) in text


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        if not link.startswith("http"):
            assert (ROOT / link).exists(), link


def test_the_two_commands_are_those_of_the_makefile():
    rules = re.findall(r"^([a-z -]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"`?make ([a-z-]+)", README)) <= set(" ".join(rules).split())


def test_the_ten_lines_run(monkeypatch):
    """The README's example, with two training steps and two episodes instead of 200."""
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(example.strip().splitlines()) <= 12
    said = []
    exec(re.sub(r"=200\b", "=2", example), {"print": said.append})
    assert "2 episodes" in said[0]
