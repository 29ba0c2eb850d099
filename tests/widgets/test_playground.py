"""Clips of one's own: folders, uploads, damaged files, warnings."""

from __future__ import annotations

import datetime

import av
import numpy as np
import pytest
import torch
from made_videos import make_video
from tiny_run import SIZE, T, tiny_backbone

from taskadapter_lite import widgets
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.prediction import predict


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


def test_start_again_clears_everything_and_takes_the_same_files_again(videos, models):
    new, ground = widgets.FewShotPlayground(models["trained"]), widgets.FewShotPlayground(models["trained"])
    uploads = [upload(videos / "red" / "a.mp4"), upload(videos / "blue" / "b.mp4"), upload(videos / "query" / "q.mp4")]

    def give():
        ground.uploads[0].value = uploads[:1]
        ground.uploads[1].value = uploads[1:2]
        ground.query_upload.value = uploads[2:]

    def seen(one):
        counts = [len(button.value) for button in (*one.uploads, one.query_upload)]
        texts = [one.folder.value, one.given.value, one.note.value, one.error.value, *(n.value for n in one.names)]
        return counts, texts, one.picture.value, one.picture.layout.display, one.query.options

    give()
    ground.names[0].value = "scarlet"
    scores = ground.prediction.scores
    assert ground.picture.layout.display is None
    ground.start_again()
    assert seen(ground) == seen(new)
    assert ground.picture.layout.display == "none"  # else the page shows a broken image
    give()
    assert ground.prediction.scores.equal(scores)
    ground.read_folder(videos)
    ground.start_again()
    assert seen(ground) == seen(new)


def test_the_buttons_count_the_clips_that_are_kept(videos, models, tmp_path):
    ground = widgets.FewShotPlayground(models["trained"])
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(b"no video")
    ground.uploads[0].value = [upload(videos / "red" / "a.mp4"), upload(damaged)]
    ground.uploads[0].value = [upload(videos / "blue" / "b.mp4")]
    assert [file["name"] for file in ground.uploads[0].value] == ["a.mp4", "b.mp4"]
    assert not any(file["content"] for file in ground.uploads[0].value)  # held once, as clips
    assert [name for _, name, _ in ground.support] == ["a.mp4", "b.mp4"]


@pytest.mark.parametrize("suffix, codec", [(".MOV", "libx264"), (".webm", "libvpx-vp9"), (".AVI", "mpeg4")])
def test_what_phones_and_browsers_record_can_be_uploaded(suffix, codec, models, tmp_path):
    path = make_video(tmp_path / "clip.mkv", 12, codec=codec).rename(tmp_path / f"été 1{suffix}")
    ground = widgets.FewShotPlayground(models["trained"])
    ground.query_upload.value = [upload(path)]
    assert ground.error.value == ""
    assert [name for name, _ in ground.queries] == [path.name]
    assert suffix.lower() in ground.query_upload.accept.split(",")


def test_another_model_reads_the_same_clips_at_its_own_size(videos, models, clips):
    large = TaskAdapterViT(tiny_backbone(size=24), depth=1, T=T)
    ground = widgets.FewShotPlayground(
        {"small": models["trained"], "large": large}, known={"small": clips}, folder=videos
    )
    ground._familiarity("small").limit = -1
    ground._predict()
    assert "the backbone of small" in ground.note.value
    by_small = ground.prediction.scores
    assert by_small.equal(predict(models["trained"], *ground._task()).scores)
    ground.switch.value = "large"
    assert ground._task()[0].shape[-1] == 24
    assert ground.prediction.scores.equal(predict(large, *ground._task()).scores)
    assert "not known which clips the backbone of large" in ground.note.value
    assert "Unlike" not in ground.note.value
    assert [value for _, value in ground.block.options] == [-1, 1]  # the one adapted block
    ground.switch.value = "small"
    assert ground.prediction.scores.equal(by_small)


def test_known_clips_of_several_models_say_whose_they_are(models, clips):
    with pytest.raises(ValueError, match="there are 2 models"):
        widgets.FewShotPlayground(models, known=clips)
    with pytest.raises(ValueError, match="given for 'other'"):
        widgets.FewShotPlayground(models, known={"other": clips})


def test_scores_are_those_of_the_metric_of_training(videos, models, monkeypatch):
    ground = widgets.FewShotPlayground(models["trained"], folder=videos)
    assert "Scores: cosine" in ground.note.value
    monkeypatch.setattr(models["trained"], "trained_with", {"metric": "otam", "aggregation": "prototype"})
    ground.read_folder(videos)
    assert ground.prediction.scores.equal(predict(models["trained"], *ground._task(), "otam").scores)
    assert "Scores: otam" in ground.note.value
    monkeypatch.setattr(models["trained"], "trained_with", {"metric": "trx", "aggregation": None})
    ground.read_folder(videos)
    assert "Scores: cosine" in ground.note.value  # its trained parameters are not in the file of the adapters
