"""Model + episodes -> result."""

import itertools
import weakref
from concurrent.futures import ProcessPoolExecutor
from types import SimpleNamespace

import pytest
import timm
import torch
import torch.nn.functional as F

from taskadapter_lite import evaluation
from taskadapter_lite.backbone import in_precision, load_backbone, without_slow_attention
from taskadapter_lite.cache import content_key, read_clips
from taskadapter_lite.data import decoding
from taskadapter_lite.data.datasets import bundled_clips
from taskadapter_lite.data.labelled import FileClips, LabelledClips
from taskadapter_lite.episodes import EpisodeSampler, EpisodeSpec, episode_hash
from taskadapter_lite.evaluation import PrefixCache, evaluate
from taskadapter_lite.metrics import METRICS, TRX, cosine_scores
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.text import TextFeatures, fuse_scores

T, N_CLASSES, N_EACH = 4, 6, 5
NAMES = ["up", "down", "left", "right", "near", "far"]


class ToyClips(LabelledClips):
    """Noise with a faint class-specific picture; counts how often clips are read."""

    def __init__(self):
        labels = [c for c in range(N_CLASSES) for _ in range(N_EACH)]
        super().__init__([f"clip {i}" for i in range(len(labels))], labels, NAMES, T=T)
        self.n_read = 0

    def read(self, i, view=None):
        self.n_read += 1
        picture = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(self.labels[i]))
        seed = torch.Generator().manual_seed(1000 * (1 + i) + (0 if view is None else 1 + view))
        return (255 * (0.15 * picture + 0.85 * torch.rand(self.T, 3, 16, 16, generator=seed))).byte()


def make_model(depth=1, axes=("time", "task"), trained=True, **options):
    torch.manual_seed(0)
    backbone = timm.create_model(
        "vit_tiny_patch16_224", img_size=16, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=0
    )
    for parameter in backbone.parameters():  # timm's own start gives all clips nearly the same features
        torch.nn.init.normal_(parameter, std=0.3)
    model = TaskAdapterViT(backbone, depth, T=T, axes=axes, **options)
    if trained:
        for parameter in model.trainable_parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def draw(n=12, seed=0, **spec):
    return EpisodeSampler(ToyClips().labels, EpisodeSpec(**{"n_way": 3, "n_query": 2, **spec}), n, seed)


def run(model=None, clips=None, episodes=None, **options):
    return evaluate(model or make_model(), clips or ToyClips(), episodes or draw(), progress=False, **options)


def by_loop(model, clips, episodes):
    """One episode at a time, without cache, batch or registry: the published head."""
    accuracies = []
    for e in episodes:
        features = model(torch.stack([clips.read(i) for i in e.clips.tolist()]), len(e.support)).mean(1)
        support, query = features[: len(e.support)], features[len(e.support) :]
        prototypes = [support[e.support_labels == c].mean(0) for c in range(len(e.classes))]
        scores = torch.stack([F.cosine_similarity(query, p[None]) for p in prototypes], 1)
        accuracies.append((scores.argmax(1) == e.query_labels).double().mean().item())
    return accuracies


@pytest.mark.parametrize(
    "options",
    [
        {"scope": "inductive"},
        {"scope": "split"},
        {"scope": "joint"},
        {"axes": ("time", "space", "joint")},
        {"depth": 0},
        {"temporal_embedding": "input"},
        {"temporal_embedding": "input", "axes": ("time",)},
    ],
)
@torch.no_grad()
def test_accuracies_are_those_of_a_plain_loop(options):
    model, episodes = make_model(**options), draw(k_shot=2)
    result = run(model, episodes=episodes, batch_size=5)
    assert result.accuracies == pytest.approx(by_loop(model, ToyClips(), episodes))
    assert len(set(result.accuracies)) > 1
    alone = options.get("depth") == 0 or "task" not in options.get("axes", ("task",))
    assert result.scope == (None if alone else options.get("scope", "inductive"))


def test_two_runs_halves_and_batch_sizes_agree():
    episodes, model = draw(13), make_model()
    whole = run(model, episodes=episodes).accuracies
    assert run(model, episodes=episodes, batch_size=1).accuracies == whole
    assert run(model, episodes=episodes[:6]).accuracies + run(model, episodes=episodes[6:]).accuracies == whole


def test_worker_processes_agree():
    episodes = draw(8)
    with ProcessPoolExecutor(2) as pool:
        parts = list(pool.map(_evaluate_part, [(0, 4), (4, 8)]))
    assert parts[0] + parts[1] == run(episodes=episodes).accuracies


def _evaluate_part(part):
    torch.set_num_threads(1)
    return run(episodes=draw(8)[slice(*part)]).accuracies


def test_scope_is_used_and_given_back():
    model = make_model(scope="split")
    model.train()
    result = run(model, scope="joint")
    assert result.scope == result.config["model"]["scope"] == "joint"
    assert model.scope == "split"
    assert model.training
    with pytest.raises(ValueError, match="scope"):
        run(model, scope="everyone")


def test_confusion_and_pairs_count_every_query():
    """The oracle scorer knows labels only through `right`: each query is answered by (its label + 1) mod 3."""

    def off_by_one(support, query):
        E, Q = query.shape[:2]
        labels = torch.arange(3).repeat_interleave(Q // 3)
        return F.one_hot((labels + 1) % 3, 3).float().expand(E, Q, 3)

    pairs = {"up": "down", "down": "up", "left": "right", "right": "left"}
    episodes = draw(30)
    result = run(make_model(depth=0), episodes=episodes, metric=off_by_one, pairs=pairs)
    expected, partner, present = torch.zeros(6, 6, dtype=torch.long), 0, 0
    for e in episodes:
        names = [NAMES[c] for c in e.classes.tolist()]
        for c in range(3):
            expected[e.classes[c], e.classes[(c + 1) % 3]] += 2
            present += 2 * (pairs.get(names[c]) in names)
            partner += 2 * (pairs.get(names[c]) == names[(c + 1) % 3])
    assert result.confusion == expected.tolist()
    assert result.pairs == {"right": 0, "partner": partner, "total": present}
    assert partner > 0
    assert result.pair_accuracy == (0, 0)


def test_a_pair_counts_where_both_partners_are_in_the_episode():
    """The oracle answers every query rightly; queries whose partner is absent say nothing about pairs."""

    def rightly(support, query):
        E, Q = query.shape[:2]
        return F.one_hot(torch.arange(3).repeat_interleave(Q // 3), 3).float().expand(E, Q, 3)

    pairs, episodes = {"up": "down", "down": "up", "left": "right", "right": "left"}, draw(30)
    names = [[NAMES[c] for c in e.classes.tolist()] for e in episodes]
    present = 2 * sum(pairs.get(name) in those for those in names for name in those)
    assert 0 < present < 2 * sum(name in pairs for those in names for name in those)
    found = run(make_model(depth=0), episodes=episodes, metric=rightly, pairs=pairs)
    assert found.pairs == {"right": present, "partner": 0, "total": present}


@pytest.mark.parametrize("options", [{}, {"depth": 0}, {"temporal_embedding": "input"}])
def test_an_evaluation_keeps_no_graph(options):
    seen = []

    def watch(support, query):
        seen.append(torch.is_grad_enabled() or support.requires_grad or query.requires_grad)
        return cosine_scores(support, query)

    with torch.enable_grad():
        run(make_model(**options), metric=watch)
    assert seen
    assert not any(seen)


def test_constant_features_are_at_chance():
    def constant(support, query):
        return METRICS["cosine"].build(16, T)(torch.ones_like(support), torch.ones_like(query))

    assert run(metric=constant).accuracies == pytest.approx([1 / 3] * 12)


def test_each_clip_goes_through_the_frozen_part_once():
    clips = ToyClips()
    cache = PrefixCache(make_model(), clips)
    run(clips=cache, episodes=draw(60))
    run(clips=cache, episodes=draw(60, seed=1))
    assert clips.n_read == len(clips) + 1 - 1  # all clips, the first of them when the cache was made
    clips = ToyClips()
    run(make_model(axes=("time",)), clips, draw(60))
    assert clips.n_read == len(clips)


def test_names_as_evidence_are_reported_side_by_side():
    """Text features that are the class means of the video features: then the semantic row is the nearest class mean."""
    model, clips, episodes = make_model(depth=0), ToyClips(), draw(20)
    with torch.no_grad():
        features = model(clips.read_batch(range(len(clips))), 1).mean(1)
    means = torch.stack([features[N_EACH * c : N_EACH * (c + 1)].mean(0) for c in range(N_CLASSES)])
    order = [3, 1, 0, 5, 4, 2]
    text = TextFeatures(tuple(NAMES[c] for c in order), means[order], "toy")
    result = run(model, clips, episodes, text=text, fusion="log_probabilities")
    nearest = F.normalize(features, dim=-1) @ F.normalize(means, dim=-1).T
    right = [(nearest[e.query][:, e.classes].argmax(1) == e.query_labels).double().mean().item() for e in episodes]
    assert result.variants["semantic"] == pytest.approx(right)
    assert result.variants["visual"] == run(model, clips, episodes).accuracies
    assert result.variants["fused"] == result.accuracies
    assert result.config["text"] == {"model": "toy", "prompt": text.prompt}
    for word in ("visual", "semantic", "fused"):
        assert word in result.summary()
    built = METRICS["cosine"].build(16, T)
    again = run(model, clips, episodes, text=text, fusion="log_probabilities", metric=built)
    assert (again.metric, again.variants) == ("cosine", result.variants)
    with pytest.raises(ValueError, match="of otam; product or log_probabilities of cosine scores"):
        run(model, clips, episodes, text=text, metric="otam")


def test_an_interrupted_run_keeps_what_was_done():
    calls = itertools.count()

    def impatient(support, query):
        if next(calls) == 2:
            raise KeyboardInterrupt
        return METRICS["cosine"].build(16, T)(support, query)

    episodes = draw(12)
    result = run(metric=impatient, episodes=episodes, batch_size=4)
    assert result.interrupted
    assert result.accuracies == run(episodes=episodes[:8]).accuracies
    assert result.episodes == episode_hash(episodes[:8])
    assert "interrupted" in result.summary()


def test_the_result_says_what_was_run():
    episodes, clips = draw(5), ToyClips()
    result = run(clips=clips, episodes=episodes, name="toy", seeds={"training": 7}, metadata={"note": "x"})
    assert (result.name, result.metric, result.dataset) == ("toy", "cosine", clips.fingerprint)
    assert result.episodes == episode_hash(episodes)
    assert result.seeds == {"episodes": 0, "training": 7}
    assert result.spec == {"n_way": 3, "k_shot": 1, "queries": 6}
    assert result.trainable_parameters == sum(p.numel() for p in make_model().trainable_parameters())
    assert result.seconds > 0
    assert result.peak_memory > 1e6
    assert {"torch", "timm", "python", "numpy"} <= set(result.versions)


def test_a_trained_metric_is_passed_as_a_module():
    torch.manual_seed(0)
    trx = TRX(16, T, key_dim=8)
    result = run(metric=trx)
    assert result.metric == "trx"
    with pytest.raises(ValueError, match="'trx' has trained parameters"):
        run(metric="trx")


def test_ten_thousand_episodes_take_the_memory_of_a_hundred():
    """Of the episodes drawn, only those of a batch, the next one and the one being drawn are alive at any time."""
    alive, most = weakref.WeakSet(), 0

    class Watched(EpisodeSampler):
        def __getitem__(self, i):
            nonlocal most
            alive.add(episode := super().__getitem__(i))
            most = max(most, len(alive))
            return episode

    episodes = Watched(ToyClips().labels, EpisodeSpec(n_way=3), 500, 0)
    assert len(run(make_model(depth=0), episodes=episodes, batch_size=8).accuracies) == 500
    assert 8 <= most <= 2 * 8 + 2


def test_reading_threads_change_nothing():
    views = [0, 1, 0, 1, 1]
    assert torch.equal(read_clips(ToyClips(), range(5), views, 3), ToyClips().read_batch(range(5), views))
    assert torch.equal(read_clips(ToyClips(), range(5), None, 3), ToyClips().read_batch(range(5)))
    assert run(workers=2).accuracies == run().accuracies


def test_what_a_caller_gets_wrong_is_refused():
    with pytest.raises(ValueError, match="metric is 'cosin'; it must be one of cosine"):
        run(metric="cosin")
    with pytest.raises(ValueError, match="aggregation is 'median'"):
        run(aggregation="median")
    with pytest.raises(ValueError, match="not finite"):
        run(metric=lambda support, query: query.new_full((*query.shape[:2], 3), float("nan")))
    with pytest.raises(ValueError, match="list of episodes is empty"):
        evaluate(make_model(), ToyClips(), [], progress=False)
    with pytest.raises(ValueError, match="fusion is 'sum'"):
        run(fusion="sum")


# ---- PrefixCache


def test_tokens_of_episodes_are_those_of_their_clips_support_first():
    cache, episodes = PrefixCache(make_model(), ToyClips()), draw(3)[:]
    tokens = cache.episode_tokens(episodes)
    assert tokens.shape[:3] == (3, 3 + 6, T)
    for found, episode in zip(tokens, episodes, strict=True):
        assert torch.equal(found, cache.tokens(torch.cat([episode.support, episode.query])))


def test_cached_tokens_are_the_computed_ones(monkeypatch):
    model, clips = make_model(), ToyClips()
    monkeypatch.setattr("taskadapter_lite.cache.BATCH", 4)
    cache = PrefixCache(model, clips, views=2)
    wanted = [3, 0, 29, 3, 7, 11, 13]
    torch.testing.assert_close(cache.tokens(wanted), model.prefix(clips.read_batch(wanted)), rtol=1e-5, atol=1e-6)
    views = torch.tensor([0, 1, 1, 1, 0, 0, 1])
    expected = model.prefix(clips.read_batch(wanted, views.tolist()))
    torch.testing.assert_close(cache.tokens(wanted, views), expected, rtol=1e-5, atol=1e-6)
    before = clips.n_read
    cache.tokens(wanted, views)
    assert clips.n_read == before
    with pytest.raises(ValueError, match="made for views 0 to 1"):
        cache.tokens([0], [2])


def test_half_precision_has_the_stated_error():
    exact, half = PrefixCache(make_model(), ToyClips()), PrefixCache(make_model(), ToyClips(), dtype=torch.bfloat16)
    a, b = exact.tokens(range(30)), half.tokens(range(30))
    error = ((a - b).abs() / a.abs()).max().item()
    assert 0 < error <= 2**-8
    with pytest.raises(ValueError, match="dtype is torch.float16"):
        PrefixCache(make_model(), ToyClips(), dtype=torch.float16)


def test_a_row_that_could_not_be_computed_is_computed_when_asked_for_again(monkeypatch):
    model, clips = make_model(), ToyClips()
    cache = PrefixCache(model, clips)
    with monkeypatch.context() as patch:
        patch.setattr(cache, "_compute", lambda pixels: (_ for _ in ()).throw(RuntimeError("out of memory")))
        with pytest.raises(RuntimeError, match="out of memory"):
            cache.tokens([3, 4])
    torch.testing.assert_close(cache.tokens([3, 4]), model.prefix(clips.read_batch([3, 4])))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_cache_file_is_used_again(tmp_path, dtype):
    first = PrefixCache(make_model(), ToyClips(), dtype=dtype, path=tmp_path / "tokens").fill(progress=False)
    clips = ToyClips()
    second = PrefixCache(make_model(), clips, dtype=dtype, path=tmp_path / "tokens")
    assert torch.equal(first.tokens(range(30)), second.tokens(range(30)))
    assert clips.n_read == 1  # the first clip, for the shape of its tokens


def test_a_cache_file_of_another_model_or_of_other_clips_is_refused(tmp_path):
    path = tmp_path / "tokens"
    PrefixCache(make_model(), ToyClips(), path=path)
    other_model = make_model()
    torch.nn.init.normal_(other_model.backbone.patch_embed.proj.weight, std=0.5)
    other_clips = ToyClips()
    other_clips.labels[0] = 1
    for model, clips, options in (
        (other_model, ToyClips(), {}),
        (make_model(), other_clips, {}),
        (make_model(depth=2), ToyClips(), {}),
        (make_model(), ToyClips(), {"views": 3}),
    ):
        with pytest.raises(ValueError, match="other|another"):
            PrefixCache(model, clips, path=path, **options)


def test_bfloat16_gives_nearly_the_same_scores_and_leaves_the_model_as_it_was():
    torch.manual_seed(0)
    model = TaskAdapterViT(load_backbone(), depth=2)
    for parameter in model.trainable_parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    clips = bundled_clips("test")
    episodes = EpisodeSampler(clips.labels, EpisodeSpec(n_query=2), 12, seed=0)
    cache = PrefixCache(model, clips)
    exact, low = (evaluate(model, cache, episodes, precision=p, progress=False) for p in ("fp32", "bf16"))
    assert low.config["precision"] == "bf16"
    assert sum(low.accuracies) == pytest.approx(sum(exact.accuracies), abs=0.5)
    assert all(block.attn.fused_attn for block in model.backbone.blocks)
    with pytest.raises(ValueError, match="precision is 'fp8'"):
        evaluate(model, cache, episodes, precision="fp8")


@pytest.mark.parametrize("scope", ["split", "joint", "inductive"])
def test_attention_without_the_fused_kernel_respects_the_masks_and_agrees(scope):
    torch.manual_seed(0)
    model = TaskAdapterViT(load_backbone(), depth=3, scope=scope)
    for parameter in model.trainable_parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    tokens = torch.randn(6, 8, 17, 128)
    with torch.no_grad():
        exact = model.adapt(tokens, 4)
        with in_precision(model.backbone, "bf16"):
            low = model.adapt(tokens, 4).float()
        without_slow_attention(model.backbone)
        plain = model.adapt(tokens, 4)
    assert torch.allclose(plain, exact, atol=1e-4)
    assert torch.nn.functional.cosine_similarity(low, exact, dim=-1).min() > 0.995


def test_the_metric_of_training_is_used_unless_another_is_named():
    model = make_model()
    assert run(model).metric == "cosine"
    model.trained_with = {"metric": "otam", "aggregation": "per_shot", "temperature": 10.0}
    episodes = draw(k_shot=2)
    found = run(model, episodes=episodes)
    assert (found.metric, found.config["aggregation"]) == ("otam", "per_shot")
    assert found.accuracies == run(model, episodes=episodes, metric="otam", aggregation="per_shot").accuracies
    assert run(model, episodes=episodes, metric="cosine").config["aggregation"] == "prototype"
    assert run(model, episodes=episodes, aggregation="prototype").config["aggregation"] == "prototype"
    assert run(model, episodes=episodes, metric="bimhm").config["aggregation"] == "per_shot"


def test_the_fusion_has_the_temperature_of_training(monkeypatch):
    used = []
    monkeypatch.setattr(evaluation, "fuse_scores", lambda *given: used.append(given[3]) or fuse_scores(*given))
    text, model = TextFeatures(tuple(NAMES), torch.randn(N_CLASSES, 16), "toy"), make_model(depth=0)
    for trained, chosen, expected in ((None, None, 64.0), (5.0, None, 5.0), (5.0, 7.0, 7.0)):
        model.trained_with = trained and {"metric": "cosine", "aggregation": "prototype", "temperature": trained}
        found = run(model, text=text, fusion="log_probabilities", temperature=chosen)
        assert found.config["temperature"] == expected == used.pop()


def test_blocks_below_and_above_are_in_the_precision_asked_for():
    """With the embedding at the input nothing is kept; bf16 holds there too, and is seen in the scores."""
    model = make_model(temporal_embedding="input")
    torch.nn.init.normal_(model.temporal)
    scores = {}
    for precision in ("fp32", "bf16"):
        kept = []
        run(model, precision=precision, metric=lambda s, q, kept=kept: kept.append(cosine_scores(s, q)) or kept[-1])
        scores[precision] = torch.cat(kept)
    difference = (scores["fp32"] - scores["bf16"]).abs().max()
    assert 0 < difference < 0.05


def test_a_scorer_brings_its_own_aggregation():
    for name, own in (("cosine", "prototype"), ("otam", "per_shot")):
        assert run(metric=METRICS[name].build(16, T)).config["aggregation"] == own
    assert run(metric=lambda support, query: cosine_scores(support, query)).config["aggregation"] is None
    with pytest.raises(ValueError, match="a metric given as a scorer has its own"):
        run(metric=METRICS["otam"].build(16, T), aggregation="prototype")


def test_a_cache_of_another_model_or_of_other_clips_is_refused():
    cache, other = PrefixCache(make_model(), ToyClips()), make_model()
    assert run(make_model(), cache).accuracies == run().accuracies  # another object of the same weights
    with torch.no_grad():
        other.backbone.blocks[0].mlp.fc1.weight[0, 1] += 0.1
    for model in (other, make_model(depth=2)):
        with pytest.raises(ValueError, match="another frozen model"):
            run(model, cache)
    with torch.no_grad():  # what lies above the tokens may differ
        (above := make_model()).backbone.norm.weight.mul_(2)
    run(above, cache)
    relabelled, reseeded = ToyClips(), ToyClips()
    relabelled.labels[0], reseeded.seed = 1, 5
    for clips in (relabelled, reseeded):
        with pytest.raises(ValueError, match="other clips"):
            run(make_model(), clips, cache=cache)


def test_tokens_of_a_changed_file_are_not_used(tmp_path, monkeypatch):
    source = bundled_clips("test")
    (tmp_path / "a.mp4").write_bytes((source.root / source.paths[0]).read_bytes())
    clips = FileClips(tmp_path, ["a.mp4"], [0], ["a"])
    before = content_key(clips), clips.fingerprint
    (tmp_path / "a.mp4").write_bytes((source.root / source.paths[1]).read_bytes())
    assert content_key(clips) != before[0]
    assert clips.fingerprint == before[1]
    keys = {content_key(FileClips(tmp_path, ["a.mp4"], [0], ["a"], **o)) for o in ({}, {"size": 32}, {"flip": True})}
    assert len(keys) == 3
    content = content_key(clips)
    with monkeypatch.context() as patch:
        patch.setattr(decoding, "decord", None if decoding.decord else SimpleNamespace(__version__="0.6.0"))
        assert content_key(clips) != content
    assert content_key(clips) == content


def test_an_evaluation_that_refuses_leaves_the_model_as_it_was():
    model = make_model(scope="split")
    model.train()
    before = [p.requires_grad for p in model.parameters()]
    for options in (
        {"episodes": []},
        {"scope": "everyone"},
        {"precision": "fp8"},
        {"metric": lambda s, q: q.new_full((*q.shape[:2], 3), float("nan"))},
    ):
        with pytest.raises(ValueError):
            evaluate(
                model,
                ToyClips(),
                **{"episodes": draw(), "scope": "joint", "progress": False, **options},
            )
        assert (model.scope, model.training) == ("split", True)
        assert [p.requires_grad for p in model.parameters()] == before
