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
from taskadapter_lite.training.checkpoints import CheckpointError, load_model, save_checkpoint

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
    printed = capsys.readouterr()
    assert found.summary() in printed.out
    assert found.episodes in printed.out
    assert "weights backbone.safetensors: unknown (" in printed.out
    assert found.config["weights"]["holds"] == "unknown"
    progress = printed.err.splitlines()  # here, as in a log file, nobody watches: a line at first, and one at last
    assert "0/6" in progress[0]
    assert "6/6" in progress[-1]


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
        (["--random-weights", *SMALL, "--k-shot", "9"], "and has 3"),
        (["--random-weights", *SMALL, "--episode-list", str(tmp_path / "none.json")], "none.json"),
    ]:
        assert main(["evaluate", *arguments]) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert words in lines[-1]


@pytest.fixture(scope="module")
def saved_list(run_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("lists") / "episodes.json"
    run(run_folder, path.with_suffix(".result"), "--save-episodes", str(path))
    return str(path)


ADAPTERS, FROZEN = "with adapters", "frozen"


@pytest.mark.parametrize(
    "kind, options, words",
    [
        (ADAPTERS, ["--frames", "8"], "--frames is 8, but"),
        (ADAPTERS, ["--size", "56"], "was trained on frames of 64 pixels"),
        (FROZEN, ["--size", "56"], "--size is 56, but something_sprites takes frames of 64 pixels"),
        (FROZEN, ["--scope", "split"], "--scope split changes nothing"),
        (FROZEN, ["--precision", "bf16"], "--precision bf16 changes nothing"),
        (ADAPTERS, ["--fusion", "product"], "give --text with it"),
        (ADAPTERS, ["--random-weights"], "--random-weights leaves out --weights"),
        (ADAPTERS, ["--dataset", "hmdb51"], "--dataset says nothing about --data sprites"),
        (ADAPTERS, ["--list", "a.txt"], "--list says nothing about --data sprites"),
        (ADAPTERS, ["--split-file", "a.json"], "--split-file says nothing about --data sprites"),
        (FROZEN, ["--on-error", "skip"], "--on-error says nothing about --data sprites"),
        (FROZEN, ["--allow-outside"], "--allow-outside says nothing about --data sprites"),
        (ADAPTERS, ["--data", "bundled"], "--clips-per-class says nothing about --data bundled"),
        (ADAPTERS, ["--data", "ROOT", "--clips-per-class", "60", "--level", "cluttered"], "--level says nothing about"),
        (ADAPTERS, ["--metric", "trx", "--aggregation", "per_shot"], "aggregation is 'per_shot'"),
    ],
)
def test_no_option_is_silently_ignored(run_folder, tmp_path, capsys, kind, options, words):
    """Each option changes the result or is refused in one sentence; what is said in vain misleads."""
    if kind == ADAPTERS:
        status = run(run_folder, tmp_path / "a.json", *options)
    else:
        status = main(["evaluate", "--random-weights", "--frames", "2", *SMALL, *options])
    assert status == 2
    assert words in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "options, words",
    [
        (["--k-shot", "5"], "--k-shot is 5, but the episodes of"),
        (["--n-way", "3"], "have 5"),
        (["--n-query", "1"], "have 2"),
        (["--episode-seed", "0"], "--episode-seed 0 is about episodes that are drawn"),
        (["--save-episodes", "again.json"], "--save-episodes is about episodes that are drawn"),
        (["--n-episodes", "7"], "holds 6"),
    ],
)
def test_options_agree_with_a_saved_list(run_folder, tmp_path, saved_list, capsys, options, words):
    files = [str(run_folder / "adapters.safetensors"), "--weights", str(run_folder / "backbone.safetensors")]
    command = ["evaluate", *files, *SMALL[:4], "--episode-list", saved_list, "--out", str(tmp_path / "a.json")]
    assert main([*command, *options]) == 2
    assert words in capsys.readouterr().err.strip().splitlines()[-1]
    assert main([*command, "--n-way", "5", "--k-shot", "1", "--n-query", "2", "--n-episodes", "4"]) == 0
    assert len(RunResult.load(tmp_path / "a.json").accuracies) == 4
    assert main(command) == 0
    assert len(RunResult.load(tmp_path / "a.json").accuracies) == 6


def test_adapters_of_another_frame_size_say_so(tmp_path, capsys):
    """A timm model of 32 pixels: its file gives the size, and another one is named as that, not as another backbone."""
    name = "test_vit.r160_in1k"
    backbone = load_backbone(name, pretrained=False, img_size=32)
    weights = {key: value.contiguous() for key, value in backbone.state_dict().items()}
    save_file(weights, tmp_path / "backbone.safetensors")
    torch.manual_seed(0)
    backbone = load_backbone(tmp_path / "backbone.safetensors", architecture=name, img_size=32)
    save_checkpoint(tmp_path / "adapters.safetensors", TaskAdapterViT(backbone, depth=1, T=2))
    files = [str(tmp_path / "adapters.safetensors"), "--out", str(tmp_path / "a.json"), *SMALL]
    named = ["--backbone", name, "--weights", str(tmp_path / "backbone.safetensors")]
    for options in ([], ["--size", "32"], named, [*named, "--size", "32"]):
        assert main(["evaluate", *files, *options]) == 0
        assert RunResult.load(tmp_path / "a.json").config["model"]["T"] == 2
    capsys.readouterr()
    for options in (["--size", "48"], [*named, "--size", "48"]):
        assert main(["evaluate", *files, *options]) == 2
        assert "--size is 48, but" in (error := capsys.readouterr().err)
        assert "was trained on frames of 32 pixels" in error
    other = load_backbone(name, pretrained=False, img_size=48)
    with pytest.raises(CheckpointError, match="trained on frames of 32 pixels, but the model takes 48"):
        load_model(tmp_path / "adapters.safetensors", other)


def test_weights_of_another_architecture_are_told_to_be_named(tmp_path, capsys):
    """Without --backbone they are read as the bundled one: the sentence says so, not which tensor differs."""
    name = "test_vit.r160_in1k"
    state = load_backbone(name, pretrained=False, img_size=32).state_dict()
    file = tmp_path / "own.safetensors"
    save_file({key: value.contiguous() for key, value in state.items()}, file)
    command = ["evaluate", "--frames", "2", "--out", str(tmp_path / "a.json"), *SMALL, "--weights"]
    assert main([*command, str(file)]) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert f"--weights {file} does not hold something_sprites" in said
    assert "say with --backbone whose weights they are" in said
    assert main([*command, str(file), "--backbone", name, "--size", "32"]) == 0
    assert main([*command, str(file), "--backbone", "vit_tiny_patch16_224", "--size", "32"]) == 2
    assert "does not hold the weights of 'vit_tiny_patch16_224'" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "typo.safetensors")]) == 2
    assert f"{tmp_path / 'typo.safetensors'} is not there" in capsys.readouterr().err


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
