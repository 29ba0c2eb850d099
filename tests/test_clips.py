"""clips.py and decoding.py: which frames, which pixels, and one sentence for whatever can't be read."""

import av
import numpy as np
import pytest
import torch
from PIL import Image

from taskadapter_lite import decoding
from taskadapter_lite.clips import ClipError, list_frames, read_clip, read_frames, resize_and_crop, sample_frames

CODECS = {"h264.mp4": "libx264", "mpeg4.avi": "mpeg4", "mjpeg.avi": "mjpeg", "vp9.webm": "libvpx-vp9"}


def make_video(path, n_frames=24, width=96, height=64, codec=None, rate=25):
    """A video whose frame i is evenly grey at 8 + 8 i, so that a decoded pixel tells its frame."""
    codec = codec or {".mp4": "libx264", ".avi": "mpeg4", ".webm": "libvpx-vp9"}[path.suffix]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for i in range(n_frames):
            grey = np.full((height, width, 3), 8 + 8 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, "rgb24")))
        container.mux(stream.encode())
    return path


def make_frame_folder(folder, n_frames=12, suffix=".jpg", digits=5, prefix="img_"):
    folder.mkdir(parents=True)
    for i in range(n_frames):
        image = Image.fromarray(np.full((64, 96, 3), 8 + 8 * i, np.uint8))
        image.save(folder / f"{prefix}{i + 1:0{digits}d}{suffix}")
    return folder


def frame_numbers(clip):
    """The frames that a clip of `make_video` is made of."""
    return ((clip.float().mean(dim=(1, 2, 3)) - 8) / 8).round().int().tolist()


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return {name: make_video(folder / name, codec=codec) for name, codec in CODECS.items()}


def test_middle_frames_by_hand():
    # 16 frames in 8 segments of 2: the middle of segment i is frame 2 i + 1
    assert sample_frames(16, 8).tolist() == [1, 3, 5, 7, 9, 11, 13, 15]
    assert sample_frames(3, 4).tolist() == [0, 1, 1, 2]  # floor(0.375), floor(1.125), floor(1.875), floor(2.625)
    assert sample_frames(1, 3).tolist() == [0, 0, 0]


@pytest.mark.parametrize("n_total, T", [(100, 8), (8, 8), (9, 4), (2, 5), (10**6, 7)])
def test_random_frames_stay_in_their_segment(n_total, T):
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        frames = sample_frames(n_total, T, "random", generator)
        segment = torch.arange(T)
        assert (frames >= segment * n_total // T).all()
        assert (frames < (segment + 1) * n_total / T).all()
        assert frames.dtype == torch.int64


def test_random_frames_reach_every_frame_equally_often():
    generator = torch.Generator().manual_seed(0)
    counts = torch.bincount(torch.cat([sample_frames(12, 4, "random", generator) for _ in range(3000)]), minlength=12)
    assert (counts - 1000).abs().max() < 130  # 5 standard deviations of a binomial with n = 3000, p = 1/3


@pytest.mark.parametrize("n_total, T, mode", [(0, 8, "middle"), (8, 0, "middle"), (8, 8, "first")])
def test_impossible_sampling_is_refused(n_total, T, mode, tmp_path):
    with pytest.raises(ValueError, match=str(mode if mode == "first" else 0)):
        sample_frames(n_total, T, mode)
    if n_total:
        with pytest.raises(ValueError) as refusal:
            read_clip(tmp_path / "absent.mp4", T, mode)
        assert not isinstance(refusal.value, ClipError)  # the caller's mistake is not the file's


@pytest.mark.parametrize("name", CODECS)
def test_decord_and_pyav_give_the_same_pixels(videos, name, monkeypatch):
    pytest.importorskip("decord")
    by_decord = read_frames(videos[name])
    monkeypatch.setattr(decoding, "decord", None)
    by_pyav = read_frames(videos[name])
    torch.testing.assert_close(by_decord, by_pyav, rtol=0, atol=0)
    assert frame_numbers(by_pyav) == list(range(24))


@pytest.mark.parametrize("with_decord", [True, False])
@pytest.mark.parametrize("name", CODECS)
def test_the_frames_asked_for_are_read(videos, name, with_decord, monkeypatch):
    if not with_decord:
        monkeypatch.setattr(decoding, "decord", None)
    clip = read_clip(videos[name], T=8)
    assert clip.shape == (8, 3, 64, 96)
    assert clip.dtype == torch.uint8
    assert frame_numbers(clip) == sample_frames(24, 8).tolist()
    assert frame_numbers(read_clip(videos[name], T=30)) == sample_frames(24, 30).tolist()  # frames repeat
    random = read_clip(videos[name], 8, "random", generator=torch.Generator().manual_seed(3))
    assert frame_numbers(random) == sample_frames(24, 8, "random", torch.Generator().manual_seed(3)).tolist()


@pytest.mark.parametrize("suffix, digits, prefix", [(".jpg", 5, "img_"), (".png", 8, ""), (".jpeg", 1, "frame")])
def test_frame_folders_with_any_padding(tmp_path, suffix, digits, prefix):
    folder = make_frame_folder(tmp_path / "clip 1", 12, suffix, digits, prefix)
    assert frame_numbers(read_clip(folder, T=4)) == [1, 4, 7, 10]
    assert [image.stem for image in list_frames(folder)][-1] == f"{prefix}{12:0{digits}d}"


def test_crops_by_hand():
    columns = torch.arange(96, dtype=torch.uint8).expand(2, 3, 64, 96)
    centre = resize_and_crop(columns, "middle", size=64)
    assert centre[0, 0, 0].tolist() == list(range(16, 80))
    lefts = set()
    for seed in range(40):
        crop = resize_and_crop(columns, "random", 64, torch.Generator().manual_seed(seed))
        assert torch.equal(crop[0], crop[1])  # one crop a clip
        lefts.add(int(crop[0, 0, 0, 0]))
        assert crop[0, 0, 0].tolist() == list(range(min(crop[0, 0, 0]), min(crop[0, 0, 0]) + 64))
    assert len(lefts) > 15
    assert 0 <= min(lefts) <= max(lefts) <= 32
    assert resize_and_crop(columns, "middle", size=56, resize=64)[0, 0, 0].tolist() == list(range(20, 76))
    with pytest.raises(ValueError, match="100 < 224"):
        resize_and_crop(columns, size=224, resize=100)


def test_resizing_averages_instead_of_skipping_pixels():
    stripes = (torch.arange(64) % 2 * 255).to(torch.uint8).expand(1, 3, 64, 64)
    small = resize_and_crop(stripes, size=16).float()
    assert (small[..., 2:-2] - 127.5).abs().max() < 10


def test_flips_mirror_half_of_the_random_views_and_no_middle_ones():
    columns = torch.arange(64, dtype=torch.uint8).expand(1, 3, 64, 64)
    mirrored = [
        bool(resize_and_crop(columns, "random", 64, torch.Generator().manual_seed(s), flip=True)[0, 0, 0, 0])
        for s in range(60)
    ]
    assert 15 < sum(mirrored) < 45
    assert torch.equal(resize_and_crop(columns, "middle", 64, flip=True), columns)


def test_the_same_seed_gives_the_same_clip(videos):
    read = [
        read_clip(videos["h264.mp4"], 8, "random", 32, torch.Generator().manual_seed(s), resize=48) for s in (5, 5, 6)
    ]
    assert torch.equal(read[0], read[1])
    assert not torch.equal(read[0], read[2])
