"""A newcomer's path: a folder of videos, a file of weights, and the lines of the README, at tiny settings."""

import re
from pathlib import Path

import pytest
from newcomer import LINES, SECTION, TINY, lines, make_home
from PIL import Image

import taskadapter_lite as ta
from taskadapter_lite.__main__ import main


@pytest.fixture
def at_home(tmp_path, monkeypatch) -> Path:
    """A folder with `my_videos`, and $TASKADAPTER_WEIGHTS with two blocks of a ViT-S/14 in float16; no hub."""
    weights = make_home(tmp_path)
    monkeypatch.setenv("TASKADAPTER_WEIGHTS", str(weights))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_line_of_the_readme_runs_after_the_one_before(at_home, capsys):
    assert [line[0] for line in LINES] == ["check-data", "evaluate", "train", "evaluate", "attention"]
    for words in lines():
        assert main(words) == 0, capsys.readouterr()
    said = capsys.readouterr().out
    assert "12 training clips" not in said
    assert "6 training clips of 2 classes" in said
    assert (at_home / "runs" / "train" / "result.json").is_file()
    picture = Image.open(at_home / "runs" / "cross_video_attention.png")
    assert min(picture.size) > 300
    results = [ta.RunResult.load(file) for file in (at_home / "runs" / "evaluate").glob("*.json")]
    assert sorted(result.trainable_parameters > 0 for result in results) == [False, True]
    assert all(result.config["weights"]["file"] == "vit_small_patch14_dinov2.safetensors" for result in results)
    (playground,) = re.findall(r"`(ta\.widgets\.FewShotPlayground\(.*?\)\))`", SECTION)
    widget = eval(playground, {"ta": ta})
    assert next(iter(widget.models.values())).T == 2


def test_weights_that_are_nowhere_are_one_sentence(at_home, monkeypatch, capsys):
    monkeypatch.setenv("TASKADAPTER_WEIGHTS", str(at_home / "my_videos"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(at_home / "hub"))
    assert main([*LINES[1], *TINY["evaluate"]]) == 2
    said = capsys.readouterr().err.strip()
    assert "TASKADAPTER_WEIGHTS" in said
    assert len(said.splitlines()) == 1
