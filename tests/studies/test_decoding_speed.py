"""Frames a second of reading clips."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from taskadapter_lite.__main__ import main
from taskadapter_lite.data.clips import read_clip
from taskadapter_lite.studies import decoding_speed

STORED = Path(__file__).parents[2] / "notebooks" / "results" / "decoding_speed.json"


@pytest.mark.parametrize("kind", decoding_speed.KINDS, ids=lambda kind: kind.name)
def test_the_readers_that_are_called_right_give_the_frames_of_read_clip(tmp_path, kind):
    path = tmp_path / f"clip{kind.suffix}"
    try:
        decoding_speed.write_video(path, kind, 30)
    except ValueError:
        pytest.skip(f"no encoder {kind.codec} here")
    ours = read_clip(path, decoding_speed.T)
    readers = [decoding_speed._plain_pyav]
    if kind.decord_is_right and decoding_speed.decord is not None:
        readers.append(decoding_speed.plain_decord)
    for read in readers:
        found = torch.from_numpy(read(path)).permute(0, 3, 1, 2)
        assert (found.float() - ours.float()).abs().mean() < 2  # converters differ in the last bits


def test_the_verb_writes_a_row_a_kind_and_length(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(decoding_speed, "KINDS", decoding_speed.KINDS[:1])
    assert main(["benchmark", "--decoding", "--repeats", "1", "--out", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "decoding_speed.json").read_text())["rows"]
    assert [row["frames"] for row in rows] == [30, 100, 300]
    for row in rows:
        rates = row["rates"]
        assert row["ratio"] == pytest.approx(rates["read_clip"] / max(rates["PyAV"], rates.get("decord", 0)))
    assert decoding_speed.decoding_table(rows) in capsys.readouterr().out


def test_the_stored_rates_are_of_all_kinds_and_lengths():
    rows = json.loads(STORED.read_text())["rows"]
    assert {(row["kind"], row["frames"]) for row in rows} == {
        (kind.name, n) for kind in decoding_speed.KINDS for n in (30, 100, 300)
    }
    assert min(row["ratio"] for row in rows) >= 0.8
