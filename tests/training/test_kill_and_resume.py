"""A training process is killed at random moments, also while it saves, and resumed: nothing may be lost or changed."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time

import pytest
import torch
from tiny_run import tiny_train

from taskadapter_lite.results import RunResult
from taskadapter_lite.training.checkpoints import read_checkpoint, training_checkpoints

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
SETTINGS = {"n_steps": 20, "checkpoint_every": 1, "validation_every": 6, "log_every": 3}


def life(folder: str, alive) -> None:
    """One life of the training process; saving is made slow so that many kills fall into it."""
    sync = os.fsync

    def slow_sync(descriptor: int) -> None:
        time.sleep(0.05)
        sync(descriptor)

    os.fsync = slow_sync
    alive.send("alive")
    tiny_train(folder, resume="auto", **SETTINGS)


def n_steps_done(folder) -> int:
    """The step of the newest checkpoint."""
    found = training_checkpoints(folder)
    return int(found[-1].stem.removeprefix("step_")) if found else 0


def outcome(folder):
    tensors, _ = read_checkpoint(folder / "adapters.safetensors")
    result = RunResult.load(folder / "result.json")
    history = [{key: value for key, value in row.items() if key != "seconds"} for row in result.history]
    return tensors, history, result.accuracies, result.interrupted


def assert_same(folder, reference):
    tensors, *rest = outcome(folder)
    expected, *expected_rest = outcome(reference)
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in tensors)
    assert rest == expected_rest


@pytest.mark.parametrize("n_kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_and_resumed_runs_end_alike_to_the_last_bit(tmp_path, n_kills):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tiny_run"])

    def start(folder) -> multiprocessing.Process:
        heard, alive = context.Pipe(duplex=False)
        process = context.Process(target=life, args=(str(folder), alive))
        process.start()
        assert heard.poll(120)
        return process

    reference = start(tmp_path / "reference")
    began = time.perf_counter()
    reference.join()
    step_s = (time.perf_counter() - began) / SETTINGS["n_steps"]
    assert reference.exitcode == 0

    draws, kills, while_saving, runs = random.Random(n_kills), 0, 0, 0
    while kills < n_kills:
        folder = tmp_path / f"run {runs}"
        goal = n_steps_done(folder) + draws.randint(0, 4)
        process = start(folder)
        while process.is_alive() and n_steps_done(folder) < goal:
            time.sleep(0.002)
        process.join(draws.uniform(0.0, 2.0) * step_s)
        process.kill()
        process.join()
        if process.exitcode == -signal.SIGKILL:
            kills += 1
            while_saving += any(folder.glob(".step_*.tmp"))
            for path in training_checkpoints(folder):
                read_checkpoint(path)  # every checkpoint that has its name is whole
        else:
            assert process.exitcode == 0
            assert_same(folder, tmp_path / "reference")
            runs += 1
    last = start(folder)
    last.join()
    assert last.exitcode == 0
    assert_same(folder, tmp_path / "reference")
    assert not list(folder.glob(".*.tmp"))
    print(f"{kills} kills, {while_saving} of them while saving, in {runs + 1} runs")
    assert n_kills < 20 or while_saving > 0
