"""A run as data."""

import json
import math
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from taskadapter_lite import results
from taskadapter_lite.results import (
    RunResult,
    accuracy_interval,
    class_interval,
    comparison_table,
    environment,
    markdown_table,
    peak_memory,
    text_interval,
)


def result(name="run", accuracies=(0.4, 0.6, 0.8, 0.6), **more):
    known = {"dataset": "d1", "episodes": "e1", "metric": "cosine", "scope": "inductive"}
    return RunResult(name, accuracies=list(accuracies), **{**known, **more})


# ---- intervals


def test_interval_by_hand():
    """0.4, 0.6, 0.8, 0.6: mean 0.6, squared deviations 0.08 / 3, s = 0.1633, 1.96 s / 2 = 0.1600."""
    mean, half_width = accuracy_interval([0.4, 0.6, 0.8, 0.6])
    assert mean == pytest.approx(0.6)
    assert half_width == pytest.approx(1.96 * math.sqrt(0.08 / 3) / 2)
    assert text_interval([0.4, 0.6, 0.8, 0.6]) == "60.0 +- 16.0"


def test_the_interval_covers_the_truth_19_times_in_20():
    """5 queries an episode, each right with 0.7; 2,000 lists of 200 episodes. The true share is 95%, +- 0.5."""
    rng = np.random.default_rng(0)
    intervals = [accuracy_interval(rng.binomial(5, 0.7, 200) / 5) for _ in range(2000)]
    covered = np.mean([abs(mean - 0.7) <= half_width for mean, half_width in intervals])
    assert covered == pytest.approx(0.95, abs=0.015)


def test_one_episode_says_nothing_about_spread():
    assert accuracy_interval([1.0]) == (1.0, math.inf)
    with pytest.raises(ValueError, match="at least one episode"):
        accuracy_interval([])


def test_bootstrap_over_classes():
    """Class accuracies 1 and 0 (3 of 3, 0 of 2): draws have means 0, 0.5 or 1. The third had no query."""
    assert class_interval([[3, 0, 0], [2, 0, 0], [0, 0, 0]]) == (0.0, 1.0)
    assert class_interval([[4, 4], [2, 2]]) == (0.5, 0.5)
    many = np.diag([30] * 24) + 10
    assert class_interval(many) == class_interval(many)  # a fixed seed
    with pytest.raises(ValueError, match="confusion matrix is empty"):
        class_interval([[0, 0], [0, 0]])


def test_bootstrap_has_the_width_of_the_spread_between_classes():
    """100 classes whose accuracies have deviation s: the interval is 2 x 1.96 x s / 10 wide."""
    right = np.random.default_rng(1).integers(0, 101, 100)
    confusion = np.zeros((100, 100), int)
    confusion[np.arange(100), np.arange(100)] = right
    confusion[np.arange(100), (np.arange(100) + 1) % 100] = 100 - right
    low, high = class_interval(confusion)
    assert high - low == pytest.approx(2 * 1.96 * (right / 100).std() / 10, rel=0.1)


# ---- one result


def test_a_result_comes_back_exactly(tmp_path):
    original = result(
        accuracies=[1 / 3, 0.1 + 0.2],
        class_names=["auf", "größer"],
        confusion=[[3, 1], [0, 2]],
        history=[{"step": 1, "loss": 0.5}],
        variants={"visual": [0.1]},
        pairs={"right": 1, "partner": 1, "total": 3},
        **environment(),
    )
    original.save(tmp_path / "deep" / "run.json")
    assert RunResult.load(tmp_path / "deep" / "run.json") == original


def test_newer_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "run.json"
    result().save(path)
    data = json.loads(path.read_text())
    for content, words in [
        ({**data, "format": 2}, "format 2; this version reads up to 1"),
        ({**data, "surprise": 1}, "not a saved result"),
        ({"name": "x"}, "not a saved result"),
        ([1], "not a saved result"),
    ]:
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=words):
            RunResult.load(path)
    path.write_bytes(b"\xff\x00")
    with pytest.raises(ValueError, match="not a saved result"):
        RunResult.load(path)


def test_an_interrupted_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    result("old").save(path)
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            result("new").save(path)
    assert RunResult.load(path).name == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_summary_never_lacks_an_interval():
    assert result().summary() == "run: 60.0 +- 16.0 % on 4 episodes, metric cosine, scope inductive"
    both = result(variants={"visual": [0.4, 0.6], "fused": [0.5, 0.5]}).summary()
    assert "visual 50.0 +- 19.6 %, fused 50.0 +- 0.0 %" in both
    assert RunResult("t", history=[{}]).summary() == "t: not evaluated, 1 rows of history"


def test_class_and_pair_accuracy_by_hand():
    """3 of 4 and 2 of 2; 'c' had no query. Of 6 queries with the partner present 3 name the class, 1 the partner."""
    found = result(
        class_names=["a", "b", "c"],
        confusion=[[3, 0, 1], [0, 2, 0], [0, 0, 0]],
        pairs={"right": 3, "partner": 1, "total": 6},
    )
    assert found.pair_accuracy == (0.75, pytest.approx(1.96 * math.sqrt(0.75 * 0.25 / 4)))
    assert result().pair_accuracy is None


# ---- where a run comes from


def test_the_commit_is_named_and_changes_are_marked(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True)

    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(results, "__file__", str(tmp_path / "results.py"))
    assert results.git_commit() is None
    git("init", "-q")
    (tmp_path / "results.py").write_text("1")
    git("add", ".")
    git("commit", "-qm", "one")
    clean = results.git_commit()
    assert len(clean) == 40
    (tmp_path / "results.py").write_text("2")
    assert results.git_commit() == clean + "+changes"


def test_the_environment_is_complete():
    found = environment()
    assert found["device"].startswith("cpu")
    assert {"python", "torch", "timm", "numpy", "taskadapter_lite"} == set(found["versions"])
    assert not Path(found["command"].split()[0]).is_absolute()
    assert peak_memory() > 1e6


# ---- comparisons


def test_paired_differences_are_sharper_than_two_intervals():
    """Differences 0.2, 0.2, 0.2, 0.2: 20 +- 0 points, although each mean is +- 16."""
    table = comparison_table([result("a"), result("b", [0.6, 0.8, 1.0, 0.8])], baseline="a").set_index("name")
    assert table.loc["b", ["mean", "ci95"]].tolist() == pytest.approx([80, 16], abs=0.01)
    assert table.loc["b", ["difference", "difference_ci95"]].tolist() == pytest.approx([20, 0], abs=1e-9)
    assert table.loc["a", ["difference", "difference_ci95"]].tolist() == [0, 0]


def test_runs_of_one_name_are_seeds():
    """Two seeds with means 0.6 and 0.8: deviation 0.1414 (n - 1), mean of means 0.7; the interval is over episodes."""
    table = comparison_table([result(seeds={"training": 0}), result(accuracies=[0.6, 0.8, 1.0, 0.8])])
    assert table.loc[0, ["seeds", "mean", "seed_sd"]].tolist() == pytest.approx([2, 70, 100 * math.sqrt(0.02)])
    assert table.loc[0, "ci95"] == pytest.approx(100 * accuracy_interval([0.5, 0.7, 0.9, 0.7])[1])


def test_variants_are_rows_of_their_own():
    variants = {"visual": [0.2, 0.4], "semantic": [0.6, 0.8], "fused": [0.8, 1.0]}
    table = comparison_table([result(accuracies=[0.8, 1.0], variants=variants)], baseline="run visual")
    assert table["name"].tolist() == ["run visual", "run semantic", "run fused"]
    assert table["difference"].tolist() == pytest.approx([0, 40, 60])


def test_classes_are_resampled_over_all_seeds():
    runs = [result(confusion=c, class_names=["a", "b"]) for c in ([[4, 0], [2, 2]], [[0, 4], [2, 2]])]
    assert comparison_table(runs).loc[0, ["class_low", "class_high"]].tolist() == [50, 50]


def test_results_of_other_episodes_are_not_paired():
    with pytest.raises(ValueError, match="a and b can't be paired: they used the episodes e1 of d1 and e2 of d1"):
        comparison_table([result("a"), result("b", episodes="e2")], baseline="a")
    with pytest.raises(ValueError, match="can't be paired"):
        comparison_table([result(), replace(result(), dataset="d2")])
    with pytest.raises(ValueError, match="baseline is 'c'; the rows are a, b"):
        comparison_table([result("a"), result("b")], baseline="c")
    assert len(comparison_table([result("a"), result("b", episodes="e2")])) == 2  # side by side is allowed


def test_markdown_shows_each_mean_with_its_interval():
    table = comparison_table([result("a"), result("b", [0.6, 0.8, 1.0, 0.8], scope=None)], baseline="a")
    lines = markdown_table(table).splitlines()
    assert lines[0].startswith("| name | metric | scope | episodes | seeds | mean |")
    assert lines[2].startswith("| a | cosine | inductive | 4 | 1 | 60.0 +- 16.0 |")
    assert "| b | cosine |  | 4 | 1 | 80.0 +- 16.0 |" in lines[3]
    assert "20.0 +- 0.0" in lines[3]
    assert len({line.count("|") for line in lines}) == 1
