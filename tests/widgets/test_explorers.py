"""Widgets: what they show is what the library computes; they answer fast, survive errors, and leak nothing."""

from __future__ import annotations

import base64
import datetime
import gc
import io
import time
import warnings

import matplotlib

matplotlib.use("Agg")

import av
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from nbconvert import HTMLExporter
from PIL import Image
from tiny_run import SIZE, ColouredClips, T, tiny_backbone

from taskadapter_lite import figures
from taskadapter_lite.attention import record_attention
from taskadapter_lite.data.datasets import bundled_clips
from taskadapter_lite.episodes import EpisodeSampler, EpisodeSpec
from taskadapter_lite.files import data_dir
from taskadapter_lite.metrics import alignment, otam_scores
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.training.checkpoints import load_model
from taskadapter_lite.widgets import base as widgets_base
from taskadapter_lite.widgets import explorers as widgets
from taskadapter_lite.widgets import playground


@pytest.fixture(scope="module")
def clips():
    return ColouredClips()


@pytest.fixture(scope="module")
def episodes(clips):
    return EpisodeSampler(clips.labels, EpisodeSpec(3, 1, 1), 4, seed=5)[:]


@pytest.fixture(scope="module")
def models():
    trained = TaskAdapterViT(tiny_backbone(), depth=2, T=T)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(1)
        for parameter in trained.trainable_parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return {"trained": trained, "untrained": TaskAdapterViT(tiny_backbone(), depth=2, T=T)}


@pytest.fixture
def drawn(monkeypatch):
    """What the explorers hand to the figures: a list of (name, arguments, keyword arguments)."""
    calls = []
    for module in (widgets, playground):
        for name in ("plot_cross_video_attention", "mark_token", "plot_alignment", "show_episode"):
            if not hasattr(module, name):
                continue
            real = getattr(module, name)

            def spy(*args, real=real, name=name, **kwargs):
                calls.append((name, args, kwargs))
                return real(*args, **kwargs)

            monkeypatch.setattr(module, name, spy)
    return calls


def weights_by_hand(model, clips, episode, scope, block):
    own, model.scope = model.scope, scope
    with record_attention(model, axes=["task"]) as record, torch.no_grad():
        model(clips.read_batch(episode.clips), len(episode.support))
    model.scope = own
    return record.weights["task"][block]


# the frame that all share


def test_a_picture_is_the_figure_in_the_style_of_the_library():
    def line(figure: Figure):
        figure.set_size_inches(2, 1)
        figure.add_subplot().plot([0, 1])

    data = widgets_base.png_bytes([widgets_base.Drawing(line).pixels()] * 2)
    picture = plt.imread(io.BytesIO(data))
    assert picture.shape[:2] == (72, 288)  # two of 2 x 1 inches side by side
    np.testing.assert_array_equal(picture[:, :144], picture[:, 144:])
    blue = np.array([0x00, 0x72, 0xB2]) / 255
    assert (np.abs(picture[..., :3] - blue).max(axis=-1) < 0.02).any()
    assert not plt.get_fignums()


def test_recent_keeps_the_last_results():
    calls = []
    recent = widgets_base.Recent(lambda x: calls.append(x) or x * 2, limit=2)
    assert [recent(x) for x in (1, 2, 1, 3, 1, 2)] == [2, 4, 2, 6, 2, 4]
    assert calls == [1, 2, 3, 2]


def test_without_widgets_the_same_picture_is_shown(clips, episodes, models):
    explorer = widgets.AlignmentExplorer(models["trained"], clips, episodes)
    bundle = explorer._repr_mimebundle_()
    bundle = bundle[0] if isinstance(bundle, tuple) else bundle
    shown = Image.open(io.BytesIO(explorer.picture.value)).convert("RGB")
    still = Image.open(io.BytesIO(base64.b64decode(bundle["image/jpeg"])))
    assert len(bundle["image/jpeg"]) < 60_000
    assert still.width <= 560
    assert abs(still.width / still.height - shown.width / shown.height) < 0.02
    difference = np.asarray(shown.resize(still.size, Image.Resampling.LANCZOS), float) - np.asarray(still, float)
    assert np.abs(difference).mean() < 4  # of 255
    assert "application/vnd.jupyter.widget-view+json" in bundle
    browser = widgets.EpisodeBrowser(clips)._repr_mimebundle_()
    assert "image/jpeg" in (browser[0] if isinstance(browser, tuple) else browser)
    nothing = widgets.FewShotPlayground(models["trained"])._repr_mimebundle_()
    assert "image/jpeg" not in (nothing[0] if isinstance(nothing, tuple) else nothing)


def test_a_page_made_of_a_notebook_shows_the_still_copy(clips, episodes, models):
    bundle = widgets.AttentionExplorer(models, clips, episodes)._repr_mimebundle_()
    output = nbformat.v4.new_output("display_data", bundle[0] if isinstance(bundle, tuple) else bundle)
    cells = [nbformat.v4.new_code_cell("shown", outputs=[output])]
    page, _ = HTMLExporter().from_notebook_node(nbformat.v4.new_notebook(cells=cells))
    assert 'src="data:image/jpeg;base64' in page


# episodes


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


# attention


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


def test_another_place_is_another_mark_on_the_same_figure(clips, episodes, models, drawn):
    explorer = widgets.AttentionExplorer(models, clips, episodes)
    del drawn[:]
    explorer.patch.value, explorer.frame.value = 1, 0
    assert {call[0] for call in drawn} == {"mark_token"}
    assert not any(drawing.axes[0].patches for drawing in explorer._drawings.kept.values())  # taken off again
    anew = widgets.AttentionExplorer(models, clips, episodes)
    anew.frame.value, anew.patch.value = 0, 1
    assert explorer.picture.value == anew.picture.value  # nothing of the earlier marks is left
    (whole,) = anew.draws()
    whole.keywords["token"] = (0, 1)
    at_once = widgets_base.png_bytes([widgets_base.Drawing(whole).pixels()])
    shown, expected = (np.asarray(Image.open(io.BytesIO(data)), float) for data in (anew.picture.value, at_once))
    assert np.abs(shown - expected).mean() < 0.5  # of 255: the same but for what lies on top of what


def test_many_patches_are_a_slider():
    few, many = widgets_base.places("patch", (4, 4)), widgets_base.places("patch", (14, 14))
    assert [value for _, value in few._options_full] == list(range(1, 17))
    assert many.options[15] == ("row 1, column 1", 16)


# alignment


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


# clips of one's own


def write_video(path, colour, n_frames=9):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for i in range(n_frames):
            pixels = np.full((32, 32, 3), colour, np.uint8)
            pixels[8:16, 2 * i : 2 * i + 8] = 255 - pixels[8:16, 2 * i : 2 * i + 8]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)


def upload(path):
    return {
        "name": path.name,
        "type": "video/mp4",
        "size": 1,
        "content": memoryview(path.read_bytes()),
        "last_modified": NOW,
    }


@pytest.fixture
def videos(tmp_path):
    for place, colour in {"red/a": (200, 30, 30), "blue/b": (20, 30, 200), "blue/c": (30, 20, 180)}.items():
        (tmp_path / place).parent.mkdir(exist_ok=True)
        write_video(tmp_path / f"{place}.mp4", colour)
    (tmp_path / "query").mkdir()
    write_video(tmp_path / "query" / "q.mp4", (190, 40, 40))
    return tmp_path


def test_a_folder_is_read_and_its_queries_classified(videos, models, drawn):
    ground = widgets.FewShotPlayground(models["trained"], folder=videos)
    assert ground.error.value == ""
    assert [name.value for name in ground.names[:2]] == ["blue", "red"]
    support, labels, query = ground._task()
    assert labels.tolist() == [0, 0, 1]
    assert query.shape == (1, T, 3, SIZE, SIZE)
    for score in ground.prediction.scores[0]:
        assert f"{score:.3f}" in ground.note.value
    ground.block.value = 0
    name, (weights, *_), arguments = drawn[-1]
    assert name == "plot_cross_video_attention"
    assert arguments["same"] == "predicted class"
    torch.testing.assert_close(weights, ground.prediction.weights[0])


def test_uploads_and_one_damaged_file(videos, models, tmp_path):
    ground = widgets.FewShotPlayground(models["trained"])
    assert "Two classes" in ground.note.value
    for row, path in enumerate([videos / "red" / "a.mp4", videos / "blue" / "b.mp4"]):
        ground.uploads[row].value = (upload(path),)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes((videos / "red" / "a.mp4").read_bytes()[:300])
    ground.query_upload.value = (upload(damaged), upload(videos / "query" / "q.mp4"))
    assert "damaged.mp4" in ground.error.value
    assert "/tmp" not in ground.error.value
    assert ground.error.value.count("<div") == 1
    assert [name for name, _ in ground.queries] == ["q.mp4"]  # the good one is taken
    assert ground.prediction.scores.shape == (1, 2)
    ground.names[0].value = "bright <red>"
    assert "bright &lt;red&gt;" in ground.note.value
    assert ground.error.value == ""
    ground.start_again()
    assert ground.prediction is None


def test_clips_unlike_the_known_ones_get_a_warning(videos, models, clips):
    ground = widgets.FewShotPlayground(models["trained"], known=clips, folder=videos)
    ground.familiarity.limit = 2
    ground._predict()
    assert "Unlike" not in ground.note.value
    ground.familiarity.limit = -1
    ground._predict()
    assert "Unlike" in ground.note.value
    assert "q.mp4" in ground.note.value


@pytest.mark.parametrize("missing, word", [("nothing", "0"), ("query", "no video")])
def test_a_folder_of_another_form_is_a_sentence(videos, models, missing, word):
    ground = widgets.FewShotPlayground(models["trained"])
    (videos / "query" / "q.mp4").unlink()
    ground.folder.value = str(videos if missing == "query" else videos / missing)
    ground.read.click()
    assert word in ground.error.value


# as a whole


class Line(widgets_base.FigureWidget):
    """The least that a figure widget can be."""

    def __init__(self):
        self.height = widgets_base.slider("height", range(200))
        super().__init__([[self.height]])

    def draws(self):
        return [self._draw]

    def _draw(self, figure):
        figure.set_size_inches(1, 0.5)
        figure.add_artist(Line2D([0, 1], [self.height.value / 200] * 2))


def test_two_hundred_changes_leak_no_figure_and_warn_about_nothing():
    line = Line()
    gc.collect()
    before = sum(type(thing) is Figure for thing in gc.get_objects())
    seen = set()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for height in range(200):
            line.height.value = height
            seen.add(line.picture.value)
    gc.collect()
    assert len(seen) > 20  # drawn anew
    assert sum(type(thing) is Figure for thing in gc.get_objects()) <= before
    assert not plt.get_fignums()
    assert len(line._show.kept) == widgets_base.KEPT


def test_two_hundred_places_keep_a_handful_of_figures(clips, episodes, models):
    explorer = widgets.AttentionExplorer(models, clips, episodes)
    gc.collect()
    before = sum(type(thing) is Figure for thing in gc.get_objects())
    places = [(n, q, t) for n in range(4) for q in range(3) for t in range(T)] * 5
    for number, query, frame in places[:200]:
        explorer.number.value, explorer.query.value, explorer.frame.value = number, query, frame
    gc.collect()
    assert sum(type(thing) is Figure for thing in gc.get_objects()) <= before + explorer._drawings.limit
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
