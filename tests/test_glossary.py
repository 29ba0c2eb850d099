"""The glossary: a sentence or two a word, and links of lessons that lead to a word that is there."""

import re
from collections import Counter
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
TEXT = "\n".join(cell.source for cell in nbformat.read(NOTEBOOKS / "glossary.ipynb", as_version=4).cells)
ENTRIES = dict(re.findall(r"^### (.+)\n\n(.+)$", TEXT, re.MULTILINE))
ANCHORS = {word.replace(" ", "-") for word in ENTRIES}
NEEDED = "episode support query prototype scope axis inductive transductive adapter backbone token interval leak"


def links(path):
    text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")
    return re.findall(r"\]\(glossary\.ipynb#([^)]+)\)", text)


def test_it_has_the_words_of_the_course_once_each_and_shortly():
    assert set(NEEDED.split()) <= set(ENTRIES)
    assert len(ENTRIES) == TEXT.count("\n### ")
    long = {word: text for word, text in ENTRIES.items() if len(re.findall(r"[.:!?](?: |$)", text)) > 4}
    assert not long
    assert max(len(text.split()) for text in ENTRIES.values()) <= 50


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("[0-9]*.ipynb")), ids=lambda path: path.stem)
def test_links_of_a_lesson_lead_to_a_word_each_to_another(path):
    found = links(path)
    assert set(found) <= ANCHORS
    assert not [word for word, times in Counter(found).items() if times > 1]
    assert found
