"""data/which_attribute.py: a rule for each episode, nothing else to go by, and no value shared between parts."""

from itertools import product

import pytest
import torch

from taskadapter_lite.data.which_attribute import ATTRIBUTES, AttributeClips, AttributeEpisodes
from taskadapter_lite.episodes import EpisodeSpec

SPEC = EpisodeSpec(n_way=5, k_shot=1, n_query=1)


@pytest.fixture(scope="module")
def clips():
    return AttributeClips("test", n_draws=3)


@pytest.fixture(scope="module")
def two_rules(clips):
    return AttributeEpisodes(clips, SPEC, 400, seed=0)


def right_share(clips, episodes, weights):
    """Share of right answers of a metric that adds `weights` where an attribute agrees; ties count as a coin."""
    right = 0.0
    for episode in episodes:
        agrees = clips.values[episode.query][:, None] == clips.values[episode.support][None]  # (Q, n_way, 3)
        scores = (agrees * torch.tensor(weights)).sum(-1)
        best = scores == scores.amax(1, keepdim=True)
        right += (best[torch.arange(len(best)), episode.query_labels] / best.sum(1)).mean().item()
    return right / len(episodes)


def test_no_fixed_weighting_of_the_true_attributes_does_both_rules(clips, two_rules):
    grid = [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0]
    best = max(right_share(clips, two_rules, weights) for weights in product(grid, repeat=3))
    assert 0.4 < best < 0.5 + 3 * 0.5 / len(two_rules) ** 0.5


def test_with_one_rule_a_fixed_weighting_is_always_right(clips):
    plain = AttributeEpisodes(clips, SPEC, 50, seed=0, mix=0.0)
    assert right_share(clips, plain, [0.0, 1.0, 0.0]) == 1
    assert right_share(clips, plain, [0.0, 0.0, 1.0]) == 0


def test_the_rule_is_balanced_and_its_share_follows_the_dial(clips, two_rules):
    assert abs(sum(two_rules.rule_of(i) == "form" for i in range(400)) - 200) < 3 * 10
    half = AttributeEpisodes(clips, SPEC, 400, seed=0, mix=0.5)
    assert abs(sum(half.rule_of(i) == "form" for i in range(400)) - 100) < 3 * 9


@pytest.mark.parametrize("rules", [("colour", "form"), ("action", "colour", "form"), ("form", "action")])
def test_the_rule_alone_tells_the_classes_apart(clips, rules):
    episodes = AttributeEpisodes(clips, SPEC, 30, seed=1, rules=rules)
    for i, episode in enumerate(episodes):
        support, query = clips.values[episode.support], clips.values[episode.query]
        for a, name in enumerate(ATTRIBUTES):
            kinds = len(support[:, a].unique())
            if name == episodes.rule_of(i):
                assert kinds == 5
                assert (query[:, a] == support[:, a]).all()
                assert (episode.classes == support[:, a] + clips.offsets[a]).all()
            elif name in rules:
                assert kinds == 2
                assert (query[:, a] != support[:, a]).all()
                assert set(query[:, a].tolist()) == set(support[:, a].tolist())
            else:
                assert len(torch.cat([support, query])[:, a].unique()) == 1


def test_no_clip_twice_in_an_episode_with_shots_and_queries(clips):
    for episode in AttributeEpisodes(clips, EpisodeSpec(5, 3, 2), 50, seed=2):
        assert len(episode.clips.unique()) == 5 * 5
        assert episode.query_labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_an_episode_depends_on_seed_and_number_alone(clips):
    long, short = (AttributeEpisodes(clips, SPEC, n, seed=3) for n in (20, 5))
    for one, other in zip(long[:5], short, strict=True):
        assert torch.equal(one.clips, other.clips)
    assert not torch.equal(long[0].clips, long[1].clips)
    assert not torch.equal(long[0].clips, AttributeEpisodes(clips, SPEC, 20, seed=4)[0].clips)


def test_parts_share_no_value():
    parts = [AttributeClips(part) for part in ("train", "val", "test")]
    for kind in ("actions", "hues", "forms"):
        values = [set(getattr(part, kind)) for part in parts]
        assert not values[0] & values[1] | values[0] & values[2] | values[1] & values[2]
    every = [hue for part in parts for hue in part.hues]
    apart = [abs((a - b + 0.5) % 1 - 0.5) for a in every for b in every if a != b]
    assert min(apart) > 1 / 43


def test_a_clip_shows_its_values_and_depends_on_its_number_alone(clips):
    i = clips.find([3, 5, 2], 1)
    assert clips.values[i].tolist() == [3, 5, 2]
    alone, among = clips[i], clips.read_batch([0, i, 7])[1]
    assert torch.equal(alone, among)
    assert alone.shape == (8, 3, 64, 64)
    red, green, blue = (
        frames.float().flatten(1).amax(1).mean() for frames in clips[clips.find([3, 0, 2], 1)].unbind(1)
    )
    assert red > green > 0
    assert red > blue  # hue 0.048 of a turn: orange


def test_what_cannot_be_is_refused(clips):
    with pytest.raises(ValueError, match="rule 'size' is none of action, colour, form"):
        AttributeEpisodes(clips, SPEC, 1, 0, rules=("size",))
    with pytest.raises(ValueError, match="n_way is 9, but form has 8 values"):
        AttributeEpisodes(clips, EpisodeSpec(n_way=9), 1, 0)
    with pytest.raises(ValueError, match="mix 2"):
        AttributeEpisodes(clips, SPEC, 1, 0, mix=2)
    with pytest.raises(ValueError, match="part is"):
        AttributeClips("validation")
    with pytest.raises(ValueError, match="n_draws is 3, but 4 clips"):
        AttributeEpisodes(clips, EpisodeSpec(k_shot=4), 1, 0)[0]
