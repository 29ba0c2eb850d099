"""studies/which_attribute.py: rows, tests and files of the study of constructed tasks."""

from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from taskadapter_lite.data.which_attribute import AttributeEpisodes
from taskadapter_lite.results import RunResult
from taskadapter_lite.studies import which_attribute
from taskadapter_lite.studies.attribute_controls import CONTROLS
from taskadapter_lite.studies.attribute_results import load_which_attribute, which_attribute_table
from taskadapter_lite.studies.ladder import TUNED_RATE
from taskadapter_lite.studies.which_attribute import (
    PARTS,
    RATES,
    RULES,
    RUNGS,
    SPEC,
    Pool,
    TaskBudget,
    neutral_shares,
    new_model,
    run_which_attribute,
    start_from,
    trained_rung,
    tune_which_attribute,
    what_is_tested,
)
from taskadapter_lite.training.loop import train

SMALL = TaskBudget(n_steps=2, episodes_per_step=2, n_test=10)
BY_NAME = {rung.name: rung for rung in RUNGS}
HEADS = {"OTAM": "otam", "TRX": "trx", "centred": "centred", "ridge": "ridge", "FEAT": "feat"}


@pytest.fixture
def no_training(monkeypatch):
    """Calling this makes any further training an error."""

    def forbid():
        monkeypatch.setattr(which_attribute, "train", None)

    return forbid


@pytest.mark.parametrize("rung", RUNGS, ids=lambda rung: rung.name)
def test_a_row_is_scored_as_its_name_says(rung):
    assert rung.metric == HEADS.get(rung.name.split(", ")[-1], "cosine")


def test_a_run_makes_each_file_once_and_a_table_with_a_row_for_each(tmp_path, no_training):
    rungs = [BY_NAME["Frozen"], BY_NAME["+ task, inductive"]]
    run_which_attribute(SMALL, [0], tmp_path, rungs, progress=False)
    stamps = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.json")}
    no_training()
    run_which_attribute(SMALL, [0], tmp_path, rungs, progress=False)
    assert stamps == {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.json")}
    table = which_attribute_table(list(load_which_attribute(tmp_path)))
    assert len(table) == len(stamps) == 2 + 1 + len(CONTROLS)  # unseen and seen values, and the controls of one row
    alone = table[table.control == "one query alone"]
    as_trained = table[(table.control == "as trained") & (table["values"] == "unseen values")]
    assert alone.episodes.item() == 10  # tasks, not queries
    inductive = as_trained[as_trained.model == "+ task, inductive"]
    assert alone.accuracy.item() == pytest.approx(inductive.accuracy.item())  # no query sees another
    assert alone.interval.item() == pytest.approx(inductive.interval.item())
    (tmp_path / "with_task_inductive_mix_1_unseen_values_one_query_alone_seed_0.json").unlink()
    run_which_attribute(SMALL, [0], tmp_path, rungs, progress=False)  # with the adapters of before
    again = which_attribute_table(list(load_which_attribute(tmp_path)))
    assert again[again.control == "one query alone"].accuracy.item() == alone.accuracy.item()


def test_a_head_with_parameters_comes_back_as_it_was_trained(tmp_path, no_training):
    pool, budget = Pool(1, tmp_path), replace(SMALL, learning_rate=0.1)
    _, first, _ = trained_rung(BY_NAME["Space + joint, FEAT"], budget, 0, pool, tmp_path, False)
    no_training()
    model, second, about = trained_rung(BY_NAME["Space + joint, FEAT"], budget, 0, pool, tmp_path, False)
    assert first.out.weight.abs().max() > 0.01
    assert torch.equal(first.out.weight, second.out.weight)
    assert about["training"]["training"]["metric"] == "feat"
    assert "task" not in model.axes


def test_a_run_that_was_cut_off_is_no_result(tmp_path):
    """Training stops after two of four steps and says so; the next call goes on from there."""
    rung, budget, pool = BY_NAME["+ task, inductive"], replace(SMALL, n_steps=4), Pool(1, tmp_path)
    whole, _, _ = trained_rung(rung, budget, 0, pool, tmp_path / "whole", False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("taskadapter_lite.training.loop._asked_to_stop", stops_after_two)
        with pytest.raises(KeyboardInterrupt):  # and nothing is tested
            trained_rung(rung, budget, 0, pool, tmp_path, False)
    (folder,) = (tmp_path / "trained").iterdir()
    assert RunResult.load(folder / "result.json").interrupted
    model, _, _ = trained_rung(rung, budget, 0, pool, tmp_path, False)
    assert not RunResult.load(folder / "result.json").interrupted
    for name, value in whole.adapter_state().items():
        assert torch.equal(model.adapter_state()[name], value), name


@contextmanager
def stops_after_two():
    """As if Ctrl-C came during the second step."""
    answers = iter((False, True))
    yield SimpleNamespace(is_set=lambda: next(answers))


def test_rates_are_compared_on_values_of_validation(tmp_path):
    results = tune_which_attribute(replace(SMALL, n_test=5), tmp_path, progress=False)
    assert [r.metadata["learning_rate"] for r in results] == [*RATES, *RATES]
    assert {r.dataset for r in results} == {Pool(1, tmp_path).clips("val").fingerprint}
    assert {r.metadata["values"] for r in results} == {"validation values"}
    assert not list(load_which_attribute(tmp_path))  # no rows of the table


def test_other_mixes_are_tested_as_trained_alone(tmp_path):
    run_which_attribute(replace(SMALL, mix=0.5), [0], tmp_path, [BY_NAME["+ task, inductive"]], progress=False)
    (result,) = load_which_attribute(tmp_path)
    assert (result.metadata["mix"], result.metadata["control"]) == (0.5, "as trained")


def test_where_actions_may_count_they_are_also_asked_for_in_neutral_looks(tmp_path, monkeypatch):
    rung = BY_NAME["Frozen"]
    budget = replace(SMALL, rules=("action", "colour", "form"))
    assert what_is_tested(rung, SMALL) == [("unseen values", "as trained"), ("seen values", "as trained")]
    monkeypatch.setattr(which_attribute, "PARTS", {"unseen values": ("val", 7), "seen values": ("val", 8)})
    run_which_attribute(budget, [0], tmp_path, [rung], progress=False)
    table = which_attribute_table(list(load_which_attribute(tmp_path))).set_index(["values", "control"])
    assert len(table) == len(what_is_tested(rung, budget)) == 4
    for values in ("unseen values", "seen values"):
        assert table.loc[(values, "as trained")].rules == "action or colour or form"
        neutral = table.loc[(values, "no look misleads")]
        assert neutral.rules == "action"
        assert 0 < neutral.episodes < 10
        assert neutral["by rule"] == f"action {neutral.accuracy:.1f}"


def test_where_places_may_count_clips_differ_in_place(tmp_path):
    rules = ("colour", "form", "place")
    budget = replace(SMALL, rules=rules, n_test=12)
    run_which_attribute(budget, [0], tmp_path, [BY_NAME["Frozen"]], progress=False)
    table = which_attribute_table(list(load_which_attribute(tmp_path)))
    assert set(table.rules) == {"colour or form or place"}
    assert all(words.count(",") == 2 and "place" in words for words in table["by rule"])
    assert [len(Pool(1, tmp_path, rules).clips(part)) for part in ("train", "test")] == [
        4 * 14 * n * 8 for n in (16, 8)
    ]


def test_video_starts_from_the_adapters_of_stills_and_adds_time_at_zero(tmp_path):
    rung = BY_NAME["+ task, inductive"]
    stills, _, _ = trained_rung(rung, SMALL, 0, Pool(1, tmp_path), tmp_path, False)
    budget = replace(SMALL, frames=4, start=tmp_path)
    video = new_model(rung, budget)
    start_from(video, tmp_path, rung, 0)
    assert video.axes == ("time", "space", "task", "joint")
    clip = torch.rand(7, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        stills.temporal.zero_()
        one, four = stills(clip, 5), video(clip.expand(-1, 4, -1, -1, -1), 5)
    torch.testing.assert_close(four, one.expand(-1, 4, -1), rtol=1e-4, atol=1e-4)


def test_actions_beside_looks_are_learnt_in_two_parts_that_go_on_from_each_other(tmp_path, monkeypatch):
    """Stills, then actions with nothing that misleads, then with it: each part goes on from the one before."""
    rung, stills = BY_NAME["+ task, inductive, OTAM"], BY_NAME["+ task, inductive"]
    taught, _, _ = trained_rung(stills, SMALL, 0, Pool(1, tmp_path), tmp_path, False)
    budget = replace(SMALL, frames=4, rules=("action", "colour", "form"), start=tmp_path)
    calls = []

    def note(model, clips, episodes, config, **given):
        before = model.adapter_state()
        result = train(model, clips, episodes, config, **given)
        calls.append((episodes, before, model.adapter_state()))
        return result

    monkeypatch.setattr(which_attribute, "train", note)
    last, _, about = trained_rung(rung, budget, 0, Pool(4, tmp_path, budget.rules), tmp_path, False)
    neutral = [{"action": 1.0}, {"action": 0.5}]
    assert (about["start"], about["neutral_in_training"]) == ("adapters of the main setting", neutral)
    assert [(episodes.mix, episodes.neutral) for episodes, *_ in calls] == [(1, shares) for shares in neutral]
    assert calls[0][0].seed != calls[1][0].seed
    for name, value in taught.adapter_state().items():
        assert name == "temporal" or torch.equal(calls[0][1][name], value), name
    for name, value in calls[0][2].items():
        assert torch.equal(calls[1][1][name], value), name
        assert torch.equal(last.adapter_state()[name], calls[1][2][name]), name
    alone = replace(budget, rules=("action",))
    trained_rung(rung, alone, 0, Pool(4, tmp_path, alone.rules), tmp_path, False)
    assert [episodes.neutral for episodes, *_ in calls] == [*neutral, {}]
    assert neutral_shares(replace(SMALL, rules=("colour", "form", "place"))) == [
        {"colour": 0.5, "form": 0.5, "place": 0.5}
    ]
    assert neutral_shares(SMALL) == [{}]


def test_every_weight_of_the_backbone_is_trained_and_comes_back(tmp_path, no_training):
    rung, pool = BY_NAME["Full fine-tuning"], Pool(1, tmp_path)
    frozen = new_model(rung, SMALL).backbone.state_dict()
    tuned, _, about = trained_rung(rung, SMALL, 0, pool, tmp_path, False)
    changed = [name for name, value in tuned.backbone.state_dict().items() if not torch.equal(value, frozen[name])]
    assert {name.split(".")[1] for name in changed if name.startswith("blocks")} == set("012345")
    assert about["training"]["training"]["learning_rate"] == TUNED_RATE
    no_training()
    again, _, _ = trained_rung(rung, SMALL, 0, pool, tmp_path, False)
    for name, value in tuned.backbone.state_dict().items():
        assert torch.equal(again.backbone.state_dict()[name], value), name
    few = pool.clips("test")
    tokens = {
        name: pool.tokens("test", model) for name, model in (("tuned", again), ("frozen", new_model(rung, SMALL)))
    }
    assert all(cache.clips.fingerprint == few.fingerprint for cache in tokens.values())
    assert tokens["tuned"] is not tokens["frozen"]  # both of depth 0, of other weights


def test_a_sum_over_frames_starts_from_a_lower_temperature(tmp_path, monkeypatch):
    configs = {}

    def note(model, clips, episodes, config, **given):
        configs[given["name"]] = config
        raise InterruptedError

    monkeypatch.setattr(which_attribute, "train", note)
    for name in ("+ task, inductive", "+ task, inductive, OTAM"):
        with pytest.raises(InterruptedError):
            trained_rung(BY_NAME[name], replace(SMALL, frames=4), 0, Pool(4, tmp_path), tmp_path, False)
    assert [config.temperature for config in configs.values()] == [16.0, 4.0]


def test_accuracies_by_rule_are_those_of_the_tasks_with_that_rule(tmp_path):
    budget = replace(SMALL, n_test=20)
    run_which_attribute(budget, [0], tmp_path, [BY_NAME["Frozen"]], progress=False)
    result = next(r for r in load_which_attribute(tmp_path) if r.metadata["values"] == "unseen values")
    clips, (_, seed) = Pool(1, tmp_path).clips("test"), PARTS["unseen values"]
    tasks = AttributeEpisodes(clips, SPEC, 20, seed, RULES, 1.0)
    by_hand = {rule: [] for rule in ("colour", "form")}
    for episode, accuracy in zip(tasks, result.accuracies, strict=True):
        n_hues = len(clips.values[episode.support, 1].unique())
        by_hand["colour" if n_hues == 5 else "form"].append(100 * accuracy)
    words = ", ".join(f"{rule} {sum(found) / len(found):.1f}" for rule, found in by_hand.items())
    table = which_attribute_table([result])
    assert table["by rule"].item() == words
    alone = replace(result, accuracies=[a for a in result.accuracies for _ in range(5)])
    alone.metadata = result.metadata | {"control": "one query alone"}
    assert which_attribute_table([alone])["by rule"].item() == words
