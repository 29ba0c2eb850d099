"""`pretrain` and `render`: what they write can be loaded, and says how it was made."""

import json

import pytest
import torch
from PIL import Image

from taskadapter_lite.__main__ import main
from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.sprites.actions import ACTIONS


def test_pretrain_writes_weights_that_load_and_a_report(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("taskadapter_lite.commands.pretrain.linear_probes", lambda vit: {"shape": 0.5})
    assert main(["pretrain", "--images", "256", "--batch-size", "64", "--out", str(tmp_path)]) == 0
    backbone = load_backbone(tmp_path / "something_sprites_vit.safetensors", architecture="something_sprites")
    assert not backbone.training
    report = json.loads((tmp_path / "something_sprites_vit.json").read_text())
    assert report["config"]["images"] == 256
    assert {"command", "device", "versions", "commit", "images", "minutes", "probes", "history"} <= set(report)
    assert "images in" in capsys.readouterr().out


def test_probes_of_saved_weights_are_renewed_and_nothing_else(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("taskadapter_lite.commands.pretrain.linear_probes", lambda vit: {"shape": 0.5})
    folder = ["--out", str(tmp_path)]
    assert main(["pretrain", "--images", "64", "--batch-size", "32", *folder]) == 0
    weights = tmp_path / "something_sprites_vit.safetensors"
    content, before = weights.read_bytes(), json.loads(weights.with_suffix(".json").read_text())
    monkeypatch.setattr("taskadapter_lite.commands.pretrain.linear_probes", lambda vit: {"shape": 0.75})
    assert main(["pretrain", "--probe", str(weights)]) == 0
    after = json.loads(weights.with_suffix(".json").read_text())
    assert after.pop("probes_made_by")["command"]
    assert after == before | {"probes": {"shape": 0.75}}
    assert weights.read_bytes() == content
    assert main(["pretrain", "--probe", str(tmp_path / "none.safetensors")]) == 2
    assert "none.safetensors" in capsys.readouterr().err


def test_another_architecture_is_trained_saved_and_loaded_again(tmp_path, monkeypatch):
    monkeypatch.setattr("taskadapter_lite.commands.pretrain.linear_probes", lambda vit: {"shape": 0.5})
    size = ["--architecture", "vit_tiny_patch16_224", "--image-size", "96"]
    assert main(["pretrain", *size, "--images", "32", "--batch-size", "16", "--out", str(tmp_path)]) == 0
    file = tmp_path / "vit_tiny_patch16_224_sprites_96.safetensors"
    backbone = load_backbone(file, architecture="vit_tiny_patch16_224", img_size=96)
    assert backbone.patch_embed.grid_size == (6, 6)
    assert backbone(torch.zeros(1, 3, 96, 96)).shape == (1, 192)
    assert json.loads(file.with_suffix(".json").read_text())["config"]["image_size"] == 96


@pytest.mark.parametrize(
    "options, word",
    [
        (["--architecture", "resnet18"], "timm can't build backbone 'resnet18'"),
        (["--architecture", "mobilevit_s"], "timm"),
        (["--architecture", "no_such_model"], "unknown backbone"),
        (["--architecture", "vit_tiny_patch16_224", "--image-size", "100"], "take a multiple"),
        (["--images", "31"], "images is 31"),
        (["--architecture", "vit_base_patch16_siglip_224"], "class token"),
    ],
)
def test_an_architecture_that_does_not_fit_is_one_sentence(tmp_path, capsys, options, word):
    assert main(["pretrain", "--batch-size", "32", "--images", "32", "--out", str(tmp_path / "new"), *options]) == 2
    assert word in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


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
        lambda clips, names: drawn.extend(names) or Image.new("RGB", (len(clips), 1)),
    )
    assert main(["render", "--sheet", str(tmp_path / "new" / "sheet.png")]) == 0
    assert sorted(drawn) == sorted(ACTIONS)
    assert all(ACTIONS[drawn[i]].pair == drawn[i + 1] for i in range(0, 100, 2))
    with Image.open(tmp_path / "new" / "sheet.png") as sheet:
        assert sheet.size == (100, 1)
