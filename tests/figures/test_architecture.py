"""The diagram: valid SVG, the part at hand lit, readable without its style sheet, words for it."""

import base64
import re
import xml.etree.ElementTree as ET

import pytest

from taskadapter_lite import figures


def opacities(diagram):
    groups = ET.fromstring(diagram.svg()).findall("{http://www.w3.org/2000/svg}g")
    return {group.get("id"): float(group.get("opacity")) for group in groups}


@pytest.mark.parametrize(
    "lit, bright",
    [
        (None, {"clips", "prefix", "time", "space", "task", "joint", "head"}),
        ("task", {"task"}),
        ("adapted", {"time", "space", "task", "joint"}),
        (["prefix", "head"], {"prefix", "head"}),
    ],
)
def test_the_part_at_hand_is_lit_and_the_others_are_dimmed(lit, bright):
    found = opacities(figures.Architecture(lit))
    assert {name for name, opacity in found.items() if opacity == 1} - {"frame"} == bright
    assert len(found) == 8
    assert ("Lit up" in figures.Architecture(lit).alt) == (lit is not None)


@pytest.mark.parametrize("n_blocks, depth, words", [(12, 2, ["block 10", "blocks 11 to 12"]), (2, 1, ["block 2"])])
def test_it_names_the_blocks_of_the_model(n_blocks, depth, words):
    drawn = figures.Architecture(n_blocks=n_blocks, depth=depth).svg()
    assert all(word in drawn for word in words)


def test_a_block_for_each_place_when_all_are_adapted():
    assert "block 1<" not in figures.Architecture(n_blocks=3, depth=3).svg()


def test_the_page_shows_one_picture_with_its_colours_or_else_an_image_that_brings_its_own():
    shown = figures.Architecture("time")._repr_html_()
    inline, still = shown.split("</svg>")
    (hidden,) = re.findall(r"<style>\.([\w-]+)\{display:none!important\}</style>", inline)
    assert f'<img class="{hidden}" alt="' in still
    assert "#222" not in inline.replace("#222222", "")  # no colour of text of its own
    alone = base64.b64decode(re.findall(r"base64,([^\"]+)", still)[0]).decode()
    ET.fromstring(alone)
    assert "prefers-color-scheme:dark" in alone
    assert len(shown) < 60_000


def test_what_there_is_not_is_refused():
    with pytest.raises(ValueError, match="'tail' is no part of the diagram"):
        figures.Architecture("tail")
    with pytest.raises(ValueError, match="depth is 7, but must be from 1 to the 6 blocks"):
        figures.Architecture(depth=7)
