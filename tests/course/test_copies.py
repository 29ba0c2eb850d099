"""Student copies: no solution, no output, no answer lost."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from taskadapter_lite.__main__ import main
from taskadapter_lite.course.copies import student_copy, without_solutions, write_copies

ANSWER = '''def double(x):
    """Twice."""
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION


class Triple:
    def __call__(self, x):
        ### BEGIN SOLUTION
        y = 2 * x

        return x + y
        ### END SOLUTION'''


@pytest.fixture
def lessons(tmp_path):
    root = tmp_path / "notebooks"
    for folder in ("images", "results/ladder", "assignments"):
        (root / folder).mkdir(parents=True)
    (root / "images" / "a.png").write_bytes(b"picture")
    (root / "results" / "ladder" / "one.json").write_text("{}")
    text = "# 02\n[next](03_b.ipynb#part) ![a](images/a.png) [grade](assignments) [web](https://example.org/x)"
    cells = [
        new_markdown_cell(text),
        new_code_cell(ANSWER, execution_count=1, metadata={"tags": ["exercise"], "execution": {"x": "now"}}),
        new_code_cell("check()", execution_count=2, outputs=[new_output("stream", text="ok")]),
    ]
    cells[2].metadata.tags = ["check"]
    notebook = new_notebook(cells=cells, metadata={"widgets": {"state": 1}})
    for name in ("02_a.ipynb", "03_b.ipynb", "scratch.ipynb"):
        nbformat.write(notebook, root / name)
    return root


def test_a_stub_stands_where_the_solution_stood():
    stub = without_solutions(ANSWER)
    names: dict = {}
    exec(stub, names)
    assert "2 * x" not in stub
    assert "SOLUTION" not in stub
    for call in (names["double"], names["Triple"]()):
        with pytest.raises(NotImplementedError):
            call(1)


def test_a_copy_has_no_output_and_its_checks_may_fail(lessons):
    original = nbformat.read(lessons / "02_a.ipynb", as_version=4)
    made = student_copy(original)
    assert [(c.outputs, c.execution_count) for c in made.cells[1:]] == [([], None)] * 2
    assert made.cells[1].metadata == {"tags": ["exercise"]}
    assert made.cells[2].metadata.tags == ["check", "raises-exception"]
    assert "widgets" not in made.metadata
    assert original.cells[2].outputs
    assert "2 * x" in original.cells[1].source


def test_links_and_files_lead_where_they_did(lessons, tmp_path):
    target = lessons / "student"
    written, kept = write_copies(target, lessons)
    assert (written, kept) == (["02_a.ipynb", "03_b.ipynb"], [])
    first = nbformat.read(target / "02_a.ipynb", as_version=4).cells[0].source
    assert "[next](03_b.ipynb#part) ![a](images/a.png) [grade](../assignments) [web](https://example.org/x)" in first
    assert "[The executed lesson](../02_a.ipynb)" in first
    assert (target / "images" / "a.png").read_bytes() == b"picture"
    assert (target / "results" / "ladder" / "one.json").exists()


def test_a_students_work_is_not_overwritten(lessons, tmp_path, capsys):
    target = tmp_path / "mine"
    call = ["lessons", str(target), "--source", str(lessons)]
    assert main(call) == 0
    (target / "02_a.ipynb").write_text("my work")
    (target / "03_b.ipynb").unlink()
    assert main(call) == 0
    assert (target / "02_a.ipynb").read_text() == "my work"
    assert "1 lessons written" in capsys.readouterr().out
    assert main(call) == 0
    assert "already" in capsys.readouterr().out
    assert main([*call, "--overwrite"]) == 0
    assert (target / "02_a.ipynb").read_text() != "my work"


def test_a_folder_without_lessons_and_the_lessons_own_are_refused(lessons, tmp_path):
    with pytest.raises(ValueError, match="holds no lessons"):
        write_copies(tmp_path / "a", tmp_path)
    with pytest.raises(ValueError, match="is where the lessons lie"):
        write_copies(lessons, lessons)
