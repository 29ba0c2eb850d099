"""Clips -> mp4 files and the manifest that lists them: how the bundled clips were made."""

from __future__ import annotations

import json
import re
from pathlib import Path

import av
from torch import Tensor

from taskadapter_lite.files import write_whole

LICENCE = "MIT, like the code that rendered them"
FRAMES_PER_SECOND = 8


def slug(name: str) -> str:
    """A class name as a folder name: lower case, words joined by underscores."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def write_mp4(path: Path, clip: Tensor, crf: int = 23) -> None:
    """Write a clip, uint8 (T, 3, H, W), as H.264; the same clip gives the same bytes with the same encoder.

    Without x264's assembly (asm=0), whose choices depend on what happens to lie in memory beyond small frames.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    T, _, H, W = clip.shape
    with av.open(str(path), "w", options={"movflags": "faststart", "fflags": "bitexact"}) as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND)
        stream.width, stream.height, stream.pix_fmt = W, H, "yuv420p"
        stream.options = {"crf": str(crf), "preset": "veryslow", "threads": "1", "x264-params": "threads=1:asm=0"}
        stream.codec_context.thread_count = 1
        for frame in clip.permute(0, 2, 3, 1).numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def update_manifest(folder: Path, **changes) -> None:
    """Write `manifest.json` in `folder` with some keys replaced; other keys (files, say) stay."""
    path = folder / "manifest.json"
    manifest = {"format": 1, "command": "", "licence": "", "files": [], "clips": []}
    if path.exists():
        manifest |= json.loads(path.read_text(encoding="utf-8"))
    manifest |= changes
    lines = [f"{json.dumps(key)}: {_json_lines(value)}" for key, value in manifest.items()]
    write_whole(path, "{\n" + ",\n".join(lines) + "\n}\n")


def _json_lines(value: object) -> str:
    """JSON with one line an entry, so that a changed clip is a changed line."""
    if not isinstance(value, list):
        return json.dumps(value)
    return "[\n" + ",\n".join(json.dumps(entry) for entry in value) + "\n]"
