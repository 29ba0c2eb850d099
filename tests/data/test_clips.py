"""clips.py and decoding.py: which frames, which pixels, and one sentence for whatever can't be read."""

import os
import pickle
import struct

import av
import numpy as np
import pytest
import torch
from made_videos import frame_numbers, make_frame_folder, make_video
from PIL import Image

from taskadapter_lite.data import decoding
from taskadapter_lite.data.clips import read_clip, read_frames, resize_and_crop, sample_frames
from taskadapter_lite.data.decoding import ClipError, list_frames

CODECS = {"h264.mp4": "libx264", "mpeg4.avi": "mpeg4", "mjpeg.avi": "mjpeg", "vp9.webm": "libvpx-vp9"}


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


@pytest.mark.parametrize("size, resize, flip", [(None, None, False), (32, None, True), (48, 56, True), (80, 96, False)])
def test_a_random_view_is_the_same_with_either_decoder(tmp_path, monkeypatch, size, resize, flip):
    """A long H.264 clip, which decord reads where it is installed; the draw does not know who reads."""
    pytest.importorskip("decord")
    path, read_by = tmp_path / "long.mp4", []
    make_video(path, n_frames=260, codec="libx264", texture=True)
    monkeypatch.setattr(decoding, "LONG", 200)
    by_decord = decoding._read_with_decord
    monkeypatch.setattr(decoding, "_read_with_decord", lambda *given: read_by.append("decord") or by_decord(*given))

    def view(seed):
        return read_clip(path, 8, "random", size, torch.Generator().manual_seed(seed), resize, flip)

    found = [view(seed) for seed in range(4)]
    assert read_by == ["decord"] * 4
    monkeypatch.setattr(decoding, "decord", None)
    for seed, clip in enumerate(found):
        torch.testing.assert_close(view(seed), clip, rtol=0, atol=0)
    assert len(read_by) == 4
    assert not torch.equal(found[0], found[1])


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


def test_random_crops_begin_at_every_offset_alike():
    """Seven pixels leave a crop of four its offsets 0, 1, 2 and 3, the last as often as the first."""
    places = torch.arange(49).reshape(7, 7).expand(2, 3, 7, 7).to(torch.uint8)
    generator, found = torch.Generator().manual_seed(0), np.zeros((4, 4), int)
    for _ in range(800):
        found[divmod(int(resize_and_crop(places, "random", 4, generator, resize=7)[0, 0, 0, 0]), 7)] += 1
    assert found.sum() == 800
    assert 20 < found.min() <= found.max() < 90  # 50 each, standard deviation 7


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


BACKENDS = pytest.mark.parametrize("with_decord", [True, False], ids=["decord", "pyav"])


@pytest.fixture
def backend(with_decord, monkeypatch):
    if not with_decord:
        monkeypatch.setattr(decoding, "decord", None)


def patch_box(content, name, offset, layout, *values):
    """Overwrite numbers in the first mp4 box of a name: PyAV writes neither edit lists nor rotations by itself."""
    position = content.index(name) + 4 + offset
    return content[:position] + struct.pack(layout, *values) + content[position + struct.calcsize(layout) :]


@BACKENDS
def test_frames_hidden_by_an_edit_list_are_neither_shown_nor_missed(tmp_path, backend):
    path = make_video(tmp_path / "trimmed.mp4", n_frames=30, rate=25, encoder={"g": "5", "bf": "0"})
    content = path.read_bytes()
    seconds, start = 400, 17 * 512  # in the movie's 1000 and the track's 12,800 units a second: frames 17 to 26
    path.write_bytes(patch_box(content, b"elst", 8, ">Ii", seconds, start))
    assert frame_numbers(read_frames(path)) == list(range(17, 27))


@BACKENDS
def test_portraits_are_read_upright(tmp_path, backend):
    path = make_video(tmp_path / "phone.mp4", texture=True)
    lying = read_clip(path, T=2)
    quarter_turn = (0, 1 << 16, 0, -1 << 16, 0, 0, 64 << 16, 0, 1 << 30)
    path.write_bytes(patch_box(path.read_bytes(), b"tkhd", 40, ">9i", *quarter_turn))
    upright = read_clip(path, T=2)
    assert upright.shape == (2, 3, 96, 64)
    assert torch.equal(upright, lying.rot90(-1, (2, 3)))  # clockwise, as the matrix says: (x, y) -> (64 - y, x)


@BACKENDS
@pytest.mark.parametrize("name", [*CODECS, "faststart.mp4"])
def test_truncated_videos_are_refused_even_where_they_decode(tmp_path, name, backend):
    options = {"movflags": "faststart"} if name == "faststart.mp4" else {}
    path = make_video(tmp_path / name, 60, codec=CODECS.get(name), texture=True, options=options)
    content = path.read_bytes()
    for share in (0.5, 0.7, 0.9):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(ClipError, match="truncated|can't be decoded") as refusal:
            read_clip(path)
        assert refusal.value.path == str(path)
        assert name in ("h264.mp4",) or "truncated" in refusal.value.reason


def make_sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


@BACKENDS
def test_every_kind_of_broken_input_has_its_reason(tmp_path, backend):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("this is not a video " * 100)
    (tmp_path / "folder.mp4").mkdir()
    make_sound(tmp_path / "sound.avi")
    video = make_video(tmp_path / "no frames.avi").read_bytes()
    (tmp_path / "no frames.avi").write_bytes(video[: video.index(b"movi") + 4])
    make_frame_folder(tmp_path / "mixed")
    Image.new("RGB", (10, 10)).save(tmp_path / "mixed" / "img_00002.jpg")
    make_frame_folder(tmp_path / "cut")
    image = tmp_path / "cut" / "img_00002.jpg"
    image.write_bytes(image.read_bytes()[:-200])
    os.mkfifo(tmp_path / "pipe.mp4")
    reasons = {
        "absent.mp4": "no such file",
        "empty.mp4": "the file is empty",
        "text.mp4": "can't be decoded",
        "folder.mp4": "is a folder without jpg or png frames",
        "sound.avi": "has no video",
        "no frames.avi": "holds no video frame",
        "mixed": "different sizes",
        "cut": "img_00002.jpg: can't be decoded",
        "pipe.mp4": "neither a file nor a folder",
    }
    for name, reason in reasons.items():
        with pytest.raises(ClipError, match=reason) as refusal:
            read_clip(tmp_path / name, T=12)
        assert str(refusal.value).startswith(str(tmp_path / name))
        assert len(str(refusal.value).splitlines()) == 1


def test_an_absurd_size_is_refused_before_decoding(tmp_path, monkeypatch):
    Image.new("1", (40_000, 1000)).save(tmp_path / "1.png")
    with pytest.raises(ClipError, match="40000 x 1000"):
        read_clip(tmp_path)
    monkeypatch.setattr(decoding, "MAX_PIXELS", 96 * 64 - 1)
    monkeypatch.setattr(decoding, "_read_with_pyav", lambda *_: pytest.fail("decoded"))
    monkeypatch.setattr(decoding, "_read_with_decord", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ClipError, match="96 x 64 pixels, the limit is 6,143"):
        read_clip(make_video(tmp_path / "a.mp4"))


def test_more_frames_than_the_limit_are_refused_before_decoding(tmp_path, monkeypatch):
    video = make_video(tmp_path / "a.mp4")  # 24 frames
    monkeypatch.setattr(decoding, "MAX_FRAMES", 24)
    assert len(read_clip(video)) == 8
    monkeypatch.setattr(decoding, "MAX_FRAMES", 23)
    monkeypatch.setattr(decoding, "_read_with_pyav", lambda *_: pytest.fail("decoded"))
    monkeypatch.setattr(decoding, "_read_with_decord", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ClipError, match="claims 24 frames, more than 23"):
        read_clip(video)


def test_a_file_without_permission(videos, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(videos["vp9.webm"]), "open", refuse)  # root may read everything, so chmod proves nothing
    with pytest.raises(ClipError, match="no permission"):
        read_clip(videos["vp9.webm"])


def test_a_clip_error_survives_the_way_out_of_a_worker():
    error = ClipError("a/b.mp4", "is truncated")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.path, copy.reason) == ("a/b.mp4: is truncated", "a/b.mp4", "is truncated")
    assert str(ClipError(str(error))) == str(error)  # as torch rebuilds it from its message
