"""`python -m taskadapter_lite train`, called as the shell would, in this process."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest
from tiny_run import ColouredClips, tiny_config, tiny_episodes, tiny_model

from taskadapter_lite.__main__ import main
from taskadapter_lite.backbone import find_weights, load_backbone
from taskadapter_lite.data.datasets import SpriteClips
from taskadapter_lite.episodes import EpisodeSampler, EpisodeSpec
from taskadapter_lite.files import data_dir
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.results import RunResult
from taskadapter_lite.training.checkpoints import read_checkpoint, training_checkpoints
from taskadapter_lite.training.estimate import estimate_run
from taskadapter_lite.training.loop import TrainConfig, train

SMALL = ["--random-weights", "--device", "cpu", "--depth", "1", "--axes", "space", "--n-way", "2", "--n-query", "1"]
SMALL += ["--frames", "2", "--n-steps", "4", "--views", "1", "--validation-episodes", "3", "--checkpoint-every", "2"]
SPRITES = ["--data", "sprites", "--clips-per-class", "2"]


def test_trains_reports_and_resumes(tmp_path, capsys):
    command = ["train", *SMALL, *SPRITES, "--out", str(tmp_path), "--learning-rate", "0.01", "--no-learn-temperature"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "128 training clips of 64 classes" in said
    assert "validation" in said
    result = RunResult.load(tmp_path / "result.json")
    assert result.config["training"]["learning_rate"] == 0.01
    assert result.config["training"]["learn_temperature"] is False
    assert result.config["model"]["axes"] == ["space"]
    assert len(result.accuracies) == 3
    assert read_checkpoint(tmp_path / "adapters.safetensors")[1]["model"]["depth"] == 1

    assert main(command) == 2
    assert "already holds a run" in capsys.readouterr().err
    training_checkpoints(tmp_path)[-1].unlink()
    assert main([*command, "--resume", "auto"]) == 0
    again = RunResult.load(tmp_path / "result.json")
    assert [row["loss"] for row in again.history] == [row["loss"] for row in result.history]


def test_trains_on_a_folder_of_videos(tmp_path):
    folder = tmp_path / "data"
    for part in ("train", "val"):
        (folder / part).mkdir(parents=True)
        for one in sorted((data_dir() / "clips" / part).iterdir())[:2]:
            (folder / part / one.name).mkdir()
            for video in sorted(one.iterdir())[:2]:
                (folder / part / one.name / video.name).write_bytes(video.read_bytes())
    command = ["train", *SMALL, "--data", str(folder), "--out", str(tmp_path / "run"), "--workers", "2"]
    assert main(command) == 0
    assert RunResult.load(tmp_path / "run" / "result.json").history[-1]["step"] == 4


def test_the_published_recipe_sets_model_and_episodes(tmp_path, capsys):
    command = ["train", *SMALL, *SPRITES, "--out", str(tmp_path), "--recipe", "published"]
    assert main(command) == 2
    assert "--dataset" in capsys.readouterr().err
    assert main([*command, "--dataset", "hmdb51"]) == 0
    content = read_checkpoint(tmp_path / "adapters.safetensors")[1]
    assert content["model"]["scope"] == "split"
    assert content["model"]["temporal_embedding"] == "input"
    assert content["model"]["zero_init"] is False
    assert content["metadata"]["run"]["optimizer"] == "sgd"


def test_what_task_attention_sees_is_chosen_and_marks_are_trained(tmp_path):
    switches = ["--axes", "task", "--task-frames", "all", "--class-mark", "--learning-rate", "0.01"]
    assert main(["train", *SMALL, *SPRITES, *switches, "--out", str(tmp_path)]) == 0
    content = read_checkpoint(tmp_path / "adapters.safetensors")[1]
    assert (content["model"]["task_frames"], content["model"]["class_mark"]) == ("all", True)
    before, after = (read_checkpoint(path)[0]["adapters.adapted.5.marks"] for path in training_checkpoints(tmp_path))
    moved = (after - before).abs().amax(1)
    assert moved[:2].min() > 10 * moved[2:].max()  # of two classes; the others only shrink


def test_a_dry_run_estimates_and_trains_nothing(tmp_path, capsys):
    assert main(["train", *SMALL, *SPRITES, "--out", str(tmp_path / "run"), "--dry-run"]) == 0
    assert "4 steps of" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


def test_an_estimate_leaves_the_weights_and_counts_the_kept_tokens():
    clips, model = ColouredClips(), tiny_model()
    before = model.adapter_state()
    config = tiny_config(n_steps=1000, views=2, episodes_per_step=1)
    estimate = estimate_run(model, clips, tiny_episodes(clips, 1000), config, 1000)
    assert all((before[name] == value).all() for name, value in model.adapter_state().items())
    assert estimate.cache == pytest.approx(72 * 3 * 5 * 16 * 4, rel=0.01)  # 36 clips x 2 views, T N D floats
    assert estimate.seconds == 1000 * estimate.step_s + estimate.reading_s > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [["--views", "4"], ["--views", "0"], ["--k-shot", "5", "--metric", "otam"], ["--trainable", "all"]]
)
def test_an_estimate_is_within_a_quarter_of_what_is_then_measured(tmp_path, options):
    """Time and peak memory, each in a process of its own. Needs a quiet machine."""
    command = [sys.executable, "-m", "taskadapter_lite", "train", *SPRITES, "--clips-per-class", "40", *options]
    command += ["--n-steps", "80", "--validation-episodes", "0", "--device", "cpu", "--out", str(tmp_path / "run")]
    said = subprocess.run([*command, "--dry-run"], capture_output=True, text=True, check=True).stdout
    numbers = re.search(r"([\d,]+) steps of ([\d.]+) s and ([\d,]+) s .* memory ([\d.]+) GB", said).groups()
    n_steps, step_s, reading_s, gigabytes = (float(number.replace(",", "")) for number in numbers)
    subprocess.run(command, capture_output=True, check=True)
    result = RunResult.load(tmp_path / "run" / "result.json")
    assert n_steps * step_s + reading_s == pytest.approx(result.seconds, rel=0.25)
    assert gigabytes * 1e9 == pytest.approx(result.peak_memory, rel=0.25)


@pytest.mark.slow
@pytest.mark.skipif(
    find_weights("dinov2_small") is None,
    reason="no weights of dinov2_small in $TASKADAPTER_WEIGHTS: the estimate with a real image model is NOT tested",
)
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_an_estimate_is_right_with_a_real_image_model(monkeypatch, precision):
    """Frames of 112 pixels, L = 2, 20 steps; in CPU seconds, so that other work on the machine does not count."""
    monkeypatch.setattr("taskadapter_lite.training.estimate.time.perf_counter", time.process_time)
    clips = SpriteClips("train", 2, 8, size=112)
    episodes = EpisodeSampler(clips.labels, EpisodeSpec(5, 1, 1), 20, 0, clips.class_names)
    config = TrainConfig.recommended(n_steps=20, metric="otam", views=1, precision=precision, validation_every=0)
    model = TaskAdapterViT(load_backbone("dinov2_small", img_size=112), depth=2, T=8)
    estimate = estimate_run(model, clips, episodes, config, 20)
    began = time.process_time()
    train(model, clips, episodes, config, progress=False)
    assert estimate.seconds == pytest.approx(time.process_time() - began, rel=0.25)


@pytest.mark.parametrize(
    "wrong, named",
    [
        (["--metric", "dtw"], "metric"),
        (["--n-way", "99"], "n_way is 99"),
        (["--depth", "99"], "depth"),
        (["--data", "no such folder"], "no such folder"),
    ],
)
def test_mistakes_are_one_line_and_status_2(tmp_path, capsys, wrong, named):
    assert main(["train", *SMALL, *SPRITES, "--out", str(tmp_path), *wrong]) == 2
    message = capsys.readouterr().err.strip()
    assert named in message
    assert "\n" not in message


def test_tensorboard_is_asked_for_by_name_where_it_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert main(["train", *SMALL, *SPRITES, "--out", str(tmp_path), "--tensorboard"]) == 2
    assert "taskadapter_lite[tensorboard]" in capsys.readouterr().err
