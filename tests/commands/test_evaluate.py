"""`evaluate` and `compare` on the command line."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from taskadapter_lite.__main__ import main
from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.data.datasets import SpriteClips
from taskadapter_lite.episodes import EpisodeSampler, EpisodeSpec, load_episodes
from taskadapter_lite.evaluation import evaluate
from taskadapter_lite.metrics import METRICS
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.results import RunResult
from taskadapter_lite.training.checkpoints import load_model, save_checkpoint

SMALL = ["--data", "sprites", "--clips-per-class", "3", "--n-episodes", "6", "--n-query", "2"]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """The bundled architecture with random weights, random adapters, and a TRX head beside them."""
    folder = tmp_path_factory.mktemp("my_run")
    torch.manual_seed(0)
    model = TaskAdapterViT(load_backbone("something_sprites", pretrained=False), depth=1, T=2)
    for parameter in model.trainable_parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    head = METRICS["trx"].build(model.feature_dim, 2).state_dict()
    save_checkpoint(folder / "adapters.safetensors", model, {f"objective.metric.{k}": v for k, v in head.items()})
    weights = {name: value.contiguous() for name, value in model.backbone.state_dict().items()}
    save_file(weights, folder / "backbone.safetensors")
    return folder


def run(folder, out, *options):
    adapters, backbone = folder / "adapters.safetensors", folder / "backbone.safetensors"
    return main(["evaluate", str(adapters), "--weights", str(backbone), "--out", str(out), *SMALL, *options])


def test_evaluate_writes_what_the_library_finds(run_folder, tmp_path, capsys):
    assert run(run_folder, tmp_path / "a.json", "--scope", "joint", "--metric", "otam") == 0
    found = RunResult.load(tmp_path / "a.json")
    backbone = load_backbone(run_folder / "backbone.safetensors", architecture="something_sprites")
    model, clips = load_model(run_folder / "adapters.safetensors", backbone), SpriteClips("test", 3, T=2)
    episodes = EpisodeSampler(clips.labels, EpisodeSpec(n_query=2), 6, seed=0)
    expected = evaluate(model, clips, episodes, "otam", scope="joint", progress=False)
    assert found.accuracies == expected.accuracies
    assert (found.scope, found.metric, found.episodes) == ("joint", "otam", expected.episodes)
    assert found.pairs["total"] > 0
    printed = capsys.readouterr().out
    assert found.summary() in printed
    assert found.episodes in printed


def test_precision_is_passed_on(run_folder, tmp_path):
    assert run(run_folder, tmp_path / "a.json", "--precision", "bf16", "--n-episodes", "2") == 0
    assert RunResult.load(tmp_path / "a.json").config["precision"] == "bf16"


def test_trx_takes_its_trained_head(run_folder, tmp_path):
    for metric in ("trx", "bimhm"):
        assert run(run_folder, tmp_path / f"{metric}.json", "--metric", metric) == 0
        assert RunResult.load(tmp_path / f"{metric}.json").metric == metric


def test_adapters_are_scored_as_they_were_trained_unless_the_caller_says_otherwise(run_folder, tmp_path):
    weights = run_folder / "backbone.safetensors"
    model = load_model(run_folder / "adapters.safetensors", load_backbone(weights, architecture="something_sprites"))
    trained = {"run": {"metric": "bimhm", "aggregation": "per_shot", "temperature": 2.0}}
    save_checkpoint(tmp_path / "adapters.safetensors", model, metadata=trained)
    for options, metric, aggregation in (
        ([], "bimhm", "per_shot"),
        (["--metric", "otam", "--aggregation", "prototype"], "otam", "prototype"),
    ):
        command = ["evaluate", str(tmp_path / "adapters.safetensors"), "--weights", str(weights), *SMALL, *options]
        assert main([*command, "--out", str(tmp_path / "found.json")]) == 0
        found = RunResult.load(tmp_path / "found.json")
        assert (found.metric, found.config["aggregation"]) == (metric, aggregation)


def test_the_frozen_backbone_needs_no_adapters(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "--random-weights", "--frames", "2", *SMALL]) == 0
    found = RunResult.load("runs/evaluate/frozen_cosine.json")
    assert (found.scope, found.trainable_parameters) == (None, 0)


def test_saved_episodes_are_used_again(run_folder, tmp_path):
    listed = tmp_path / "episodes.json"
    run(run_folder, tmp_path / "a.json", "--episode-seed", "5", "--save-episodes", str(listed))
    run(
        run_folder,
        tmp_path / "b.json",
        "--episode-list",
        str(listed),
        "--cache",
        str(tmp_path / "tokens"),
        "--workers",
        "2",
    )
    a, b = RunResult.load(tmp_path / "a.json"), RunResult.load(tmp_path / "b.json")
    assert (a.accuracies, a.episodes) == (b.accuracies, b.episodes)
    assert len(load_episodes(listed, SpriteClips("test", 3, T=2))) == 6
    assert (tmp_path / "tokens").exists()
    assert run(run_folder, tmp_path / "c.json", "--half-cache") == 0


def test_mistakes_are_one_line(run_folder, tmp_path, capsys):
    (tmp_path / "broken").write_bytes(b"x" * 100)
    plain = tmp_path / "plain.safetensors"
    backbone = load_backbone(run_folder / "backbone.safetensors", architecture="something_sprites")
    save_checkpoint(plain, TaskAdapterViT(backbone, depth=1, T=2))
    seen = SpriteClips("test", 1).class_names[3]
    save_checkpoint(tmp_path / "seen", TaskAdapterViT(backbone, depth=1, T=2), metadata={"class_names": [seen]})
    weights = ["--weights", str(run_folder / "backbone.safetensors")]
    for arguments, words in [
        ([str(tmp_path / "broken"), *SMALL], "broken"),
        ([str(plain), *weights, "--metric", "trx", *SMALL], "was not trained with the metric 'trx'"),
        (
            [str(tmp_path / "seen"), *weights, *SMALL],
            f"training and test classes must not overlap, but both hold {seen}",
        ),
        (["--random-weights", "--metric", "trx", *SMALL], "has trained parameters"),
        (["--random-weights", *SMALL, "--k-shot", "9"], "has 3 clips"),
        (["--random-weights", *SMALL, "--episode-list", str(tmp_path / "none.json")], "none.json"),
    ]:
        assert main(["evaluate", *arguments]) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert words in lines[-1]


def test_compare_prints_the_table(run_folder, tmp_path, capsys):
    for name, scope in (("a", "split"), ("b", "joint")):
        run(run_folder, tmp_path / f"{name}.json", "--name", name, "--scope", scope)
    capsys.readouterr()
    files, figure, csv = [str(tmp_path / f"{n}.json") for n in "ab"], tmp_path / "table.png", tmp_path / "table.csv"
    assert main(["compare", *files, "--baseline", "a", "--figure", str(figure), "--csv", str(csv)]) == 0
    table = capsys.readouterr().out
    for name, scope in (("a", "split"), ("b", "joint")):
        assert f"| {name} | cosine | {scope} | 6 | 1 |" in table
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert csv.read_text().startswith("name,metric,scope,episodes,seeds,mean,ci95")
    data = json.loads((tmp_path / "b.json").read_text())
    (tmp_path / "b.json").write_text(json.dumps({**data, "episodes": "other"}))
    assert main(["compare", *files, "--baseline", "a"]) == 2
    assert "can't be paired" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_find_what_one_finds(run_folder, tmp_path):
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["-m", "taskadapter_lite", "evaluate", str(run_folder / "adapters.safetensors"), *SMALL]
    command += ["--weights", str(run_folder / "backbone.safetensors"), "--out", str(tmp_path / "two.json")]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300)
    run(run_folder, tmp_path / "one.json")
    one, two = RunResult.load(tmp_path / "one.json"), RunResult.load(tmp_path / "two.json")
    for what in ("accuracies", "confusion", "pairs", "episodes"):
        assert getattr(one, what) == getattr(two, what)


def test_the_scores_of_training_are_named_and_others_warned_about(run_folder, tmp_path, capsys):
    backbone = load_backbone(run_folder / "backbone.safetensors", architecture="something_sprites")
    model = load_model(run_folder / "adapters.safetensors", backbone)
    save_checkpoint(tmp_path / "adapters.safetensors", model, metadata={"run": {"metric": "otam", "temperature": 2.0}})
    files = [str(tmp_path / "adapters.safetensors"), "--weights", str(run_folder / "backbone.safetensors")]
    for options, words in (
        (["--metric", "cosine"], "warning: scores are cosine, prototype, but the adapters were trained with otam"),
        ([], "scores as the adapters were trained: otam, prototype"),
    ):
        assert main(["evaluate", *files, "--out", str(tmp_path / "a.json"), *SMALL, *options]) == 0
        assert words in "".join(capsys.readouterr())
