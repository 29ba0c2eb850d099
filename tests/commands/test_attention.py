"""`attention`: the picture asks the model as it was trained."""

import pytest
import torch

from taskadapter_lite import bundled_clips, load_backbone, load_episodes, predict
from taskadapter_lite.__main__ import main
from taskadapter_lite.commands import attention
from taskadapter_lite.files import data_dir
from taskadapter_lite.model import TaskAdapterViT


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
        torch.testing.assert_close(attention.answer(model, clips, episode).scores, expected)


def test_the_first_episode_that_it_gets_right_is_drawn(model, episodes):
    clips = bundled_clips("test")
    model.trained_with = {"metric": "otam"}
    right = [int(attention.answer(model, clips, e).labels[0]) == int(e.query_labels[0]) for e in episodes]
    assert {True, False} <= set(right)
    assert attention.first_right(model, clips, episodes) is episodes[right.index(True)]
    wrong = [e for e, is_right in zip(episodes, right, strict=True) if not is_right]
    assert attention.first_right(model, clips, wrong) is wrong[0]


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
