"""Damaged files of every kind, read in a child process: each decodes or gives a ClipError; nothing crashes or hangs."""

import json
import random
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from made_videos import make_video
from PIL import Image

READER = """
import json, sys
from taskadapter_lite.data import decoding
from taskadapter_lite.data.clips import read_clip
from taskadapter_lite.data.decoding import ClipError
backends = {"decord": decoding.decord, "pyav": None}
for path in sys.stdin.read().splitlines():
    for name, decoding.decord in backends.items():
        try:
            outcome = list(read_clip(path, T=4, size=32).shape)
        except ClipError as error:
            outcome = str(error)
        print(json.dumps([path, outcome]), flush=True)
"""
KINDS = ("h264.mp4", "faststart.mp4", "mpeg4.avi", "mjpeg.avi", "vp9.webm", "jpg")
DAMAGES = ("cut", "flip a few bits", "flip many bits", "flip the header", "swap headers", "zeros", "doubled", "noise")
SECONDS_A_FILE = 2.0


def intact_files(folder):
    """One small file of each kind, with texture, so that its data is more than a few bytes."""
    codecs = {"h264.mp4": "libx264", "faststart.mp4": "libx264", "mpeg4.avi": "mpeg4", "mjpeg.avi": "mjpeg"}
    contents = {}
    for kind in KINDS[:-1]:
        options = {"movflags": "faststart"} if kind.startswith("faststart") else {}
        contents[kind] = make_video(
            folder / kind, codec=codecs.get(kind, "libvpx-vp9"), texture=True, options=options
        ).read_bytes()
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "frame.jpg")
    contents["jpg"] = (folder / "frame.jpg").read_bytes()
    return contents


def damage(content, how, other, rng):
    """One damaged copy of a file's content; `other` is a file of another kind."""
    data, n = bytearray(content), len(content)
    if how == "cut":
        return bytes(data[: rng.randrange(n)])
    if how == "swap headers":
        length = rng.choice((4, 12, 64, 512))
        return other[:length] + bytes(data[length:])
    if how == "doubled":
        return bytes(data[: rng.randrange(n)]) + content
    if how == "noise":
        return bytes(data[: rng.randrange(min(n, 256))]) + rng.randbytes(n)
    if how == "zeros":
        start = rng.randrange(n)
        length = rng.randrange(1, n // 4)
        data[start : start + length] = bytes(len(data[start : start + length]))
        return bytes(data)
    flips, end = {"flip a few bits": (3, n), "flip many bits": (n // 20, n), "flip the header": (8, min(n, 600))}[how]
    for _ in range(flips):
        data[rng.randrange(end)] ^= 1 << rng.randrange(8)
    return bytes(data)


def damaged_files(folder, n_files, seed=0):
    """Paths of `n_files` damaged videos and frame folders, all combinations of kind and damage in turn."""
    rng = random.Random(seed)
    intact = intact_files(folder)
    paths = []
    for i in range(n_files):
        kind, how = KINDS[i % len(KINDS)], DAMAGES[i // len(KINDS) % len(DAMAGES)]
        other = intact[rng.choice([name for name in KINDS if name != kind])]
        path = folder / f"{i:04d} {how} {kind}"
        if kind == "jpg":
            path = folder / f"{i:04d} {how}"
            path.mkdir()
            for number in (1, 2, 3, 5):
                (path / f"{number}.jpg").write_bytes(intact["jpg"])
        (path / "4.jpg" if kind == "jpg" else path).write_bytes(damage(intact[kind], how, other, rng))
        paths.append(path)
    return paths


def read_in_child(paths):
    """[(path, shape or message)], read with decord and then with PyAV by another process; no crash, no hang."""
    try:
        child = subprocess.run(
            [sys.executable, "-c", READER],
            input="\n".join(map(str, paths)),
            capture_output=True,
            text=True,
            timeout=120 + SECONDS_A_FILE * len(paths),
        )
    except subprocess.TimeoutExpired as expired:
        done = (expired.stdout or b"").decode().splitlines()
        pytest.fail(f"reading {paths[len(done) // 2].name!r} hangs")
    done = [json.loads(line) for line in child.stdout.splitlines()]
    if child.returncode:
        culprit = paths[len(done) // 2].name if len(done) < 2 * len(paths) else "the end"
        pytest.fail(f"status {child.returncode} at {culprit!r}: {child.stderr[-600:]}")
    return done


@pytest.mark.parametrize("n_files", [48, pytest.param(480, marks=pytest.mark.slow)])
def test_damaged_files_decode_or_give_a_clip_error(tmp_path, n_files):
    paths = damaged_files(tmp_path, n_files)
    outcomes = read_in_child(paths)
    assert [path for path, _ in outcomes] == [str(path) for path in paths for _ in range(2)]
    for path, outcome in outcomes:
        assert outcome == [4, 3, 32, 32] or outcome.startswith(path), outcome
    refused = Counter(isinstance(outcome, str) for _, outcome in outcomes)
    assert refused[True] > len(outcomes) / 4  # the damage is real
    assert refused[False] > len(outcomes) / 20  # and not always fatal
