"""Predictions for a few named clips, and the warning about unfamiliar ones."""

from __future__ import annotations

import pytest
import torch
from tiny_run import ColouredClips, tiny_backbone, tiny_episodes

from taskadapter_lite.evaluation import evaluate
from taskadapter_lite.metrics import METRICS, cosine_scores, otam_scores
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.prediction import Familiarity, predict


@pytest.fixture(scope="module")
def model():
    return TaskAdapterViT(tiny_backbone(), depth=1, T=3)


@pytest.fixture(scope="module")
def clips():
    return ColouredClips()


def test_scores_are_those_of_the_metric_where_shots_are_equal(model, clips):
    support, query = clips.read_batch([0, 1, 6, 7]), clips.read_batch([8, 2, 3])
    found = predict(model, support, [0, 0, 1, 1], query)
    features = model(torch.cat([support, query]), 4)
    expected = cosine_scores(features[:4].reshape(2, 2, *features.shape[1:]), features[4:])
    torch.testing.assert_close(found.scores, expected)
    assert found.labels.tolist() == [1, 0, 0]
    assert found.weights[1].shape == (3, 5, 2, 7, 7)


@pytest.mark.parametrize("name", ["centred", "ridge"])
def test_a_metric_that_looks_at_all_classes_is_given_them_at_once(model, clips, name):
    support, query = clips.read_batch([0, 1, 6, 12]), clips.read_batch([8, 2, 13])
    features = model(torch.cat([support, query]), 4)
    means = torch.stack([features[:2].mean(0), features[2], features[3]])[:, None]
    expected = METRICS[name].build(16, 3)(means, features[4:])
    torch.testing.assert_close(predict(model, support, [0, 0, 1, 2], query, name).scores, expected)


def test_a_class_with_more_clips_is_their_mean(model, clips):
    support, query = clips.read_batch([0, 6, 7, 8]), clips.read_batch([2])
    found = predict(model, support, torch.tensor([0, 1, 1, 1]), query, metric="otam")
    features = model(torch.cat([support, query]), 4)
    one = predict(model, support, torch.tensor([0, 1, 1, 1]), query, metric="cosine").scores[0, 1]
    mean = torch.stack([features[1], features[2], features[3]]).mean(0).mean(0)
    assert one == pytest.approx(torch.cosine_similarity(mean, features[4].mean(0), dim=0).item(), abs=1e-5)
    alone = torch.stack([otam_scores(features[k : k + 1, None], features[4:]) for k in (1, 2, 3)])
    torch.testing.assert_close(found.scores[:, 1:], alone.mean(0))  # OTAM averages the distances of its clips


def test_shots_are_brought_together_as_in_training(clips):
    model = TaskAdapterViT(tiny_backbone(), depth=1, T=3)
    support, query = clips.read_batch([0, 1, 6, 7]), clips.read_batch([8, 2])
    scores = {}
    for trained in (None, "prototype", "per_shot"):
        model.trained_with = trained and {"metric": "otam", "aggregation": trained, "temperature": 2.0}
        scores[trained] = predict(model, support, [0, 0, 1, 1], query, metric="otam").scores
    torch.testing.assert_close(scores[None], scores["per_shot"])
    assert (scores[None] - scores["prototype"]).abs().max() > 1e-5


@pytest.mark.parametrize("place", ["adapted", "input"])
def test_a_model_that_marks_classes_is_told_them_by_predict_and_by_evaluate(clips, place):
    torch.manual_seed(0)
    model = TaskAdapterViT(tiny_backbone(), depth=1, T=3, class_mark=True, temporal_embedding=place)
    for parameter in model.trainable_parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    episodes, scored = list(tiny_episodes(clips, 6, k_shot=2)), []

    def score(support, query):
        scored.append(torch.cat([support.flatten(1, 2), query], dim=1))
        return cosine_scores(support, query)

    evaluate(model, clips, episodes, score, progress=False)
    for e, features in zip(episodes, torch.cat(scored), strict=True):
        expected = model(clips.read_batch(e.clips), 6, n_way=3)
        found = predict(model, clips.read_batch(e.support), e.support_labels, clips.read_batch(e.query))
        torch.testing.assert_close(found.features, expected)
        torch.testing.assert_close(features, expected)
    for labels in ([0, 1, 0, 1], [0, 0, 0, 1]):
        with pytest.raises(ValueError, match="equally many, class after class"):
            predict(model, clips.read_batch([0, 1, 6, 7]), labels, clips.read_batch([8]))


def test_a_model_without_task_attention_has_no_weights(clips):
    frozen = TaskAdapterViT(tiny_backbone(), depth=0, T=3)
    assert predict(frozen, clips.read_batch([0, 6]), [0, 1], clips.read_batch([1])).weights == {}


@pytest.mark.parametrize(
    "labels, metric, n_query, word",
    [
        ([0, 0], "cosine", 1, "two classes"),
        ([0, 2], "cosine", 1, "left out"),
        ([0, 1], "trx", 1, "trx"),
        ([0, 1], "cosine", 0, "0 queries"),
    ],
)
def test_what_cannot_be_predicted_is_refused(model, clips, labels, metric, n_query, word):
    with pytest.raises(ValueError, match=word):
        predict(model, clips.read_batch([0, 6]), labels, clips.read_batch([1])[:n_query], metric)


def test_known_clips_are_familiar_and_checkerboards_are_not(model, clips):
    familiarity = Familiarity(model, clips)
    assert (familiarity.distances(clips.read_batch([0, 9])) < 1e-5).all()  # themselves
    assert (familiarity.distances(clips.read_batch([0, 9, 20], [0, 1, 2])) <= familiarity.limit).float().mean() > 0.6
    board = 255 * ((torch.arange(16)[:, None] + torch.arange(16)) % 2).to(torch.uint8)
    assert familiarity.distances(board.expand(1, 3, 3, 16, 16)) > familiarity.limit
    with pytest.raises(ValueError, match="2 known clips"):
        Familiarity(model, ColouredClips(1, 2))
