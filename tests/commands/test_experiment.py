"""`experiment`: every file describes commands that exist; a run does what is missing and nothing twice."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from taskadapter_lite.__main__ import build_parser, main
from taskadapter_lite.commands import experiment as command
from taskadapter_lite.commands import train
from taskadapter_lite.commands.shared.objects import EPISODES
from taskadapter_lite.data.public import published_split
from taskadapter_lite.episodes import EpisodeSpec
from taskadapter_lite.files import data_dir
from taskadapter_lite.results import RunResult
from taskadapter_lite.studies.experiments import experiment_names, load_experiment
from taskadapter_lite.training.config import PUBLISHED, TrainConfig

LADDERS = [name for name in experiment_names() if load_experiment(name).ladder]
NAMES = [name for name in experiment_names() if name not in LADDERS]


def parts(name, *options):
    args = build_parser("experiment").parse_args(["experiment", name, *options])
    return list(command.parts_of(load_experiment(name), args))


def test_both_recipes_of_all_public_data_sets_are_there():
    assert {f"{dataset}_{recipe}" for dataset in PUBLISHED for recipe in ("published", "ours")} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_is_one_that_its_verb_understands(name):
    experiment = load_experiment(name)
    found = parts(name, "--data", "somewhere", "--device", "cpu", "--text", "names.safetensors")
    assert len(found) == len(experiment.shots) * (1 + 2 * len(experiment.seeds))
    assert len({part.result for part in found}) == len(found)
    for part in found:
        args = build_parser(part.command[0]).parse_args(part.command)  # the parser of the command line itself
        expected = experiment.data if experiment.data in command.NO_FILES else "somewhere"
        assert (args.data, args.device, str(args.text)) == (expected, "cpu", "names.safetensors")
        assert args.k_shot in experiment.shots
        if args.verb == "evaluate":  # the published protocol; None is the verb's own default
            chosen = {name: getattr(args, name) or value for name, value in EPISODES.items()}
            assert (chosen["n_episodes"], chosen["n_way"], chosen["n_query"]) == (10_000, 5, 1)
            assert args.part == "test"
        else:
            assert args.n_way == 5
            assert args.out / "result.json" == part.result


@pytest.mark.parametrize("name", LADDERS)
def test_a_ladder_is_tuned_and_run_on_the_backbone_that_was_pretrained_for_it(name):
    pretrain, tune, ladder = parts(name, "--device", "cpu")
    made = command.parse(pretrain.command)
    for part in (tune, ladder):
        args = command.parse(part.command)
        assert (args.backbone, args.size, args.device) == (made.architecture, made.image_size, "cpu")
        assert args.weights == pretrain.result.with_suffix(".safetensors")
        assert args.weights.parent == made.out
    assert command.parse(tune.command).tune == []  # all rungs that have rates
    assert args.tune is None
    assert (args.k_shot, args.seeds, args.level) == ([1, 5], [0, 1, 2], "cluttered")


def test_a_small_ladder_goes_from_still_images_to_results_and_does_nothing_twice(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("taskadapter_lite.commands.pretrain.linear_probes", lambda vit: {"shape": 0.5})
    monkeypatch.setattr("taskadapter_lite.studies.ladder.RATES", {"+ time": (1e-3, 1e-2)})
    monkeypatch.setattr("taskadapter_lite.studies.ladder.VALIDATION", (EpisodeSpec(), 3, 0))
    content = asdict(load_experiment("sprites_scale")) | {"shots": [1], "seeds": [0]}
    content["pretrain"] += ["--architecture", "vit_tiny_patch16_224", "--image-size", "32", "--images", "16"]
    content["pretrain"] += ["--batch-size", "16", "--precision", "fp32"]
    content["ladder"] += ["--n-steps", "1", "--depth", "1", "--n-episodes", "3", "--precision", "fp32"]
    content["ladder"] += ["--rendered", "5", "--only", "Frozen, cosine", "+ time"]
    words = ["experiment", write(tmp_path, content), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert main(words) == 0
    found = {path.name: RunResult.load(path) for path in (tmp_path / "out" / "replica").glob("*_1shot_*.json")}
    assert set(found) == {"frozen_cosine_1shot_seed0.json", "with_time_1shot_seed0.json"}
    assert {len(result.accuracies) for result in found.values()} == {3}
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.json")}
    capsys.readouterr()
    assert main(words) == 0
    assert "done before" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.json")} == before


@pytest.mark.parametrize("dataset", PUBLISHED)
def test_the_recipes_are_the_published_one_and_ours_with_as_many_steps(dataset):
    for recipe in ("published", "ours"):
        trained = [part.command for part in parts(f"{dataset}_{recipe}") if part.command[0] == "train"]
        args = command.parse(trained[0])
        config = train._config(args)
        assert args.dataset == dataset
        assert config.n_steps == TrainConfig.published(dataset).n_steps
        if recipe == "published":
            assert config == TrainConfig.published(dataset, seed=args.seed, workers=args.workers)
        else:
            assert (config.scope, config.optimizer, args.n_query) == ("inductive", "adamw", 3)
            assert {command.parse(words).seed for words in trained} == {0, 1, 2}


def test_show_prints_commands_and_runs_nothing(tmp_path, capsys):
    assert main(["experiment", "hmdb51_ours", "--show", "--out", str(tmp_path / "runs")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 2 * (1 + 3 * 2)
    assert all(line.startswith("python -m taskadapter_lite ") and "--data ROOT" in line for line in lines[1:])
    assert not (tmp_path / "runs").exists()


@pytest.fixture(scope="module")
def replica(tmp_path_factory):
    """HMDB51's folders, each with two clips."""
    root = tmp_path_factory.mktemp("hmdb51")
    videos = sorted((data_dir() / "clips" / "train").glob("*/000.mp4"))
    names = [name for part in published_split("hmdb51").classes.values() for name in part]
    for number, name in enumerate(names):
        (root / name).mkdir()
        for copy in (0, 1):
            (root / name / f"{copy}.mp4").write_bytes(videos[(number + copy) % len(videos)].read_bytes())
    return root


def small(recipe: str) -> dict:
    """The experiment as shipped, cut down to seconds by options that come after its own."""
    content = asdict(load_experiment(f"hmdb51_{recipe}"))
    content["options"] += ["--backbone", "something_sprites", "--frames", "2", "--n-way", "2", "--n-query", "1"]
    content["train"] += ["--depth", "1", "--axes", "task", "--n-steps", "2", "--n-query", "1", "--workers", "0"]
    content["train"] += ["--validation-episodes", "2", "--validation-every", "2"]
    content["evaluate"] += ["--n-episodes", "4", "--workers", "0"]
    return content | {"shots": [1], "seeds": [0, 1]}


def write(folder: Path, content: dict) -> str:
    path = folder / "replica.json"
    path.write_text(json.dumps(content))
    return str(path)


@pytest.mark.parametrize("recipe, scope", [("published", "split"), ("ours", "inductive")])
def test_it_trains_tests_and_does_nothing_twice(recipe, scope, tmp_path, replica, monkeypatch, capsys):
    file = write(tmp_path, small(recipe))
    words = ["experiment", file, "--data", str(replica), "--out", str(tmp_path), "--device", "cpu"]
    assert main([*words, "--dry-run"]) == 0
    assert capsys.readouterr().out.count("2 steps of") == 2
    assert main(words) == 0
    out = tmp_path / "replica"
    found = {path: RunResult.load(out / path) for path in ("frozen_1shot.json", "1shot_seed1/test.json")}
    assert [len(result.accuracies) for result in found.values()] == [4, 4]
    assert len({result.episodes for result in found.values()}) == 1  # the same episodes, so that rows compare
    assert found["1shot_seed1/test.json"].scope == scope
    seeds = [RunResult.load(out / f"1shot_seed{seed}/result.json").config["training"]["seed"] for seed in (0, 1)]
    assert seeds == [0, 1]

    done = []
    monkeypatch.setattr(command, "run_verb", lambda words: done.append(words[0]) or 0)
    capsys.readouterr()
    assert main(words) == 0
    assert done == []
    assert capsys.readouterr().out.count("done before") == 5
    (out / "1shot_seed0/test.json").unlink()
    half = RunResult.load(out / "1shot_seed1/result.json")
    half.interrupted = True
    half.save(out / "1shot_seed1/result.json")
    assert main(words) == 0
    assert done == ["evaluate", "train"]


def test_a_command_that_fails_ends_the_experiment(tmp_path, replica, monkeypatch):
    done = []
    monkeypatch.setattr(command, "run_verb", lambda words: done.append(words) or 130)
    file = write(tmp_path, small("ours"))
    assert main(["experiment", file, "--data", str(replica), "--out", str(tmp_path)]) == 130
    assert len(done) == 1


@pytest.mark.parametrize(
    "change, options, named",
    [
        ({}, [], "needs hmdb51"),
        ({"seeds": []}, ["--data", "x"], "seeds []"),
        ({"shots": None}, ["--data", "x"], "shots None"),
        ({"colour": "red"}, ["--data", "x"], "describes no experiment"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, change, options, named):
    assert main(["experiment", write(tmp_path, small("ours") | change), *options]) == 2
    message = capsys.readouterr().err.strip()
    assert named in message
    assert "\n" not in message


def test_unknown_names_and_several_processes_are_refused(monkeypatch, capsys):
    assert main(["experiment", "imagenet"]) == 2
    assert "hmdb51_ours" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["experiment", "hmdb51_ours", "--data", "x"]) == 2
    assert "--show" in capsys.readouterr().err
