"""Clips as files: the same bytes every time, nearly the same frames when read again."""

import os
import subprocess
import sys

import torch

from taskadapter_lite.data.decoding import decode_frames
from taskadapter_lite.sprites import render_clips, slug, write_mp4


def test_bytes_of_a_clip_do_not_depend_on_what_lies_in_memory():
    """glibc fills fresh memory with the byte that MALLOC_PERTURB_ names."""
    code = (
        "import hashlib, pathlib, tempfile\n"
        "from taskadapter_lite.sprites.export import write_mp4\n"
        "from taskadapter_lite.sprites.render import render_clips\n"
        "path = pathlib.Path(tempfile.mkdtemp()) / 'clip.mp4'\n"
        "for clip in render_clips('Moving something from left to right', range(6)):\n"
        "    write_mp4(path, clip)\n"
        "    print(hashlib.sha256(path.read_bytes()).hexdigest())\n"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"MALLOC_PERTURB_": fill}, capture_output=True, check=True
        ).stdout
        for fill in ("0", "85", "170")
    ]
    assert outputs[0].count(b"\n") == 6
    assert outputs[0] == outputs[1] == outputs[2]


def test_mp4_keeps_the_frames_nearly(tmp_path):
    (clip,) = render_clips("Lifting something up", [0])
    write_mp4(tmp_path / "clip.mp4", clip, crf=10)
    decoded = torch.as_tensor(decode_frames(tmp_path / "clip.mp4", lambda n: list(range(n))))
    assert decoded.shape == clip.shape
    assert (decoded.float() - clip.float()).abs().mean() < 8


def test_slugs_are_plain():
    assert slug("Moving something, slowly") == "moving_something_slowly"
