"""The check of the installation: one line a thing, and a cure where it fails."""

import importlib.metadata as installed

import pytest

from taskadapter_lite import course


def test_all_is_well_here(capsys):
    assert course.check_installation()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("[OK]   ") for line in lines)


def missing(name):
    raise installed.PackageNotFoundError(name)


@pytest.mark.parametrize(
    "target, replacement, words",
    [
        ("installed.version", lambda name: "0.1", "torch 0.1, needs >=2.4"),
        ("installed.version", missing, "timm is missing"),
        ("installed.requires", missing, "start with `make lab`"),
        ("sys.version_info", (3, 9), "install Python 3.10 or later"),
    ],
)
def test_what_is_wrong_is_said_with_its_cure(target, replacement, words, monkeypatch, capsys):
    monkeypatch.setattr(f"taskadapter_lite.course.installation.{target}", replacement)
    monkeypatch.setattr("taskadapter_lite.course.installation.verify_bundled", lambda: None)
    assert not course.check_installation()
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[FAIL]")]
    assert words in line


def test_a_damaged_file_is_named(monkeypatch, capsys):
    def damaged():
        raise ValueError("clip 7 is damaged; restore it")

    monkeypatch.setattr("taskadapter_lite.course.installation.verify_bundled", damaged)
    assert not course.check_installation()
    assert "clip 7 is damaged; restore it" in capsys.readouterr().out
