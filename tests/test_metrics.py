"""Frame features of support and query -> scores."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from waves import check, wave

from taskadapter_lite.metrics import (
    METRICS,
    TRX,
    alignment,
    bimhm_distances,
    bimhm_scores,
    centred_scores,
    cosine_scores,
    euclidean_scores,
    frame_distances,
    otam_distances,
    otam_minus_mean_scores,
    otam_scores,
    ridge_scores,
    scores_of,
)

ALL = list(METRICS)
PLAIN = [name for name in ALL if not METRICS[name].has_parameters]


def features(n_way=3, k_shot=2, Q=5, T=4, D=6, seed=0, lead=()):
    generator = torch.Generator().manual_seed(seed)
    support = torch.randn(*lead, n_way, k_shot, T, D, generator=generator)
    return support, torch.randn(*lead, Q, T, D, generator=generator)


def scorer(name, T=4, D=6, **options):
    torch.manual_seed(0)
    return METRICS[name].build(D, T, **options)


# ---- worked by hand


def test_cosine_by_hand():
    """Time means: query (1, 1), classes (2, 0) and (-1, -1). Cosines 1 / sqrt(2) and -1; lengths don't matter."""
    query = torch.tensor([[[0.0, 2.0], [2.0, 0.0]]])
    support = torch.tensor([[[[4.0, 1.0], [0.0, -1.0]]], [[[-1.0, -1.0], [-1.0, -1.0]]]])
    torch.testing.assert_close(cosine_scores(support, query), torch.tensor([[1 / math.sqrt(2), -1.0]]))


def test_euclid_by_hand():
    """Query mean (1, 1); shots with means (1, 0) and (1, 4): prototype (1, 2) at 1, shots at 1 and 9, mean 5."""
    query = torch.tensor([[[0.0, 2.0], [2.0, 0.0]]])
    support = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]], [[1.0, 3.0], [1.0, 5.0]]]])
    assert euclidean_scores(support, query).item() == -1.0
    assert euclidean_scores(support, query, "per_shot").item() == -5.0


def test_averaging_comes_before_normalising():
    """Frames (10, 0) and (0, 1): the mean points along (10, 1), not along the diagonal."""
    query = torch.tensor([[[10.0, 0.0], [0.0, 1.0]]])
    support = torch.tensor([[[[1.0, 1.0], [1.0, 1.0]]]])
    assert cosine_scores(support, query).item() == pytest.approx(11 / math.sqrt(101 * 2))


def test_otam_by_hand():
    """d = [[0, 1], [1, 0]]: 2 columns, steps 0 or 1 row. Stay in row 0: 0 + 1; in row 1: 1 + 0; advance: 0 + 0 = 0.

    With a reversed clip, d = [[1, 0], [0, 1]]: stay costs 1 in either row, advancing 2; the best is 1.
    """
    forward, backward = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert otam_distances(forward, gamma=1e-3).item() == pytest.approx(0, abs=0.01)
    assert otam_distances(backward, gamma=1e-3).item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("gamma, expected", [(0.1, 3.25), (0.5, 0.11), (1e-3, 4.0)])
def test_otam_of_constant_distances(gamma, expected):
    """d = 0.5 everywhere, T = 8: the true cost is 8 x 0.5 = 4; the softened one is below (values of a public code)."""
    assert otam_distances(torch.full((8, 8), 0.5), gamma).item() == pytest.approx(expected, abs=0.01)


def test_bimhm_by_hand():
    """d = [[0, 1], [.5, .25]]: rows have minima 0 and .25, columns 0 and .25: .125 + .125."""
    assert bimhm_distances(torch.tensor([[0.0, 1.0], [0.5, 0.25]])).item() == 0.25


# ---- independent oracles


@pytest.mark.parametrize("T", range(1, 7))
def test_otam_is_the_best_of_all_alignments(T):
    """Brute force over all maps p from columns to rows with steps 0 or 1."""
    d = torch.rand(T, T, generator=torch.Generator().manual_seed(T))
    best = min(
        sum(d[p, m].item() for m, p in enumerate(itertools.accumulate(steps, initial=start)))
        for start in range(T)
        for steps in itertools.product((0, 1), repeat=T - 1)
        if start + sum(steps) < T
    )
    assert otam_distances(d, gamma=1e-4).item() == pytest.approx(best, abs=2e-3)


def test_otam_sums_both_directions():
    support, query = features(k_shot=1)
    d = frame_distances(support, query)[..., 0, :, :]
    both = otam_distances(d) + otam_distances(d.transpose(-1, -2))
    torch.testing.assert_close(otam_scores(support, query), -both)


def test_frame_distances_are_one_minus_cosine():
    support, query = features()
    d = frame_distances(support, query, "per_shot")
    expected = 1 - F.cosine_similarity(query[3, 2], support[1, 0, 1], dim=0)
    torch.testing.assert_close(d[3, 1, 0, 2, 1], expected)


def test_bimhm_is_symmetric():
    a, b = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0))
    there, back = bimhm_scores(a[None, None], b[None]), bimhm_scores(b[None, None], a[None])
    torch.testing.assert_close(there, back)


def test_trx_counts_tuples_of_eight_frames():
    trx = TRX(dim=4, T=8, key_dim=8)
    assert [len(getattr(trx, f"tuples_{c}")) for c in (2, 3)] == [28, 56]


def softmin(*values, gamma=0.1):
    return -gamma * math.log(sum(math.exp(-value / gamma) for value in values))


def otam_one_way(d):
    """The padded table, cell by cell: d has rows of the query and columns of the support clip."""
    rows, columns = d.shape
    padded = np.pad(d, ((0, 0), (1, 1)))
    table = np.zeros_like(padded)
    for m in range(1, columns + 2):
        table[0, m] = table[0, m - 1] + padded[0, m]
    for row in range(1, rows):
        for m in range(1, columns + 2):
            before = [table[row - 1, m - 1], table[row, m - 1]]
            if m in (1, columns + 1):
                before.append(table[row - 1, m])
            table[row, m] = padded[row, m] + softmin(*before)
    return table[-1, -1]


@pytest.mark.parametrize("T", [1, 2, 5])
def test_otam_is_the_padded_recursion(T):
    d = torch.rand(T, T, generator=torch.Generator().manual_seed(T)).double()
    assert otam_distances(d).item() == pytest.approx(otam_one_way(d.numpy()), abs=1e-5)


def otam_loop(query, shot):
    d = distances(query, shot)
    return otam_one_way(d) + otam_one_way(d.T)


def bimhm_loop(query, shot):
    d = distances(query, shot)
    return sum(min(row) for row in d) / len(d) + sum(min(column) for column in d.T) / len(d.T)


def distances(query, shot):
    return np.array([[1 - q @ s / math.sqrt((q @ q) * (s @ s)) for s in shot] for q in query])


@pytest.mark.parametrize("scores, loop", [(otam_scores, otam_loop), (bimhm_scores, bimhm_loop)])
@pytest.mark.parametrize("frames, shots", [(8, 5), (4, 1)])
def test_alignments_average_their_distances_over_shots(scores, loop, frames, shots):
    rng = np.random.default_rng(frames)
    support, query = rng.normal(size=(3, shots, frames, 5)), rng.normal(size=(4, frames, 5))
    expected = [[-np.mean([loop(q, shot) for shot in of_class]) for of_class in support] for q in query]
    found = scores(torch.tensor(support), torch.tensor(query))
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-5)


def trx_loop(trx, support, query):
    """Query tuples rebuilt from those of one class; its linear maps and norms as arrays."""
    frames, dim = query.shape
    position = np.zeros((frames, dim))
    for t in range(frames):
        for i in range(dim):
            angle = t / 10_000 ** (2 * (i // 2) / dim)
            position[t, i] = 0.1 * (math.cos(angle) if i % 2 else math.sin(angle))
    found = []
    for level, size in enumerate(trx.cardinalities):
        numbers = {
            (what, part): getattr(getattr(trx, what)[level], part).detach().double().numpy()
            for what in ("to_key", "to_value", "key_norm")
            for part in ("weight", "bias")
        }

        def rows_of(clip, what, size=size, numbers=numbers):
            tuples = [
                np.concatenate([(clip + position)[t] for t in chosen])
                for chosen in itertools.combinations(range(frames), size)
            ]
            return [numbers[what, "weight"] @ x + numbers[what, "bias"] for x in tuples]

        def keys_of(clip, rows_of=rows_of, numbers=numbers):
            normed = [(x - x.mean()) / math.sqrt(x.var() + 1e-5) for x in rows_of(clip, "to_key")]
            return [x * numbers["key_norm", "weight"] + numbers["key_norm", "bias"] for x in normed]

        keys = [key for clip in support for key in keys_of(clip)]
        values = [value for clip in support for value in rows_of(clip, "to_value")]
        far = []
        for key, value in zip(keys_of(query), rows_of(query, "to_value"), strict=True):
            powers = np.exp([key @ other / math.sqrt(trx.key_dim) for other in keys])
            prototype = sum(p * other for p, other in zip(powers / powers.sum(), values, strict=True))
            far.append(((value - prototype) ** 2).sum())
        found.append(np.mean(far))
    return np.mean(found)


@torch.no_grad()
def test_trx_rebuilds_query_tuples_from_those_of_all_shots():
    torch.manual_seed(0)
    trx = TRX(dim=6, T=4, key_dim=7)
    for parameter in trx.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    rng = np.random.default_rng(0)
    support, query = rng.normal(size=(2, 3, 4, 6)), rng.normal(size=(3, 4, 6))
    expected = [[-trx_loop(trx, of_class, q) for of_class in support] for q in query]
    found = trx(torch.tensor(support), torch.tensor(query))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


# Scores of arrays made by a formula: OTAM's come from other people's code, the others from loops in float64
SUPPORT = wave(2, 2, 4, 3)  # 2 classes, 2 shots, 4 frames, 3 channels
QUERY = wave(3, 4, 3, step=0.53, start=1.0)


def test_otam_as_in_public_code_with_distances_averaged_over_shots():
    expected = [
        [-2.8875157067748196, -4.3282351179203955],
        [-5.250462100294893, -1.3972258939065325],
        [-3.138853768161298, -4.536996971453535],
    ]
    check(otam_scores(SUPPORT, QUERY), expected)


def test_bimhm_as_a_loop_over_frames():
    expected = [
        [-0.6484046234479597, -0.9278156889557467],
        [-0.7415884191973436, -0.05514033795978501],
        [-0.5635488806834383, -0.901871526464903],
    ]
    check(bimhm_scores(SUPPORT, QUERY), expected)


def test_trx_as_a_loop_over_tuples():
    trx = TRX(3, 4, (2, 3), key_dim=5)
    with torch.no_grad():
        for i, parameter in enumerate(trx.parameters()):
            parameter.copy_(wave(*parameter.shape, step=0.21, start=float(i)))
    expected = [
        [-10.993541533779045, -13.127776700938512],
        [-4.97564611577662, -2.3778437946057887],
        [-14.923910539637077, -14.92741972311519],
    ]
    check(trx(SUPPORT.float(), QUERY.float()), expected, 1e-5)


def test_without_the_clip_s_mean_what_all_its_frames_share_does_not_count():
    """Frame by frame by hand; and a look added to every frame of a clip changes nothing."""
    support, query = features()
    got = otam_minus_mean_scores(support, query)
    for q, w in itertools.product(range(5), range(3)):
        one = [support[w, k] - torch.stack(list(support[w, k])).sum(0) / 4 for k in range(2)]
        other = query[q] - sum(query[q]) / 4
        each = [otam_scores(clip[None, None], other[None]).item() for clip in one]
        assert got[q, w].item() == pytest.approx(sum(each) / 2, abs=1e-4)
    looks = torch.randn(3, 2, 1, 6), torch.randn(5, 1, 6)
    torch.testing.assert_close(otam_minus_mean_scores(support + looks[0], query + looks[1]), got, rtol=1e-4, atol=1e-4)
    assert (otam_scores(support + looks[0], query + looks[1]) - otam_scores(support, query)).abs().max() > 0.1


@pytest.mark.parametrize(
    "name, own",
    [("cosine", "prototype"), ("euclidean", "prototype"), ("otam", "per_shot"), ("bimhm", "per_shot"), ("trx", None)],
)
def test_each_metric_has_its_own_way_with_shots(name, own):
    """Alignments are averaged as distances of clips; features of clips are averaged where time is averaged first."""
    assert METRICS[name].aggregation == own
    (support, query), functions = features(), {"cosine": cosine_scores, "euclidean": euclidean_scores}
    functions |= {"otam": otam_scores, "bimhm": bimhm_scores}
    if own is not None:
        chosen = scorer(name, aggregation=own)(support, query)
        torch.testing.assert_close(functions[name](support, query), chosen)
        torch.testing.assert_close(scorer(name)(support, query), chosen)
        other = scorer(name, aggregation={"prototype": "per_shot", "per_shot": "prototype"}[own])(support, query)
        assert (other - chosen).abs().max() > 1e-3


def test_what_is_not_chosen_is_that_of_training_or_the_metrics_own():
    trained = {"metric": "otam", "aggregation": "prototype", "temperature": 2.0}
    assert scores_of(None) == ("cosine", "prototype")
    assert scores_of(None, "bimhm") == ("bimhm", "per_shot")
    assert scores_of(trained) == ("otam", "prototype")
    assert scores_of(trained, "otam", "per_shot") == ("otam", "per_shot")
    assert scores_of(trained, "bimhm") == ("bimhm", "per_shot")
    assert scores_of(trained, "cosine") == ("cosine", "prototype")
    assert scores_of({"metric": "trx", "aggregation": None}) == ("trx", None)
    with pytest.raises(ValueError, match="metric is 'mean'"):
        scores_of(trained, "mean")


def test_centred_scores_by_hand():
    """Classes (3, 1) and (1, 1) around (2, 1): what both share is gone, so the second axis of the support is 0."""
    support = torch.tensor([[[[3.0, 1.0]]], [[[1.0, 1.0]]]])
    query = torch.tensor([[[3.0, 2.0]]])  # (1, 1) around the centre
    torch.testing.assert_close(centred_scores(support, query), torch.tensor([[1.0, -1.0]]) / math.sqrt(2))


def test_ridge_is_the_regression_solved_over_channels():
    """The library solves for one weight a class member; here one weight a channel, from the normal equations."""
    support, query = features(n_way=4, k_shot=1, T=1, D=7)
    s, q = (torch.nn.functional.normalize(x.flatten(1), dim=1).double().numpy() for x in (support, query))
    s, q = s - s.mean(0), q - s.mean(0)
    penalty = 0.1 * (s**2).sum(1).mean()
    weights = np.linalg.solve(s.T @ s + penalty * np.eye(7), s.T @ np.eye(4))
    torch.testing.assert_close(ridge_scores(support, query), torch.tensor(q @ weights).float(), rtol=1e-3, atol=1e-4)


def test_ridge_does_what_no_cosine_can_where_a_second_attribute_misleads():
    """Each class shows one of two values of another attribute, and its query the other one, three times as long."""
    own, misleads = 2.0 * torch.eye(7)[:5], 3.0 * torch.eye(7)[5:]
    sides = torch.tensor([0, 1, 0, 1, 0])
    support, query = (own + misleads[sides])[:, None, None], (own + misleads[1 - sides])[:, None]
    assert (cosine_scores(support, query).argmax(-1) != torch.arange(5)).any()
    assert ridge_scores(support, query, strength=0.01).argmax(-1).tolist() == [0, 1, 2, 3, 4]


def test_feat_starts_as_cosine_of_normalised_prototypes_and_then_looks_at_the_other_classes():
    (support, query), score = features(D=16), scorer("feat", D=16)
    prototypes = torch.nn.functional.layer_norm(support.mean((1, 2)), (16,))
    torch.testing.assert_close(score(support, query), cosine_scores(prototypes[:, None, None], query))
    torch.nn.init.normal_(score.out.weight)
    with torch.no_grad():
        whole, fewer = score(support, query), score(support[:2], query)
    assert (whole[:, :2] - fewer).abs().max() > 0.01
    weights = torch.softmax(score.to_query(support.mean((1, 2))) @ score.to_key(support.mean((1, 2))).T / 4, -1)
    by_hand = score.norm(support.mean((1, 2)) + score.out(weights @ score.to_value(support.mean((1, 2)))))
    torch.testing.assert_close(whole, cosine_scores(by_hand[:, None, None], query))


# ---- decisions


def test_decisions_by_hand():
    """Prototypes (4, 0), (0, 1) and (-1, -1), means of two shots of two frames.

    The first query, (1, 1/2): squared distances 9 + 1/4, 1 + 1/4 and 4 + 9/4; cosines with the axes 2 : 1. It is
    nearest to the second class, and points along the first. The last, (1, -1): 9 + 1, 1 + 4 and 4 + 0; its cosine is
    above 0 with the first class alone.
    """
    support = torch.tensor(
        [
            [[[2.0, 1.0], [4.0, -1.0]], [[5.0, 3.0], [5.0, -3.0]]],  # (3, 0) and (5, 0)
            [[[1.0, 0.0], [1.0, 2.0]], [[-2.0, 3.0], [0.0, -1.0]]],  # (1, 1) and (-1, 1)
            [[[-3.0, 0.0], [1.0, 0.0]], [[0.0, -2.0], [-2.0, -2.0]]],  # (-1, 0) and (-1, -2)
        ]
    )
    query = torch.tensor([[[2.0, 0.0], [0.0, 1.0]], [[3.0, 1.0]] * 2, [[-4.0, -2.0], [-2.0, -2.0]], [[1.0, -1.0]] * 2])
    squared = [[9.25, 1.25, 6.25], [2.0, 9.0, 20.0], [53.0, 18.0, 5.0], [10.0, 5.0, 4.0]]
    cosines = [[0.8944, 0.4472, -0.9487], [0.9487, 0.3162, -0.8944], [-0.8321, -0.5547, 0.9806], [0.7071, -0.7071, 0.0]]
    torch.testing.assert_close(-euclidean_scores(support, query), torch.tensor(squared))
    torch.testing.assert_close(cosine_scores(support, query), torch.tensor(cosines), atol=1e-4, rtol=0)
    assert euclidean_scores(support, query).argmax(-1).tolist() == [1, 0, 2, 2]
    assert cosine_scores(support, query).argmax(-1).tolist() == [0, 0, 2, 0]


@pytest.mark.parametrize("scores, name", [(euclidean_scores, "euclidean"), (cosine_scores, "cosine")])
def test_no_decision_differs_from_the_nearest_class_mean(scores, name):
    """As prototypical networks are written elsewhere: labels in any order, a mean a label, the nearest one wins."""
    rng, decisions, differing = np.random.default_rng(1), 0, 0
    for _ in range(1000):
        way, shot, n_query = rng.integers(2, 8), rng.integers(1, 6), rng.integers(1, 16)
        labels = rng.permutation(np.repeat(np.arange(way), shot))
        support = rng.normal(size=(way, 1, 8))[labels] + 2 * rng.normal(size=(way * shot, 4, 8))
        query = rng.normal(size=(n_query, 4, 8))
        means = [
            np.mean([clip.mean(0) for clip, own in zip(support, labels, strict=True) if own == c], axis=0)
            for c in range(way)
        ]
        by_class = np.stack([support[labels == c] for c in range(way)])
        found = scores(torch.tensor(by_class), torch.tensor(query)).argmax(-1).tolist()
        for clip, answer in zip(query, found, strict=True):
            x = clip.mean(0)
            if name == "euclidean":
                expected = min(range(way), key=lambda c: np.linalg.norm(x - means[c]))
            else:
                expected = max(range(way), key=lambda c: x @ means[c] / np.linalg.norm(means[c]))
            decisions, differing = decisions + 1, differing + (answer != expected)
    assert decisions > 7000
    assert differing == 0
    assert METRICS[name].aggregation == "prototype"


# ---- properties of every metric


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("size", [{}, {"Q": 1}, {"T": 1}, {"k_shot": 1}, {"Q": 7, "n_way": 2}, {"T": 2, "k_shot": 3}])
def test_scores_have_a_row_a_query_and_a_column_a_class(name, size):
    support, query = features(**size)
    scores = scorer(name, T=query.shape[-2])(support, query)
    assert scores.shape == (len(query), len(support))
    assert scores.dtype == torch.float32
    assert scores.isfinite().all()


@pytest.mark.parametrize("name", ALL)
def test_queries_and_classes_keep_their_places(name):
    """Shuffled queries shuffle rows, shuffled classes columns; shots have no order."""
    (support, query), score = features(), scorer(name)
    rows, columns = torch.tensor([3, 0, 4, 1, 2]), torch.tensor([2, 0, 1])
    expected = score(support, query)[rows][:, columns]
    torch.testing.assert_close(score(support[columns].flip(1), query[rows]), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("aggregation", ["prototype", "per_shot"])
def test_leading_axes_are_episodes(name, aggregation):
    support, query = features(lead=(3,))
    score = scorer(name, aggregation=aggregation)
    each = torch.stack([score(s, q) for s, q in zip(support, query, strict=True)])
    torch.testing.assert_close(score(support, query), each, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_a_class_is_scored_by_itself_unless_declared(name):
    (support, query), score = features(D=16), scorer(name, D=16)
    if name == "feat":
        torch.nn.init.normal_(score.out.weight)  # it starts as a plain metric
    with torch.no_grad():
        changed = (score(support, query)[:, :2] - score(support[:2], query)).abs().max().item()
    assert (changed > 1e-3) == METRICS[name].across_classes


@pytest.mark.parametrize("name", PLAIN)
def test_per_shot_is_the_mean_over_shots(name):
    support, query = features()
    each = torch.stack([scorer(name)(support[:, k : k + 1], query) for k in range(2)])  # one shot: no choice
    torch.testing.assert_close(scorer(name, aggregation="per_shot")(support, query), each.mean(0))


@pytest.mark.parametrize("name", ALL)
def test_a_copy_of_the_query_wins(name):
    """A class that holds the query itself beats classes of noise."""
    support, query = features(k_shot=1, Q=3)
    support[:, 0] = query
    assert scorer(name)(support, query).argmax(1).tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ALL)
def test_order_awareness_is_as_declared(name):
    (support, query), score = features(), scorer(name)
    changed = (score(support.flip(-2), query) - score(support, query)).abs().max().item()
    assert (changed > 1e-3) == METRICS[name].order_aware
    assert METRICS[name].has_parameters == isinstance(score, torch.nn.Module)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("kind", ["constant", "zero", "huge"])
def test_scores_and_gradients_stay_finite(name, kind):
    support, query = features()
    value = {"constant": torch.ones_like, "zero": torch.zeros_like, "huge": lambda x: 1e4 * x}[kind]
    support, query = value(support).requires_grad_(), value(query).requires_grad_()
    scores = scorer(name)(support, query)
    (64 * scores).log_softmax(-1)[:, 0].sum().backward()
    assert scores.isfinite().all()
    assert support.grad.isfinite().all()
    assert query.grad.isfinite().all()
    if kind != "huge":
        torch.testing.assert_close(scores, scores[:1, :1].expand_as(scores))  # no class is preferred


@pytest.mark.parametrize("level", [0.0, 0.8, 2.0])
def test_otam_is_finite_at_64_frames(level):
    """exp(-d / gamma) alone would overflow or vanish in 32 bits: 64 x 2 / 0.1 = 1280."""
    d = torch.full((2, 64, 64), level).add_(torch.rand(2, 64, 64) * 1e-3).requires_grad_()
    cost = otam_distances(d)
    cost.sum().backward()
    assert cost.isfinite().all()
    assert d.grad.isfinite().all()
    weights = d.grad.sum((1, 2))  # each column meets one row; only the first may take in several (the step "up")
    assert ((weights > 64 * 0.999) & (weights < 64 * 1.2)).all()


def test_gradients_are_those_of_finite_differences():
    d = torch.rand(3, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (slope,) = torch.autograd.grad(otam_distances(d), d)
    for i, j in itertools.product(range(3), range(3)):
        step = torch.zeros(3, 3)
        step[i, j] = 1e-2
        with torch.no_grad():
            measured = (otam_distances(d + step) - otam_distances(d - step)) / 2e-2
        assert slope[i, j].item() == pytest.approx(measured.item(), abs=5e-3)


def test_half_precision_features_are_scored_in_32_bits():
    support, query = features()
    for name in PLAIN:
        expected = scorer(name)(support.bfloat16().float(), query.bfloat16().float())
        torch.testing.assert_close(scorer(name)(support.bfloat16(), query.bfloat16()), expected)


# ---- alignments


def test_an_alignment_of_a_clip_with_itself_is_the_diagonal():
    clip = torch.eye(5)
    for metric in ("otam", "bimhm"):
        found = alignment(clip, clip, metric, **({"gamma": 0.01} if metric == "otam" else {}))
        torch.testing.assert_close(found.distances, 1 - torch.eye(5), atol=1e-6, rtol=0)
        assert (found.weights - torch.diag(found.weights.diagonal())).abs().max() < 1e-3
        assert found.distance == pytest.approx(0, abs=0.2)


def test_alignments_of_many_frames_weigh_every_frame():
    """Each direction of OTAM gives each support (or query) frame one partner: the weights sum to 2 T."""
    support, query = features(k_shot=1, Q=1)
    assert alignment(support[0, 0], query[0], gamma=0.01).weights.sum().item() == pytest.approx(8, rel=1e-4)
    assert alignment(support[0, 0], query[0], "bimhm").weights.sum().item() == pytest.approx(2, rel=1e-4)
    assert alignment(support[0, 0], query[0]).distance == pytest.approx(-otam_scores(support, query)[0, 0].item())


# ---- refusals


def test_wrong_requests_are_refused():
    support, query = features()
    with pytest.raises(ValueError, match="aggregation is 'max'"):
        cosine_scores(support, query, "max")
    with pytest.raises(ValueError, match="gamma is 0"):
        otam_scores(support, query, gamma=0)
    with pytest.raises(ValueError, match=r"cardinalities are \(5,\)"):
        TRX(6, T=4, cardinalities=(5,))
    with pytest.raises(ValueError, match="4 and 4 frames; TRX was made for 3"):
        TRX(6, T=3)(support, query)
    with pytest.raises(ValueError, match="alignments exist for otam, bimhm"):
        alignment(support[0, 0], query[0], "cosine")


def test_an_alignments_rows_are_query_frames():
    """Bi-MHM is a weighted sum of frame distances, so that weights times distances give the distance back."""
    support, query = features(n_way=1, k_shot=1, Q=1, T=5)
    found = alignment(support[0, 0], query[0], "bimhm")
    expected = 1 - F.cosine_similarity(query[0][:, None], support[0, 0][None], dim=-1)
    torch.testing.assert_close(found.distances, expected)
    assert (found.weights * found.distances).sum().item() == pytest.approx(found.distance, rel=1e-5)
    assert (found.weights.mT * found.distances).sum().item() != pytest.approx(found.distance, rel=1e-2)


def test_trx_of_the_registry_compares_pairs_and_triples():
    assert METRICS["trx"].build(6, 4).cardinalities == (2, 3)
    assert METRICS["trx"].build(6, 2).cardinalities == (2,)


def test_bimhm_has_two_directions():
    """d = [[0, .2], [.9, .8]]: rows have minima 0 and .8, columns 0 and .2: .4 + .1."""
    assert bimhm_distances(torch.tensor([[0.0, 0.2], [0.9, 0.8]])).item() == pytest.approx(0.5)
