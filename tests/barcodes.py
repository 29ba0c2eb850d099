"""Videos whose frames show their own number as eight bars, of every codec, container and kind of GOP."""

import shutil
import subprocess
from fractions import Fraction

import av
import numpy as np

OPEN = {"x265-params": "keyint=12:min-keyint=12:bframes=2:open-gop=1:log-level=none"}
CLOSED = {"x265-params": "keyint=12:min-keyint=12:bframes=2:open-gop=0:log-level=none"}
GOPS = {  # codec -> kind of GOP -> options of the encoder
    "libx264": {
        "no B": {"g": "12", "bf": "0"},
        "B": {"g": "12", "bf": "2"},
        "open": {"g": "12", "bf": "2", "x264-params": "open-gop=1:scenecut=0"},
        "refresh": {"g": "12", "x264-params": "intra-refresh=1"},
    },
    "libx265": {"open": OPEN, "closed": CLOSED},
    "mpeg4": {"no B": {"g": "12", "bf": "0"}, "B": {"g": "12", "bf": "2"}},
    "mpeg2video": {"no B": {"g": "12", "bf": "0"}, "B": {"g": "12", "bf": "2"}},
    "libvpx": {"hidden": {"g": "12", "auto-alt-ref": "1", "lag-in-frames": "8", "deadline": "realtime"}},
    "libvpx-vp9": {"hidden": {"g": "12", "cpu-used": "8", "deadline": "realtime"}},
    "mjpeg": {"intra": {}},
}
CONTAINERS = {  # codec -> suffixes; "ts.mp4" is an MPEG transport stream under a wrong name
    "libx264": ("mp4", "mov", "mkv", "avi", "ts.mp4"),
    "libx265": ("mp4", "mov", "mkv"),
    "mpeg4": ("avi", "mp4", "mkv", "mov"),
    "mpeg2video": ("mp4", "mkv", "ts.mp4"),
    "libvpx": ("webm", "mkv"),
    "libvpx-vp9": ("webm", "mkv"),
    "mjpeg": ("avi", "mov", "mkv"),
}


def kinds():
    """(codec, kind of GOP, suffix, second at which the video starts) of every combination; avi has no start."""
    for codec, gops in GOPS.items():
        for gop in gops:
            for suffix in CONTAINERS[codec]:
                yield from ((codec, gop, suffix, start) for start in ((0,) if suffix == "avi" else (0, 2)))


def bars(number, width=64, height=48):
    """A frame whose upper half shows a number, highest bit on the left."""
    bits = [255 * (number >> place & 1) for place in range(7, -1, -1)]
    frame = np.full((height, width, 3), 96, np.uint8)
    frame[: height // 2] = np.repeat(bits, width // 8)[None, :, None]
    return frame


def numbers(frames):
    """The numbers that (T, H, W, ...) frames show."""
    frames = np.asarray(frames)
    _, height, width = frames.shape[:3]
    row = frames[:, height // 4, [(2 * i + 1) * width // 16 for i in range(8)]].reshape(len(frames), 8, -1)
    return ((row.mean(axis=-1) > 128) @ (1 << np.arange(7, -1, -1))).tolist()


def make_barcodes(path, codec, options=(), n_frames=60, rate=25, start=0, sizes=((64, 48),), aspect=None):
    """A video of `n_frames`; `start`: seconds before its first frame; several sizes: one after the other."""
    form = {"ts.mp4": "mpegts", "mkv": "matroska"}.get(path.name.split(".", 1)[1])
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate, options=dict(options))
        stream.width, stream.height = sizes[0]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if aspect:
            stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        for i in range(n_frames):
            frame = av.VideoFrame.from_ndarray(bars(i), "rgb24")
            frame.pts, frame.time_base = i + start * rate, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def shown_by_ffmpeg(path, width=64, height=48):
    """The numbers that FFmpeg's own program shows, None where it is not installed."""
    if shutil.which("ffmpeg") is None:
        return None
    command = ["ffmpeg", "-v", "quiet", "-i", str(path), "-map", "0:v:0", "-fps_mode", "passthrough"]
    raw = subprocess.run([*command, "-f", "rawvideo", "-pix_fmt", "gray", "-"], capture_output=True, check=True).stdout
    return numbers(np.frombuffer(raw, np.uint8).reshape(-1, height, width))


def cut_by_copy(path, cut, start, seconds):
    """As `ffmpeg -ss START -t SECONDS -c copy` does: packets that are there for decoding alone are hidden."""
    command = ["ffmpeg", "-v", "quiet", "-y", "-ss", str(start), "-i", str(path), "-t", str(seconds), "-c", "copy"]
    subprocess.run([*command, str(cut)], check=True)
    return cut
