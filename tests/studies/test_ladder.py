"""The ladder: every rung builds, runs and is not run twice; its rows share episodes."""

import pytest
import torch

from taskadapter_lite.__main__ import main
from taskadapter_lite.data.datasets import bundled_clips
from taskadapter_lite.episodes import EpisodeSpec
from taskadapter_lite.results import RunResult, comparison_table
from taskadapter_lite.studies.ladder import (
    RUNGS,
    Budget,
    Rung,
    ShuffledFrames,
    build,
    caches,
    chosen_rate,
    file_name,
    ladder_table,
    load_results,
    run_rung,
    saved_episodes,
    train_rung,
    tune,
    wanted,
)

TINY = Budget(n_steps=2, test_episodes=6)


def rung(name: str) -> Rung:
    return next(r for r in RUNGS if r.name == name)


def test_names_are_unique_and_so_are_their_files():
    assert len({file_name(r.name) for r in RUNGS}) == len(RUNGS)
    assert all(r.weights is None or rung(r.weights) for r in RUNGS)


@pytest.mark.parametrize("one", RUNGS, ids=lambda r: r.name)
def test_every_rung_builds_and_knows_whether_its_prefix_can_be_kept(one):
    model = build(one, TINY, seed=0)
    kept = one.model.get("temporal_embedding") != "input" and not one.name.startswith("Full fine-tuning")
    assert caches(model, one) == kept


def test_saved_episodes_are_two_thousand_of_unseen_classes():
    clips = bundled_clips("test")
    for shots in (1, 5):
        episodes = saved_episodes(shots, clips)
        assert len(episodes) == 2000
        assert episodes[0].shape == (5, shots, 5)
    assert not set(clips.class_names) & set(bundled_clips("train").class_names)


def test_shuffled_frames_are_the_same_frames_in_another_order():
    clips = bundled_clips("test")
    shuffled = ShuffledFrames(clips)
    assert torch.equal(shuffled[3], shuffled[3])
    assert not torch.equal(shuffled[3], clips[3])
    order = torch.randperm(clips.T, generator=torch.Generator().manual_seed(3))
    assert torch.equal(shuffled[3], clips[3][order])


def test_a_rung_is_run_once_and_compared_on_the_same_episodes(tmp_path):
    for name in ("Frozen, cosine", "+ time"):
        run_rung(rung(name), TINY, 0, (1,), tmp_path, progress=False)
    files = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.json")}
    run_rung(rung("+ time"), TINY, 0, (1,), tmp_path, progress=False)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.json")} == files
    results = list(load_results(tmp_path))
    assert [result.name for result in results] == ["Frozen, cosine", "+ time"]
    assert results[0].episodes == results[1].episodes
    assert results[1].trainable_parameters > 0 == results[0].trainable_parameters
    table = comparison_table(results, baseline="Frozen, cosine")
    assert table["episodes"].tolist() == [6, 6]


def test_full_fine_tuning_trains_the_backbone_and_is_tested_without_a_stale_cache(tmp_path):
    run_rung(rung("Full fine-tuning"), TINY, 0, (1,), tmp_path, progress=False)
    (result,) = load_results(tmp_path)
    assert result.trainable_parameters > 1_000_000


def test_learning_rates_are_chosen_on_validation_classes_and_used(tmp_path, monkeypatch):
    monkeypatch.setattr("taskadapter_lite.studies.ladder.RATES", {"Full fine-tuning": (1e-4, 3e-3)})
    monkeypatch.setattr("taskadapter_lite.studies.ladder.VALIDATION", (EpisodeSpec(), 3, 0))
    tuned = rung("Full fine-tuning")
    assert chosen_rate(tuned, tmp_path) is None
    assert main(["ladder", "--tune", "no rung", "--out", str(tmp_path)]) == 2
    assert main(["ladder", "--tune", tuned.name, "--n-steps", "2", "--out", str(tmp_path)]) == 0
    assert [result.name for result in tune(tuned.name, TINY, tmp_path)] == [  # found, not trained again
        "Full fine-tuning, learning rate 0.0001",
        "Full fine-tuning, learning rate 0.003",
    ]
    files = sorted((tmp_path / "learning_rates").glob("*.json"))
    results = [RunResult.load(file) for file in files]
    assert {result.metadata["learning_rate"] for result in results} == {1e-4, 3e-3}
    assert {result.dataset for result in results} == {bundled_clips("val").fingerprint}
    for file, result, accuracy in zip(files, results, (0.2, 0.8), strict=True):
        result.accuracies = [accuracy] * 3
        result.save(file)
    best = results[1].metadata["learning_rate"]
    assert chosen_rate(tuned, tmp_path) == chosen_rate(rung("Full fine-tuning, OTAM"), tmp_path) == best
    assert chosen_rate(rung("+ time"), tmp_path) is None
    run_rung(tuned, TINY, 0, (1,), tmp_path, progress=False)
    (result,) = load_results(tmp_path)
    assert result.config["training"]["training"]["learning_rate"] == best
    assert result.history[-1]["step"] == 2


def test_full_fine_tuning_has_a_rate_of_its_own_before_one_is_chosen():
    _, training = train_rung(rung("Full fine-tuning"), TINY, 0, bundled_clips("train"), progress=False)
    assert training.config["training"]["learning_rate"] == 3e-4


def test_a_rungs_own_learning_rate_is_kept(tmp_path):
    _, training = train_rung(rung("SGD 1e-3"), TINY, 0, bundled_clips("train"), rate=0.5, progress=False)
    assert training.config["training"]["learning_rate"] == 1e-3


def test_the_head_may_differ_between_training_and_test(tmp_path):
    for name in ("+ task, inductive, OTAM", "Trained with OTAM, tested with cosine"):
        run_rung(rung(name), TINY, 0, (1,), tmp_path, progress=False)
    found = {result.name: result for result in load_results(tmp_path)}
    assert found["+ task, inductive, OTAM"].config["training"]["training"]["metric"] == "otam"
    assert [result.metric for result in found.values()] == ["otam", "cosine"]
    assert len(list((tmp_path / "adapters").iterdir())) == 1


def test_the_table_has_seeds_pairs_parameters_and_seconds(tmp_path):
    run_rung(rung("Frozen, cosine"), TINY, 0, (1,), tmp_path, progress=False)
    for seed in (0, 1):
        run_rung(rung("Space + joint (order-blind)"), TINY, seed, (1,), tmp_path, progress=False)
    results = list(load_results(tmp_path))
    results[1].pairs, results[2].pairs = ({"right": r, "partner": 1, "total": 9} for r in (1, 5))
    table = ladder_table(results, 1).set_index("name")
    row = table.loc["Space + joint (order-blind)"]
    assert (row["seeds"], row["parameters"], row["group"]) == (2, 50_112, "main")
    assert row["pairs"] == pytest.approx(75.0)
    assert row["seconds"] > 0 == table.loc["Frozen, cosine", "seconds"]
    assert table.loc["Frozen, cosine", "difference"] == 0


def test_what_task_attention_sees_is_a_group_that_runs_from_the_command_line(tmp_path):
    group = [
        "--group",
        "what task attention sees",
        "--n-steps",
        "2",
        "--seeds",
        "0",
        "--k-shot",
        "1",
        "--n-episodes",
        "4",
    ]
    assert main(["ladder", *group, "--out", str(tmp_path)]) == 0
    found = {result.name: result for result in load_results(tmp_path)}
    seen = {name: (r.config["model"]["task_frames"], r.config["model"]["class_mark"]) for name, r in found.items()}
    assert seen == {
        "+ task, inductive, all frames": ("all", False),
        "+ task, inductive, class mark": ("same", True),
    }
    assert {result.scope for result in found.values()} == {"inductive"}


def test_rungs_are_chosen_by_name_or_by_a_word_of_it():
    names = [r.name for r in RUNGS]
    assert [r.name for r in wanted(RUNGS, ["+ task, inductive"])] == ["+ task, inductive"]
    assert [r.name for r in wanted(RUNGS, ["Frozen", "L = 1"])] == [*names[:3], "L = 1"]
    assert wanted(RUNGS, None) == list(RUNGS)


def test_a_rate_is_taken_from_the_rung_itself_else_from_the_same_head(tmp_path):
    def keep(name: str, rate: float) -> None:
        result = RunResult(name, [0.5], metadata={"rung": name, "learning_rate": rate})
        result.save(tmp_path / "learning_rates" / f"{file_name(name)}_{rate:g}.json")

    keep("+ task, inductive", 1.0)
    assert chosen_rate(rung("+ task, inductive, OTAM"), tmp_path) == 1.0
    keep("+ task, inductive, OTAM", 2.0)
    assert chosen_rate(rung("+ task, inductive"), tmp_path) == 1.0
    assert chosen_rate(rung("+ time, OTAM"), tmp_path) == 2.0
    keep("+ time, OTAM", 3.0)
    assert chosen_rate(rung("+ time, OTAM"), tmp_path) == 3.0
    assert chosen_rate(rung("Full fine-tuning, OTAM"), tmp_path) is None


def test_the_cluttered_level_is_trained_and_tested_on_the_same_episodes(tmp_path):
    arguments = ["--only", "+ time", "--n-steps", "2", "--seeds", "0", "--k-shot", "1", "--n-episodes", "4"]
    assert main(["ladder", *arguments, "--out", str(tmp_path / "plain")]) == 0
    cluttered = ["--level", "cluttered", "--rendered", "5", "--views", "1"]
    assert main(["ladder", *arguments, *cluttered, "--out", str(tmp_path / "cluttered")]) == 0
    (plain,), (other,) = (list(load_results(tmp_path / level)) for level in ("plain", "cluttered"))
    assert plain.episodes == other.episodes
    assert plain.dataset != other.dataset
    assert other.config["training"]["training"]["views"] == 1
