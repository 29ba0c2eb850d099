"""The book's hooks: notebooks and modules become pages, and a link that leads nowhere ends the build."""

import base64
import importlib.util
import json
import re
from pathlib import Path

import pytest
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("pages", ROOT / "notebooks" / "book" / "pages.py")
pages = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pages)


@pytest.fixture(scope="module")
def config():
    config = MkDocsConfig(str(ROOT / "mkdocs.yml"))
    config.load_dict(
        {"site_name": "book", "docs_dir": str(ROOT / "notebooks"), "plugins": [], "use_directory_urls": False}
    )
    assert config.validate() == ([], [])
    config.plugins._current_plugin = "hooks"  # as while a build runs
    return config


def code(source: str, **output) -> dict:
    return {"cell_type": "code", "source": source, "outputs": [{"output_type": "display_data", **output}]}


def test_the_makefile_installs_what_the_extra_lists():
    extra = next(
        line for line in (ROOT / "pyproject.toml").read_text("utf-8").splitlines() if line.startswith("book =")
    )
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert all(f"'{spec}'" in makefile for spec in re.findall(r'"([^"]+)"', extra))


def test_every_lesson_and_every_public_module_has_a_page(config):
    nav = str(pages.on_config(config).nav)
    for lesson in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"'{lesson.stem}.md'" in nav
    for module in (ROOT / "taskadapter_lite").rglob("[a-z]*.py"):
        place = module.relative_to(ROOT / "taskadapter_lite").with_suffix("")
        assert (f"'library/{place.as_posix()}.md'" in nav) == (place.parts[0] != "commands"), place


def test_cells_become_markdown_and_pictures_become_files(config):
    picture = base64.b64encode(b"pixels").decode()
    notebook = {
        "cells": [
            {"cell_type": "markdown", "source": "# One\n\nText:\n- a"},
            code("1 + 1", data={"text/plain": "2"}),
            code("bar()", output_type="stream", text="\x1b[31m 50%\r100%\x1b[0m\ndone\n"),
            code("plot()", data={"image/png": picture}, metadata={"image/png": {"alt": "a < b"}}),
            code("explore()", data={pages.WIDGET: {"model_id": "0"}, "image/jpeg": picture}),
            code("move()", data={pages.WIDGET: {"model_id": "0"}, "text/plain": "Box()"}),
            code("table", data={"text/html": "<b>\n\n1</b>", "text/plain": "1"}),
        ]
    }
    files = []
    head, download, *cells = pages.written(notebook, Path("sub/lesson.md"), files, config)
    assert head == "# One\n\nText:\n\n- a"
    assert download == "[This notebook as a file](lesson.ipynb)"
    assert cells[:2] == ["```{ .python }\n1 + 1\n```", "```{ .text .output }\n2\n```"]
    assert cells[3] == "```{ .text .output }\n100%\ndone\n```"
    assert cells[5] == '<figure><img src="lesson/3_0.png" alt="a &lt; b"></figure>'
    assert cells[7] == '<figure><img src="lesson/4_0.jpg" alt=""></figure>'
    assert "a widget" in cells[9]
    assert cells[11] == '<div class="output"><b> 1</b></div>'
    assert [(file.src_uri, file.content_bytes) for file in files] == [
        ("sub/lesson/3_0.png", b"pixels"),
        ("sub/lesson/4_0.jpg", b"pixels"),
    ]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("[x](03_prototypes_and_metrics.ipynb#OTAM)", "[x](03_prototypes_and_metrics.md#otam)"),
        ("[x](https://arxiv.org/abs/1)", "[x](https://arxiv.org/abs/1)"),
        ("[x](results/demo.json)", "[x](results/demo.json)"),
        ("[x](results/ladder), [y](../pyproject.toml)", "x, y"),  # only in the repository
        ("[x](CONTRIBUTING.md)", "[x](contributing.md)"),
        ("[x](missing.ipynb)", "[x](missing.ipynb)"),  # ends the build
    ],
)
def test_links_lead_to_pages_or_are_words(config, text, expected):
    assert pages.linked(text, Path("index.md"), config) == expected


def test_formulas_become_mathml():
    content = pages.on_page_content('<p><span class="arithmatex">\\(a &lt; T\\)</span></p>')
    assert '<math xmlns="http://www.w3.org/1998/Math/MathML" display="inline">' in content
    assert "arithmatex" not in content
    assert 'display="block"' in pages.on_page_content('<div class="arithmatex">\\[a\\]</div>')


@pytest.mark.parametrize("lesson", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_formula_of_a_lesson_can_be_shown(lesson):
    """A command that the converter does not know stands on the page as it is."""
    text = "\n".join("".join(c["source"]) for c in json.loads(lesson.read_text("utf-8"))["cells"])
    for formula in re.findall(r"\$\$(.+?)\$\$|(?<![\\$`\w])\$([^$`\n]+)\$(?!\d)", text, re.DOTALL):
        assert not re.search(r"\\[a-zA-Z]+", convert("".join(formula))), formula


def test_a_link_that_leads_nowhere_ends_the_build(tmp_path, config):
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here">1</a><a href="#top">2</a><img src="c.png"><a href="b">3</a>'
    )
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "index.html").write_text('<p id="here"></p><a href="https://elsewhere.org">1</a>')
    (tmp_path / "b.html").write_text('<p id="here"></p>')
    assert pages.broken_links(tmp_path) == ["a.html: #top", "a.html: c.png"]
    config.site_dir = str(tmp_path)
    with pytest.raises(PluginError, match=r"a\.html: c\.png"):
        pages.on_post_build(config)
