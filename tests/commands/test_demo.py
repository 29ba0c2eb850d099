"""The demo end to end, in its quick form: files, numbers that repeat, a table computed from what was saved."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from taskadapter_lite.__main__ import main
from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.commands import build_parser
from taskadapter_lite.commands.demo import FILES, next_command
from taskadapter_lite.results import RunResult, accuracy_interval
from taskadapter_lite.studies.attribute_minute import ROWS
from taskadapter_lite.studies.demo import table_of_actions, table_of_tasks
from taskadapter_lite.training.checkpoints import load_model


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    assert main(["demo", "--quick", "--out", str(out)]) == 0
    return out


def test_writes_the_files_that_it_names(demo):
    assert {p.name for p in demo.iterdir()} >= set(FILES)
    assert (demo / "cross_video_attention.png").stat().st_size > 20_000
    assert (demo / "which_attribute.png").stat().st_size > 20_000


def test_the_second_table_is_computed_from_its_file(demo):
    record = RunResult.load(demo / "which_attribute.json")
    rows = record.metadata["rows"]
    assert [row["name"] for row in rows] == list(ROWS)
    assert record.accuracies == rows[-1]["accuracies"]
    for row in rows:
        mean, half_width = accuracy_interval(row["accuracies"])
        assert f"{100 * mean:.1f} +- {100 * half_width:.1f} %" in table_of_tasks(record)


def test_one_table_alone(tmp_path, capsys):
    assert main(["demo", "--quick", "--only", "which-attribute", "--out", str(tmp_path)]) == 0
    assert not (tmp_path / "result.json").exists()
    said = capsys.readouterr().out
    assert "which attribute counts?" in said
    assert "result.json" not in said


def test_result_says_how_it_was_made(demo):
    result = json.loads((demo / "result.json").read_text())
    assert all(result[key] for key in ("command", "seeds", "versions", "device", "accuracies"))
    assert "commit" in result
    assert len(result["metadata"]["rows"]) == 6  # three methods, two shots
    assert all(len(row["accuracies"]) == 20 for row in result["metadata"]["rows"])
    assert (
        result["config"]["aggregation"] == "prototype"
    )  # the committed file has it; per_shot is the default elsewhere


def test_table_is_computed_from_the_file(demo):
    record = RunResult.load(demo / "result.json")
    row = record.metadata["rows"][0]
    mean, half_width = accuracy_interval(row["accuracies"])
    assert f"{100 * mean:.1f} +- {100 * half_width:.1f} %" in table_of_actions(record)
    row["accuracies"] = [1.0, 0.0] * 10
    assert "50.0 +- " in table_of_actions(record)


def test_adapters_load_on_the_bundled_backbone_which_is_unchanged(demo):
    model = load_model(demo / "adapters.safetensors")
    assert any(
        value.abs().sum() > 0 for name, value in load_file(demo / "adapters.safetensors").items() if "task" in name
    )
    for (name, value), other in zip(
        load_backbone().state_dict().items(), model.backbone.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other), name


def test_the_same_seed_gives_the_same_numbers(demo, tmp_path):
    assert main(["demo", "--quick", "--out", str(tmp_path)]) == 0
    rows = [RunResult.load(folder / "result.json").metadata["rows"] for folder in (demo, tmp_path)]
    assert [row["accuracies"] for row in rows[0]] == [row["accuracies"] for row in rows[1]]


def test_the_next_command_is_one_that_is_there(tmp_path):
    assert next_command(tmp_path, Path(__file__).parents[2]) == "make lab"
    assert not next_command(tmp_path, tmp_path)  # of --only which-attribute there are no adapters
    (tmp_path / "adapters.safetensors").touch()
    found = next_command(tmp_path, tmp_path)
    verb = found.split()[1:]
    assert found.startswith("taskadapter-lite ")
    assert build_parser("evaluate").parse_args(verb).adapters == tmp_path / "adapters.safetensors"
