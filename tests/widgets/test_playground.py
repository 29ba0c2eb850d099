"""Clips of one's own: folders, uploads, damaged files, warnings."""

from __future__ import annotations

import datetime

import av
import numpy as np
import pytest
import torch
from tiny_run import SIZE, T

from taskadapter_lite.widgets import explorers as widgets


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
