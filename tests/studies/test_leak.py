"""Queries in other mixes: which clips are tested together, and that an inductive scope doesn't care."""

import pytest
import torch

from taskadapter_lite.__main__ import main
from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.cache import PrefixCache
from taskadapter_lite.data.datasets import SpriteClips
from taskadapter_lite.episodes import EpisodeSampler, EpisodeSpec
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.results import RunResult
from taskadapter_lite.studies.leak import QUERY_MIXES, measure_leak, with_query_mix
from taskadapter_lite.training.checkpoints import save_checkpoint

CLIPS = SpriteClips("test", 8, T=2)
EPISODES = EpisodeSampler(CLIPS.labels, EpisodeSpec(), 4, seed=0)[:]


def random_model(scope: str, axes=("time", "space", "task", "joint")) -> TaskAdapterViT:
    torch.manual_seed(0)
    model = TaskAdapterViT(load_backbone(), depth=2, T=2, scope=scope, axes=axes)
    for parameter in model.trainable_parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.mark.parametrize("mix", QUERY_MIXES)
def test_supports_stay_and_queries_are_of_their_class_and_no_support_clips(mix):
    changed = with_query_mix(EPISODES, CLIPS.labels, mix)
    times = 5 if mix == "alone" else 1
    assert len(changed) == times * len(EPISODES)
    for number, episode in enumerate(changed):
        assert torch.equal(episode.support, EPISODES[number // times].support)
        assert not set(episode.query.tolist()) & set(episode.support.tolist())
        assert len(set(episode.query.tolist())) == len(episode.query) == (1 if mix == "alone" else 5)
        true = torch.tensor(CLIPS.labels)[episode.query]
        assert torch.equal(episode.classes[episode.query_labels], true)


def test_one_class_takes_the_classes_in_turn_and_holds_the_balanced_query():
    for number, episode in enumerate(with_query_mix(EPISODES, CLIPS.labels, "one class")):
        assert set(episode.query_labels.tolist()) == {number % 5}
        assert EPISODES[number].query[number % 5] in episode.query


def test_skewed_draws_repeat_and_differ_from_episode_to_episode():
    first, again = (with_query_mix(EPISODES, CLIPS.labels, "skewed") for _ in range(2))
    assert [e.query.tolist() for e in first] == [e.query.tolist() for e in again]
    assert len({tuple(e.query_labels.tolist()) for e in first}) > 1


def test_what_can_go_wrong_is_said():
    with pytest.raises(ValueError, match="mix is 'crowd'"):
        with_query_mix(EPISODES, CLIPS.labels, "crowd")
    with pytest.raises(ValueError, match="one query of each class"):
        with_query_mix(EpisodeSampler(CLIPS.labels, EpisodeSpec(n_query=2), 1, seed=0)[:], CLIPS.labels, "alone")
    few = SpriteClips("test", 3)
    with pytest.raises(ValueError, match="clips beside the episode's"):
        with_query_mix(EpisodeSampler(few.labels, EpisodeSpec(), 1, seed=0)[:], few.labels, "one class")


def answers(model, mix):
    """Features of each query of the first episode, by clip, in this mix."""
    found = {}
    for episode in with_query_mix(EPISODES[:1], CLIPS.labels, mix):
        with torch.no_grad():
            features = model(CLIPS.read_batch(episode.clips), len(episode.support))
        found |= dict(zip(episode.query.tolist(), features[len(episode.support) :], strict=True))
    return found


@pytest.mark.parametrize(("scope", "same"), [("inductive", True), ("split", False), ("joint", False)])
def test_company_matters_unless_the_scope_is_inductive(scope, same):
    model = random_model(scope)
    together, alone = answers(model, "balanced"), answers(model, "alone")
    assert together.keys() == alone.keys()
    assert all(torch.allclose(together[clip], alone[clip], atol=1e-4) for clip in together) == same


def test_inductive_accuracies_alone_are_the_balanced_ones():
    model = random_model("inductive")
    found = measure_leak(model, PrefixCache(model, CLIPS), EPISODES, seeds={"training": 3})
    assert [found[mix].name for mix in QUERY_MIXES] == [f"inductive, {mix}" for mix in QUERY_MIXES]
    assert sum(found["alone"].accuracies) / 20 == pytest.approx(sum(found["balanced"].accuracies) / 4)
    assert found["skewed"].seeds["training"] == 3


def test_command_writes_a_result_for_each_company_and_refuses_adapters_without_task_attention(tmp_path, capsys):
    torch.manual_seed(0)
    for name, axes in (("task", ("task", "joint")), ("time", ("time", "joint"))):
        model = TaskAdapterViT(load_backbone(), depth=1, scope="split", axes=axes)
        save_checkpoint(tmp_path / f"{name}.safetensors", model, metadata={"seed": 2})
    out = tmp_path / "leak"
    assert main(["leak", str(tmp_path / "task.safetensors"), "--n-episodes", "2", "--out", str(out)]) == 0
    results = [RunResult.load(file) for file in out.glob("split_*_1shot_seed2.json")]
    assert {result.metadata["company"] for result in results} == set(QUERY_MIXES)
    assert "split, one class" in capsys.readouterr().out
    assert main(["leak", str(tmp_path / "time.safetensors"), "--out", str(out)]) == 2
    assert "no task attention" in capsys.readouterr().err
