"""data/which_attribute.py: a rule for each episode, nothing else to go by, and no value shared between parts."""

import re
from itertools import product

import pytest
import torch
import torch.nn.functional as F

from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.cache import PrefixCache
from taskadapter_lite.data.which_attribute import ATTRIBUTES, AttributeClips, AttributeEpisodes, AttributePortraits
from taskadapter_lite.episodes import EpisodeSpec
from taskadapter_lite.metrics import cosine_scores
from taskadapter_lite.model import TaskAdapterViT

SPEC = EpisodeSpec(n_way=5, k_shot=1, n_query=1)


@pytest.fixture(scope="module")
def clips():
    return AttributeClips("test", n_draws=3)


@pytest.fixture(scope="module")
def placed():
    return AttributeClips("test", n_draws=3, n_actions=9, places=True)


@pytest.fixture(scope="module")
def two_rules(clips):
    return AttributeEpisodes(clips, SPEC, 400, seed=0)


def right_share(clips, episodes, weights):
    """Share of right answers of a metric that adds `weights` where an attribute agrees; ties count as a coin."""
    drawn = episodes[:]
    query, support, labels = (
        torch.stack([getattr(e, name) for e in drawn]) for name in ("query", "support", "query_labels")
    )
    agrees = clips.values[query][:, :, None] == clips.values[support][:, None]  # (E, Q, n_way, attributes)
    scores = (agrees * torch.tensor(weights)).sum(-1)
    best = scores == scores.amax(-1, keepdim=True)
    return (best.gather(-1, labels[..., None])[..., 0] / best.sum(-1)).mean().item()


def test_no_fixed_weighting_of_the_true_attributes_does_both_rules(clips, two_rules):
    grid = [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0]
    drawn = two_rules[:]
    best = max(right_share(clips, drawn, weights) for weights in product(grid, repeat=3))
    assert 0.4 < best < 0.5 + 3 * 0.5 / len(two_rules) ** 0.5


def test_nor_does_one_do_four_rules(placed):
    drawn = AttributeEpisodes(placed, SPEC, 400, seed=0, rules=ATTRIBUTES)[:]
    best = max(right_share(placed, drawn, weights) for weights in product([0.0, 0.2, 0.5, 0.7, 1.0], repeat=4))
    assert 0.18 < best < 0.25 + 3 * 0.5 / 400**0.5


def test_with_one_rule_a_fixed_weighting_is_always_right(clips):
    plain = AttributeEpisodes(clips, SPEC, 50, seed=0, mix=0.0)
    assert right_share(clips, plain, [0.0, 1.0, 0.0]) == 1
    assert right_share(clips, plain, [0.0, 0.0, 1.0]) == 0


def test_in_neutral_episodes_nothing_misleads_and_their_share_is_as_asked(clips, two_rules):
    half = AttributeEpisodes(clips, SPEC, 400, seed=0, neutral=0.5)
    neutral = 0
    for i in range(400):
        assert half.rule_of(i) == two_rules.rule_of(i)
        other = ATTRIBUTES.index("form" if half.rule_of(i) == "colour" else "colour")
        support, query = (clips.values[numbers, other].unique() for numbers in (half[i].support, half[i].query))
        if len(support) == 1:
            neutral += 1
            assert len(query) == 1
            assert support != query
        else:
            assert sorted(support) == sorted(query)
    assert abs(neutral - 200) < 3 * 10
    assert right_share(clips, AttributeEpisodes(clips, SPEC, 50, seed=0, neutral=1.0), [0.0, 0.5, 0.5]) == 1
    of_form = AttributeEpisodes(clips, SPEC, 400, seed=0, neutral={"form": 0.5})
    neutral = 0
    for i in range(400):
        kinds = len(clips.values[of_form[i].support, 1].unique())
        if of_form.rule_of(i) == "colour":
            assert torch.equal(of_form[i].clips, two_rules[i].clips)  # those are as without
        else:
            neutral += kinds == 1
    assert abs(neutral - 100) < 3 * 9


def test_the_rule_is_balanced_and_its_share_follows_the_dial(clips, two_rules):
    assert abs(sum(two_rules.rule_of(i) == "form" for i in range(400)) - 200) < 3 * 10
    half = AttributeEpisodes(clips, SPEC, 400, seed=0, mix=0.5)
    assert abs(sum(half.rule_of(i) == "form" for i in range(400)) - 100) < 3 * 9


@pytest.mark.parametrize(
    "rules", [("colour", "form"), ("action", "colour", "form"), ("form", "action"), ("place", "form"), ATTRIBUTES]
)
def test_the_rule_alone_tells_the_classes_apart(placed, rules):
    clips, episodes = placed, AttributeEpisodes(placed, SPEC, 30, seed=1, rules=rules)
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


@pytest.mark.parametrize("rules", [("form",), ("colour", "form"), ("action", "colour", "form"), ATTRIBUTES])
@pytest.mark.parametrize(("n_way", "k_shot", "n_query"), [(3, 2, 1), (2, 1, 2), (7, 1, 1)])
def test_way_shot_and_number_of_rules_are_free(placed, rules, n_way, k_shot, n_query):
    clips = placed
    episodes = AttributeEpisodes(clips, EpisodeSpec(n_way, k_shot, n_query), 20, seed=5, rules=rules)
    assert {episodes.rule_of(i) for i in range(20)} == set(rules)
    for i, episode in enumerate(episodes):
        assert episode.support_labels.tolist() == [c for c in range(n_way) for _ in range(k_shot)]
        support = clips.values[episode.support].unflatten(0, (n_way, k_shot))
        query = clips.values[episode.query].unflatten(0, (n_way, n_query))
        assert (support == support[:, :1]).all()  # shots of a class agree in every attribute
        assert (query == query[:, :1]).all()
        for a, name in enumerate(ATTRIBUTES):
            agree = (query[:, None, 0, a] == support[None, :, 0, a]).int()  # (query's class, class)
            if name == episodes.rule_of(i):
                assert torch.equal(agree, torch.eye(n_way, dtype=torch.int32))
            elif name in rules:
                assert not agree.diagonal().any()
                assert agree.any(1).all()  # but another class shows it
            else:
                assert agree.all()


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
    parts = [AttributeClips(part, places=True) for part in ("train", "val", "test")]
    for kind in ("actions", "hues", "forms", "places"):
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


def test_a_clip_acts_around_its_place_and_its_action_needs_less_room(placed):
    """Where the pixels change: the middle of that, over clips of one place, is the place."""
    assert placed.sizes == (9, 14, 8, 8)
    assert placed.class_names[placed.offsets[3]] == "place at 30 degrees"
    for place in range(0, 8, 3):
        numbers = [placed.find([action, hue, 5, place], 0) for action in range(4) for hue in range(0, 14, 3)]
        clips = placed.read_batch(numbers).float()
        moved = (clips - clips.median(dim=1, keepdim=True).values).abs().sum(2).amax(1)  # (clips, 64, 64)
        where = (moved > 60).float().mean(0)
        axis = (torch.arange(64) + 0.5) / 32 - 1
        x, y = (where.sum(0) * axis).sum() / where.sum(), (where.sum(1) * axis).sum() / where.sum()
        torch.testing.assert_close(torch.stack([x, y]), torch.tensor(placed.places[place]).float(), atol=0.12, rtol=0)
    assert placed.fingerprint != AttributeClips("test", n_draws=3, n_actions=9).fingerprint


def test_query_and_support_never_share_a_clip(two_rules):
    for episode in two_rules:
        assert not set(episode.support.tolist()) & set(episode.query.tolist())


def test_a_portrait_shows_its_values_alone_and_depends_on_its_number():
    pool = AttributePortraits("test", n_draws=2)
    assert pool.sizes == (1, 14, 8)
    assert len(pool) == 224
    i = pool.find([0, 3, 5], 1)
    assert torch.equal(pool[i], pool.read_batch([0, i, 7])[1])
    assert torch.equal(pool[i], pool.read(i, view=4))
    assert pool[i].shape == (1, 3, 64, 64)
    assert (pool[i][0, :, 0] == 200).all()  # nothing but the thing on grey
    assert not torch.equal(pool[i], pool[i - 1])  # another draw of the same values
    covered = (pool[i][0] != 200).any(0).float().mean()
    assert 0.05 < covered < 0.6
    same_hue, other_hue = pool[pool.find([0, 3, 6], 0)], pool[pool.find([0, 10, 5], 0)]

    def share(clip):  # of the colour, where the thing is
        thing = clip[0].float()[:, (clip[0] != 200).any(0)].sum(1)
        return thing / thing.sum()

    assert (share(pool[i]) - share(same_hue)).abs().max() < 0.1 < (share(pool[i]) - share(other_hue)).abs().max()
    assert pool.fingerprint != AttributeClips("test", 2, 1, 1).fingerprint


def test_the_recipe_of_the_docstring_learns():
    """Its own lines, with a few steps on two rules that a fixed metric can't do both."""
    (text,) = re.findall(r"::\n\n(.*?)\n\n", AttributePortraits.__doc__, re.DOTALL)
    torch.manual_seed(0)
    model = TaskAdapterViT(load_backbone(), 2, T=1, axes=("space", "task", "joint"))
    optimiser = torch.optim.AdamW(model.trainable_parameters(), 3e-3)
    losses = []

    class Recorder:
        def __getattr__(self, name):
            return getattr(F, name)

        def cross_entropy(self, *args):
            loss = F.cross_entropy(*args)
            losses.append(loss.item())
            return loss

    names = {"model": model, "optimiser": optimiser, "F": Recorder(), "torch": torch, "PrefixCache": PrefixCache}
    names |= {"AttributePortraits": AttributePortraits, "AttributeEpisodes": AttributeEpisodes}
    names |= {"EpisodeSpec": EpisodeSpec, "cosine_scores": cosine_scores}
    exec(re.sub(r"^        ", "", text, flags=re.MULTILINE).replace("750", "25"), names)
    assert len(losses) == 25
    assert sum(losses[-5:]) < sum(losses[:5]) - 0.5


def test_what_cannot_be_is_refused(clips):
    with pytest.raises(ValueError, match="rule 'size' is none of action, colour, form, place"):
        AttributeEpisodes(clips, SPEC, 1, 0, rules=("size",))
    with pytest.raises(ValueError, match="give AttributeClips places=True"):
        AttributeEpisodes(clips, SPEC, 1, 0, rules=("colour", "place"))
    with pytest.raises(ValueError, match="n_way is 9, but form has 8 values"):
        AttributeEpisodes(clips, EpisodeSpec(n_way=9), 1, 0)
    with pytest.raises(ValueError, match="mix 2"):
        AttributeEpisodes(clips, SPEC, 1, 0, mix=2)
    with pytest.raises(ValueError, match="neutral -1"):
        AttributeEpisodes(clips, SPEC, 1, 0, neutral=-1)
    with pytest.raises(ValueError, match="neutral names 'action', which is none of the rules colour, form"):
        AttributeEpisodes(clips, SPEC, 1, 0, neutral={"action": 0.5})
    with pytest.raises(ValueError, match="part is"):
        AttributeClips("validation")
    with pytest.raises(ValueError, match="n_draws is 3, but 4 clips"):
        AttributeEpisodes(clips, EpisodeSpec(k_shot=4), 1, 0)[0]
    with pytest.raises(ValueError, match="n_draws is 3, but 4 clips"):  # one rule: a query shows what its class shows
        AttributeEpisodes(clips, EpisodeSpec(k_shot=1, n_query=3), 1, 0, rules=("form",))[0]
