"""studies/attribute_controls.py: what each control changes, and that it changes nothing else."""

import pytest
import torch

from taskadapter_lite.adapters import Adapter
from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.cache import PrefixCache
from taskadapter_lite.data.which_attribute import ATTRIBUTES, AttributeClips, AttributeEpisodes, AttributePortraits
from taskadapter_lite.evaluation import evaluate
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.studies.attribute_controls import (
    beside_other_support,
    companions,
    each_clip_alone,
    no_look_misleads,
    one_query_alone,
    one_support_clip_replaced,
    without_task_attention,
)
from taskadapter_lite.studies.which_attribute import RULES, SPEC


@pytest.fixture(scope="module")
def episodes():
    return AttributeEpisodes(AttributePortraits("test"), SPEC, 20, 0, RULES)


def a_model(scope="split"):
    torch.manual_seed(0)
    model = TaskAdapterViT(load_backbone(), 2, T=1, axes=("space", "task", "joint"), scope=scope)
    for parameter in model.trainable_parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def test_queries_alone_are_the_same_questions(episodes):
    alone = one_query_alone(episodes[:3])
    assert len(alone) == 15
    assert torch.cat([e.query for e in alone]).tolist() == torch.cat([e.query for e in episodes[:3]]).tolist()
    assert all(torch.equal(alone[i].support, episodes[i // 5].support) for i in range(15))


def test_without_task_attention_no_clip_sees_another_and_the_model_stays():
    model = a_model()
    clips = torch.rand(4, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    before = model(clips, 2)
    off = without_task_attention(model)
    with torch.no_grad():
        together, apart = off(clips, 2), torch.cat([off(clips[:2], 2), off(clips[2:], 1)])
    torch.testing.assert_close(together, apart)
    assert (together - before).abs().max() > 0.1
    assert torch.equal(model(clips, 2), before)
    adapters = {name: module for name, module in off.named_modules() if isinstance(module, Adapter)}
    tokens = torch.rand(3, 128)
    silent = {name for name, adapter in adapters.items() if not adapter(tokens).any()}
    assert silent == {name for name in adapters if name.endswith(".task")}
    assert (len(silent), len(adapters)) == (2, 6)


def test_a_clip_alone_has_the_features_of_an_episode_of_its_own(episodes):
    """And those are others than in the task, and others than with silent adapters."""
    model, clips = a_model("inductive"), episodes.clips
    cache, few = PrefixCache(model, clips), episodes[:6]
    found = each_clip_alone(model, cache, few, batch_size=4)
    expected = []
    for e in few:
        with torch.no_grad():
            alone = torch.cat([model(clips[i][None], 1) for i in e.clips.tolist()])[:, 0]
        similar = torch.nn.functional.cosine_similarity(alone[5:, None], alone[None, :5], dim=-1)
        expected.append((similar.argmax(1) == e.query_labels).double().mean().item())
    assert found == pytest.approx(expected)
    assert found != [r for r in evaluate(model, cache, few, "cosine", progress=False).accuracies]


def test_a_replaced_support_clip_has_values_of_its_own_and_its_query_is_not_asked(episodes):
    values = episodes.clips.values
    for before, after in zip(episodes, one_support_clip_replaced(episodes), strict=True):
        assert after.support[1:].tolist() == before.support[1:].tolist()
        assert after.query.tolist() == before.query[1:].tolist()
        assert after.query_labels.tolist() == [1, 2, 3, 4]
        others = values[torch.cat([before.support, before.query])]
        for attribute in map(ATTRIBUTES.index, RULES):
            assert values[after.support[0], attribute] not in others[:, attribute]


def test_in_neutral_looks_only_the_action_is_shared():
    """Among tasks of three rules those about actions; their support shows one look, all their queries another."""
    episodes = AttributeEpisodes(AttributeClips("test"), SPEC, 30, 0, ("action", "colour", "form"))
    values, about_actions = episodes.clips.values, [i for i in range(30) if episodes.rule_of(i) == "action"]
    neutral = no_look_misleads(episodes)
    assert 3 < len(about_actions) == len(neutral) < 20
    for i, e in zip(about_actions, neutral, strict=True):
        before, after = (values[torch.cat([one.support, one.query])] for one in (episodes[i], e))
        assert torch.equal(before[:, 0], after[:, 0])
        assert torch.equal(after[:5, 0], after[5:, 0])
        for looks in (after[:5, 1:], after[5:, 1:]):
            assert (looks == looks[0]).all()
        assert (after[0, 1:] != after[5, 1:]).all()
        assert e.query_labels.tolist() == episodes[i].query_labels.tolist()


@pytest.mark.parametrize("same", [True, False])
def test_companions_have_the_rule_that_was_asked_for(episodes, same):
    found = companions(episodes, same)
    assert all(i != j and (episodes.rule_of(i) == episodes.rule_of(j)) == same for i, j in enumerate(found))
    one_rule = AttributeEpisodes(episodes.clips, SPEC, 5, 0, RULES, mix=0.0)
    if not same:
        with pytest.raises(ValueError, match="no episode beside number 0 has another rule"):
            companions(one_rule, same)


def test_queries_beside_another_support_are_compared_with_their_own(episodes):
    """By a loop over single tasks; and a model without task attention does not notice."""
    model = a_model("inductive").eval()
    cache = PrefixCache(model, episodes.clips)
    found = beside_other_support(model, cache, episodes, same_rule=False, batch_size=3)
    for i, j in list(enumerate(companions(episodes, False)))[:4]:
        own = model.adapt(cache.tokens(episodes[i].clips), 5)[:5, 0]
        seen = model.adapt(cache.tokens(torch.cat([episodes[j].support, episodes[i].query])), 5)[5:, 0]
        scores = torch.nn.functional.normalize(seen, dim=1) @ torch.nn.functional.normalize(own, dim=1).T
        assert found[i] == (scores.argmax(1) == torch.arange(5)).double().mean()
    off = without_task_attention(model)
    plain = evaluate(off, cache, episodes, "cosine", progress=False).accuracies
    assert beside_other_support(off, cache, episodes, same_rule=False) == plain
    assert found != plain
