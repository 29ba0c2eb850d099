"""Explorers: what they show is what the library computes; they answer fast and leak nothing."""

from __future__ import annotations

import base64
import gc
import io
import time

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from tiny_run import T

from taskadapter_lite import figures
from taskadapter_lite.attention import record_attention
from taskadapter_lite.data.datasets import bundled_clips
from taskadapter_lite.episodes import EpisodeSampler, EpisodeSpec
from taskadapter_lite.files import data_dir
from taskadapter_lite.metrics import alignment, otam_scores
from taskadapter_lite.training.checkpoints import load_model
from taskadapter_lite.widgets import base as widgets_base
from taskadapter_lite.widgets import explorers as widgets


def weights_by_hand(model, clips, episode, scope, block):
    own, model.scope = model.scope, scope
    with record_attention(model, axes=["task"]) as record, torch.no_grad():
        model(clips.read_batch(episode.clips), len(episode.support))
    model.scope = own
    return record.weights["task"][block]


def test_the_browser_plays_the_clips_of_the_sampled_episode(clips):
    browser = widgets.EpisodeBrowser(clips, max_shot=2)
    browser.way.value, browser.shot.value, browser.seed.value, browser.number.value = 4, 2, 7, 3
    episode = EpisodeSampler(clips.labels, EpisodeSpec(4, 2, 1), 100, seed=7)[3]
    images = browser.note.value.split("base64,")[1:]
    shown = [base64.b64decode(image.split('"')[0]) for image in images]
    rows = [[*episode.support[2 * c : 2 * c + 2], episode.query[c]] for c in range(4)]
    assert shown == [figures.animation_bytes(clips.read(int(i))) for row in rows for i in row]
    for c in episode.classes.tolist():
        assert clips.class_names[c] in browser.note.value


def test_an_episode_that_cannot_be_drawn_is_a_sentence_and_the_picture_stays(clips):
    browser = widgets.EpisodeBrowser(clips)
    before = browser.note.value
    browser.shot.value = 5
    browser.n_query.value = 5
    assert "needs 10" in browser.error.value
    assert browser.note.value != ""
    browser.n_query.value = 1
    assert browser.error.value == ""
    browser.shot.value = 1
    assert browser.note.value == before


def test_the_attention_explorer_draws_the_recorded_weights(clips, episodes, models, drawn):
    explorer = widgets.AttentionExplorer(models, clips, episodes)
    explorer.number.value, explorer.query.value, explorer.block.value = 2, 1, 0
    explorer.head.value, explorer.frame.value, explorer.patch.value = 1, 2, 3
    name, (weights, frames, labels, _, query), arguments = [call for call in drawn if call[0] != "mark_token"][-1]
    assert name == "plot_cross_video_attention"
    torch.testing.assert_close(weights, weights_by_hand(models["trained"], clips, episodes[2], "inductive", 0))
    assert (query, arguments["head"]) == (4, 1)
    np.testing.assert_array_equal(frames, clips.read_batch(episodes[2].clips))
    name, (_, maps, token), _ = drawn[-1]
    assert (name, token) == ("mark_token", (2, 3))
    np.testing.assert_allclose(maps, figures.query_maps(weights, 4, 1)[[1, 0, 2, 4]])  # own class first, itself last
    mass = figures.own_class_mass(weights, labels, 3)[1, 1]
    assert f"{100 * mass:.1f}%" in explorer.note.value


def test_two_views_stand_side_by_side_on_one_scale(clips, episodes, models, drawn):
    explorer = widgets.AttentionExplorer(models, clips, episodes)
    explorer.beside.value = ("untrained", "joint")
    figures_drawn = [call for call in drawn if call[0] == "plot_cross_video_attention"]
    (_, (left, *_), first), (_, (right, *_), second) = figures_drawn[-2:]
    torch.testing.assert_close(right, weights_by_hand(models["untrained"], clips, episodes[0], "joint", 0))
    assert not torch.equal(left, right)
    assert first["vmax"] == second["vmax"]
    assert {first["title"], second["title"]} == {"trained, scope inductive, block 0", "untrained, scope joint, block 0"}
    assert models["untrained"].scope == "inductive"  # as it was
    explorer.beside.value = ("untrained", "split")
    assert "sees no support video" in explorer.note.value


def test_another_place_is_another_mark_on_the_same_figure(clips, episodes, models, drawn, monkeypatch):
    made, real = [], widgets.Drawing
    monkeypatch.setattr(widgets, "Drawing", lambda draw: made.append(real(draw)) or made[-1])
    explorer = widgets.AttentionExplorer(models, clips, episodes)
    del drawn[:]
    explorer.patch.value, explorer.frame.value = 1, 0
    assert {call[0] for call in drawn} == {"mark_token"}
    assert len(made) == 1
    assert not made[0].axes[0].patches  # taken off again
    anew = widgets.AttentionExplorer(models, clips, episodes)
    anew.frame.value, anew.patch.value = 0, 1
    assert explorer.picture.value == anew.picture.value  # nothing of the earlier marks is left
    (whole,) = anew.draws()
    whole.keywords["token"] = (0, 1)
    at_once = widgets_base.png_bytes([widgets_base.Drawing(whole).pixels()])
    shown, expected = (np.asarray(Image.open(io.BytesIO(data)), float) for data in (anew.picture.value, at_once))
    assert np.abs(shown - expected).mean() < 0.5  # of 255: the same but for what lies on top of what


def test_the_alignment_explorer_shows_scores_and_path_of_the_choice(clips, episodes, models, drawn):
    explorer = widgets.AlignmentExplorer(models["trained"], clips, episodes)
    explorer.number.value, explorer.query.value, explorer.support.value, explorer.gamma.value = 1, 2, 0, 0.3
    episode = episodes[1]
    with torch.no_grad():
        features = models["trained"](clips.read_batch(episode.clips), 3)
    found = alignment(features[0], features[5], "otam", 0.3)
    _, (distances, weights, query, support, title), _ = drawn[-1]
    torch.testing.assert_close(distances, found.distances)
    torch.testing.assert_close(weights, found.weights)
    np.testing.assert_array_equal(query, clips.read(int(episode.query[2])))
    np.testing.assert_array_equal(support, clips.read(int(episode.support[0])))
    assert f"distance {found.distance:.2f}" in title
    for score in otam_scores(features[:3, None], features[3:], gamma=0.3)[2]:
        assert f"{score:.3f}" in explorer.note.value
    explorer.metric.value = "bimhm"
    assert explorer.gamma.disabled  # Bi-MHM has no softness
    torch.testing.assert_close(drawn[-1][1][1], alignment(features[0], features[5], "bimhm").weights)


def test_two_hundred_places_keep_a_handful_of_figures(clips, episodes, models):
    explorer = widgets.AttentionExplorer(models, clips, episodes)
    gc.collect()
    before = sum(type(thing) is Figure for thing in gc.get_objects())
    places = [(n, q, t) for n in range(4) for q in range(3) for t in range(T)] * 5
    for number, query, frame in places[:200]:
        explorer.number.value, explorer.query.value, explorer.frame.value = number, query, frame
    gc.collect()
    assert sum(type(thing) is Figure for thing in gc.get_objects()) <= before + explorer._drawings.cache_info().maxsize
    assert not plt.get_fignums()


@pytest.mark.slow
def test_an_answer_takes_300_ms():
    """5-way episodes of the bundled clips, nothing of the answers kept. Needs a quiet machine."""
    clips = bundled_clips("test")
    episodes = EpisodeSampler(clips.labels, EpisodeSpec(5, 1, 1), 8, seed=3, class_names=clips.class_names)[:]
    model = load_model(data_dir() / "task_adapter.safetensors")
    explorer = widgets.AttentionExplorer({"trained": model}, clips, episodes)
    aligned = widgets.AlignmentExplorer(model, clips, episodes)
    browser = widgets.EpisodeBrowser(clips)
    changes = {
        "place": (explorer.patch, range(1, 9)),
        "frame": (explorer.frame, (0, 1, 2, 3)),
        "head": (explorer.head, (0, 1, 2)),
        "block": (explorer.block, (3, 5)),
        "query": (explorer.query, (1, 2, 3, 4)),
        "episode": (explorer.number, (1, 2, 3, 4)),
        "aligned query": (aligned.query, (1, 2, 3)),
        "softness": (aligned.gamma, (0.01, 0.03, 0.3)),
        "aligned episode": (aligned.number, (1, 2, 3)),
        "browsed episode": (browser.number, (1, 2, 3)),
        "way": (browser.way, (6, 7, 8)),
    }
    medians = {}
    for name, (control, values) in changes.items():
        times = []
        for value in values:
            start = time.perf_counter()
            control.value = value
            times.append(time.perf_counter() - start)
        medians[name] = round(1000 * float(np.median(times)))
    assert max(medians.values()) < 300, f"milliseconds: {medians}"
