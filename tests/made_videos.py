"""Videos and frame folders whose pixels tell which frame they are: what the tests of `data` read."""

import av
import numpy as np
from PIL import Image


def make_video(path, n_frames=24, width=96, height=64, codec=None, rate=25, texture=False, options=(), encoder=()):
    """A video whose frame i is evenly grey at 8 + 8 i, so that a decoded pixel tells its frame; or noise."""
    noise = np.random.default_rng(0)
    codec = codec or {".mp4": "libx264", ".avi": "mpeg4", ".webm": "libvpx-vp9"}[path.suffix]
    with av.open(str(path), "w", options=dict(options)) as container:
        stream = container.add_stream(codec, rate=rate, options=dict(encoder))
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for i in range(n_frames):
            frame = np.full((height, width, 3), (8 + 8 * i) % 256, np.uint8)
            if texture:
                frame = noise.integers(0, 255, frame.shape).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())
    return path


def make_frame_folder(folder, n_frames=12, suffix=".jpg", digits=5, prefix="img_"):
    folder.mkdir(parents=True)
    for i in range(n_frames):
        image = Image.fromarray(np.full((64, 96, 3), (8 + 8 * i) % 256, np.uint8))
        image.save(folder / f"{prefix}{i + 1:0{digits}d}{suffix}")
    return folder


def frame_numbers(clip):
    """The frames that a clip of `make_video` is made of."""
    return ((clip.float().mean(dim=(1, 2, 3)) - 8) / 8).round().int().tolist()
