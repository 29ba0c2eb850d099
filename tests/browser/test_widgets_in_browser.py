"""Every control of every widget, moved by keyboard: the page must show what the library computes for that choice."""

from __future__ import annotations

import base64
import io
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
import subject
from conftest import Notebook, page_of

from taskadapter_lite import figures
from taskadapter_lite.attention import record_attention
from taskadapter_lite.episodes import EpisodeSampler, EpisodeSpec
from taskadapter_lite.metrics import alignment, bimhm_scores, otam_scores
from taskadapter_lite.sprites import partners
from taskadapter_lite.widgets.base import Drawing, png_bytes

pytestmark = pytest.mark.browser
CELLS = [
    "import subject\nfrom taskadapter_lite import widgets\nmodels, clips, episodes = subject.make()",
    "widgets.AttentionExplorer(models, clips, episodes)",
    "widgets.AlignmentExplorer(models, clips, episodes)",
    "widgets.EpisodeBrowser(clips, max_shot=2)",
    "widgets.FewShotPlayground(models, known={'one': clips})",
    "widgets.AttentionExplorer(subject.fine_model(), subject.fine_clips(), episodes)",
]


@pytest.fixture(scope="module")
def made():
    return subject.make()


@pytest.fixture(scope="module")
def opened(lab, chromium):
    """One page for all widgets: each test has a cell of its own."""
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}  # without it JupyterLab asks which one
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), lab.folder / "widgets.ipynb")
    with page_of(chromium) as page:
        opened = Notebook(page, "widgets").opened(lab, "widgets.ipynb")
        assert opened.errors() == []
        yield opened


@pytest.fixture
def notebook(opened, request):
    opened.name = request.node.name  # of its screenshots
    return opened


class Controls:
    """The controls and the picture of one widget, as somebody with a keyboard uses them."""

    def __init__(self, notebook, number: int) -> None:
        self.page, self.cell = notebook.page, notebook.cell(number)
        self.cell.scroll_into_view_if_needed()
        self.picture = self.cell.locator("img.widget-image")

    def _row(self, name: str):
        return self.cell.locator(".widget-inline-hbox").filter(
            has=self.page.locator("label", has_text=name), has_not=self.page.locator(".widget-inline-hbox")
        )

    def press(self, name: str, key: str) -> None:
        """Move a slider by a key, and wait for the answer."""
        self._after(lambda: self._row(name).locator(".noUi-handle").press(key))

    def choose_next(self, name: str) -> None:
        """Open a list, take the next entry, and wait for the answer."""
        self._after(lambda: subject.press_all(self._row(name).locator("select"), ["Space", "ArrowDown", "Enter"]))

    @property
    def frame(self):
        """The frame on which a place is chosen."""
        return self.cell.locator("[role=slider][aria-label=patch]")

    def click(self, row: int, column: int, side: int) -> None:
        """Click a patch of the frame, which has side x side of them."""
        box = self.frame.bounding_box()
        width, height = box["width"] / side, box["height"] / side
        place = {"x": (column + 0.5) * width, "y": (row + 0.5) * height}
        self._after(lambda: self.frame.click(position=place))

    def _after(self, act) -> None:
        before = self.seen()
        act()
        self.page.wait_for_function("([before, read]) => eval(read)() !== before", arg=[before, self._reader()])

    def _reader(self) -> str:
        """JavaScript that reads what the widget shows: the address of its picture and its text."""
        index = self.cell.evaluate("cell => [...document.querySelectorAll('.jp-CodeCell')].indexOf(cell)")
        return (
            f"() => {{ const cell = document.querySelectorAll('.jp-CodeCell')[{index}];"
            "const image = cell.querySelector('img.widget-image');"
            "return (image ? image.src : '') + [...cell.querySelectorAll('.widget-html-content')]"
            ".map(e => e.innerHTML).join(); }"
        )

    def seen(self) -> str:
        return self.page.evaluate(f"({self._reader()})()")

    def pixels(self) -> np.ndarray:
        """The picture as the page has it, (height, width, 3)."""
        data = self.picture.evaluate(
            """async image => {
                const blob = await (await fetch(image.src)).blob();
                return await new Promise(done => {
                    const reader = new FileReader();
                    reader.onload = () => done(reader.result.split(',')[1]);
                    reader.readAsDataURL(blob);
                });
            }"""
        )
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"), dtype=float)

    def text(self) -> str:
        return self.cell.locator(".jp-OutputArea").inner_text()


def same(found: np.ndarray, draw) -> bool:
    """True if the page's picture is the one that the library draws here."""
    expected = np.asarray(Image.open(io.BytesIO(png_bytes([Drawing(draw).pixels()]))).convert("RGB"), dtype=float)
    return found.shape == expected.shape and (np.abs(found - expected) > 8).mean() < 1e-3


def attention(models, clips, episodes, number, query, block, head, token, name="one"):
    """Draws what the attention explorer has to show, from one recorded pass."""
    episode, model = episodes[number], models["one"]
    batch, labels = clips.read_batch(episode.clips), torch.cat([episode.support_labels, episode.query_labels])
    with record_attention(model, axes=["task"]) as record, torch.no_grad():
        model(batch, 3)
    names = [clips.class_names[c] for c in episode.classes]
    weights = record.weights["task"][block]
    which = f"{name}, scope inductive, block {block}"
    mass = figures.own_class_mass(weights, labels, 3)[:, query]
    mass = mass.mean() if head is None else mass[head]

    def draw(figure):
        what = (weights, batch, labels, names, 3 + query)
        axes = figures.plot_cross_video_attention(*what, head=head, title=which, figure=figure)
        maps = figures.query_maps(weights, 3 + query, head)
        figures.mark_token(axes[0], maps[figures.drawn_videos(maps, labels, 3 + query)], token)

    return draw, f"{100 * mass:.1f}%"


def test_attention_explorer(notebook, made):
    controls = Controls(notebook, 1)
    state = {"number": 0, "query": 0, "block": 4, "head": None, "token": (4, 11)}
    steps = [
        (None, {}),
        (lambda: controls.press("frame", "ArrowRight"), {"token": (5, 11)}),
        (lambda: controls.click(1, 1, side=4), {"token": (5, 6)}),
        (lambda: controls._after(lambda: controls.frame.press("ArrowRight")), {"token": (5, 7)}),
        (lambda: controls._after(lambda: controls.frame.press("ArrowDown")), {"token": (5, 11)}),
        (lambda: controls.press("query", "ArrowRight"), {"query": 1}),
        (lambda: controls.press("head", "ArrowRight"), {"head": 0}),
        (lambda: controls.press("block", "ArrowRight"), {"block": 5}),
        (lambda: controls.press("episode", "ArrowRight"), {"number": 1}),
    ]
    for act, change in steps:
        if act:
            act()
        state |= change
        draw, mass = attention(*made, **state)
        assert same(controls.pixels(), draw), state
        assert mass in controls.text()
    notebook.shot("-one")
    alone = controls.pixels()
    controls.choose_next("below it")
    assert controls.pixels().shape[0] > 1.5 * alone.shape[0]
    assert controls.pixels().shape[1] == alone.shape[1]
    assert controls.picture.evaluate("image => image.width === image.naturalWidth")  # text as large as it was drawn
    controls.choose_next("view")
    notebook.shot("-two")


def test_a_place_of_16_x_16_is_clicked_and_walked_to(notebook):
    controls = Controls(notebook, 5)
    controls.frame.scroll_into_view_if_needed()
    controls.click(3, 12, side=16)
    assert "row 3 of 0 to 15, column 12 of 0 to 15" in controls.text()
    for key in ("ArrowUp", "ArrowLeft", "ArrowLeft"):
        controls._after(lambda key=key: controls.frame.press(key))
    assert controls.frame.get_attribute("aria-valuetext") == "row 2, column 10"
    before = controls.seen()
    controls.click(0, 0, side=16)
    controls.frame.press("ArrowUp")  # the edge: nothing happens, and no other cell is selected
    assert controls.frame.get_attribute("aria-valuenow") == "1"
    assert controls.page.evaluate("document.activeElement.ariaLabel") == "patch"
    controls.click(2, 10, side=16)
    assert controls.seen().split(",")[0] != before.split(",")[0]  # another address, the same picture
    model, clips, episode = subject.fine_model(), subject.fine_clips(), subject.make()[2][0]
    draw, mass = attention({"one": model}, clips, [episode], 0, 0, 0, None, (4, 1 + 2 * 16 + 10), "this model")
    assert same(controls.pixels(), draw)
    assert mass in controls.text()
    notebook.shot()


def test_alignment_explorer(notebook, made):
    controls = Controls(notebook, 2)
    models, clips, episodes = made
    for name in ("episode", "query"):
        controls.press(name, "ArrowRight")
    controls.choose_next("class")
    controls.press("softness gamma", "ArrowRight")
    episode = episodes[1]
    with torch.no_grad():
        features = models["one"](clips.read_batch(episode.clips), 3)
    found = alignment(features[1], features[4], "otam", 0.3)
    names = [clips.class_names[c] for c in episode.classes]
    title = f"query: {names[1]}\nclass: {names[1]}, distance {found.distance:.2f}"
    parts = (
        found.distances,
        found.weights,
        clips.read(int(episode.query[1])),
        clips.read(int(episode.support[1])),
        title,
    )
    assert same(controls.pixels(), lambda figure: figures.plot_alignment(*parts, figure=figure))
    for score in otam_scores(features[:3, None], features[3:], gamma=0.3)[1]:
        assert f"{score:.3f}" in controls.text()
    notebook.shot("-otam")
    controls.choose_next("metric")
    other = alignment(features[1], features[4], "bimhm")
    title = f"query: {names[1]}\nclass: {names[1]}, distance {other.distance:.2f}"
    parts = other.distances, other.weights, *parts[2:4], title
    assert same(controls.pixels(), lambda figure: figures.plot_alignment(*parts, figure=figure))
    controls.choose_next("features")
    with torch.no_grad():
        features = models["other"](clips.read_batch(episode.clips), 3)
    for score in bimhm_scores(features[:3, None], features[3:])[1]:
        assert f"{score:.3f}" in controls.text()


def test_episode_browser(notebook, made):
    controls = Controls(notebook, 3)
    clips = made[1]
    controls.press("shot", "ArrowRight")
    controls.press("episode", "ArrowRight")
    controls.press("way", "ArrowLeft")
    episode = EpisodeSampler(clips.labels, EpisodeSpec(4, 2, 1), 100, seed=0)[1]
    images = controls.cell.locator(".widget-html-content img").evaluate_all("images => images.map(image => image.src)")
    rows = [[*episode.support[2 * c : 2 * c + 2], episode.query[c]] for c in range(4)]
    expected = [figures.animation_bytes(clips.read(int(i))) for row in rows for i in row]
    assert [base64.b64decode(image.split(",")[1]) for image in images] == expected
    seed = controls.cell.locator("input[type=number]")
    seed.fill("3")
    controls._after(lambda: seed.press("Enter"))
    assert "seed 3" in controls.text()
    box = controls.cell.locator("input[type=checkbox]")
    controls._after(lambda: box.press("Space"))
    shown = set(controls.cell.locator(".widget-html-content td:first-child").all_inner_texts()) - {""}
    assert len(shown) == 4
    assert {partners()[name] for name in shown} == shown
    notebook.shot("-partners")
    controls._after(lambda: box.press("Space"))
    controls.press("queries a class", "ArrowRight")
    assert "needs 4" in controls.text()  # two shots and two queries of three clips: a sentence, and the kernel lives
    notebook.shot()


def test_playground_takes_uploads_of_every_kind_and_starts_again(notebook, made, tmp_path):
    controls = Controls(notebook, 4)
    clips = made[1]
    files = [write_video(tmp_path / name, clips.read(i)) for name, i in (("0.mov", 0), ("Ü.AVI", 3), ("1.webm", 1))]
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(files[0].read_bytes()[:400])
    buttons = controls.cell.locator("button.widget-upload")
    controls.picture.wait_for(state="hidden")

    def give(button: int, *paths: Path) -> None:
        with notebook.page.expect_file_chooser() as chooser:
            buttons.nth(button).press("Enter")
        controls._after(lambda: chooser.value.set_files([str(path) for path in paths]))

    def wait_for(word: str) -> None:
        controls.page.wait_for_function(f"() => eval({controls._reader()!r})().includes({word!r})")

    def give_all():
        give(0, files[0])
        give(1, files[1])
        give(5, files[2])
        wait_for("taken for")

    give(5, damaged)
    wait_for("damaged.mp4")
    assert buttons.nth(5).inner_text().endswith("(0)")
    give_all()
    text = controls.text()
    assert all(file.name in text for file in files)
    assert "damaged.mp4" not in text
    assert "score of class 2" in text
    assert [buttons.nth(i).inner_text()[-3:] for i in (0, 1, 5)] == ["(1)"] * 3
    controls.choose_next("attention")
    notebook.shot()
    controls.choose_next("model")
    assert "not known which clips the backbone of other" in controls.text()
    names = controls.cell.locator("input[type=text]")
    names.nth(0).fill("renamed")
    controls._after(lambda: names.nth(0).press("Enter"))
    controls._after(lambda: controls.cell.get_by_role("button", name="Start again").press("Enter"))
    controls.page.wait_for_function("text => text.value === 'class 1'", arg=names.nth(0).element_handle())
    assert not any(file.name in controls.text() for file in files)
    controls.picture.wait_for(state="hidden")
    assert [buttons.nth(i).inner_text()[-3:] for i in (0, 1, 5)] == ["(0)"] * 3
    notebook.shot("-again")
    give_all()
    controls.picture.wait_for(state="visible")


def write_video(path: Path, clip: torch.Tensor) -> Path:
    import av

    with av.open(str(path), "w") as container:
        codec = {".webm": "libvpx-vp9", ".avi": "mpeg4"}.get(path.suffix.lower(), "libx264")
        stream = container.add_stream(codec, rate=8)
        stream.height, stream.width = clip.shape[-2:]
        stream.pix_fmt = "yuv420p"
        for frame in clip.permute(0, 2, 3, 1).contiguous().numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path
