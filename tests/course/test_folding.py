"""Long output is one line that opens, and nothing of it is lost or read as HTML."""

from taskadapter_lite.course import fold
from taskadapter_lite.course.folding import Folded


def test_a_page_shows_one_line_and_keeps_the_rest():
    page = Folded("all <rows>", "a  b\n1 < 2")._repr_html_()
    assert page.startswith("<details><summary>all &lt;rows&gt;</summary>")
    assert "a  b\n1 &lt; 2" in page


def test_where_there_is_no_page_all_is_printed(capsys):
    fold("all rows", "a  b\n1  2")
    assert capsys.readouterr().out.splitlines() == ["all rows", "a  b", "1  2"]
