"""datasets.py and labelled.py: labelled clips from folders, from the sample and from the renderer."""

import gc
import hashlib
import json
import os
import re

import numpy as np
import pytest
import torch
from made_videos import frame_numbers, make_frame_folder, make_video
from torch.utils.data import DataLoader

from taskadapter_lite import files as bundled
from taskadapter_lite.data import (
    ClipFolder,
    FileClips,
    FrameFolder,
    LabelledClips,
    SpriteClips,
    bundled_clips,
    data_dir,
    open_dataset,
    verify_bundled,
)
from taskadapter_lite.data.clips import read_clip, sample_frames
from taskadapter_lite.data.decoding import ClipError
from taskadapter_lite.episodes import EpisodeSampler, EpisodeSpec
from taskadapter_lite.sprites.render import ACTIONS, render_clips


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes with awkward names, three kinds of video, and what file managers leave behind."""
    root = tmp_path_factory.mktemp("videos")
    for name, videos in {"côté, à (gauche)": ["b 1.mp4", "a [2].avi"], "hand stand": ["c.webm", "10.mp4"]}.items():
        (root / name).mkdir()
        for video in videos:
            make_video(root / name / video, n_frames=16)
    (root / "hand stand" / "._c.webm").write_text("macOS twin")
    (root / "hand stand" / "notes.txt").write_text("no video")
    (root / ".ipynb_checkpoints").mkdir()
    return root


def test_a_folder_of_class_folders(folder):
    clips = ClipFolder(folder, T=4, size=32)
    assert clips.class_names == ["côté, à (gauche)", "hand stand"]
    assert clips.paths == [
        "côté, à (gauche)/a [2].avi",
        "côté, à (gauche)/b 1.mp4",
        "hand stand/10.mp4",
        "hand stand/c.webm",
    ]
    assert clips.labels == [0, 0, 1, 1]
    assert len(clips) == 4
    assert isinstance(clips, LabelledClips)
    torch.testing.assert_close(clips[1], read_clip(folder / clips.paths[1], 4, size=32), rtol=0, atol=0)
    assert torch.equal(clips[-1], clips[3])
    with pytest.raises(IndexError):
        clips[4]


def test_frame_folders(tmp_path):
    for name in ("jump", "run"):
        for clip in (1, 2):
            make_frame_folder(tmp_path / name / f"{clip}", 8 * clip, ".png" if clip == 1 else ".jpg")
    clips = FrameFolder(tmp_path, T=4)
    assert clips.paths == ["jump/1", "jump/2", "run/1", "run/2"]
    assert frame_numbers(clips[1]) == sample_frames(16, 4).tolist()


def test_views_depend_on_seed_clip_and_view_alone(folder):
    clips, same, other = (ClipFolder(folder, T=4, size=32, seed=seed) for seed in (0, 0, 1))
    other.read(0, view=7)  # what was read before does not matter
    for view in range(3):
        assert torch.equal(clips.read(2, view), same.read(2, view))
    views = {
        seed_view: data.read(2, seed_view[1]).numpy().tobytes()
        for data in (clips, other)
        for seed_view in [(data.seed, view) for view in range(4)]
    }
    assert len(set(views.values())) > 5
    assert torch.equal(clips.read(2), other.read(2))  # the middle frames have no seed


def test_batches_are_single_readings_stacked(folder):
    clips = ClipFolder(folder, T=4, size=32)
    assert torch.equal(clips.read_batch([3, 1]), torch.stack([clips[3], clips[1]]))
    views = clips.read_batch(torch.tensor([3, 1, 3]), views=torch.tensor([0, 1, 1]))
    assert torch.equal(views, torch.stack([clips.read(3, 0), clips.read(1, 1), clips.read(3, 1)]))
    with pytest.raises(ValueError):
        clips.read_batch([0, 1], views=[0])


def test_clips_of_different_sizes_need_a_common_one(tmp_path):
    (tmp_path / "a").mkdir()
    make_video(tmp_path / "a" / "1.mp4")
    make_video(tmp_path / "a" / "2.mp4", width=64)
    with pytest.raises(ValueError, match="64, 64.*64, 96.*size"):
        ClipFolder(tmp_path, T=2).read_batch([0, 1])
    assert ClipFolder(tmp_path, T=2, size=32).read_batch([0, 1]).shape == (2, 2, 3, 32, 32)


class Views(torch.utils.data.Dataset):
    def __init__(self, clips):
        self.clips = clips

    def __len__(self):
        return len(self.clips)

    def __getitem__(self, i):
        return self.clips.read(i, view=5)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_give_the_same_tensors(folder, start):
    clips = ClipFolder(folder, T=4, size=32)
    here = torch.stack([clips.read(i, view=5) for i in range(len(clips))])  # decoders have run in the parent, too
    gc.collect()  # encoders of other tests hold threads that a forked worker could not end
    n_workers = 2 if start == "fork" else 1  # a spawned worker imports everything anew
    loader = DataLoader(Views(clips), batch_size=2, num_workers=n_workers, multiprocessing_context=start, timeout=300)
    assert torch.equal(torch.cat(list(loader)), here)


def test_a_worker_hands_the_clip_error_on(tmp_path, folder):
    clips = FileClips(folder, ["hand stand/10.mp4", "hand stand/absent.mp4"], [0, 0], ["hand stand"], T=4)
    loader = DataLoader(clips, num_workers=1, multiprocessing_context="fork", timeout=300)
    with pytest.raises(ClipError, match="absent.mp4: no such file"):
        list(loader)


def test_a_subset_is_renumbered_in_the_order_given(folder):
    clips = ClipFolder(folder, T=4)
    subset = clips.subset(["hand stand", "côté, à (gauche)"])
    assert subset.labels == [1, 1, 0, 0]
    assert clips.labels == [0, 0, 1, 1]
    assert clips.subset(["hand stand"]).paths == ["hand stand/10.mp4", "hand stand/c.webm"]
    with pytest.raises(ValueError, match="'walk'"):
        clips.subset(["walk"])


def test_the_fingerprint_tells_data_sets_apart():
    def clips(paths=("a/1", "b/1"), labels=(0, 1), names=("a", "b")):
        return LabelledClips(paths, labels, names)

    prints = {clips().fingerprint, clips(paths=("a/1", "b/2")).fingerprint, clips(labels=(1, 0)).fingerprint}
    prints.add(clips(names=("a", "c")).fingerprint)
    assert len(prints) == 4
    assert clips().fingerprint == clips().fingerprint


def test_skipped_clips_are_listed_and_never_replaced(folder, tmp_path):
    (tmp_path / "jump").mkdir()
    make_video(tmp_path / "jump" / "good.mp4")
    (tmp_path / "jump" / "bad.mp4").write_text("not a video")
    clips = ClipFolder(tmp_path, T=4, on_error="skip")
    assert clips.paths == ["jump/good.mp4"]
    assert clips.labels == [0]
    assert [path for path, _ in clips.skipped] == ["jump/bad.mp4"]
    with pytest.raises(ClipError, match="bad.mp4"):
        ClipFolder(tmp_path, T=4)[0]
    with pytest.raises(ValueError, match="jump"):  # one clip is left, an episode takes two
        EpisodeSampler(clips.labels + [1, 1], EpisodeSpec(2, 1, 1), 1, 0, class_names=["jump", "sit"])
    (tmp_path / "jump" / "good.mp4").unlink()
    with pytest.raises(ValueError, match="class 'jump' has no readable clip left"):
        ClipFolder(tmp_path, T=4, on_error="skip")
    with pytest.raises(ValueError, match="ignore"):
        ClipFolder(tmp_path, on_error="ignore")


def test_paths_stay_inside_the_root(folder, tmp_path):
    secret = make_video(tmp_path / "secret.mp4")
    root = tmp_path / "root"
    (root / "jump").mkdir(parents=True)
    os.symlink(secret, root / "jump" / "link.mp4")
    for path in ("../secret.mp4", str(secret), "jump/../../secret.mp4", "jump/link.mp4"):
        with pytest.raises(ValueError, match="allow_outside"):
            FileClips(root, [path], [0], ["jump"])
        assert FileClips(root, [path], [0], ["jump"], T=2, allow_outside=True)[0].shape == (2, 3, 64, 96)
    with pytest.raises(ValueError, match="allow_outside"):
        ClipFolder(root)


def test_folders_that_hold_no_classes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no folder"):
        ClipFolder(tmp_path / "absent")
    with pytest.raises(ValueError, match="no class folders"):
        ClipFolder(tmp_path)
    with pytest.raises(ValueError, match="'walk'"):
        ClipFolder(tmp_path, class_names=["walk"])


def test_rendered_clips_are_the_renderer_s():
    clips = SpriteClips("val", clips_per_class=3, T=4, seed=2, size=32)
    names = [name for name, action in ACTIONS.items() if action.split == "val"]
    assert clips.class_names == names
    assert clips.labels == [label for label in range(len(names)) for _ in range(3)]
    video = render_clips(names[1], [2], seed=2, n_frames=16, size=32)[0]
    assert torch.equal(clips[5], video[sample_frames(16, 4)])
    batch = clips.read_batch([5, 0, 5], views=[0, 3, 1])
    assert torch.equal(batch, torch.stack([clips.read(5, 0), clips.read(0, 3), clips.read(5, 1)]))
    assert torch.equal(clips.subset([names[1]])[2], clips[5])
    assert clips.fingerprint != SpriteClips("val", 3, seed=3, size=32).fingerprint
    with pytest.raises(ValueError, match="'dev'"):
        SpriteClips("dev", 3)


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """A bundled sample of three clips and one other file."""
    entries = []
    for path, name, split in [
        ("clips/train/a/000.mp4", "a", "train"),
        ("clips/train/b/000.mp4", "b", "train"),
        ("clips/test/c/000.mp4", "c", "test"),
    ]:
        (tmp_path / path).parent.mkdir(parents=True)
        make_video(tmp_path / path, n_frames=16, width=64)
        entries.append({"path": path, "class": name, "split": split})
    (tmp_path / "weights.safetensors").write_bytes(b"weights")
    files = [{"path": "weights.safetensors"}]
    for entry in entries + files:
        content = (tmp_path / entry["path"]).read_bytes()
        entry |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest = {"format": 1, "clips": entries, "files": files}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setenv("TASKADAPTER_DATA", str(tmp_path))
    return tmp_path


def test_the_bundled_sample(sample):
    assert data_dir() == sample
    verify_bundled()
    clips = bundled_clips("train", T=4)
    assert clips.class_names == ["a", "b"]
    assert frame_numbers(clips[1]) == sample_frames(16, 4).tolist()
    with pytest.raises(ValueError, match="'dev'"):
        bundled_clips("dev")


@pytest.mark.parametrize("path", ["clips/train/b/000.mp4", "weights.safetensors"])
def test_damage_to_the_sample_is_found_at_any_byte(sample, path):
    intact = (sample / path).read_bytes()
    for position in (0, len(intact) // 2, len(intact) - 1):
        damaged = bytearray(intact)
        damaged[position] ^= 1
        (sample / path).write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{path} is damaged.*git checkout"):
            verify_bundled()
    (sample / path).write_bytes(intact[:-1])
    with pytest.raises(ValueError, match=f"{len(intact) - 1} bytes instead of {len(intact)}"):
        verify_bundled()
    (sample / path).unlink()
    with pytest.raises(ValueError, match=f"{path} is missing"):
        verify_bundled()


def test_a_bad_manifest_is_refused_in_one_sentence(sample):
    manifest = sample / "manifest.json"
    good = json.loads(manifest.read_text())
    for content, reason in [("{", "is damaged"), ("[]", "is damaged"), ('{"format": 2}', "format 2")]:
        manifest.write_text(content)
        with pytest.raises(ValueError, match=reason):
            bundled_clips("train")
    good["clips"][0]["path"] = "../elsewhere.mp4"
    manifest.write_text(json.dumps(good))
    with pytest.raises(ValueError, match="outside"):
        bundled_clips("train")
    with pytest.raises(ValueError, match="outside"):
        verify_bundled()
    manifest.unlink()
    with pytest.raises(ValueError, match="can't be read.*git checkout"):
        bundled_clips("train")


def test_the_sample_lies_beside_the_package(monkeypatch):
    monkeypatch.delenv("TASKADAPTER_DATA", raising=False)
    assert data_dir() == bundled.Path(bundled.__file__).parents[1] / "data_samples"


@pytest.mark.parametrize(
    "labels", [[0.0, 1.0], [torch.tensor(0), torch.tensor(1)], torch.tensor([0, 1]), np.array([0.0, 1])]
)
def test_whole_numbers_of_any_kind_are_labels(labels):
    clips = LabelledClips(["a/1", "b/1"], labels, ["a", "b"])
    assert clips.labels == [0, 1]
    assert all(type(label) is int for label in clips.labels)
    assert clips.fingerprint == LabelledClips(["a/1", "b/1"], [0, 1], ["a", "b"]).fingerprint


@pytest.mark.parametrize("wrong", [0.5, "0", "a", None, -1, 2, float("nan"), float("inf"), [0], np.str_("1")])
def test_other_labels_are_refused_in_a_sentence(wrong):
    with pytest.raises(ValueError, match=f"a label is a class number, 0 to 1 .*{re.escape(repr(wrong))}"):
        LabelledClips(["a/1", "b/1"], [0, wrong], ["a", "b"])


def test_groups_follow_their_clips(tmp_path):
    for name in ("eat/v_eat_g01_c01", "eat/v_eat_g01_c02", "eat/v_eat_g02_c01", "sit/v_sit_g07_c01"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        make_video(tmp_path / f"{name}.mp4", n_frames=2)
    assert ClipFolder(tmp_path).groups is None
    clips = ClipFolder(tmp_path, groups=r"_(g\d+)_c")
    assert clips.groups == ["g01", "g01", "g02", "g07"]
    assert clips.fingerprint == ClipFolder(tmp_path).fingerprint
    assert clips.subset(["sit"]).groups == ["g07"]
    assert ClipFolder(tmp_path, groups=[5, 5, 6, 7]).groups == [5, 5, 6, 7]
    (tmp_path / "eat" / "v_eat_g01_c02.mp4").write_text("broken")
    assert ClipFolder(tmp_path, groups=r"_(g\d+)_c", on_error="skip").groups == ["g01", "g02", "g07"]
    for pattern, reason in [
        ("_(g0[12])_", "not found in the path 'sit/v_sit_g07_c01.mp4'"),
        ("g", "one group"),
        ("(g)(0)", "one group"),
        ("(", "one group"),
    ]:
        with pytest.raises(ValueError, match=reason):
            ClipFolder(tmp_path, groups=pattern)
    with pytest.raises(ValueError, match="4 paths and 2 groups"):
        ClipFolder(tmp_path, groups=["a", "b"])


def test_recordings_of_published_data_sets_are_told_by_their_names(tmp_path):
    for folder, name in [
        ("clips/Archery", "v_Archery_g03_c02.avi"),
        ("films/fencing", "American_History_X_fencing_u_nm_np1_fr_med_14.avi"),
        ("films/fencing", "(HD)_Die_Another_Day_2_fencing_f_cm_np2_ri_goo_0.avi"),
    ]:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / name).touch()
    (tmp_path / "ucf.txt").write_text("Archery/v_Archery_g03_c02.avi 1")
    assert open_dataset(tmp_path / "clips", "ucf101", lists=[tmp_path / "ucf.txt"]).groups == ["g03"]
    listed = [f"fencing/{path.name}" for path in sorted((tmp_path / "films" / "fencing").iterdir())]
    (tmp_path / "films.txt").write_text("\n".join(listed))
    films = open_dataset(tmp_path / "films", "hmdb51", lists=[tmp_path / "films.txt"])
    assert films.groups == ["(HD)_Die_Another_Day_2_fencing", "American_History_X_fencing"]
    assert open_dataset(tmp_path / "films", "hmdb51", lists=[tmp_path / "films.txt"], groups=None).groups is None
    assert open_dataset(tmp_path / "films", lists=[tmp_path / "films.txt"]).groups is None
    (tmp_path / "films" / "fencing" / "my own.avi").touch()
    (tmp_path / "films.txt").write_text("\n".join([*listed, "fencing/my own"]))
    assert open_dataset(tmp_path / "films", "hmdb51", lists=[tmp_path / "films.txt"]).groups is None
