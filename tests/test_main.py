"""The command line: every verb has help, and every mistake gives one line and status 2."""

import json
import shutil
from pathlib import Path

import pytest

from taskadapter_lite import __main__ as main_module
from taskadapter_lite.__main__ import VERBS, main
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


def test_a_bug_is_not_hidden(monkeypatch):
    def broken(args):
        raise KeyError("a bug")

    monkeypatch.setattr("taskadapter_lite.commands.compare.run", broken)
    with pytest.raises(KeyError):
        main(["compare", "a.json", "b.json"])


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
