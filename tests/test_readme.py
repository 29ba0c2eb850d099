"""The numbers of README and results page are those of the files they name; links lead somewhere."""

import functools
import json
import re
from pathlib import Path
from statistics import fmean, median

import numpy as np
import pandas as pd
import pytest

from taskadapter_lite.results import RunResult, accuracy_interval, text_interval
from taskadapter_lite.studies.attribute_controls import NOBODY, OFF, OTHER_RULE, SAME_RULE
from taskadapter_lite.studies.attribute_results import load_which_attribute, of_main_setting, which_attribute_table
from taskadapter_lite.studies.ladder import TUNED_RATE, ladder_table, load_results

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "notebooks" / "results"
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = (RESULTS / "README.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\|.*\]\((\S+\.json)\) \|$", PAGE, re.MULTILINE)
DIFFERENCE = re.compile(r"^\| `(.+)` minus `(.+)` \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)


def section(title: str) -> str:
    """Text of the results page under a heading, up to the next one."""
    (found,) = re.findall(rf"^##+ {re.escape(title)}.*?\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return found


CONSTRUCTED = PAGE.split("## Where task attention does its work")[1].split("\n## ")[0]


def test_the_readme_is_short():
    assert len(README.split()) <= 900


def test_results_name_their_files():
    assert len(ROWS) >= 3


@pytest.mark.parametrize("file", ROWS)
def test_each_row_says_what_its_file_says(file):
    (row,) = [line for line in PAGE.splitlines() if f"({file})" in line and line.startswith("|")]
    result = RunResult.load(RESULTS / file)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert text_interval(result.accuracies) in cells
    assert f"{len(result.accuracies):,}" in cells
    assert (result.scope or "-") in cells
    assert f"{result.trainable_parameters:,}" in cells
    share, half = result.pair_accuracy
    assert f"{100 * share:.1f} +- {100 * half:.1f}" in cells


def test_the_readmes_two_numbers_are_those_of_the_demo():
    rows = [RunResult.load(RESULTS / "demo.json")]
    demo = json.loads((RESULTS / "demo.json").read_text(encoding="utf-8"))["metadata"]["rows"]
    one, five = (row["accuracies"] for row in demo if row["name"].startswith("Task-Adapter"))
    assert one == rows[0].accuracies
    for accuracies in (one, five):
        assert f"**{text_interval(accuracies)}%**" in README
    assert f"{len(one)} and {len(five)} episodes" in README
    for shots in (1, 5):
        bundled = RunResult.load(RESULTS / f"task_adapter_test_{shots}shot.json")
        assert f"{text_interval(bundled.accuracies)}%" in README


def test_what_cosine_and_compression_cost():
    aligned, averaged, rendered = (
        100 * np.mean(RunResult.load(RESULTS / f"task_adapter_{name}.json").accuracies)
        for name in ("test_1shot", "test_1shot_cosine", "rendered_test_1shot")
    )
    text = " ".join(section("What can be had").split())
    assert f"lose {aligned - averaged:.1f} points when the frames are averaged" in text
    assert f"they are {rendered - aligned:.1f} points worse" in text


def ladder_lines(folder: str = "ladder") -> list[str]:
    """The page's rows of a ladder, from its result files."""
    results = list(load_results(RESULTS / folder))
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
        assert line in PAGE.splitlines()


def test_the_cluttered_rows_are_those_of_their_files():
    rows = [line for line in section("Clips that are harder to see").splitlines() if line.startswith("| ")]
    rows = [line for line in rows if not line.startswith(("| rung", "| difference", "| `"))]
    assert rows == ladder_lines("ladder_cluttered")


def test_the_cluttered_claims_are_those_of_their_files():
    text, adapted = section("Clips that are harder to see"), "+ task, inductive, OTAM"
    for baseline in ("Full fine-tuning, OTAM", "+ time, OTAM"):
        assert difference_row(adapted, baseline, "ladder_cluttered") in text.splitlines()
    text = " ".join(text.split())
    first = list(load_results(RESULTS / "ladder_cluttered" / "rates_of_plain"))
    means = {shots: ladder_table(first, shots)["mean"].item() for shots in (1, 5)}
    assert f"which gave {means[1]:.1f} and {means[5]:.1f}" in text
    files = (RESULTS / "ladder_cluttered" / "learning_rates").glob("with_task_inductive_otam_*")
    chosen = {run.metadata["learning_rate"]: 100 * np.mean(run.accuracies) for run in map(RunResult.load, files)}
    assert max(chosen, key=chosen.get) == 0.003
    assert f"({chosen[0.003]:.1f} there, {chosen[0.01]:.1f} with 0.01)" in text
    lesson = (ROOT / "notebooks" / "07_train.ipynb").read_text(encoding="utf-8")
    for number in (means[1], chosen[0.003], chosen[0.01]):
        assert f"{number:.1f}%" in lesson


def test_the_probes_are_those_of_the_backbones_file():
    probes = json.loads((ROOT / "data_samples" / "something_sprites_vit.json").read_text(encoding="utf-8"))["probes"]
    text = section("What the frozen backbone sees")
    for found in (probes["one_thing"], probes):
        for name in ("colour", "texture", "shape", "position_error"):
            assert f"{100 * found[name]:.1f}%" in text


def differences(name: str, baseline: str, shots: int, folder: str) -> list[np.ndarray]:
    """Two rungs' accuracies subtracted, in points: one array of episodes for each seed that both have."""
    runs = {one: {} for one in (name, baseline)}
    for result in load_results(RESULTS / folder):
        if result.name in runs and result.metadata["shots"] == shots:
            runs[result.name][result.seeds["training"]] = 100 * np.array(result.accuracies)
    return [runs[name][seed] - runs[baseline][seed] for seed in runs[name]]


def seed_range(name: str, baseline: str, folder: str) -> tuple[float, float]:
    """Smallest and largest difference of single seeds, over 1 and 5 shots."""
    means = [run.mean() for shots in (1, 5) for run in differences(name, baseline, shots, folder)]
    return min(means), max(means)


def difference_row(name: str, baseline: str, folder: str = "ladder") -> str:
    """The page's row of a paired difference, from the result files."""
    cells = []
    for shots in (1, 5):
        mean, half_width = accuracy_interval(np.mean(differences(name, baseline, shots, folder), axis=0))
        cells.append(f"{mean:.1f} +- {half_width:.1f}")
    low, high = seed_range(name, baseline, folder)
    return f"| `{name}` minus `{baseline}` | {cells[0]} | {cells[1]} | {low:.1f} to {high:.1f} |"


@pytest.mark.parametrize(
    "name, baseline",
    [
        ("+ task, split (published)", "Full fine-tuning"),
        ("+ task, inductive, OTAM", "Full fine-tuning, OTAM"),
        ("+ time", "Space + joint (order-blind)"),
        ("+ task, split (published)", "+ time"),
        ("+ task, joint", "+ time"),
        ("+ task, inductive", "+ time"),
        ("+ task, inductive, OTAM", "+ time, OTAM"),
        ("+ task, inductive, OTAM", "+ task, inductive"),
        ("L = 1", "L = 3"),
        ("1 queries a class", "L = 3"),
        ("Task adapter's start not zero", "L = 3"),
        ("Embedding at the input", "L = 3"),
        ("5 queries a class", "L = 3"),
    ],
)
def test_the_claims_quote_the_paired_differences(name, baseline):
    assert difference_row(name, baseline) in PAGE.splitlines()


def test_more_training_is_quoted_as_well():
    text = section("More training does not change that")
    assert difference_row("+ time, OTAM", "+ task, inductive, OTAM", "ladder_long") in text.splitlines()
    means = [ladder_table(list(load_results(RESULTS / "ladder_long")), shots)["mean"] for shots in (1, 5)]
    assert "{:.1f} and {:.1f} with one shot, {:.1f} and {:.1f} with five".format(*means[0], *means[1]) in text


SWITCHES = {"all frames": (1,), "class mark": (1, 5)}


def switch_lines() -> list[str]:
    """The page's rows of what task attention may see."""
    lines = []
    for switch, all_shots in SWITCHES.items():
        name = f"+ task, inductive, {switch}"
        for shots in all_shots:
            row = ladder_table(list(load_results(RESULTS / "ladder")), shots).set_index("name").loc[name]
            gains = [np.array(differences(name, base, shots, "ladder")) for base in ("+ task, inductive", "+ time")]
            task, time = ("{:.1f} +- {:.1f}".format(*accuracy_interval(gain.mean(axis=0))) for gain in gains)
            single = gains[0].mean(axis=1)
            cells = [switch, str(shots), str(len(single)), f"{row['mean']:.1f} +- {row['ci95']:.1f}", task]
            lines.append("| " + " | ".join([*cells, f"{single.min():.1f} to {single.max():.1f}", time]) + " |")
    return lines


def test_the_switches_are_those_of_their_files():
    lines = switch_lines()
    assert len(lines) == 3
    assert all(line in PAGE.splitlines() for line in lines)
    name, gains = "+ task, inductive, class mark", {}
    for base in ("+ task, inductive", "+ time"):
        gains[base] = [gain.mean() for shots in (1, 5) for gain in differences(name, base, shots, "ladder")]
    assert min(gains["+ task, inductive"]) > 0  # "in every seed"
    said = f"single seeds disagree ({min(gains['+ time']):.1f} to {max(gains['+ time']):.1f})"
    assert said in " ".join(section("Two switches that the paper has not: not shown to pay over time alone").split())
    assert (
        max(gain.mean() for gain in differences("+ task, inductive, all frames", "+ task, inductive", 1, "ladder")) < 0
    )


FOLDERS = {"More training does not change that": "ladder_long", "Clips that are harder to see": "ladder_cluttered"}


@pytest.mark.parametrize("title", re.findall(r"^##+ (.+)$", PAGE, re.MULTILINE))
def test_every_difference_is_that_of_its_files_and_the_sentence_after_it_holds(title):
    """Where "in every seed" stands, single seeds agree in sign; where "disagree", they do so in no row."""
    folder = FOLDERS.get(title, "ladder")
    for table in re.findall(r"^\| difference.*?(?=^\| difference|\Z)", section(title), re.MULTILINE | re.DOTALL):
        rows = list(DIFFERENCE.finditer(table))
        agree = []
        for row in rows:
            assert row[0] == difference_row(row[1], row[2], folder)
            low, high = seed_range(row[1], row[2], folder)
            agree.append(low > 0 or high < 0)
        assert rows
        if "in every seed" in " ".join(table.split()):
            assert all(agree)
        if "disagree in sign in every row" in " ".join(table.split()):
            assert not any(agree)


@pytest.mark.parametrize("scope", ["split", "joint"])
def test_the_leak_is_that_of_its_files(scope):
    def by_task(company: str) -> np.ndarray:
        files = sorted((RESULTS / "leak").glob(f"{scope}_{company}_1shot_seed*.json"))
        runs = [np.array(RunResult.load(file).accuracies) for file in files]
        return np.array([run.reshape(400, -1).mean(axis=1) for run in runs])

    lost = 100 * (by_task("balanced") - by_task("alone"))
    mean, half_width = accuracy_interval(lost.mean(axis=0))
    text = " ".join(section("What split gains from seeing the other queries").split())
    assert f"{abs(mean):.1f} +- {half_width:.1f}" in text
    if scope == "split":
        assert "({:.1f}, {:.1f} and {:.1f} by seed)".format(*abs(lost.mean(axis=1))) in text


PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "notebooks/results/README.md"]


@pytest.mark.parametrize("page", PAGES)
def test_a_table_is_one_for_every_reader(page):
    """Its second line is the rule under the head, and every row has as many cells."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        head, rule, *rows = (line.replace("`|`", "").split("|") for line in table.splitlines())
        assert all(re.fullmatch(r" ?:?-+:? ?", cell) for cell in rule[1:-1]), head
        assert {len(row) for row in (rule, *rows)} == {len(head)}, head


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text(encoding="utf-8")):
        if not link.startswith("http"):
            assert ((ROOT / page).parent / link).exists(), link


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


@functools.cache
def attribute_results() -> list[RunResult]:
    """Results of constructed tasks in all settings."""
    return list(load_which_attribute(RESULTS / "which_attribute"))


@functools.cache
def main_setting() -> list[RunResult]:
    """Those of one frame with the rules colour and form."""
    return list(of_main_setting(attribute_results()))


def runs_of(results: list[RunResult], rung: str, **asked: object) -> np.ndarray:
    """(seeds, tasks): percent right of one row on unseen values, as trained where nothing else is asked."""
    wanted = {"rung": rung, "values": "unseen values", "control": "as trained"} | asked
    runs = sorted((r for r in results if wanted.items() <= r.metadata.items()), key=lambda r: r.seeds["training"])
    assert runs, wanted
    return 100 * np.array([r.accuracies for r in runs])


def constructed() -> pd.DataFrame:
    """The table of constructed tasks on unseen values, by model and control."""
    table = which_attribute_table(main_setting())
    return table[(table["values"] == "unseen values") & (table["mix"] == 1)].set_index(["model", "control"])


def by_seed(model: str, control: str = "as trained") -> list[float]:
    """Accuracy of each training seed on unseen values in the main setting, in percent."""
    return runs_of(main_setting(), model, control=control, mix=1).mean(axis=1).tolist()


def cells_of(row: pd.Series, *rules: str) -> str:
    """A row of the page's table: accuracy, single seeds, and the tasks of each rule."""
    by_rule = dict(part.rsplit(" ", 1) for part in row["by rule"].split(", "))
    cells = [row["model"], row["values"], row["control"], str(row["seeds"])]
    cells += [f"{row['accuracy']:.1f} +- {row['interval']:.1f}", f"{row['lowest']:.1f} to {row['highest']:.1f}"]
    return "| " + " | ".join([*cells, *(by_rule.get(rule, "-") for rule in rules)])


def main_lines() -> list[str]:
    """Rows of the table of the main setting, with what each control changes."""
    rows = which_attribute_table(main_setting())
    rows = rows[rows["mix"] == 1]
    return [f"{cells_of(row, 'colour', 'form')} | {row['change'] or '-'} |" for _, row in rows.iterrows()]


def lines_of(frames: int, *rules: str) -> list[str]:
    """Rows of another setting's table; those of the same tasks in one look are among them."""
    rows = which_attribute_table(attribute_results())
    neutral = rows["control"] == NO_LOOK
    asked = (rows["rules"] == " or ".join(rules)) & ~neutral
    asked |= neutral if len(rules) > 1 and "action" in rules else False
    rows = rows[asked & (rows["frames"] == frames)]
    return [f"{cells_of(row, *(rules if len(rules) > 1 else ()))} |" for _, row in rows.iterrows()]


ALL_RULES, PLACES, NO_LOOK = ("action", "colour", "form"), ("colour", "form", "place"), "no look misleads"
SETTINGS = [(1, *PLACES), (4, "action"), (4, *ALL_RULES)]


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_tables_of_other_settings_are_those_of_their_files(setting):
    lines = lines_of(*setting)
    assert len(lines) >= 5
    assert all(line in CONSTRUCTED.splitlines() for line in lines)


def test_the_rows_of_constructed_tasks_are_those_of_their_files():
    written = CONSTRUCTED.splitlines()
    others = {line for setting in SETTINGS for line in lines_of(*setting)}
    models = re.compile(r"\| (Frozen|Full|Space|\+)")
    assert [line for line in written if models.match(line) and line not in others] == main_lines()
    table = constructed()
    for model in ("+ task, inductive", "Space + joint"):
        row = table.loc[(model, "as trained")]
        assert f"{row.accuracy:.1f} +- {row.interval:.1f}%" in " ".join(README.split())


def test_the_picture_on_top_is_that_of_the_demos_second_table():
    rows = json.loads((RESULTS / "demo_which_attribute.json").read_text(encoding="utf-8"))["metadata"]["rows"]
    _, without, with_task = (text_interval(row["accuracies"]) for row in rows)
    assert f"{with_task}% with task attention, {without}% without" in " ".join(README.split())
    assert [row["metadata"]["data"] for row in rows] == ["constructed"] * 3


def test_controls_go_where_the_page_says():
    text, name = " ".join(CONSTRUCTED.split()), "+ task, inductive"
    own, same, other, replaced = (
        by_seed(name, control) for control in ("as trained", SAME_RULE, OTHER_RULE, "one support clip replaced")
    )
    assert len(same) == len(other) == len(replaced) == 3  # "Three seeds."
    assert f"{fmean(same):.1f} of {fmean(own):.1f} remain" in text
    assert f"{fmean(other):.1f} remain: a fall of {fmean(own) - fmean(other):.0f} points" in text
    assert f"{fmean(replaced):.1f}% of the other classes' queries are right" in text
    assert all(o > s > r > f > 20 for o, s, r, f in zip(own, same, replaced, other, strict=True))


def rows_of(frames: int, *rules: str) -> dict[tuple[str, str, str], dict[str, float]]:
    """(model, values, control) -> accuracy and that of each rule, of another setting."""
    found = {}
    for line in lines_of(frames, *rules):
        model, values, control, _, accuracy, _, *by_rule = line.strip("| ").split(" | ")
        shares = [float(cell) if cell != "-" else float("nan") for cell in by_rule]
        found[(model, values, control)] = dict(zip(rules, shares, strict=False)) | {"all": float(accuracy.split()[0])}
    return found


def test_what_is_said_of_three_looks():
    text, rows = " ".join(CONSTRUCTED.split()), rows_of(1, *PLACES)
    own, without = (rows[(model, "unseen values", "as trained")] for model in ("+ task, inductive", "Space + joint"))
    assert f"reaches {own['all']:.1f}, where adapters without it reach {without['all']:.1f}" in text
    said = "{place:.1f}% of the tasks of place, {form:.1f} of form and {colour:.1f} of colour"
    assert said.format(**own) in text
    other, nobody = (rows[("+ task, inductive", "unseen values", control)]["all"] for control in (OTHER_RULE, NOBODY))
    assert f"it guesses ({other:.1f} and {nobody:.1f})" in text
    single = runs_of(attribute_results(), "+ task, inductive", rules=list(PLACES)).mean(axis=1)
    assert "single seeds reach {:.1f}, {:.1f} and {:.1f}".format(*single) in text
    assert min(single) > without["all"] + 5


def test_what_is_said_of_video():
    text, alone, beside = " ".join(CONSTRUCTED.split()), rows_of(4, "action"), rows_of(4, *ALL_RULES)
    with_task, without = "+ task, inductive, OTAM", "Space + joint, OTAM"
    key = ("unseen values", "as trained")
    assert f"{alone[(with_task, *key)]['all']:.1f} with task attention, {alone[(without, *key)]['all']:.1f} wit" in text

    def on_video(*rules: str, head: str = "OTAM") -> list[np.ndarray]:
        names = (f"+ task, inductive, {head}", f"Space + joint, {head}")
        return [runs_of(attribute_results(), name, frames=4, rules=list(rules)) for name in names]

    (trx,), (trx_without,) = on_video("action", head="TRX")
    mean, half = accuracy_interval(trx - trx_without)
    assert f"{trx.mean():.1f} and {trx_without.mean():.1f} (paired: {mean:.1f} +- {half:.1f}, not" in text
    assert abs(mean) < half
    one_rule = np.subtract(*on_video("action")).mean(axis=1)
    assert "differ by {:.1f}, {:.1f} and {:.1f} points".format(*one_rule) in text
    assert min(one_rule) < 0 < max(one_rule)  # "not shown"
    three_rules = np.subtract(*on_video(*ALL_RULES)).mean(axis=1)
    assert len(three_rules) == 3
    assert f"by {min(three_rules):.1f} or more in every seed" in text
    own, plain = beside[(with_task, *key)], beside[(without, *key)]
    assert f"ahead by {own['all'] - plain['all']:.1f} points: {own['all']:.1f} against {plain['all']:.1f}" in text
    off, neutral = (beside[(with_task, "unseen values", control)] for control in (OFF, NO_LOOK))
    assert f"{own['colour']:.1f} to {off['colour']:.1f} and {own['form']:.1f} to {off['form']:.1f}%" in text
    assert f"{own['action']:.1f}% where looks mislead and {neutral['action']:.1f}% where none does" in text
    assert own["action"] < 5


def cost_lines() -> list[str]:
    """One line a size and way of the benchmark with the ViT-S/14: medians of its rounds."""
    lines = []
    for size in (112, 224):
        report = json.loads((RESULTS / f"benchmark_vit_small_{size}.json").read_text(encoding="utf-8"))
        (run,) = report["runs"]
        assert (run["workload"]["size"], run["workload"]["depth"], report["threads"]) == (size, 2, 2)
        for row in run["rows"]:
            train, evaluate = (median(row["seconds"][what]) for what in ("train", "evaluate"))
            speed_up = f"{row['ratios']['train']['median']:.1f}x"
            lines.append(f"| {size} px | {row['name']} | {train:.2f} | {speed_up} | {evaluate:.2f} |")
    return lines


def test_what_a_step_costs_is_that_of_its_files():
    lines = cost_lines()
    assert [line for line in PAGE.splitlines() if re.match(r"\| (112|224) px \|", line)] == lines
    spent = {tuple(line.strip("| ").split(" | ")[:2]): float(line.split(" | ")[2]) for line in lines}
    text = " ".join(PAGE.split())
    assert f"a step at 112 pixels takes {spent['112 px', '+ prefix cache']:.2f} seconds" in text
    large, fast = spent["224 px", "+ prefix cache"], spent["224 px", "+ bf16, attention not fused"]
    assert f"At 224 pixels it takes {large:.2f}; bf16 makes that {fast:.2f}." in text
    assert all(spent[size, "+ 4 episodes a step"] > spent[size, "+ prefix cache"] for size in ("112 px", "224 px"))


def test_the_rates_on_values_of_validation_are_said():
    folder, text = RESULTS / "which_attribute" / "learning_rates", " ".join(CONSTRUCTED.split())
    tried = {}
    for name in ("with_task_inductive", "space_with_joint"):
        files = [folder / f"{name}_mix_1_{rate}.json" for rate in ("0.001", "0.003", "0.01")]
        tried[name] = 100 * np.array([RunResult.load(file).accuracies for file in files])
        assert "{:.1f}, {:.1f} and {:.1f}".format(*tried[name].mean(axis=1)) in text
    mean, half = accuracy_interval(tried["with_task_inductive"][2] - tried["with_task_inductive"][1])
    assert f"not shown to be better ({mean:.1f} +- {half:.1f})" in text
    assert mean < half
    both = tried["with_task_inductive"][1].mean(), by_seed("+ task, inductive")[0]
    assert "({:.1f} against {:.1f}, the same model)".format(*both) in text


def test_what_heads_on_the_support_reach_is_said():
    text, gains = " ".join(CONSTRUCTED.split()), []
    own = runs_of(main_setting(), "+ task, inductive", mix=1)
    without = runs_of(main_setting(), "Space + joint", mix=1).mean()
    for name, said in (("ridge", "a ridge regression fitted on it reaches {}"), ("FEAT", "class prototypes (FEAT) {}")):
        head = runs_of(main_setting(), f"Space + joint, {name}", mix=1)
        assert len(head) == len(own) == 3
        assert said.format(f"{head.mean():.1f}") in text
        mean, half_width = accuracy_interval((own - head).mean(axis=0))
        gains.append(f"{mean:.1f} +- {half_width:.1f}")
        assert (own.mean(axis=1) > head.mean(axis=1)).all()  # "in every seed"
        assert head.mean() - without > 0.5 * (own.mean() - without)
    assert f"{gains[0]} and {gains[1]} points more on the same episodes" in text
    assert f"there is {without:.1f}" in text


SHARES = (0, 0.25, 0.5, 0.75, 1)


def share_gain(mix: float) -> tuple[np.ndarray, np.ndarray]:
    """Accuracies without task attention and the gain of it, (seeds, tasks), at a share of tasks whose rule is drawn."""
    own, without = (runs_of(main_setting(), name, mix=mix) for name in ("+ task, inductive", "Space + joint"))
    return without, own - without


def share_line(mix: float) -> str:
    """The page's row of a share."""
    without, gain = share_gain(mix)
    mean, half = accuracy_interval(gain.mean(axis=0))
    cells = [f"{100 * mix:g}%", str(len(gain)), f"{without.mean():.1f}", f"{(without + gain).mean():.1f}"]
    return "| " + " | ".join([*cells, f"{mean:.1f} +- {half:.1f}"]) + " |"


@pytest.mark.parametrize("mix", SHARES)
def test_the_table_of_shares_is_that_of_the_files(mix):
    assert share_line(mix) in CONSTRUCTED.splitlines()
    without, gain = share_gain(mix)
    if mix <= 0.5:  # both trust the colour; what is beyond that, in words
        assert abs(without.mean() - (100 - 50 * mix)) < 2
        assert abs((without + gain).mean() - (100 - 50 * mix)) < 2.5
    if mix == 0.75:
        assert f"have parted: {(without + gain).mean():.1f} against {without.mean():.1f}" in " ".join(
            CONSTRUCTED.split()
        )
    if mix == 0.5:
        assert f"by {gain.mean():.1f} points at one half" in " ".join(CONSTRUCTED.split())


def test_the_claims_about_constructed_tasks_hold():
    text, table = " ".join(CONSTRUCTED.split()), constructed()
    gains = np.array(by_seed("+ task, inductive")) - by_seed("Space + joint")
    assert len(gains) == 3
    assert f"by at least {int(gains.min())} points in every seed" in text
    assert max(by_seed("Space + joint")) < min(by_seed("Frozen"))  # "end below the frozen model"
    assert max(by_seed("Full fine-tuning")) < min(by_seed("Frozen"))
    row = constructed().loc[("Full fine-tuning", "as trained")]
    assert f"({row.accuracy:.1f} +- {row.interval:.1f}; its rate, {TUNED_RATE}, was not tuned" in " ".join(
        CONSTRUCTED.split()
    )
    without, more = fmean(by_seed("Space + joint")), []
    for scope in ("inductive", "split", "joint scope"):  # "the gain goes in every scope and seed"
        name = f"+ task, {scope}"
        assert max(by_seed(name, OFF)) < min(by_seed(name)) - 25
        more.append(fmean(by_seed(name, OFF)) - without)
    said = "{:.0f} points more than without task attention, where as much or less was predicted; in scopes `split` and "
    assert (said + "`joint` it is {:.0f} and {:.0f} points more").format(*more) in text
    nobody = fmean(by_seed("+ task, inductive", NOBODY))
    assert f"{nobody:.1f} of {fmean(by_seed('+ task, inductive')):.1f} remain: about the {without:.1f} of" in text
    assert abs(nobody - without) < 2
    assert f"Nor does it in training: {fmean(by_seed('Space + joint, centred')):.1f}." in text
    split, joint = ([table.loc[(f"+ task, {scope}", c)].accuracy for c in ("as trained", "one query alone")]
                    for scope in ("split", "joint scope"))  # fmt: skip
    assert f"it falls from {split[0]:.1f} to {split[1]:.1f}" in text
    assert f"The joint scope loses {joint[0] - joint[1]:.1f} points" in text
    assert by_seed("+ task, inductive") == pytest.approx(by_seed("+ task, inductive", "one query alone"))
    frozen, ridge, centred = (table.loc[(f"Frozen{h}", "as trained")].accuracy for h in ("", ", ridge", ", centred"))
    assert f"gives the frozen backbone {ridge - frozen:.0f} points" in text
    assert abs(centred - frozen) < 1  # "gives none"
    plain = ladder_table(list(load_results(RESULTS / "ladder")), 1).set_index("name")
    with_task, without = plain.loc["+ task, inductive"], plain.loc["+ time"]
    assert f"({with_task.parameters:,} against {without.parameters:,})" in text
    assert f"{with_task.seconds:.0f} seconds of training instead of {without.seconds:.0f}" in text


WITHOUT_MEAN = {  # clips -> with OTAM, and with OTAM minus the clip's mean
    "sprites, test classes": ("ladder/frozen_otam_1shot_seed0", "clip_mean/sprites_1shot"),
    "sign language": ("clip_mean/frozen_otam_on_signs_seed_0", "clip_mean/frozen_otam_minus_clip_mean_on_signs_seed_0"),
    "Something-Something, toy set": (
        "clip_mean/frozen_otam_on_ssv2_toy_seed_0",
        "clip_mean/frozen_otam_minus_clip_mean_on_ssv2_toy_seed_0",
    ),
}


def test_features_read_without_the_clip_s_mean_are_those_of_their_files():
    text, gains = " ".join(section("The same features, read without the clip's mean").split()), []
    for name, files in WITHOUT_MEAN.items():
        written = section("The same features, read without the clip's mean").splitlines()
        (row,) = [line for line in written if line.startswith(f"| {name} |")]
        before, after = (RunResult.load(RESULTS / f"{file}.json") for file in files)
        assert before.episodes == after.episodes
        gains.append(accuracy_interval(100 * (np.array(after.accuracies) - np.array(before.accuracies))))
        accuracies = [text_interval(result.accuracies) for result in (before, after)]
        expected = [f"{len(before.accuracies):,}", *accuracies, "{:.1f} +- {:.1f}".format(*gains[-1])]
        assert [cell.strip() for cell in row.strip("|").split("|")][2:] == expected
    assert all(gain - half > 0 for gain, half in gains[:2])
    assert gains[2][0] + gains[2][1] < 0
    files = ("clip_mean/sprites_1shot", "task_adapter_test_1shot", "clip_mean/sprites_5shot")
    one, bundled, five = (RunResult.load(RESULTS / f"{file}.json") for file in files)
    assert f"{100 * one.pair_accuracy[0]:.1f} against {100 * bundled.pair_accuracy[0]:.1f}" in text
    assert f"with five shots it gets {text_interval(five.accuracies)}" in text


def test_both_ways_with_five_shots_are_those_of_their_files():
    text = section("Five shots")
    for name, means, distances in (
        ("Bundled adapters, OTAM", "task_adapter_test_5shot.json", "aggregation/bundled_otam_5shot.json"),
        ("Frozen, OTAM", "aggregation/frozen_otam_5shot_mean.json", "ladder/frozen_otam_5shot_seed0.json"),
        ("Frozen, Bi-MHM", "aggregation/frozen_bi_mhm_5shot_mean.json", "ladder/frozen_bi_mhm_5shot_seed0.json"),
    ):
        one, other = RunResult.load(RESULTS / means), RunResult.load(RESULTS / distances)
        assert (one.dataset, one.episodes) == (other.dataset, other.episodes)
        assert (one.config["aggregation"], other.config["aggregation"]) == ("prototype", "per_shot")
        difference = np.subtract(other.accuracies, one.accuracies)
        cells = [name, *map(text_interval, (one.accuracies, other.accuracies, difference))]
        assert "| " + " | ".join(cells) + " |" in text.splitlines()
        assert accuracy_interval(difference)[0] + accuracy_interval(difference)[1] < 0  # "worse in all three"


def test_the_page_says_which_rows_average_features():
    """All rows of alignment metrics in the ladder average distances, but for those that the page names."""
    for file in RESULTS.glob("ladder*/*_5shot_*.json"):
        result = RunResult.load(file)
        named = file.parent.name == "ladder_long"
        aligns = result.metric in ("otam", "bimhm")
        assert result.config["aggregation"] == ("per_shot" if aligns and not named else "prototype"), file
