"""Labelled clips -> episodes."""

import json
import time
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from taskadapter_lite.episodes import (
    EpisodeSampler,
    EpisodeSpec,
    check_disjoint,
    episode_hash,
    load_episodes,
    save_episodes,
)

LABELS = [c for c in range(7) for _ in range(6)]  # 7 classes of 6 clips


def sampler(n_episodes=20, seed=0, labels=LABELS, **spec):
    return EpisodeSampler(labels, EpisodeSpec(**spec), n_episodes, seed)


def same(a, b):
    return all(torch.equal(getattr(a, k), getattr(b, k)) for k in a.__dataclass_fields__)


@pytest.mark.parametrize("n_way, k_shot, n_query", [(5, 1, 1), (2, 3, 3), (7, 1, 5)])
def test_an_episode_holds_what_its_size_says(n_way, k_shot, n_query):
    for episode in sampler(n_way=n_way, k_shot=k_shot, n_query=n_query):
        assert episode.shape == (n_way, k_shot, n_way * n_query)
        assert len(set(episode.clips.tolist())) == n_way * (k_shot + n_query)  # no clip is in both
        assert episode.support_labels.tolist() == [c for c in range(n_way) for _ in range(k_shot)]
        assert episode.query_labels.tolist() == [c for c in range(n_way) for _ in range(n_query)]
        for clip, label in zip(
            episode.clips.tolist(),
            episode.support_labels.tolist() + episode.query_labels.tolist(),
            strict=True,
        ):
            assert LABELS[clip] == episode.classes[label]


def test_episode_i_depends_on_seed_and_i_alone():
    whole = list(sampler(20, seed=3))
    assert all(same(whole[i], sampler(i + 1, seed=3)[i]) for i in (19, 0, 7))
    assert all(same(a, b) for a, b in zip(whole[5:9], sampler(20, seed=3)[5:9], strict=True))
    assert not same(whole[0], whole[1])
    assert not same(whole[0], sampler(20, seed=4)[0])


def test_every_class_and_clip_is_drawn_equally_often():
    """3,000 episodes of 5 of 7 classes: a class in 2143 +- 25, a clip in the support of 357 +- 18 (one deviation)."""
    support = torch.cat([e.support for e in sampler(3000)])
    classes = Counter(LABELS[i] for i in support.tolist())
    assert max(abs(classes[c] - 3000 * 5 / 7) for c in range(7)) < 5 * 25
    clips = Counter(support.tolist())
    assert max(abs(clips[i] - 3000 * 5 / 42) for i in range(42)) < 5 * 18


def test_labels_may_have_gaps():
    episode = sampler(labels=[9, 9, 4, 4, 4], n_way=2)[0]
    assert sorted(episode.classes.tolist()) == [4, 9]


def test_unbalanced_queries_keep_their_number_and_vary_in_shares():
    """With a concentration of 2 over 2 classes, shares are Beta(2, 2): variance 1/20, against 0 when balanced."""
    spec = {"n_way": 2, "k_shot": 1, "n_query": 2, "query_alpha": 2.0}
    counts = torch.stack([e.query_labels.bincount(minlength=2) for e in sampler(2000, **spec)]).float()
    assert (counts.sum(1) == 4).all()
    expected = 4 * 0.25 + 4 * 3 * 0.05  # of a Beta-binomial count: n p q + n (n - 1) var(share)
    assert counts[:, 0].var().item() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    "spec, words",
    [
        ({"n_way": 8}, "n_way is 8 but the labels hold 7 classes"),
        ({"k_shot": 4, "n_query": 3}, "class 0 needs 7 clips for k_shot=4 and n_query=3, and has 6"),
        ({"k_shot": 0}, "k_shot is 0"),
        ({"n_way": 1}, "n_way is 1"),
        ({"query_alpha": 0.0}, "concentration"),
        ({"n_query": 2, "query_alpha": 1.0}, "needs 11"),
    ],
)
def test_impossible_episodes_are_refused(spec, words):
    with pytest.raises(ValueError, match=words):
        sampler(**spec)


def test_a_refusal_names_the_class():
    with pytest.raises(ValueError, match=r"class 1 \(fall\) needs 2 clips for k_shot=1 and n_query=1, and has 1"):
        EpisodeSampler([0, 0, 1], EpisodeSpec(n_way=2), 1, 0, class_names=["rise", "fall"])


def test_drawing_is_quick():
    labels = [i // 100 for i in range(2400)]
    start = time.process_time()
    assert sum(1 for _ in sampler(2_000, labels=labels)) == 2_000
    assert time.process_time() - start < 1.5  # 0.2 s on an idle machine; the bound leaves room for a busy one


def test_overlapping_classes_are_refused():
    check_disjoint(train=["a", "b"], val=["c"], test=["d"])
    with pytest.raises(ValueError, match="train and test classes must not overlap, but both hold b"):
        check_disjoint(train=["a", "b"], val=["c"], test=["b"])
    with pytest.raises(ValueError, match=r"train and test .* both hold hand_stand \(spelled Hand Stand\)"):
        check_disjoint(train=["hand_stand", "+"], test=["Hand Stand", "-"])  # names of signs alone are not all one


def test_a_saved_list_comes_back_with_its_hash(tmp_path):
    path, episodes = tmp_path / "list.json", sampler(10, n_query=2)
    digest = save_episodes(path, episodes, LABELS)
    loaded = load_episodes(path, LABELS)
    assert all(same(a, b) for a, b in zip(loaded, episodes, strict=True))
    assert digest == episode_hash(loaded) == json.loads(path.read_text())["hash"]
    assert [p.name for p in tmp_path.iterdir()] == ["list.json"]  # nothing is left beside it


def test_the_hash_sees_order_and_content():
    episodes = list(sampler(3))
    assert len({episode_hash(e) for e in (episodes, episodes[::-1], episodes[:2], list(sampler(3, seed=1)))}) == 4


def test_lists_for_other_clips_are_refused(tmp_path):
    path = tmp_path / "list.json"
    save_episodes(path, sampler(2), SimpleNamespace(labels=LABELS, fingerprint="abc"))
    load_episodes(path, SimpleNamespace(labels=LABELS, fingerprint="abc"))
    for other in (SimpleNamespace(labels=LABELS, fingerprint="abd"), LABELS[::-1]):
        with pytest.raises(ValueError, match="other clips or labels"):
            load_episodes(path, other)


def test_damaged_and_newer_lists_are_refused(tmp_path):
    path = tmp_path / "list.json"
    save_episodes(path, sampler(2), LABELS)
    data = json.loads(path.read_text())
    first, second = data["episodes"][0][2][:2]
    swapped = data["episodes"][0][2][:]
    swapped[:2] = second, first
    for change, words in [
        ({"format": 99}, "format 99"),
        ({"episodes": [[*data["episodes"][0][:2], swapped], *data["episodes"][1:]]}, "damaged"),
        ({"episodes": [[[99, 1], [0], [1]]]}, "damaged"),
        ({"episodes": [[[0, 1], [0, 6], [10**6]]]}, "damaged"),
    ]:
        path.write_text(json.dumps({**data, **change}))
        with pytest.raises(ValueError, match=words):
            load_episodes(path, LABELS)
    path.write_text("[]")
    with pytest.raises(ValueError, match="not a list of episodes"):
        load_episodes(path, LABELS)


GROUPS = [i // 2 for i in range(len(LABELS))]  # each class has 3 groups of 2 clips


def test_support_and_query_of_a_class_share_no_group():
    for k_shot, n_query in ((1, 1), (2, 2), (2, 4), (4, 2), (3, 2)):
        spec = EpisodeSpec(n_way=3, k_shot=k_shot, n_query=n_query)
        for episode in EpisodeSampler(LABELS, spec, 100, 0, groups=GROUPS):
            assert episode.shape == (3, k_shot, 3 * n_query)
            assert len(set(episode.clips.tolist())) == len(episode.clips)
            for c in range(3):
                support = {GROUPS[i] for i in episode.support[episode.support_labels == c]}
                assert not support & {GROUPS[i] for i in episode.query[episode.query_labels == c]}


def test_clips_in_groups_of_their_own_are_drawn_as_without_groups():
    spec = EpisodeSpec(n_way=3, k_shot=2, n_query=2)
    plain, own = (EpisodeSampler(LABELS, spec, 30, 0, groups=g) for g in (None, range(len(LABELS))))
    assert episode_hash(plain) == episode_hash(own)


def test_grouped_episodes_depend_on_seed_and_i_alone():
    spec = EpisodeSpec(n_way=3, k_shot=2, n_query=2)
    short, long = (EpisodeSampler(LABELS, spec, n, 4, groups=GROUPS) for n in (5, 50))
    assert same(short[3], long[3])
    assert not same(long[3], long[4])


def test_a_class_whose_groups_cannot_be_shared_out_is_refused_by_name():
    names = [f"action {c}" for c in range(7)]
    with pytest.raises(ValueError, match=r"class 0 \(action 0\) has 6 clips of 3 groups; 3 support and 3 query"):
        EpisodeSampler(LABELS, EpisodeSpec(k_shot=3, n_query=3), 5, 0, names, GROUPS)
    with pytest.raises(ValueError, match="one group, but there are 42 clips, 1 groups"):
        EpisodeSampler(LABELS, EpisodeSpec(), 5, 0, groups=[0])


def test_labels_are_class_numbers():
    spec = EpisodeSpec(2, 1, 1)
    whole = EpisodeSampler([0.0, 0.0, 1.0, 1.0], spec, 2, 0)
    assert whole.labels.tolist() == [0, 0, 1, 1]
    assert torch.equal(whole[1].clips, EpisodeSampler([0, 0, 1, 1], spec, 2, 0)[1].clips)
    for wrong in (1.5, "1", "sit", None, -1, float("nan")):  # 1.5 was class 1, and "1" as well
        with pytest.raises(ValueError, match=f"a label is a class number, 0 or above, not {wrong!r}"):
            EpisodeSampler([0, 0, wrong, wrong], spec, 2, 0)


def test_episode_i_comes_from_seed_and_i_and_no_other_number():
    labels = [c for c in range(9) for _ in range(4)]
    sampler = EpisodeSampler(labels, EpisodeSpec(n_way=3, k_shot=2, n_query=1), 6, seed=11)
    for i in (0, 1, 5):
        rng = np.random.default_rng((11, i))
        classes = rng.permutation(9)[:3]
        drawn = [rng.permutation(range(4 * c, 4 * c + 4))[:3] for c in classes.tolist()]
        assert sampler[i].classes.tolist() == classes.tolist()
        assert sampler[i].support.tolist() == [clip for clips in drawn for clip in clips[:2].tolist()]
        assert sampler[i].query.tolist() == [int(clips[2]) for clips in drawn]
    assert torch.equal(sampler[-1].clips, sampler[5].clips)


def test_the_hash_sees_the_order_of_queries():
    (episode,) = EpisodeSampler([c for c in range(4) for _ in range(4)], EpisodeSpec(3, 1, 2), 1, seed=0)
    turned = replace(episode, query=episode.query[[1, 0, *range(2, 6)]])
    assert episode_hash([turned]) != episode_hash([episode])
