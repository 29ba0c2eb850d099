import dataclasses
import os
import signal
import threading

import numpy as np
import pytest
import torch
from tiny_run import ColouredClips, tiny_config, tiny_episodes, tiny_model, tiny_train

from taskadapter_lite.cache import PrefixCache
from taskadapter_lite.data.decoding import ClipError
from taskadapter_lite.evaluation import evaluate
from taskadapter_lite.results import RunResult
from taskadapter_lite.text import TextFeatures
from taskadapter_lite.training.checkpoints import (
    CheckpointError,
    load_checkpoint,
    load_model,
    read_checkpoint,
    save_checkpoint,
    training_checkpoints,
)
from taskadapter_lite.training.distributed import Team
from taskadapter_lite.training.estimate import estimate_run
from taskadapter_lite.training.loop import TrainConfig, train
from taskadapter_lite.training.step import Trainer


def states_equal(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def without_seconds(history):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


def test_training_learns_the_colours_and_leaves_the_backbone_alone():
    clips = ColouredClips(n_classes=6)
    model = tiny_model(axes=("space", "joint"))
    backbone = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    config = tiny_config(n_steps=60, auxiliary_weight=0.0)
    result = train(model, clips, tiny_episodes(clips, 120), config, progress=False)
    assert result.history[-1]["loss"] < 0.5 * result.history[0]["loss"]
    assert result.history[-1]["accuracy"] >= 0.9
    assert states_equal(backbone, model.backbone.state_dict())
    assert not result.interrupted


def test_a_run_can_be_repeated_and_another_seed_differs():
    one, first = tiny_train()
    two, second = tiny_train()
    other, _ = tiny_train(seed=1)
    assert states_equal(one.adapter_state(), two.adapter_state())
    assert without_seconds(first.history) == without_seconds(second.history)
    assert not states_equal(one.adapter_state(), other.adapter_state())


class Watched(ColouredClips):
    """Notes which thread read a clip, and how many steps had been taken by then."""

    def __init__(self, **options):
        super().__init__(**options)
        self.noted, self.steps = [], 0

    def read(self, i, view=None):
        self.noted.append((threading.current_thread() is threading.main_thread(), self.steps))
        return super().read(i, view)


@pytest.mark.parametrize("changes", [{"views": 0}, {"trainable": "all"}], ids=["fresh views", "whole backbone"])
def test_clips_are_read_a_step_ahead_and_no_number_changes(changes):
    config = tiny_config(n_steps=4, auxiliary_weight=0.0, **changes)
    models = []
    for workers in (0, 1):
        clips, model = Watched(), tiny_model()
        episodes = tiny_episodes(clips, 8)
        trainer = Trainer(model, clips, episodes, dataclasses.replace(config, workers=workers), Team())
        for step in range(4):
            trainer.step(range(2 * step, 2 * step + 2), learning_rate=0.01)
            if workers and step < 3:
                trainer.reader._coming[2 * step + 3].result()  # has been asked for already
            clips.steps += 1
        models.append(model)
        per_step = 2 * len(episodes[0].clips)
        assert [main for main, _ in clips.noted] == [not workers] * 4 * per_step
        if workers:
            ahead = [steps for _, steps in clips.noted]
            assert ahead == [0] * 2 * per_step + [1] * per_step + [2] * per_step
            assert not trainer.reader._coming  # nothing is read that no step asks for
    assert states_equal(models[0].state_dict(), models[1].state_dict())


def test_a_broken_clip_read_ahead_is_the_same_error():
    class Broken(ColouredClips):
        def read(self, i, view=None):
            raise ClipError(f"{i}.mp4", "is broken")

    clips = Broken()
    with pytest.raises(ClipError, match="is broken"):
        train(tiny_model(), clips, tiny_episodes(clips), tiny_config(views=0, workers=1), progress=False)


def test_one_step_is_plain_autograd():
    """SGD without momentum on one episode, written out: cosine scores by hand, cross-entropy by hand."""
    clips = ColouredClips()
    episodes = tiny_episodes(clips, 1, k_shot=2)
    config = tiny_config(
        n_steps=1, episodes_per_step=1, views=0, optimizer="sgd", learning_rate=0.1, weight_decay=0.0, warmup_steps=0,
        schedule="constant", temperature=10.0, learn_temperature=False, auxiliary_weight=0.0, clip_norm=None,
    )  # fmt: skip
    model, by_hand = tiny_model(), tiny_model()
    result = train(model, clips, episodes, config, progress=False)

    views = np.random.default_rng((config.seed, 0, 1)).integers(2**31, size=12)
    pixels = torch.stack([clips.read(int(i), int(v)) for i, v in zip(episodes[0].clips, views, strict=True)])
    features = by_hand(pixels, 6).mean(1)
    loss = 0
    for query, label in zip(features[6:], episodes[0].query_labels, strict=True):
        prototypes = [features[0:2].mean(0), features[2:4].mean(0), features[4:6].mean(0)]
        scores = torch.stack([10 * query @ p / query.norm() / p.norm() for p in prototypes])
        loss = loss - scores.softmax(0)[label].log() / 6
    loss.backward()
    assert result.history[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)
    for trained, parameter in zip(model.trainable_parameters(), by_hand.trainable_parameters(), strict=True):
        torch.testing.assert_close(trained, parameter - 0.1 * parameter.grad, rtol=1e-4, atol=1e-6)


def test_episodes_of_a_step_are_averaged_whatever_their_shapes():
    """Two unequal episodes in one step: the mean of their gradients, as two runs with one episode each give."""
    clips = ColouredClips()
    episodes = [tiny_episodes(clips, 1)[0], tiny_episodes(clips, 1, seed=9, k_shot=2)[0]]
    plain = dict(
        n_steps=1, optimizer="sgd", learning_rate=1.0, weight_decay=0.0, warmup_steps=0, schedule="constant",
        learn_temperature=False, auxiliary_weight=0.5, clip_norm=None, views=1,
    )  # fmt: skip
    start = tiny_model().adapter_state()
    change = {}
    for name, chosen, E in [("both", episodes, 2), ("first", episodes[:1], 1), ("second", episodes[1:], 1)]:
        model = tiny_model()
        train(model, clips, chosen, tiny_config(**plain, episodes_per_step=E), progress=False)
        change[name] = {key: value - start[key] for key, value in model.adapter_state().items()}
    for key, both in change["both"].items():
        torch.testing.assert_close(both, (change["first"][key] + change["second"][key]) / 2, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("at_step", [1, 5, 6, 10])
def test_resume_after_an_interrupt_is_bit_identical(tmp_path, at_step):
    clips, held_out = ColouredClips(), ColouredClips(seed=1)
    arguments = (clips, tiny_episodes(clips, 24), tiny_config(log_every=1))
    validation = (held_out, list(tiny_episodes(held_out, 10, seed=6)))

    def interrupt(row):
        if row["step"] == at_step:
            signal.raise_signal(signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    part = train(tiny_model(), *arguments, validation, out=tmp_path, on_log=interrupt, progress=False)
    assert part.interrupted
    assert part.history[-1]["step"] == at_step + 1 < 12
    assert signal.getsignal(signal.SIGINT) is handler, "Ctrl-C does again what it did before"
    resumed = tiny_model(seed=0)
    result = train(resumed, *arguments, validation, resume="auto", out=tmp_path, progress=False)
    reference = tiny_model()
    expected = train(reference, *arguments, validation, progress=False)
    assert not result.interrupted
    assert without_seconds(result.history) == without_seconds(expected.history)
    assert states_equal(resumed.adapter_state(), reference.adapter_state())
    assert result.accuracies == expected.accuracies
    assert RunResult.load(tmp_path / "result.json").history == result.history


def test_a_second_interrupt_ends_at_once():
    clips = ColouredClips()

    def twice(row):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(tiny_model(), clips, tiny_episodes(clips), tiny_config(), on_log=twice, progress=False)


def test_training_works_outside_the_main_thread():
    thread = threading.Thread(target=lambda: results.append(tiny_train(n_steps=2)[1]))
    results = []
    thread.start()
    thread.join()
    assert results[0].history[-1]["step"] == 2


def test_a_finished_run_is_not_trained_again(tmp_path):
    model, first = tiny_train(tmp_path)
    again, second = tiny_train(tmp_path, resume="auto")
    assert second.history == first.history
    assert states_equal(model.adapter_state(), again.adapter_state())


def test_the_model_ends_with_the_best_validated_adapters(tmp_path):
    model, result = tiny_train(tmp_path, learning_rate=0.05)
    validated = [row for row in result.history if "validation" in row]
    assert [row["step"] for row in validated] == [4, 8, 12]
    best = max(row["validation"] for row in validated)
    assert sum(result.accuracies) / len(result.accuracies) == pytest.approx(best)
    held_out = ColouredClips(seed=1)
    check = evaluate(model, held_out, list(tiny_episodes(held_out, 10, seed=6)), progress=False)
    assert check.accuracies == result.accuracies
    kept = load_model(tmp_path / "adapters.safetensors", tiny_model().backbone)
    assert states_equal(kept.adapter_state(), model.adapter_state())


def test_a_metric_with_parameters_is_trained_kept_and_resumed(tmp_path):
    changes = {"metric": "trx", "temperature": 1.0, "n_steps": 4}
    _, whole = tiny_train(**changes)
    tiny_train(tmp_path, **changes)
    tensors, _ = read_checkpoint(tmp_path / "adapters.safetensors")
    assert any("to_key" in name for name in tensors)
    assert "training.objective.log_temperature" in tensors
    assert not any("classifier" in name for name in tensors)
    training_checkpoints(tmp_path)[-1].unlink()  # continue from step 3
    _, resumed = tiny_train(tmp_path, resume="auto", **changes)
    assert without_seconds(resumed.history) == without_seconds(whole.history)


def test_shots_are_brought_together_as_the_configuration_says(tmp_path):
    """The first loss by hand, with the mean of the shots' scores and with the score of their mean."""
    clips = ColouredClips()
    episodes = tiny_episodes(clips, 1, k_shot=3)
    options = {"n_steps": 1, "episodes_per_step": 1, "auxiliary_weight": 0.0}
    views = np.random.default_rng((0, 0, 1)).integers(2, size=15)
    pixels = torch.stack([clips.read(int(i), int(v)) for i, v in zip(episodes[0].clips, views, strict=True)])
    features = tiny_model()(pixels, 9).mean(1).detach()
    shots, queries = features[:9].view(3, 3, -1), features[9:]
    for_shots = torch.cosine_similarity(queries[:, None, None], shots[None], dim=-1).mean(-1)
    for_means = torch.cosine_similarity(queries[:, None], shots.mean(1)[None], dim=-1)
    for aggregation, scores in [(None, for_means), ("prototype", for_means), ("per_shot", for_shots)]:
        config = tiny_config(aggregation=aggregation, **options)
        result = train(tiny_model(), clips, episodes, config, progress=False, out=tmp_path / str(aggregation))
        by_hand = -(16 * scores).log_softmax(-1)[torch.arange(6), episodes[0].query_labels].mean()
        assert result.history[0]["loss"] == pytest.approx(by_hand.item(), rel=1e-4)
        assert result.config["aggregation"] == (aggregation or "prototype")
        assert result.config["training"]["aggregation"] == (aggregation or "prototype")


@pytest.mark.parametrize("metric, own", [("otam", "per_shot"), ("bimhm", "per_shot"), ("euclidean", "prototype")])
def test_the_aggregation_of_a_metric_is_recorded_where_none_was_chosen(tmp_path, metric, own):
    model, clips = tiny_model(), ColouredClips()
    config = tiny_config(metric=metric, temperature=2.0, n_steps=2, checkpoint_every=2)
    result = train(model, clips, tiny_episodes(clips, k_shot=2), config, out=tmp_path, progress=False)
    assert result.config["aggregation"] == result.config["training"]["aggregation"] == own
    assert model.trained_with["aggregation"] == own
    assert load_model(tmp_path / "adapters.safetensors", tiny_model().backbone).trained_with["aggregation"] == own
    other = dataclasses.replace(config, aggregation={"per_shot": "prototype", "prototype": "per_shot"}[own])
    with pytest.raises(CheckpointError, match="its aggregation is"):
        train(
            tiny_model(),
            clips,
            tiny_episodes(clips, k_shot=2),
            other,
            out=tmp_path / "other",
            resume=training_checkpoints(tmp_path)[-1],
            progress=False,
        )


def test_a_checkpoint_that_names_no_aggregation_goes_on_with_prototypes(tmp_path):
    clips, episodes = ColouredClips(), tiny_episodes(ColouredClips(), k_shot=2)
    config = tiny_config(metric="otam", aggregation="prototype", temperature=2.0, n_steps=4, checkpoint_every=2)
    train(tiny_model(), clips, episodes, config, out=tmp_path, progress=False)
    newest = training_checkpoints(tmp_path)[-1]
    model = tiny_model()
    content = load_checkpoint(newest, model)
    del content["metadata"]["run"]["aggregation"]
    old = save_checkpoint(tmp_path / "old.safetensors", model, content["training_state"], content["metadata"])
    for aggregation in ("prototype", None):
        changed = dataclasses.replace(config, aggregation=aggregation)
        if aggregation is None:
            with pytest.raises(CheckpointError, match="its aggregation is 'prototype', here it is 'per_shot'"):
                train(tiny_model(), clips, episodes, changed, resume=old, progress=False)
        else:
            train(tiny_model(), clips, episodes, changed, resume=old, progress=False)


def test_the_model_and_its_file_know_what_they_were_trained_with(tmp_path):
    model = tiny_model()
    assert model.trained_with is None
    clips, changes = ColouredClips(), {"metric": "otam", "aggregation": "per_shot", "temperature": 2.0, "n_steps": 4}
    result = train(model, clips, tiny_episodes(clips), tiny_config(**changes), out=tmp_path, progress=False)
    temperature = result.history[-1]["temperature"]  # without validation the last adapters are kept
    expected = {"metric": "otam", "aggregation": "per_shot", "temperature": pytest.approx(temperature)}
    assert model.trained_with == expected
    assert temperature != pytest.approx(2.0, abs=1e-4)
    assert load_model(tmp_path / "adapters.safetensors", tiny_model().backbone).trained_with == expected
    assert load_model(training_checkpoints(tmp_path)[-1], tiny_model().backbone).trained_with == expected
    again = save_checkpoint(tmp_path / "again.safetensors", model, metadata={"mine": 1})  # as the demo and studies do
    assert load_model(again, tiny_model().backbone).trained_with == expected


def test_training_from_kept_tokens_is_training_from_clips():
    clips, held_out = ColouredClips(), ColouredClips(seed=1)
    validation = tiny_episodes(held_out, 4)
    runs = []
    for kept in (False, True):
        model = tiny_model()
        given = PrefixCache(tiny_model(), clips, views=2) if kept else clips
        tested = PrefixCache(tiny_model(), held_out) if kept else held_out
        runs.append(train(model, given, tiny_episodes(clips), tiny_config(), (tested, validation), progress=False))
    assert runs[0].accuracies == runs[1].accuracies
    rows = [[{**row, "seconds": 0} for row in run.history] for run in runs]
    assert rows[0] == rows[1]
    assert runs[1].dataset == clips.fingerprint


def test_tokens_that_do_not_fit_are_refused():
    clips, held_out = ColouredClips(), ColouredClips(seed=1)
    fits, foreign = PrefixCache(tiny_model(), clips, views=2), PrefixCache(tiny_model(seed=3), clips, views=2)
    model, before = tiny_model(), tiny_model().adapter_state()
    for kept, tested, changes, words in (
        (foreign, held_out, {}, "another frozen model"),
        (clips, PrefixCache(tiny_model(seed=3), held_out), {}, "another frozen model"),
        (fits, held_out, {"views": 3}, "holds 2 random views of a clip, but views is 3"),
        (PrefixCache(tiny_model(), clips), held_out, {"views": 0}, "holds 0 random views"),
        (fits, held_out, {"trainable": "all"}, "trains what lies below the tokens"),
    ):
        with pytest.raises(ValueError, match=words):
            train(model, kept, tiny_episodes(clips), tiny_config(**changes), (tested, tiny_episodes(held_out, 2)))
        assert all(not parameter.requires_grad for parameter in model.backbone.parameters())
    for name, value in model.adapter_state().items():
        torch.testing.assert_close(value, before[name])


def test_the_temperature_is_learnt_only_when_asked():
    _, learnt = tiny_train()
    _, fixed = tiny_train(learn_temperature=False)
    assert learnt.history[-1]["temperature"] != pytest.approx(16.0, abs=1e-3)
    assert fixed.history[-1]["temperature"] == pytest.approx(16.0, abs=1e-4)


def test_class_names_as_second_evidence():
    """The product rule by hand: logits = temperature x visual cosine x semantic cosine, at the untrained start."""
    clips = ColouredClips()
    names = torch.randn(6, 16, generator=torch.Generator().manual_seed(3))
    text = TextFeatures(tuple(clips.class_names), names, "made up")
    episodes = tiny_episodes(clips, 1)
    config = tiny_config(n_steps=1, episodes_per_step=1, auxiliary_weight=0.0)
    seen = train(tiny_model(), clips, episodes, config, progress=False).history[0]["loss"]
    fused = train(tiny_model(), clips, episodes, config, text=text, progress=False).history[0]["loss"]

    views = np.random.default_rng((config.seed, 0, 1)).integers(config.views, size=9)
    pixels = torch.stack([clips.read(int(i), int(v)) for i, v in zip(episodes[0].clips, views, strict=True)])
    features = tiny_model()(pixels, 3).mean(1).detach()
    visual = torch.cosine_similarity(features[3:, None], features[None, :3], dim=-1)
    semantic = torch.cosine_similarity(features[3:, None], names[episodes[0].classes][None], dim=-1)
    for loss, logits in [(seen, 16 * visual), (fused, 16 * visual * semantic)]:
        by_hand = -logits.log_softmax(-1)[torch.arange(6), episodes[0].query_labels].mean()
        assert loss == pytest.approx(by_hand.item(), rel=1e-4)


@pytest.mark.parametrize("options", [{"temporal_embedding": "input"}, {"temporal_embedding": None}, {"scope": "joint"}])
def test_every_kind_of_model_trains(options):
    clips = ColouredClips()
    model = tiny_model(**options)
    before = model.adapter_state()
    train(model, clips, tiny_episodes(clips), tiny_config(n_steps=2), progress=False)
    after = model.adapter_state()
    assert all(not torch.equal(before[name], after[name]) for name in before if name.endswith("up.weight"))
    if options.get("temporal_embedding") == "input":
        assert not torch.equal(before["temporal"], after["temporal"])


def test_full_fine_tuning_reaches_the_first_layer():
    clips = ColouredClips()
    model = tiny_model(depth=0)
    before = model.backbone.patch_embed.proj.weight.clone()
    first = model.backbone.blocks[0].attn.qkv.weight.clone()
    config = tiny_config(n_steps=2, trainable="all", learning_rate=1e-3)
    train(model, clips, tiny_episodes(clips), config, progress=False)
    assert not torch.equal(before, model.backbone.patch_embed.proj.weight)
    assert not torch.equal(first, model.backbone.blocks[0].attn.qkv.weight)


def test_full_fine_tuning_resumes_bit_identically(tmp_path):
    changes = {"trainable": "all", "n_steps": 6, "learning_rate": 1e-3}
    whole, expected = tiny_train(**changes)
    tiny_train(tmp_path, **changes)
    training_checkpoints(tmp_path)[-1].unlink()
    resumed, result = tiny_train(tmp_path, resume="auto", **changes)
    assert without_seconds(result.history) == without_seconds(expected.history)
    assert states_equal(whole.state_dict(), resumed.state_dict())


def test_an_unfrozen_backbone_is_never_read_from_a_cache():
    """A backbone that the caller has unfrozen changes below the adapted blocks, so old tokens would be wrong."""
    clips, model = ColouredClips(), tiny_model()
    model.backbone.requires_grad_(True)
    train(model, clips, tiny_episodes(clips, 6), tiny_config(n_steps=3, views=1), progress=False)
    assert not torch.equal(model.backbone.patch_embed.proj.weight, tiny_model().backbone.patch_embed.proj.weight)


def test_bf16_keeps_the_loss_in_32_bit_and_close():
    _, exact = tiny_train(n_steps=2)
    _, rough = tiny_train(n_steps=2, precision="bf16")
    assert rough.history[0]["loss"] == pytest.approx(exact.history[0]["loss"], rel=0.05)
    assert rough.history[0]["loss"] != exact.history[0]["loss"]


def test_a_loss_that_is_not_finite_names_episode_and_seed(tmp_path):
    clips = ColouredClips()
    episodes = tiny_episodes(clips)
    model = tiny_model()

    def poison(row):
        model.temporal.data[0, 0] = float("nan")

    with pytest.raises(ValueError, match=r"episode 4 \(step 2, seed 5\) is nan"):
        train(model, clips, episodes, tiny_config(), out=tmp_path, on_log=poison, progress=False)
    for path in training_checkpoints(tmp_path):
        assert all(tensor.isfinite().all() for tensor in read_checkpoint(path)[0].values())


def test_a_gradient_that_is_not_finite_is_refused_at_the_last_step_too():
    clips = ColouredClips()
    model = tiny_model()
    next(iter(model.trainable_parameters())).register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(ValueError, match="the gradient from episode 0 on"):
        train(model, clips, tiny_episodes(clips), tiny_config(n_steps=1, clip_norm=None), progress=False)


def test_refusals_before_any_work(tmp_path):
    clips = ColouredClips()
    with pytest.raises(ValueError, match="n_steps 12 x episodes_per_step 2"):
        train(tiny_model(), clips, tiny_episodes(clips, 23), tiny_config(), progress=False)
    with pytest.raises(ValueError, match="out"):
        train(tiny_model(), clips, tiny_episodes(clips), tiny_config(), resume="auto", progress=False)
    frozen = tiny_config(learn_temperature=False, auxiliary_weight=0.0)
    with pytest.raises(ValueError, match="nothing to train"):
        train(tiny_model(depth=0), clips, tiny_episodes(clips), frozen, progress=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="can't write"):
        tiny_train(tmp_path / "file" / "run")


def settings_of(model):
    """All that a refusal must leave alone."""
    return {
        "scope": model.scope,
        "trained_with": model.trained_with,
        "devices": {name: p.device for name, p in model.named_parameters()},
        "trainable": {name: p.requires_grad for name, p in model.named_parameters()},
        "modes": {name: module.training for name, module in model.named_modules()},
        "fused": [block.attn.fused_attn for block in model.backbone.blocks],
    }


REFUSED = {"scope": "joint", "trainable": "all", "precision": "bf16", "views": 0, "n_steps": 2, "episodes_per_step": 1}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "why", ["too few episodes", "class names", "validation", "folder", "another run", "a bad clip"]
)
def test_a_refusal_leaves_the_model_as_it_was(tmp_path, why, training):
    class BrokenClips(ColouredClips):
        def read(self, i, view=None):
            raise ClipError(f"{i}.mp4", "is broken")

    model, clips = tiny_model(scope="split").train(training), ColouredClips()
    model.trained_with = {"metric": "euclidean", "aggregation": "per_shot", "temperature": 3.0}
    for block in model.backbone.blocks:
        block.attn.fused_attn = True
    settings, weights = settings_of(model), {name: value.clone() for name, value in model.state_dict().items()}
    arguments = {"config": tiny_config(**REFUSED), "progress": False}
    if why == "too few episodes":
        arguments["config"] = tiny_config(**REFUSED | {"n_steps": 100})
    elif why == "class names":
        arguments["text"] = TextFeatures(("something else",), torch.randn(1, 16), "made up")
    elif why == "validation":
        arguments["validation"] = (ColouredClips(seed=1), [])
    elif why == "folder":
        (tmp_path / "file").write_text("")
        arguments["out"] = tmp_path / "file" / "run"
    elif why == "another run":
        train(tiny_model(), clips, tiny_episodes(clips), tiny_config(n_steps=2), out=tmp_path, progress=False)
        arguments |= {"out": tmp_path, "resume": "auto"}
    else:
        clips = BrokenClips()
    with pytest.raises((ValueError, OSError)):
        train(model, clips, tiny_episodes(clips), **arguments)
    assert settings_of(model) == settings
    if why != "validation":  # which is looked at after the first steps
        assert states_equal(model.state_dict(), weights)


def test_an_estimate_leaves_the_model_as_it_was():
    model, clips = tiny_model(scope="split"), ColouredClips()
    settings, weights = settings_of(model), {name: value.clone() for name, value in model.state_dict().items()}
    estimate = estimate_run(model, clips, tiny_episodes(clips), tiny_config(**REFUSED), 2)
    assert estimate.n_steps == 2
    assert settings_of(model) == settings
    assert states_equal(model.state_dict(), weights)


def test_another_run_is_not_continued_and_not_overwritten(tmp_path):
    tiny_train(tmp_path, n_steps=3)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="already holds a run"):
        tiny_train(tmp_path, n_steps=3)
    with pytest.raises(CheckpointError, match="learning_rate"):
        tiny_train(tmp_path, resume="auto", n_steps=3, learning_rate=1.0)
    clips, config = ColouredClips(), tiny_config(n_steps=3)
    arguments = {"config": config, "resume": "auto", "out": tmp_path, "progress": False}
    with pytest.raises(CheckpointError, match="clips"):
        train(tiny_model(), ColouredClips(seed=3), tiny_episodes(clips, 6), **arguments)
    with pytest.raises(CheckpointError, match="episodes"):
        train(tiny_model(), clips, tiny_episodes(clips, 6, seed=8), **arguments)
    with pytest.raises(CheckpointError, match="depth"):
        train(tiny_model(depth=2), clips, tiny_episodes(clips, 6), **arguments)
    with pytest.raises(CheckpointError, match="no training state"):
        tiny_train(resume=tmp_path / "adapters.safetensors", n_steps=3)
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}


OTHER_SETTINGS = {
    "optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 0.5, "momentum": 0.5, "schedule": "constant",
    "warmup_steps": 1, "n_steps": 2, "episodes_per_step": 1, "views": 3, "scope": "joint", "trainable": "all",
    "metric": "euclidean", "aggregation": "per_shot", "temperature": 3.0, "learn_temperature": False,
    "fusion": "log_probabilities",
    "auxiliary_weight": 0.1, "clip_norm": None, "precision": "bf16", "validation_every": 1, "log_every": 1, "seed": 9,
    "time_limit_s": 1e6, "checkpoint_every": 1, "workers": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def run_of_three_steps(tmp_path_factory):
    """The folder of a run of three steps."""
    folder = tmp_path_factory.mktemp("three")
    clips = ColouredClips()
    train(tiny_model(), clips, tiny_episodes(clips), tiny_config(n_steps=3), out=folder, progress=False)
    return folder


def continue_run(folder, model=None, config=None, text=None):
    clips, model = ColouredClips(), tiny_model() if model is None else model
    path = training_checkpoints(folder)[-1]
    return train(
        model, clips, tiny_episodes(clips), config or tiny_config(n_steps=3), None, path, text=text, progress=False
    )


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(TrainConfig)])
def test_a_run_goes_on_with_its_own_settings_alone(run_of_three_steps, name):
    config = tiny_config(**{"n_steps": 3, name: OTHER_SETTINGS[name]})
    assert getattr(config, name) != getattr(tiny_config(n_steps=3), name)
    if name in ("time_limit_s", "checkpoint_every", "workers"):
        assert continue_run(run_of_three_steps, config=config).history[-1]["step"] == 3
    else:
        with pytest.raises(CheckpointError, match=f"another run: its {name} is"):
            continue_run(run_of_three_steps, config=config)


def test_a_run_goes_on_with_its_own_scope_and_text_alone(run_of_three_steps, tmp_path):
    """Also where they are the model's and the call's, not the configuration's."""
    with pytest.raises(CheckpointError, match="its scope is 'inductive', here it is 'joint'"):
        continue_run(run_of_three_steps, tiny_model(scope="joint"))
    names = ColouredClips().class_names
    text, other = (TextFeatures(tuple(names), torch.ones(6, 16), source) for source in ("made up", "other"))
    with pytest.raises(CheckpointError, match="its text is None, here it is .*'made up'"):
        continue_run(run_of_three_steps, text=text)
    clips = ColouredClips()
    whole = {"out": tmp_path, "text": text, "progress": False}
    train(tiny_model(), clips, tiny_episodes(clips), tiny_config(n_steps=3), **whole)
    with pytest.raises(CheckpointError, match="its text is .*'made up'.*, here it is .*'other'"):
        continue_run(tmp_path, text=other)
    with pytest.raises(CheckpointError, match="its text is .*'made up'.*, here it is None"):
        continue_run(tmp_path)
    assert continue_run(tmp_path, text=text).history[-1]["step"] == 3


def test_a_time_limit_ends_the_schedule_early():
    _, result = tiny_train(n_steps=5000, time_limit_s=0.5, validation_every=0)
    assert 1 <= result.history[-1]["step"] < 5000
    assert not result.interrupted
    assert 0.4 < result.seconds < 5


@pytest.mark.skipif(os.name != "posix", reason="permissions")
def test_a_disk_that_fills_up_keeps_the_previous_checkpoint(tmp_path, monkeypatch):

    real, calls = os.replace, []

    def fails_later(source, target):
        calls.append(target)
        if len(calls) > 2:
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", fails_later)
    with pytest.raises(OSError, match="No space left"):
        tiny_train(tmp_path)
    monkeypatch.undo()
    assert [path.name for path in training_checkpoints(tmp_path)] == [f"step_{s:08d}.safetensors" for s in (3, 6)]
    _, result = tiny_train(tmp_path, resume="auto")
    assert without_seconds(result.history) == without_seconds(tiny_train()[1].history)


def test_published_recipes():
    steps = {"hmdb51": 2000, "ucf101": 2000, "kinetics100": 2000, "ssv2_small": 20_000, "ssv2_full": 50_000}
    for dataset, n_steps in steps.items():
        config = TrainConfig.published(dataset)
        assert (config.optimizer, config.learning_rate, config.momentum) == ("sgd", 1e-3, 0.0)
        assert (config.temperature, config.learn_temperature, config.episodes_per_step) == (64.0, False, 1)
        assert (config.scope, config.n_steps) == ("split", n_steps)
        assert config.learning_rate_at(n_steps - 1, n_steps) == 1e-3
    assert TrainConfig.published("hmdb51", seed=3).seed == 3
    with pytest.raises(ValueError, match="imagenet"):
        TrainConfig.published("imagenet")


def test_the_schedule_by_hand():
    config = TrainConfig(learning_rate=1.0, warmup_steps=4, time_limit_s=100.0)
    rates = [config.learning_rate_at(step, 8) for step in (0, 3, 4)]
    assert rates == pytest.approx([0.25, 0.5 + 0.5 * 0.38268343, 0.5])  # cos(3 pi / 8)
    assert config.learning_rate_at(4, 8, seconds=75.0) == pytest.approx(0.14644661)  # (1 + cos(3 pi / 4)) / 2
    assert config.learning_rate_at(4, 8, seconds=10.0) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"optimizer": "lion"}, {"schedule": "step"}, {"scope": "all"}, {"trainable": "head"}, {"metric": "dtw"},
        {"learning_rate": 0.0}, {"temperature": -1.0}, {"episodes_per_step": 0}, {"clip_norm": 0.0}, {"views": -1},
        {"n_steps": 0}, {"aggregation": "mean"}, {"aggregation": "per_shot", "metric": "trx"},
        {"time_limit_s": 0.0}, {"precision": "fp16"}, {"learning_rate": float("nan")},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainConfig(**wrong)


def test_the_configuration_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().seed = 1


def test_a_folder_of_tokens_is_shared_by_runs_and_changes_no_number(tmp_path):
    plain, _ = tiny_train()
    kept, _ = tiny_train(cache=tmp_path)
    files = {file.name: file.stat().st_mtime_ns for file in tmp_path.glob("*.tokens")}
    assert len(files) == 2  # training and validation clips
    again, _ = tiny_train(cache=tmp_path, learning_rate=1e-4)
    assert {file.name for file in tmp_path.glob("*.tokens")} == files.keys()
    for name, value in plain.adapter_state().items():
        assert torch.equal(value, kept.adapter_state()[name])
    assert not all(torch.equal(value, again.adapter_state()[name]) for name, value in kept.adapter_state().items())
