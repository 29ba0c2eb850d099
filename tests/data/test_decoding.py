"""decoding.py: the frames are those that a player shows, with decord and without; barcodes tell which they are."""

import json
import shutil
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from barcodes import GOPS, bars, cut_by_copy, kinds, make_barcodes, numbers, shown_by_ffmpeg
from PIL import Image

from taskadapter_lite.data import decoding
from taskadapter_lite.data.clips import read_clip, read_frames, sample_frames
from taskadapter_lite.data.decoding import ClipError, list_frames

INPUTS = Path(__file__).parents[3] / "shared" / "inputs"
SHOWN = json.loads((INPUTS / "shown_frames.json").read_text()) if INPUTS.is_dir() else {}
BACKENDS = pytest.mark.parametrize("with_decord", [True, False], ids=["decord", "pyav"])
needs_inputs = pytest.mark.skipif(not SHOWN, reason=f"NOT TESTED: the sample files are absent ({INPUTS})")
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="NOT TESTED: ffmpeg is not installed")


@pytest.fixture
def backend(with_decord, monkeypatch):
    if not with_decord:
        monkeypatch.setattr(decoding, "decord", None)


def shown(clip):
    return numbers(clip.permute(0, 2, 3, 1).numpy())


def same_with_both(path, monkeypatch, read=read_frames):
    """What is read with decord, after a look that it is read without it too."""
    clip = read(path)
    with monkeypatch.context() as patch:
        patch.setattr(decoding, "decord", None)
        assert torch.equal(read(path), clip)
    return clip


@needs_inputs
@BACKENDS
@pytest.mark.parametrize("name", SHOWN)
def test_sample_files_are_read_as_a_player_shows_them(name, backend):
    frames, (height, width) = SHOWN[name]["frames"], SHOWN[name]["size"]
    clip = read_frames(INPUTS / name)
    assert clip.shape == (len(frames), 3, height, width)
    assert shown(clip) == frames
    assert shown(read_clip(INPUTS / name)) == [frames[i] for i in sample_frames(len(frames), 8)]


@needs_inputs
def test_sample_folders():
    lengths = {"f1_frame7_240p": 20, "f3_tsn_img_and_flow": 12, "f4_mac_twins": 20, "f5_16_bit_png": 8}
    for name, n_frames in lengths.items():
        assert shown(read_frames(INPUTS / name)) == list(range(n_frames))
    with pytest.raises(ClipError, match="img_00006.jpg: can't be decoded"):
        read_frames(INPUTS / "f8_one_cut_frame")


def check_kind(folder, kind, monkeypatch, n_frames=60, rate=25):
    codec, gop, suffix, start = kind
    monkeypatch.setattr(decoding, "LONG", 0)  # decord reads what it may, however short
    path = make_barcodes(folder / f"a.{suffix}", codec, GOPS[codec][gop], n_frames, rate, start)
    assert shown(same_with_both(path, monkeypatch)) == list(range(n_frames))
    assert shown(same_with_both(path, monkeypatch, read_clip)) == sample_frames(n_frames, 8).tolist()


def test_the_matrix_is_large_enough():
    assert len(list(kinds())) >= 60


@pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: " ".join(map(str, kind)))
def test_every_codec_container_gop_and_start(tmp_path, kind, monkeypatch):
    check_kind(tmp_path, kind, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("rate", [25, 30])
@pytest.mark.parametrize("n_frames", [37, 200])
@pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: " ".join(map(str, kind)))
def test_more_lengths_and_rates(tmp_path, kind, n_frames, rate, monkeypatch):
    check_kind(tmp_path, kind, monkeypatch, n_frames, rate)


CUTS = [
    (codec, gop, suffix)
    for codec, gops in GOPS.items()
    for gop in gops
    for suffix in ("mp4", "mov")
    if codec in ("libx264", "libx265", "mpeg4") and gop != "refresh"
]


@needs_ffmpeg
@pytest.mark.parametrize("codec, gop, suffix", CUTS)
def test_files_cut_by_copy(tmp_path, codec, gop, suffix, monkeypatch):
    whole = make_barcodes(tmp_path / f"whole.{suffix}", codec, GOPS[codec][gop], 100)
    cut = cut_by_copy(whole, tmp_path / f"cut.{suffix}", 1.72, 1.2)  # frame 43 lies inside a GOP
    expected = shown_by_ffmpeg(cut)
    assert 20 < len(expected) < 45
    assert shown(same_with_both(cut, monkeypatch)) == expected


@BACKENDS
@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv"])
def test_files_whose_end_is_missing_are_refused(tmp_path, suffix, backend):
    path = make_barcodes(tmp_path / f"a.{suffix}", "libx264", GOPS["libx264"]["B"], 100)
    content = path.read_bytes()
    for share in (0.4, 0.6, 0.8):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(ClipError, match="truncated|can't be decoded"):
            read_frames(path)


@BACKENDS
def test_a_first_keyframe_that_is_missing_is_said(tmp_path, backend):
    whole = make_barcodes(tmp_path / "a.mp4", "libx264", GOPS["libx264"]["B"])
    path = tmp_path / "b.mkv"
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in list(source.demux(video=0))[1:]:
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    with pytest.raises(ClipError, match="does not begin with a keyframe"):
        read_frames(path)


@BACKENDS
def test_a_size_that_changes_is_said(tmp_path, backend):
    parts = []
    for i, (width, height) in enumerate(((64, 48), (96, 64))):
        path = tmp_path / f"{i}.ts"
        with av.open(str(path), "w", format="mpegts") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for number in range(20):
                frame = av.VideoFrame.from_ndarray(bars(number, width, height), "rgb24")
                frame.pts = number + 20 * i
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        parts.append(path.read_bytes())
    (tmp_path / "both.mp4").write_bytes(b"".join(parts))
    with pytest.raises(ClipError, match="changes its size at frame 20 from 64 x 48 to 96 x 64"):
        read_frames(tmp_path / "both.mp4")


@pytest.mark.parametrize("aspect, width", [("2", 128), ("1/2", 32), ("12/11", 70)])
def test_pixels_that_are_not_square(tmp_path, aspect, width, monkeypatch):
    path = make_barcodes(tmp_path / "a.mp4", "libx264", n_frames=12, aspect=aspect)
    clip = same_with_both(path, monkeypatch)
    assert clip.shape == (12, 3, 48, width)
    assert shown(clip) == list(range(12))


ONE = 1 << 16
MATRICES = {  # a, b, c, d of the display matrix -> what it does to (H, W)
    (-ONE, 0, 0, ONE): lambda pixels: pixels[:, ::-1],
    (ONE, 0, 0, -ONE): lambda pixels: pixels[::-1],
    (-ONE, 0, 0, -ONE): lambda pixels: pixels[::-1, ::-1],
    (0, ONE, -ONE, 0): lambda pixels: np.rot90(pixels, -1),
    (0, -ONE, ONE, 0): lambda pixels: np.rot90(pixels),
    (0, ONE, ONE, 0): lambda pixels: pixels.swapaxes(0, 1),
}


@pytest.mark.parametrize("matrix", MATRICES)
def test_turned_and_mirrored_videos(tmp_path, matrix, monkeypatch):
    path = make_barcodes(tmp_path / "a.mp4", "libx264", n_frames=4)
    plain = read_frames(path)[3].permute(1, 2, 0).numpy()
    a, b, c, d = matrix
    content = bytearray(path.read_bytes())
    struct.pack_into(">9i", content, content.index(b"tkhd") + 44, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    turned = same_with_both(path, monkeypatch)[3].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(turned, MATRICES[matrix](plain))


@pytest.mark.parametrize("size", [None, 20, 48, 64])
@pytest.mark.parametrize("name, codec, gop", [("a.mp4", "libx264", "B"), ("a.avi", "mpeg4", "B")])
def test_a_random_view_is_the_same_with_both_decoders(tmp_path, name, codec, gop, size, monkeypatch):
    path = make_barcodes(tmp_path / name, codec, GOPS[codec][gop])

    def view(path):
        return read_clip(path, 4, "random", size, torch.Generator().manual_seed(7), flip=True)

    same_with_both(path, monkeypatch, view)


def test_decord_reads_where_it_is_exact_and_there_alone(tmp_path, monkeypatch):
    pytest.importorskip("decord")
    monkeypatch.setattr(decoding, "_read_with_pyav", lambda *_: np.zeros((1, 2, 2, 3), np.uint8))
    by_decord = {}
    for gop, options in GOPS["libx264"].items():
        path = make_barcodes(tmp_path / f"{gop}.mp4", "libx264", options, 300)
        by_decord[gop] = len(read_frames(path)) == 300
    assert by_decord == {"no B": True, "B": True, "open": False, "refresh": False}


def write_images(folder, names):
    folder.mkdir()
    for number, name in enumerate(names):
        Image.fromarray(bars(number)).save(folder / name)
    return folder


ORDERS = {
    "a number before a constant": [f"frame{i}_240p.jpg" for i in range(1, 13)],
    "a camera": [f"{i}_cam1.jpg" for i in range(1, 13)],
    "seconds": [f"{i / 2}.jpg" for i in range(1, 25)],
    "exported": [f"{i}_jpg.rf.{(i * 7919) % 9973:04x}a1b2.jpg" for i in range(1, 13)],
    "one image": ["picture.png"],
}


@pytest.mark.parametrize("names", ORDERS.values(), ids=ORDERS)
def test_the_order_of_frames(tmp_path, names):
    folder = write_images(tmp_path / "clip", names)
    (folder / "._1.jpg").write_bytes(b"macOS")
    assert [image.name for image in list_frames(folder)] == names
    assert shown(read_frames(folder)) == list(range(len(names)))


@pytest.mark.parametrize(
    "names",
    [["1_1.jpg", "1_2.jpg", "2_1.jpg"], ["1.jpg", "01.jpg"], ["a.jpg", "b.jpg"], ["flow_x_1.jpg", "flow_y_1.jpg"]],
)
def test_an_order_that_can_not_be_told_is_refused(tmp_path, names):
    with pytest.raises(ClipError, match="can't be put in order"):
        list_frames(write_images(tmp_path / "clip", names))


def test_flow_beside_rgb_is_no_frame(tmp_path):
    names = [f"img_{i:05d}.jpg" for i in range(3)] + [f"flow_{axis}_{i:05d}.jpg" for i in range(3) for axis in "xy"]
    assert shown(read_frames(write_images(tmp_path / "clip", names))) == [0, 1, 2]


def test_images_lying_on_their_side_and_deep_ones(tmp_path):
    folder = tmp_path / "turned"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    Image.fromarray(bars(5)).save(folder / "1.png", exif=exif)
    np.testing.assert_array_equal(read_frames(folder)[0].permute(1, 2, 0), np.rot90(bars(5), -1))
    (tmp_path / "deep").mkdir()
    grey = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 21
    Image.fromarray(grey).save(tmp_path / "deep" / "1.png")
    read = read_frames(tmp_path / "deep")[0]
    assert torch.equal(read, torch.from_numpy(grey // 256).to(torch.uint8).expand(3, 48, 64))


def test_fewer_frames_than_wanted_are_never_returned(tmp_path, monkeypatch):
    path = make_barcodes(tmp_path / "a.mp4", "libx264", GOPS["libx264"]["no B"], 24)
    monkeypatch.setattr(decoding, "_decode_in_order", lambda *_: (np.zeros((3, 2, 2, 3), np.uint8), 24))
    with pytest.raises(ClipError, match="is damaged: 3 of the 8 frames wanted can be decoded"):
        read_clip(path)
