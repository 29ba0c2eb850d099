"""The benchmark: all ways compute the same, ratios are ratios, and a way that computes something else is refused."""

from __future__ import annotations

import json
from statistics import median

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest
import torch

from taskadapter_lite import figures
from taskadapter_lite.__main__ import main
from taskadapter_lite.data.datasets import ClipFolder
from taskadapter_lite.results import peak_memory
from taskadapter_lite.studies import speed as benchmark
from taskadapter_lite.studies.speed import (
    TOLERANCE,
    Switches,
    TimedModel,
    Workload,
    decoding_rates,
    evaluation_seconds,
    ladder_of_switches,
    run_benchmark,
    step_memory,
    table,
    write_clips,
)

TINY = Workload(depth=2, n_way=2, T=2)
WAYS = ladder_of_switches(episodes=2, compiled=False)
EXACT = [way for way in WAYS if not way.bf16]  # timing bf16 takes minutes on CPUs without its instructions
ROUNDS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips")
    write_clips(path, size=64, n=4)
    return path


@pytest.fixture(scope="module")
def found(folder):
    return run_benchmark(TINY, folder, EXACT, repeats=ROUNDS)


def test_the_switches_are_added_one_at_a_time():
    ways = ladder_of_switches(episodes=4, compiled=True)
    plain = vars(Switches(name="")).items()
    on = [{name for name, value in plain if name != "name" and vars(way)[name] != value} for way in ways]
    assert on[0] == set()
    assert [after - before for before, after in zip(on, on[1:], strict=False)] == [
        {"prefix"},
        {"fused"},
        {"cache"},
        {"episodes"},
        {"bf16"},
        {"compiled"},
    ]
    assert [before - after for before, after in zip(on, on[1:], strict=False)][4] == {"fused"}  # slow there on a CPU
    on_a_gpu = ladder_of_switches(episodes=1, compiled=False, device="cuda")
    assert [way.name for way in on_a_gpu] == [
        "as published",
        "+ gradient-free prefix",
        "+ fused attention",
        "+ prefix cache",
        "+ bf16",
    ]
    assert on_a_gpu[-1].fused
    assert not any(way.bf16 for way in ladder_of_switches(4, compiled=True, bf16=False))


def test_all_ways_agree_with_the_published_one(found):
    differences = [row["difference"] for row in found["rows"]]
    assert len(differences) == len(EXACT) == 5
    assert differences[0] == 0
    assert max(differences) < 1e-5  # rounding alone, far below the limit


def test_bf16_is_seen_to_be_on_and_stays_within_its_tolerance(folder):
    clips = ClipFolder(folder, T=TINY.T, size=TINY.size)
    with torch.no_grad():
        expected, found = (TimedModel(way, TINY, clips).features(1) for way in (WAYS[0], WAYS[-1]))
    assert found.dtype == torch.float32  # scores and losses are computed from it
    assert 1e-5 < (found - expected).norm() / expected.norm() < TOLERANCE[True]


def test_adapters_are_not_the_identity_or_agreement_would_say_nothing(folder):
    way = TimedModel(WAYS[0], TINY, ClipFolder(folder, T=TINY.T, size=TINY.size))
    with torch.no_grad():
        adapted = way.features(1)
        for name, parameter in way.model.adapter_state().items():
            way.model.get_parameter(name).copy_(torch.zeros_like(parameter))
        plain = way.features(1)
    assert (adapted - plain).norm() / plain.norm() > 10 * TOLERANCE[False]


def test_ratios_are_those_of_the_rounds(found):
    first = found["rows"][0]["seconds"]
    for row in found["rows"]:
        for what in ("train", "evaluate"):
            assert len(row["seconds"][what]) == ROUNDS
            by_hand = [a / b for a, b in zip(first[what], row["seconds"][what], strict=True)]
            assert row["ratios"][what] == {"median": median(by_hand), "least": min(by_hand), "largest": max(by_hand)}
    assert set(found["rows"][0]["ratios"]["train"].values()) == {1.0}


def test_measuring_memory_keeps_none(folder):
    way = TimedModel(WAYS[0], TINY, ClipFolder(folder, T=TINY.T, size=TINY.size))
    kept = [step_memory(way) for _ in range(2)][0]
    before = peak_memory("cpu")
    for _ in range(20):
        step_memory(way)
    assert peak_memory("cpu") - before < 5 * kept


def test_a_cache_is_filled_once_a_clip_and_evaluation_pays_for_it(found):
    fills = [row["fill"] for row in found["rows"]]
    assert fills[:3] == [0, 0, 0]
    assert min(fills[3:]) > 0
    row = {"seconds": {"evaluate": [3.0, 1.0, 2.0]}, "fill": 0.5}
    workload = vars(Workload(n_way=2, k_shot=2, n_query=1))  # 6 clips an episode
    assert evaluation_seconds(row, workload, episodes=10, clips=1) == pytest.approx(20.5)
    met = 4 * (1 - 0.75**60)
    assert evaluation_seconds(row, workload, episodes=10, clips=4) == pytest.approx(20 + 0.5 * met)
    assert evaluation_seconds(row, workload, episodes=1, clips=10**9) == pytest.approx(2 + 0.5 * 6, rel=1e-4)


def test_reading_is_measured_in_frames_a_second(folder, monkeypatch):
    """With a clock that moves 1 s from call to call, T frames of 4 clips are read in a second."""
    ticks = iter(range(100))
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))
    rates = decoding_rates(ClipFolder(folder, T=6, size=64))
    assert rates == {name: 24.0 for name in (["decord"] if benchmark.decord else []) + ["read_clip"]}


def test_seconds_are_per_episode(folder, monkeypatch):
    """With a clock that says 1 s for everything, two episodes in a step are twice as fast; nothing else is."""
    calls = []
    monkeypatch.setattr(benchmark, "seconds", lambda action, device: calls.append(action) or 1.0)
    rows = run_benchmark(TINY, folder, WAYS[:5], repeats=1)["rows"]
    assert [row["ratios"]["train"]["median"] for row in rows] == [1, 1, 1, 1, 2]
    assert rows[-1]["seconds"]["evaluate"] == [0.5]
    timed = [action for action in calls if getattr(action, "__name__", "") in ("train_step", "evaluate_step")]
    assert len(timed) == (1 + 2) * 5  # a warm-up of evaluation, and a round that counts


def test_memory_is_positive_and_the_prefix_saves_what_it_should(found):
    memory = {row["name"]: row["memory"] for row in found["rows"]}
    assert min(memory.values()) > 0
    assert memory["+ gradient-free prefix"] < memory["as published"]  # 4 of 6 blocks keep nothing for the backward pass
    assert found["matmul_seconds"] > 0


def test_timing_trains_nothing(folder):
    way = TimedModel(WAYS[3], TINY, ClipFolder(folder, T=TINY.T, size=TINY.size))
    before = {name: value.clone() for name, value in way.model.adapter_state().items()}
    way.train_step()
    assert all(torch.equal(before[name], value) for name, value in way.model.adapter_state().items())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in way.model.trainable_parameters())


@pytest.mark.parametrize("wrong", [1.1, float("nan")])
def test_a_way_that_computes_something_else_is_refused(folder, monkeypatch, wrong):
    right = TimedModel.features
    monkeypatch.setattr(TimedModel, "features", lambda way, n: right(way, n) * (wrong if way.switches.cache else 1))
    with pytest.raises(ValueError, match=r"\+ prefix cache: features differ"):
        run_benchmark(TINY, folder, WAYS[:4], repeats=1)


def test_too_few_clips_are_refused(folder):
    with pytest.raises(ValueError, match="holds 4 clips, but an episode needs 10"):
        run_benchmark(Workload(depth=1), folder, WAYS[:1], repeats=1)


def test_the_figure_has_a_bar_from_each_ratio_to_the_next():
    ax = figures.plot_speedups(["as published", "a", "b"], [1, 3, 2], [1, 2.5, 1.5], [1, 3.5, 2.2])
    spans = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in ax.patches]
    assert spans == [(1, 1), (1, 3), (3, 2)]
    colours = [matplotlib.colors.to_hex(bar.get_facecolor()).upper() for bar in ax.patches]
    assert colours == ["#0072B2", "#0072B2", "#D55E00"]  # what costs time has another colour
    assert [text.get_text() for text in ax.texts] == ["1.0 x", "3.0 x", "2.0 x"]
    whiskers = [tuple(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) == 2]
    assert whiskers == [(1, 1), (2.5, 3.5), (1.5, 2.2)]
    assert ax.get_xscale() == "log"
    plt.close(ax.figure)


def test_the_command_writes_numbers_and_a_figure(tmp_path, monkeypatch, capsys, found):
    monkeypatch.setattr("taskadapter_lite.commands.benchmark.run_benchmark", lambda *arguments: found)
    assert main(["benchmark", "--out", str(tmp_path), "--repeats", "2", "--no-bf16"]) == 0
    report = json.loads((tmp_path / "benchmark.json").read_text())
    assert report["runs"] == [found]
    assert {"device", "versions", "created", "threads"} <= set(report)
    assert (tmp_path / "benchmark_L2_1shot.png").stat().st_size > 1000
    assert table(found) in capsys.readouterr().out
