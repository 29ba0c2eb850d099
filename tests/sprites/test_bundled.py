"""Clips that a wheel leaves out are rendered once, into the user's cache, and checked."""

import hashlib
import json
import shutil

import pytest

from taskadapter_lite import files
from taskadapter_lite.data import bundled_clips, data_dir
from taskadapter_lite.sprites.bundled import clips_folder, verify_bundled


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A data folder as a wheel has it, with three listed clips and none there; the cache is an empty folder."""
    manifest = json.loads((data_dir() / "manifest.json").read_text("utf-8"))
    manifest |= {"clips": manifest["clips"][5:35:10], "files": []}
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(files, "user_cache_dir", lambda *names, **options: str(tmp_path / "cache"))
    monkeypatch.setenv("TASKADAPTER_DATA", str(tmp_path / "data"))
    return tmp_path / "data" / "manifest.json", manifest


def write(installed, **changes):
    path, manifest = installed
    path.write_text(json.dumps(manifest | changes), "utf-8")


def as_made_here(installed):
    """List the checksums that this encoder gives, which may be another than that of the bundled clips."""
    write(installed)
    folder = clips_folder()
    made = json.loads((folder / "manifest.json").read_text("utf-8"))["clips"]
    shutil.rmtree(folder)
    write(installed, clips=made)
    return made


def test_clips_are_rendered_once_and_are_those_of_the_manifest(installed, capsys):
    made = as_made_here(installed)
    capsys.readouterr()
    clips = bundled_clips("train", T=4)
    said = capsys.readouterr().err
    assert "rendering 3 clips once into" in said
    assert "3/3" in said
    assert "differ" not in said
    folder = clips_folder()
    for entry in made:
        assert hashlib.sha256((folder / entry["path"]).read_bytes()).hexdigest() == entry["sha256"]
    assert [clips[i].shape for i in range(3)] == [(4, 3, 64, 64)] * 3
    verify_bundled()
    assert capsys.readouterr().err == ""
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_the_rendered_clips_show_what_the_bundled_ones_show(installed, monkeypatch):
    write(installed)
    rendered = bundled_clips("train", T=16)
    chosen = [entry["path"] for entry in installed[1]["clips"]]
    monkeypatch.delenv("TASKADAPTER_DATA")
    published = bundled_clips("train", T=16)
    for i, path in enumerate(chosen):
        assert (rendered[i].float() - published[published.paths.index(path)].float()).abs().mean() < 2


def test_another_encoder_is_said_in_one_sentence_and_is_no_damage(installed, capsys):
    made = as_made_here(installed)
    write(installed, clips=[made[0] | {"sha256": "0" * 64}, *made[1:]])
    capsys.readouterr()
    clips_folder()
    assert "1 of 3 clips differ from the published ones in their bytes" in capsys.readouterr().err
    verify_bundled()


def test_damage_in_the_cache_names_the_folder_to_delete(installed):
    write(installed)
    path = clips_folder() / installed[1]["clips"][1]["path"]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"{path.name} has .*; delete the folder .*cache and the clips are rendered"):
        verify_bundled()


def test_a_stopped_rendering_leaves_no_folder_behind(installed, monkeypatch):
    write(installed)
    with monkeypatch.context() as patch:
        patch.setattr("taskadapter_lite.sprites.bundled.write_mp4", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            clips_folder()
    assert list(files.cache_dir().iterdir()) == []
    assert (clips_folder() / "manifest.json").is_file()


def test_what_can_not_be_rendered_is_refused(installed):
    write(installed, command="by hand")
    with pytest.raises(ValueError, match="does not say how to render"):
        clips_folder()
    write(installed, clips=[installed[1]["clips"][0] | {"path": "../clips/000.mp4"}])
    with pytest.raises(ValueError, match="outside"):
        clips_folder()
    write(installed)
    files.cache_dir().rmdir()
    files.cache_dir().write_text("in the way")
    with pytest.raises(OSError, match="can't render the clips into"):
        clips_folder()


def test_advice_speaks_of_git_only_in_a_checkout(installed, monkeypatch, tmp_path):
    write(installed, clips=[], files=[{"path": "weights", "bytes": 1, "sha256": ""}], command="")
    with pytest.raises(ValueError, match="weights is missing; restore it with: git checkout"):
        verify_bundled()
    monkeypatch.setattr(files, "__file__", str(tmp_path / "site-packages" / "taskadapter_lite" / "files.py"))
    with pytest.raises(ValueError, match="weights is missing; install the package taskadapter_lite again"):
        verify_bundled()
