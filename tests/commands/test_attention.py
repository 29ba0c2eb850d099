"""`attention`: the picture asks the model as it was trained."""

import pytest
import torch
from made_videos import make_frame_folder

from taskadapter_lite import bundled_clips, load_backbone, load_episodes, predict
from taskadapter_lite.__main__ import main
from taskadapter_lite.commands import attention, build_parser
from taskadapter_lite.commands.shared.objects import open_clips
from taskadapter_lite.files import data_dir
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.studies import cross_video


@pytest.fixture(scope="module")
def episodes():
    return load_episodes(data_dir() / "episodes" / "test_5way_1shot.json", bundled_clips("test"))[:12]


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = TaskAdapterViT(load_backbone(), depth=2)
    for parameter in model.trainable_parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def test_the_model_is_asked_with_the_metric_that_it_was_trained_with(model, episodes):
    clips, episode = bundled_clips("test"), episodes[0]
    support, query = clips.read_batch(episode.support), clips.read_batch(episode.query)
    for trained_with, metric in (({"metric": "otam"}, "otam"), (None, "cosine"), ({"metric": "trx"}, "cosine")):
        model.trained_with = trained_with
        expected = predict(model, support, episode.support_labels, query, metric).scores
        torch.testing.assert_close(cross_video.answer(model, clips, episode).scores, expected)


def test_the_first_episode_that_it_gets_right_is_drawn(model, episodes):
    clips = bundled_clips("test")
    model.trained_with = {"metric": "otam"}
    right = [int(cross_video.answer(model, clips, e).labels[0]) == int(e.query_labels[0]) for e in episodes]
    assert {True, False} <= set(right)
    assert cross_video.first_right(model, clips, episodes) is episodes[right.index(True)]
    wrong = [e for e, is_right in zip(episodes, right, strict=True) if not is_right]
    assert cross_video.first_right(model, clips, wrong) is wrong[0]


@pytest.mark.parametrize(
    "words, named",
    [
        (["attention", "--episode", "9999"], "--episode is 9999"),
        (["attention", "--block", "0", "--episode", "0"], "block is 0"),
    ],
)
def test_mistakes_are_one_line_and_status_2(words, named, tmp_path, capsys):
    assert main([*words, "--device", "cpu", "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.strip()
    assert named in said
    assert len(said.splitlines()) == 1


def test_episodes_of_ones_own_clips_keep_to_the_part_and_the_groups(tmp_path):
    for part in ("train", "test"):
        for name in ("eat", "sit"):
            for i in range(3):
                make_frame_folder(tmp_path / part / f"{part} {name}" / f"user{i}", n_frames=2)
    words = ["attention", "--data", str(tmp_path), "--n-way", "2", "--groups", r"(user\d)", "--part", "train"]
    args = build_parser("attention").parse_args(words)
    clips = open_clips(args, args.part, 32)
    assert clips.class_names == ["train eat", "train sit"]
    drawn = attention.open_episodes(args, clips)
    assert len(drawn) == attention.N_EPISODES
    assert all(clips.groups[e.support[c]] != clips.groups[e.query[c]] for e in drawn for c in range(2))
    saved = attention.open_episodes(build_parser("attention").parse_args(["attention"]), bundled_clips("test"))
    assert len(saved) == 2000
