"""`pretrain` and `render`: what they write can be loaded, and says how it was made."""

import json

import torch
from PIL import Image

from taskadapter_lite.__main__ import main
from taskadapter_lite.actions import ACTIONS
from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.commands.render import add_file, slug, write_mp4
from taskadapter_lite.decoding import decode_frames
from taskadapter_lite.sprites import render_clips


def test_pretrain_writes_weights_that_load_and_a_report(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("taskadapter_lite.commands.pretrain.linear_probes", lambda vit: {"shape": 0.5})
    assert main(["pretrain", "--images", "256", "--batch-size", "64", "--out", str(tmp_path)]) == 0
    backbone = load_backbone(tmp_path / "something_sprites_vit.safetensors", architecture="something_sprites")
    assert not backbone.training
    report = json.loads((tmp_path / "something_sprites_vit.json").read_text())
    assert report["config"]["images"] == 256
    assert {"command", "device", "versions", "commit", "images", "minutes", "probes", "history"} <= set(report)
    assert "images in" in capsys.readouterr().out


def test_render_twice_gives_the_same_files_and_manifest(tmp_path):
    options = ["--train-clips", "1", "--val-clips", "1", "--test-clips", "1", "--frames", "4", "--size", "32"]
    for folder in ("one", "two"):
        assert main(["render", *options, "--out", str(tmp_path / folder)]) == 0
    one, two = ((tmp_path / folder / "manifest.json").read_bytes() for folder in ("one", "two"))
    assert one == two
    manifest = json.loads(one)
    assert len(manifest["clips"]) == 100
    for entry in manifest["clips"][:5]:
        assert (tmp_path / "one" / entry["path"]).read_bytes() == (tmp_path / "two" / entry["path"]).read_bytes()


def test_a_sheet_shows_every_class_once(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "taskadapter_lite.commands.render.contact_sheet",
        lambda clips, names, columns: drawn.extend(names) or Image.new("RGB", (len(clips), 1)),
    )
    assert main(["render", "--sheet", str(tmp_path / "new" / "sheet.png")]) == 0
    assert sorted(drawn) == sorted(ACTIONS)
    assert all(ACTIONS[drawn[i]].pair == drawn[i + 1] for i in range(0, 100, 2))
    with Image.open(tmp_path / "new" / "sheet.png") as sheet:
        assert sheet.size == (100, 1)


def test_mp4_keeps_the_frames_nearly(tmp_path):
    (clip,) = render_clips("Lifting something up", [0])
    write_mp4(tmp_path / "clip.mp4", clip, crf=10)
    decoded = torch.as_tensor(decode_frames(tmp_path / "clip.mp4", lambda n: list(range(n))))
    assert decoded.shape == clip.shape
    assert (decoded.float() - clip.float()).abs().mean() < 8


def test_slugs_are_plain():
    assert slug("Moving something, slowly") == "moving_something_slowly"


def test_a_file_is_listed_once(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 1, "files": []}))
    for content in (b"a", b"bb"):
        (tmp_path / "weights").write_bytes(content)
        add_file(tmp_path, "weights", how="by hand")
    (entry,) = json.loads((tmp_path / "manifest.json").read_text())["files"]
    assert entry["bytes"] == 2
