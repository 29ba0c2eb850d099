"""What holds for masks and metrics whatever the sizes and the features: examples are drawn, not chosen."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from taskadapter_lite.adapters import scope_mask
from taskadapter_lite.metrics import METRICS, bimhm_scores, otam_scores

ALL = list(METRICS)
PLAIN = [name for name in ALL if not METRICS[name].has_parameters]
CLOSE = {"rtol": 1e-3, "atol": 1e-4}
few = settings(max_examples=15, deadline=None, derandomize=True)  # the same examples in every run


@st.composite
def episodes(draw, shots=(1, 2, 3), scales=(1.0,)):
    """Support (n_way, k_shot, T, D) and query (Q, T, D) of random sizes, seeds and scales."""
    n_way, k_shot, Q = draw(st.integers(2, 5)), draw(st.sampled_from(shots)), draw(st.integers(1, 4))
    T, D = draw(st.integers(1, 4)), draw(st.integers(4, 8))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from(scales))
    support = scale * torch.randn(n_way, k_shot, T, D, generator=generator)
    return support, scale * torch.randn(Q, T, D, generator=generator)


def scorer(name, support, **options):
    torch.manual_seed(0)
    score = METRICS[name].build(support.shape[-1], support.shape[-2], **options)
    if name == "feat":
        torch.nn.init.normal_(score.out.weight)  # it starts as a plain metric
    return score


def order_of(n, data):
    return torch.tensor(data.draw(st.permutations(range(n))))


@pytest.mark.parametrize("name", ALL)
@few
@given(episodes(), st.data())
def test_permuted_classes_permute_the_scores(name, episode, data):
    (support, query), order = episode, order_of(len(episode[0]), data)
    score = scorer(name, support)
    with torch.no_grad():
        torch.testing.assert_close(score(support[order], query), score(support, query)[:, order], **CLOSE)


@pytest.mark.parametrize("name", ALL)
@few
@given(episodes(), st.data())
def test_permuted_queries_permute_the_rows(name, episode, data):
    (support, query), order = episode, order_of(len(episode[1]), data)
    score = scorer(name, support)
    with torch.no_grad():
        torch.testing.assert_close(score(support, query[order]), score(support, query)[order], **CLOSE)


@pytest.mark.parametrize("name", PLAIN)
@few
@given(episodes(shots=(1,)))
def test_with_one_shot_there_is_nothing_to_choose(name, episode):
    support, query = episode
    each, mean = (scorer(name, support, aggregation=way)(support, query) for way in ("per_shot", "prototype"))
    torch.testing.assert_close(each, mean)


@pytest.mark.parametrize("name", ALL)
@few
@given(episodes(scales=(0.01, 1.0, 100.0)))
def test_scores_of_random_features_are_finite(name, episode):
    support, query = episode
    with torch.no_grad():
        scores = scorer(name, support)(support, query)
    assert scores.shape == (len(query), len(support))
    assert scores.isfinite().all()


@pytest.mark.parametrize("name", PLAIN)
@few
@given(episodes(), st.integers(2, 3))
def test_each_shot_shown_again_changes_no_score_per_shot(name, episode, times):
    support, query = episode
    score = scorer(name, support, aggregation="per_shot")
    torch.testing.assert_close(score(support.repeat(1, times, 1, 1), query), score(support, query), **CLOSE)


@few
@given(episodes(shots=(2,)))
def test_per_shot_lies_between_its_shots(episode):
    support, query = episode
    for scores in (otam_scores, bimhm_scores):
        each = torch.stack([scores(support[:, k : k + 1], query) for k in range(2)])
        both = scores(support, query)
        assert (each.amin(0) - 1e-4 <= both).all()
        assert (both <= each.amax(0) + 1e-4).all()


@few
@given(st.integers(1, 12), st.integers(0, 12))
def test_scopes_say_who_sees_whom(n_support, n_query):
    """Rows look at columns: support with support in all three; a query never at another but in split and joint."""
    split, joint, inductive = (scope_mask(n_support, n_query, scope) for scope in ("split", "joint", "inductive"))
    shown, asked = slice(n_support), slice(n_support, None)
    assert joint.all()
    assert torch.equal(inductive[asked, asked], torch.eye(n_query, dtype=torch.bool))
    assert inductive[asked, shown].all()
    assert not split[asked, shown].any()
    assert split[asked, asked].all()
    for mask in (split, inductive):
        assert mask.shape == (n_support + n_query,) * 2
        assert mask[shown, shown].all()
        assert not mask[shown, asked].any()


@few
@given(st.integers(1, 8), st.integers(1, 8), st.data())
def test_a_mask_does_not_know_which_support_and_which_query(n_support, n_query, data):
    order = torch.cat([order_of(n_support, data), n_support + order_of(n_query, data)])
    for scope in ("split", "joint", "inductive"):
        mask = scope_mask(n_support, n_query, scope)
        assert torch.equal(mask[order][:, order], mask)
