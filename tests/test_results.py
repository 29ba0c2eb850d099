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
    clip_interval,
    comparison_table,
    environment,
    markdown_table,
    peak_memory,
    t_factor,
    text_interval,
)


def result(name="run", accuracies=(0.4, 0.6, 0.8, 0.6), **more):
    known = {"dataset": "d1", "episodes": "e1", "metric": "cosine", "scope": "inductive"}
    return RunResult(name, accuracies=list(accuracies), **{**known, **more})


def as_squares(right, n):
    """(sets, classes) counts of right answers -> confusion matrices, all mistakes in the next class."""
    n_classes = right.shape[1]
    squares = np.zeros((len(right), n_classes, n_classes), int)
    places = np.arange(n_classes)
    squares[:, places, places], squares[:, places, (places + 1) % n_classes] = right, n - right
    return squares


# ---- intervals


def test_interval_by_hand():
    """0.4, 0.6, 0.8, 0.6: mean 0.6, squared deviations 0.08 / 3, s = 0.1633; t of 3 degrees is 3.182, 3.182 s / 2."""
    mean, half_width = accuracy_interval([0.4, 0.6, 0.8, 0.6])
    assert mean == pytest.approx(0.6)
    assert half_width == pytest.approx(3.1824 * math.sqrt(0.08 / 3) / 2, rel=1e-4)
    assert text_interval([0.4, 0.6, 0.8, 0.6]) == "60.0 +- 26.0"


@pytest.mark.parametrize(
    "n, printed",
    [(2, 12.706), (3, 4.303), (4, 3.182), (5, 2.776), (10, 2.262), (20, 2.093), (31, 2.042), (121, 1.980)],
)
def test_the_factor_is_that_of_printed_tables(n, printed):
    assert t_factor(n) == pytest.approx(printed, abs=6e-4)
    assert t_factor(10**6) == pytest.approx(1.95996, abs=1e-4)


@pytest.mark.parametrize("n", [5, 10, 20, 200])
@pytest.mark.parametrize("p", [0.5, 0.7])
@pytest.mark.parametrize("n_queries", [5, 25])
def test_the_interval_over_episodes_covers_the_truth_19_times_in_20(n, p, n_queries):
    """Each query right with a chance that differs between episodes, p on average; 3,000 lists of n episodes."""
    rng = np.random.default_rng(n)
    lists = rng.binomial(n_queries, rng.beta(16 * p, 16 * (1 - p), (3000, n))) / n_queries
    covered = np.mean([abs(mean - p) <= half_width for mean, half_width in map(accuracy_interval, lists)])
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize("n_classes", [5, 10, 24])
@pytest.mark.parametrize("p", [0.5, 0.6])
def test_the_interval_over_classes_covers_the_truth_19_times_in_20(n_classes, p):
    """Classes of other accuracies, p on average over all classes there are; 40 queries each, 3,000 sets of classes."""
    rng = np.random.default_rng(n_classes)
    right = rng.binomial(40, rng.beta(8 * p, 8 * (1 - p), (3000, n_classes)))
    found = [class_interval(confusion) for confusion in as_squares(right, 40)]
    covered = np.mean([low <= p <= high for low, high in found])
    assert 0.93 <= covered <= 0.97


def test_the_interval_covers_less_where_accuracies_are_skewed_as_its_docstring_says():
    lists = np.random.default_rng(0).binomial(5, 0.9, (3000, 5)) / 5
    covered = np.mean([abs(mean - 0.9) <= half_width for mean, half_width in map(accuracy_interval, lists)])
    assert 0.88 <= covered <= 0.93


def test_one_episode_says_nothing_about_spread():
    assert accuracy_interval([1.0]) == (1.0, math.inf)
    with pytest.raises(ValueError, match="at least one episode"):
        accuracy_interval([])


def test_the_interval_over_classes_by_hand():
    """Class accuracies 0.5, 0.7, 0.6, and a class without a query: mean 0.6, s = 0.1, t of 2 degrees is 4.303."""
    confusion = [[5, 5, 0, 0], [3, 7, 0, 0], [2, 2, 6, 0], [0, 0, 0, 0]]
    half_width = 4.3027 * 0.1 / math.sqrt(3)
    assert class_interval(confusion) == pytest.approx((0.6 - half_width, 0.6 + half_width), abs=1e-4)
    assert class_interval([[3, 0, 0], [2, 0, 0], [0, 0, 0]]) == (0.0, 1.0)  # two classes, 1 and 0: anything
    assert class_interval([[4, 4], [2, 2]]) == (0.5, 0.5)
    assert class_interval([[3, 1], [0, 0]]) == (0.0, 1.0)  # one class says nothing of others
    with pytest.raises(ValueError, match="confusion matrix is empty"):
        class_interval([[0, 0], [0, 0]])


def test_the_interval_over_classes_has_the_width_of_their_spread():
    """100 classes whose accuracies have deviation s: the interval is 2 x 1.98 x s / 10 wide."""
    right = np.random.default_rng(1).integers(0, 101, 100)
    confusion = np.zeros((100, 100), int)
    confusion[np.arange(100), np.arange(100)] = right
    confusion[np.arange(100), (np.arange(100) + 1) % 100] = 100 - right
    low, high = class_interval(confusion)
    assert high - low == pytest.approx(2 * 1.9842 * (right / 100).std(ddof=1) / 10, rel=1e-4)


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
    assert result().summary() == "run: 60.0 +- 26.0 % on 4 episodes, metric cosine, scope inductive"
    counted = result(class_names=["a", "b", "c"], confusion=[[3, 0, 1], [0, 2, 0], [0, 0, 0]]).summary()
    assert counted == "run: 60.0 +- 26.0 % on 4 episodes of 2 classes, metric cosine, scope inductive"
    both = result(variants={"visual": [0.4, 0.6], "fused": [0.5, 0.5]}).summary()
    assert "visual 50.0 +- 127.1 %, fused 50.0 +- 0.0 %" in both
    assert RunResult("t", history=[{}]).summary() == "t: not evaluated, 1 rows of history"


def test_class_and_pair_accuracy_by_hand():
    """3 of 4 and 2 of 2; 'c' had no query. Of 6 queries with the partner present 3 name the class, 1 the partner."""
    found = result(
        class_names=["a", "b", "c"],
        confusion=[[3, 0, 1], [0, 2, 0], [0, 0, 0]],
        pairs={"right": 3, "partner": 1, "total": 6},
    )
    assert found.pair_accuracy == (0.75, pytest.approx(3.1824 * 0.5 / 2, rel=1e-4))  # 1, 1, 1, 0: s = 0.5
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
    """Differences 0.2, 0.2, 0.2, 0.2: 20 +- 0 points, although each mean is +- 26."""
    table = comparison_table([result("a"), result("b", [0.6, 0.8, 1.0, 0.8])], baseline="a").set_index("name")
    assert table.loc["b", ["mean", "ci95"]].tolist() == pytest.approx([80, 25.98], abs=0.01)
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


def on_few_clips(name, clips_right, n=1200):
    """A run on 8 clips, of which some are always right; an episode has 4 queries."""
    rng = np.random.default_rng(0)
    clip = rng.integers(8, size=n)
    support = (clip + rng.integers(1, 8, size=n)) % 8
    right = np.isin(clip, clips_right).astype(int)
    queries = {"clip": clip.tolist(), "support": support[:, None].tolist(), "right": right.tolist()}
    return result(name, right.reshape(-1, 4).mean(1).tolist(), queries=queries)


def test_a_difference_on_one_clip_is_not_shown_for_other_clips():
    """b is right on one clip more, in every episode that has it; a draw without that clip has no difference."""
    runs = on_few_clips("a", [0, 1, 2, 3]), on_few_clips("b", [0, 1, 2, 3, 4])
    row = comparison_table(runs, baseline="a").set_index("name").loc["b"]
    assert row["difference"] - row["difference_ci95"] > 8  # over episodes: 12.5 points and little doubt
    assert row["difference_clip_low"] == 0  # (7/8)^8 = 34% of the draws leave that clip out
    assert 25 < row["difference_clip_high"] < 60
    wide = row["clip_high"] - row["clip_low"]  # the same draws for both: what they share does not widen the interval
    assert row["difference_clip_high"] - row["difference_clip_low"] < 0.8 * wide


def test_a_paired_interval_over_clips_by_hand(monkeypatch):
    """Two seeds against a baseline of one, query by query: clips drawn anew, a query counted as often as its clips."""
    one, two, base = (on_few_clips(n, r, 400) for n, r in (("b", [0, 1, 2, 5]), ("b", [0, 2, 5, 6]), ("a", [0, 1, 3])))
    monkeypatch.setattr(results, "N_DRAWS", 200)
    rng, differences = np.random.default_rng(0), []
    for _ in range(200):
        drawn = rng.choice(np.arange(8), 8).tolist()
        total = gained = 0.0
        for i, (clip, (support,)) in enumerate(zip(base.queries["clip"], base.queries["support"], strict=True)):
            weight = drawn.count(clip) * drawn.count(support) if clip in drawn else 0
            total += weight
            mean = (one.queries["right"][i] + two.queries["right"][i]) / 2
            gained += weight * (mean - base.queries["right"][i])
        differences.append(100 * gained / total)
    row = comparison_table([one, two, base], baseline="a").set_index("name").loc["b"]
    found = row[["difference_clip_low", "difference_clip_high"]].tolist()
    assert found == pytest.approx(np.percentile(differences, [2.5, 97.5]).tolist())


def test_an_interval_of_a_difference_needs_the_same_queries_on_both_sides():
    table = comparison_table([on_few_clips("a", [0, 1]), on_few_clips("b", [0])], baseline="a").set_index("name")
    assert table.loc["a", ["difference_clip_low", "difference_clip_high"]].tolist() == [0, 0]
    table = comparison_table([on_few_clips("a", [0, 1]), replace(on_few_clips("b", [0]), queries={})], baseline="a")
    assert math.isnan(table.set_index("name").loc["b", "difference_clip_low"])
    with pytest.raises(ValueError, match="the baseline answered other queries"):
        clip_interval([on_few_clips("a", [0]).queries], [on_few_clips("b", [0], n=1000).queries])


def test_markdown_shows_each_mean_with_its_interval():
    table = comparison_table([result("a"), result("b", [0.6, 0.8, 1.0, 0.8], scope=None)], baseline="a")
    lines = markdown_table(table).splitlines()
    assert lines[0].startswith("| name | metric | scope | episodes | seeds | mean |")
    assert lines[2].startswith("| a | cosine | inductive | 4 | 1 | 60.0 +- 26.0 |")
    assert "| b | cosine |  | 4 | 1 | 80.0 +- 26.0 |" in lines[3]
    assert "20.0 +- 0.0" in lines[3]
    assert len({line.count("|") for line in lines}) == 1


def test_differences_are_taken_episode_by_episode():
    """Accuracies 0, 1 and 1, 0: the means agree, the differences are 1 and -1, and two say nothing: t = 12.7."""
    table = comparison_table([result("a", [0.0, 1.0]), result("b", [1.0, 0.0])], baseline="a").set_index("name")
    assert table.loc["b", ["difference", "difference_ci95"]].tolist() == pytest.approx([0, 1270.6], abs=0.1)
