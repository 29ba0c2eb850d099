"""Several processes (gloo, on the CPU) share the episodes of each step: same adapters, one writer, a clean end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_run import ColouredClips, tiny_episodes, tiny_model, tiny_train

from taskadapter_lite.episodes import episode_hash
from taskadapter_lite.evaluation import evaluate
from taskadapter_lite.results import RunResult
from taskadapter_lite.training.checkpoints import read_checkpoint, training_checkpoints
from taskadapter_lite.training.distributed import Team, join_result

pytest.importorskip("accelerate")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="gloo processes are started as on Linux and macOS")
SETTINGS = {"n_steps": 6, "episodes_per_step": 3, "validation_every": 3, "checkpoint_every": 3, "log_every": 2}


def rank_of_a_run(rank: int, size: int, port: int, folder: str, lives_for: int | None = None) -> None:
    """What a launcher starts `size` times."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "ACCELERATE_USE_CPU": "true"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        if rank == 1 and lives_for is not None:
            die_after(lives_for)
        tiny_train(folder, resume="auto", **SETTINGS)
        if rank == 0:
            Path(f"{folder} scores.txt").write_text(str(fixed_scores(Team())))
        else:
            fixed_scores(Team())
        Team().leave()
    except OSError as error:
        Path(f"{folder} rank {rank}.txt").write_text(str(error))
        os._exit(3)


def die_after(n_steps: int) -> None:
    """Let this process be killed in the middle of the step after `n_steps`."""
    share, steps = Team.sum_gradients, iter(range(n_steps))

    def share_or_die(team, parameters):
        if next(steps, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        share(team, parameters)

    Team.sum_gradients = share_or_die


def fixed_scores(team: Team) -> list[float]:
    """Per-episode accuracies of an untrained model, the episodes shared over the processes."""
    clips = ColouredClips(seed=2)
    part = evaluate(tiny_model(), clips, team.share(tiny_episodes(clips, 7)), progress=False)
    return team.gather(part.accuracies)


def launch(folder: Path, size: int = 2, lives_for: int | None = None) -> list[int]:
    """Run `size` ranks to their end; their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tiny_run", "accelerate"])
    arguments = (size, port, str(folder), lives_for)
    processes = [context.Process(target=rank_of_a_run, args=(rank, *arguments)) for rank in range(size)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    return [process.exitcode for process in processes]


@pytest.fixture(scope="module")
def alone():
    """The same run in one process."""
    model, result = tiny_train(**SETTINGS)
    return model.adapter_state(), result


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """The folder of a run of two processes."""
    folder = tmp_path_factory.mktemp("two") / "run"
    assert launch(folder) == [0, 0]
    return folder


def adapters_of(folder: Path) -> dict[str, torch.Tensor]:
    tensors, _ = read_checkpoint(folder / "adapters.safetensors")
    return {name.removeprefix("adapters."): t for name, t in tensors.items() if name.startswith("adapters.")}


def assert_same_run(folder, alone):
    state, result = alone
    for name, value in adapters_of(folder).items():
        torch.testing.assert_close(value, state[name], rtol=1e-4, atol=1e-5)
    history = RunResult.load(folder / "result.json").history
    assert [row["step"] for row in history] == [row["step"] for row in result.history]
    for row, expected in zip(history, result.history, strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-4)
        assert row["accuracy"] == pytest.approx(expected["accuracy"], abs=1e-6)


def test_two_processes_train_the_adapters_of_one(together, alone):
    assert_same_run(together, alone)


def test_evaluation_over_processes_equals_one_exactly(together):
    scores = together.with_name("run scores.txt").read_text()
    assert scores == str(fixed_scores(Team()))


def test_only_rank_0_writes(together):
    names = {path.name for path in together.iterdir()}
    assert names == {"adapters.safetensors", "result.json", "step_00000003.safetensors", "step_00000006.safetensors"}


def test_a_lost_process_ends_the_others_and_one_process_goes_on(tmp_path, alone):
    folder = tmp_path / "run"
    codes = launch(folder, lives_for=3)
    assert codes == [3, -signal.SIGKILL]
    message = (tmp_path / "run rank 0.txt").read_text()
    assert "rank 0 lost another process" in message
    assert "resume='auto'" in message
    assert [path.name for path in training_checkpoints(folder)] == ["step_00000003.safetensors"]
    tiny_train(folder, resume="auto", **SETTINGS)
    assert_same_run(folder, alone)


def test_shares_are_disjoint_and_gather_restores_the_order():
    for n in (0, 1, 5, 6):
        teams = [Team() for _ in range(3)]
        for rank, team in enumerate(teams):
            team.rank, team.size = rank, 3
        shares = [team.share(range(n)) for team in teams]
        assert sorted(sum(shares, [])) == list(range(n))
        teams[0]._collective = lambda *_, shares=shares: shares
        assert teams[0].gather(shares[0]) == list(range(n))


@pytest.mark.slow
def test_accelerate_launches_the_command(tmp_path):
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    command += ["-m", "taskadapter_lite", "train", "--random-weights", "--data", "sprites", "--clips-per-class", "4"]
    command += ["--n-steps", "2", "--episodes-per-step", "2", "--validation-episodes", "4", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("training clips of") == 1
    assert RunResult.load(tmp_path / "result.json").history[-1]["step"] == 2


def test_what_two_processes_found_is_joined_in_the_order_of_the_list():
    team = Team()
    team.size = 2
    team._collective = lambda _, values: [*values, *values]  # the other process found the same
    result = RunResult("joined", accuracies=[1.0, 0.0], variants={"text": [0.5, 0.25]})
    result.confusion, result.pairs = [[1, 0], [1, 0]], {"right": 1, "partner": 0}
    clips = ColouredClips(seed=2)
    join_result(result, team, tiny_episodes(clips, 4))
    assert result.accuracies == [1.0, 1.0, 0.0, 0.0]
    assert result.variants == {"text": [0.5, 0.5, 0.25, 0.25]}
    assert result.confusion == [[2, 0], [2, 0]]
    assert result.pairs == {"right": 2, "partner": 0}
    assert result.episodes == episode_hash(tiny_episodes(clips, 4))
