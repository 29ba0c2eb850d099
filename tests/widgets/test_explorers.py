"""Explorers: what they show is what the library computes; they answer fast and leak nothing."""

from __future__ import annotations

import gc
import io
import time

import matplotlib.pyplot as plt
import numpy as np
import pytest
import timm
import torch
from matplotlib.figure import Figure
from PIL import Image
from tiny_run import T

from taskadapter_lite import figures
from taskadapter_lite.attention import record_attention
from taskadapter_lite.data.clips import resize_and_crop
from taskadapter_lite.data.datasets import bundled_clips
from taskadapter_lite.data.labelled import LabelledClips
from taskadapter_lite.episodes import EpisodeSampler, EpisodeSpec
from taskadapter_lite.files import data_dir
from taskadapter_lite.metrics import alignment, otam_scores
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.training.checkpoints import load_model
from taskadapter_lite.widgets import base as widgets_base
from taskadapter_lite.widgets import explorers as widgets
from taskadapter_lite.widgets.browser import EpisodeBrowser


def weights_by_hand(model, clips, episode, scope, block):
    own, model.scope = model.scope, scope
    with record_attention(model, axes=["task"]) as record, torch.no_grad():
        model(clips.read_batch(episode.clips), len(episode.support))
    model.scope = own
    return record.weights["task"][block]


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


def test_two_views_stand_one_below_the_other_on_one_scale(clips, episodes, models, drawn):
    explorer = widgets.AttentionExplorer(models, clips, episodes)
    explorer.below.value = ("untrained", "joint")
    figures_drawn = [call for call in drawn if call[0] == "plot_cross_video_attention"]
    (_, (left, *_), first), (_, (right, *_), second) = figures_drawn[-2:]
    torch.testing.assert_close(right, weights_by_hand(models["untrained"], clips, episodes[0], "joint", 0))
    assert not torch.equal(left, right)
    assert first["vmax"] == second["vmax"]
    assert {first["title"], second["title"]} == {"trained, scope inductive, block 0", "untrained, scope joint, block 0"}
    assert models["untrained"].scope == "inductive"  # as it was
    explorer.below.value = ("untrained", "split")
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
    (whole,), (maps,) = anew.draws(), anew._maps()

    def marked(figure):
        figures.mark_token(whole(figure=figure)[0], maps[figures.drawn_videos(maps, anew._labels, anew._row)], (0, 1))

    at_once = widgets_base.png_bytes([widgets_base.Drawing(marked).pixels()])
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
    explorer, open_before = widgets.AttentionExplorer(models, clips, episodes), plt.get_fignums()
    gc.collect()
    before = sum(type(thing) is Figure for thing in gc.get_objects())
    places = [(n, q, t) for n in range(4) for q in range(3) for t in range(T)] * 5
    for number, query, frame in places[:200]:
        explorer.number.value, explorer.query.value, explorer.frame.value = number, query, frame
    gc.collect()
    assert sum(type(thing) is Figure for thing in gc.get_objects()) <= before + explorer._drawings.cache_info().maxsize
    assert plt.get_fignums() == open_before


@pytest.mark.slow
def test_an_answer_takes_300_ms():
    """5-way episodes of the bundled clips, nothing of the answers kept. Needs a quiet machine."""
    clips = bundled_clips("test")
    episodes = EpisodeSampler(clips.labels, EpisodeSpec(5, 1, 1), 8, seed=3, class_names=clips.class_names)[:]
    model = load_model(data_dir() / "task_adapter.safetensors")
    explorer = widgets.AttentionExplorer({"trained": model}, clips, episodes)
    aligned = widgets.AlignmentExplorer(model, clips, episodes)
    browser = EpisodeBrowser(clips)
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


@pytest.mark.parametrize("side", [8, 16])
def test_attention_of_many_patches_is_shown_as_it_was_recorded(side, clips, episodes, drawn):
    """A transformer with side x side patches, as DINOv2 has at 112 and 224 pixels."""
    backbone = timm.create_model(
        "vit_tiny_patch16_224", img_size=2 * side, patch_size=2, embed_dim=12, depth=2, num_heads=2, num_classes=0
    ).eval()
    model, large = TaskAdapterViT(backbone, depth=1, T=T), Resized(clips, 2 * side)
    explorer = widgets.AttentionExplorer(model, large, episodes)
    assert explorer.patch.grid == (side, side)
    assert explorer.patch.value == 1 + (side // 2) * side + side // 2
    shown = np.asarray(Image.open(io.BytesIO(explorer.patch.frame)))
    np.testing.assert_array_equal(shown, large.read(int(episodes[0].query[0]))[T // 2].permute(1, 2, 0))
    corner = side * side
    explorer.patch.value = corner
    name, (_, maps, token), _ = drawn[-1]
    assert (name, token) == ("mark_token", (T // 2, corner))
    assert maps.shape[2:] == (side, side)
    weights = weights_by_hand(model, large, episodes[0], "inductive", 1)  # (T, N, heads, B, B)
    shares = weights[T // 2, corner, :, 3].mean(0)  # of the first query, over heads; own class first, itself last
    np.testing.assert_allclose(maps[:, T // 2, -1, -1], shares[[0, 1, 2, 3]], rtol=1e-5)
    assert explorer.error.value == ""


class Resized(LabelledClips):
    """The same clips at another size."""

    def __init__(self, clips, size):
        super().__init__(clips.paths, clips.labels, clips.class_names, clips.T)
        self.clips, self.size = clips, size

    def read(self, i, view=None):
        return resize_and_crop(self.clips.read(i), size=self.size)


def test_the_alignment_explorer_switches_between_models_and_names_the_classes(clips, episodes, models, drawn):
    explorer = widgets.AlignmentExplorer(models, clips, episodes)
    names = [[clips.class_names[c] for c in episode.classes] for episode in episodes]
    assert [name for name, _ in explorer.support.options] == names[0]
    explorer.support.value = 2
    before = len(drawn)
    explorer.number.value = 1
    assert [name for name, _ in explorer.support.options] == names[1]
    assert explorer.support.value == 2
    assert len(drawn) == before + 1  # drawn once, although two controls moved
    assert f"class: {names[1][2]}" in drawn[-1][1][4]
    explorer.model.value = "untrained"
    with torch.no_grad():
        features = models["untrained"](clips.read_batch(episodes[1].clips), 3)
    torch.testing.assert_close(drawn[-1][1][0], alignment(features[2], features[3], "otam", 0.1).distances)
    alone = widgets.AlignmentExplorer(models["trained"], clips, episodes)
    assert alone.model not in alone._controls  # nothing to switch
