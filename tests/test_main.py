"""The command line: every verb has help, and every mistake gives one line and status 2."""

import argparse
import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import taskadapter_lite as ta
from taskadapter_lite import __main__ as main_module
from taskadapter_lite.__main__ import VERBS, main
from taskadapter_lite.commands import build_parser
from taskadapter_lite.files import data_dir


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([verb.replace("_", "-"), "--help"])
    assert exit_.value.code == 0
    assert "usage" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv, words",
    [
        (["dance"], "dance"),
        (["demo", "--seed", "x"], "--seed"),
        (["demo", "--device", "abacus", "--out", "DIR"], "abacus"),
        (["render", "--size", "15", "--out", "DIR"], "--size is 15"),
        (["check-data", "DIR/nowhere", "--dataset", "hmdb51"], "nowhere"),
        (["train", "--data", "DIR/nowhere", "--out", "DIR/run"], "nowhere"),
        (["compare", "DIR/none.json"], "none.json"),
    ],
)
def test_a_mistake_gives_one_line_and_status_2(argv, words, tmp_path, capsys):
    argv = [word.replace("DIR", str(tmp_path)) for word in argv]
    try:
        status = main(argv)
    except SystemExit as exit_:
        status = exit_.code
    said = capsys.readouterr().err.strip()
    assert status == 2
    assert words in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    "body",
    [
        "{}['a bug']",
        "int('seven')",  # a ValueError, but nobody wrote a sentence for the caller
        "first, second = [1]",
        "import json; json.loads('{')",
        "import numpy; numpy.zeros(4).reshape(3)",
        "import torch; torch.optim.SGD([torch.zeros(1)], lr=-1.0)",
        "import os; os.write(-1, b'')",  # an OSError that names no file
        "[].pop()",
    ],
)
def test_a_bug_keeps_its_traceback(monkeypatch, body):
    """Whatever is raised below the package, or in its lines without a `raise`, is not shown as the caller's."""
    place = str(main_module.PACKAGE / "commands" / "compare.py")
    names: dict = {}
    exec(compile(f"def broken(args):\n    {body}", place, "exec"), names)
    monkeypatch.setattr("taskadapter_lite.commands.compare.run", names["broken"])
    with pytest.raises((LookupError, ValueError, OSError)):
        main(["compare", "a.json"])


@pytest.mark.parametrize(
    "body, words",
    [
        ("raise ValueError('size is 0, but must be at least 1')", "size is 0"),
        ("raise ConnectionError('rank 1 lost another process')", "rank 1 lost"),
        (
            "try:\n        int('seven')\n    except ValueError:\n        raise ValueError('seven is no number')",
            "no number",
        ),
        ("raise ValueError('a size of 0 was asked for\\nbut it must be above 0')", "asked for but it must"),
        ("open('/no/such/file')", "/no/such/file"),
        ("import os; os.mkdir('/no/such/folder')", "/no/such/folder"),
    ],
)
def test_a_sentence_of_the_package_or_a_file_is_the_callers(monkeypatch, capsys, body, words):
    place = str(main_module.PACKAGE / "commands" / "compare.py")
    names: dict = {}
    exec(compile(f"def broken(args):\n    {body}", place, "exec"), names)
    monkeypatch.setattr("taskadapter_lite.commands.compare.run", names["broken"])
    assert main(["compare", "a.json"]) == 2
    said = capsys.readouterr().err.strip()
    assert words in said
    assert len(said.splitlines()) == 1
    with pytest.raises((ValueError, OSError)):
        main(["--traceback", "compare", "a.json"])


def test_a_refusal_from_outside_the_package_is_not_the_callers(monkeypatch):
    def broken(args):
        raise ValueError("said by a file of another project")

    monkeypatch.setattr("taskadapter_lite.commands.compare.run", broken)
    with pytest.raises(ValueError):
        main(["compare", "a.json"])


def fresh_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_version_is_said_at_once_and_stands_in_one_place():
    """Without importing PyTorch; the build reads the same constant."""
    code = "import sys; from taskadapter_lite.__main__ import main\ntry: main(['--version'])\n"
    code += "except SystemExit: print('torch' in sys.modules)"
    assert fresh_python(code).splitlines() == [f"taskadapter_lite {ta.__version__}", "False"]
    project = (main_module.PACKAGE.parent / "pyproject.toml").read_text()
    assert 'dynamic = ["version"]' in project
    assert 'attr = "taskadapter_lite.__version__"' in project
    assert ta.__version__ not in project


def test_the_console_script_is_the_same_command_line(monkeypatch, capsys):
    project = (main_module.PACKAGE.parent / "pyproject.toml").read_text()
    module, name = re.search(r'^taskadapter-lite = "(.+):(.+)"$', project, re.M).groups()
    assert getattr(importlib.import_module(module), name) is main
    for started_as, called in (("/bin/taskadapter-lite", "taskadapter-lite"), ("x.py", "python -m taskadapter_lite")):
        monkeypatch.setattr(sys, "argv", [started_as])
        assert main(["compare", "none.json"]) == 2
        assert capsys.readouterr().err.startswith(f"{called} compare: ")


WITH_DEVICE = ("attention", "benchmark", "demo", "evaluate", "experiment", "ladder", "leak", "pretrain", "train")


@pytest.mark.parametrize("verb", WITH_DEVICE)
def test_a_device_that_is_not_there_is_one_line_everywhere(verb, capsys):
    for name in ("gpu", "cuda:99", "meta", "cpu and gpu"):
        with pytest.raises(SystemExit) as exit_:
            main([verb, "--device", name])
        assert exit_.value.code == 2
        said = capsys.readouterr().err.strip()
        assert f"device {name!r} can't be used here" in said
        assert len(said.splitlines()) == 1


def options_of(verb: str) -> dict[str, argparse.Action]:
    groups = build_parser(verb)._subparsers._group_actions[0].choices
    return {name: action for action in groups[verb.replace("_", "-")]._actions for name in action.option_strings}


def test_one_name_for_one_thing():
    """No verb has another word for what the others call --k-shot, --n-way, --n-query, --n-steps, --n-episodes."""
    found = {verb: options_of(verb) for verb in VERBS}
    other_words = {"--shots", "--shot", "--way", "--ways", "--steps", "--episodes", "--test-episodes", "--split"}
    assert {verb: set(options) & other_words for verb, options in found.items() if set(options) & other_words} == {}
    assert {verb for verb, options in found.items() if "--device" in options} == set(WITH_DEVICE)
    for verb in WITH_DEVICE:
        assert found[verb]["--device"].help == found["train"]["--device"].help
        assert found[verb]["--device"].default is None
    for verb in ("evaluate", "episodes"):
        assert list(found[verb]["--part"].choices) == ["train", "val", "test"]
    for verb in ("train", "evaluate", "episodes"):
        assert {"--k-shot", "--n-way", "--n-query", "--episode-seed"} <= set(found[verb])


@pytest.fixture
def damaged_copy(tmp_path, monkeypatch):
    """A bundled folder of two clips and a fake weight file, listed in its manifest."""
    source, copy = data_dir(), tmp_path / "data"
    manifest = json.loads((source / "manifest.json").read_text())
    manifest["clips"] = manifest["clips"][:2]
    manifest["files"] = [f for f in manifest["files"] if f["path"].endswith("vit.safetensors")]
    for entry in manifest["clips"] + manifest["files"]:
        (copy / entry["path"]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / entry["path"], copy / entry["path"])
    (copy / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setenv("TASKADAPTER_DATA", str(copy))
    return copy, [Path(entry["path"]) for entry in manifest["clips"] + manifest["files"]]


@pytest.mark.parametrize("which", [1, -1], ids=["a clip", "the weights"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "changed"])
def test_demo_names_a_damaged_file_and_what_to_do(damaged_copy, which, damage, tmp_path, capsys):
    folder, files = damaged_copy
    path = folder / files[which]
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[:-10])
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    assert main(["demo", "--quick", "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.strip()
    assert path.name in said
    assert "git checkout" in said
    assert len(said.splitlines()) == 1


def test_verbs_are_listed_once():
    assert len(set(VERBS)) == len(VERBS) >= 9
    assert "demo" in VERBS
    assert main_module.__doc__
