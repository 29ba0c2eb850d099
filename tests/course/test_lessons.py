"""All lessons: each exercise has a check that its solution passes and its stub fails with help."""

import ast
import re
from itertools import zip_longest
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from taskadapter_lite import course
from taskadapter_lite.course import ExerciseError
from taskadapter_lite.course.copies import LESSON, student_copy, without_solutions
from taskadapter_lite.course.exercises import exercises

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
LESSONS = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb") if LESSON.fullmatch(path.name))


def read(name):
    return nbformat.read(NOTEBOOKS / name, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tagged(cell, tag):
    return tag in cell.metadata.get("tags", [])


def syntax(cell):
    return ast.parse(TransformerManager().transform_cell(cell.source))


def calls(cell, name):
    """Calls of `course.check` and the like."""
    nodes = [node for node in ast.walk(syntax(cell)) if isinstance(node, ast.Call)]
    return [n for n in nodes if re.fullmatch(rf"(\w+\.)?course\.{name}", ast.unparse(n.func))]


def names_in(node):
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def imports(cells):
    """What earlier cells import, as one piece of code: an exercise may use nothing else of them."""
    nodes = [n for cell in cells for n in syntax(cell).body if isinstance(n, (ast.Import, ast.ImportFrom))]
    return "\n".join(ast.unparse(node) for node in nodes if ast.unparse(node) != "from __future__ import annotations")


def written():
    """(lesson, place of the exercise cell) of every exercise cell."""
    return [(name, i) for name in LESSONS for i, cell in enumerate(code(read(name))) if tagged(cell, "exercise")]


def parts(lesson, i):
    """Imports before the exercise, its source, and the call that checks it."""
    cells = code(read(lesson))
    (call,) = calls(cells[i + 1], "check")
    return imports(cells[:i]), cells[i].source, call


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("TASKADAPTER_PROGRESS", str(tmp_path / "progress.json"))


def outcome(lesson, i, source):
    before, _, call = parts(lesson, i)
    names: dict = {}
    exec(before, names)
    exec(compile(source, "exercise", "exec"), names)
    name, answer = call.args
    return course.check(ast.literal_eval(name), eval(ast.unparse(answer), names))


@pytest.mark.parametrize("lesson, i", written())
def test_the_solution_passes_and_the_stub_fails_with_help(lesson, i):
    _, source, _ = parts(lesson, i)
    outcome(lesson, i, source)
    with pytest.raises(ExerciseError, match=r"is not written yet. A first hint: .{20,}"):
        outcome(lesson, i, without_solutions(source))


@pytest.mark.parametrize("name", LESSONS)
def test_an_exercise_has_its_mark_and_its_check_right_below(name):
    cells = code(read(name))
    for cell, below in zip_longest(cells, cells[1:]):
        assert tagged(cell, "exercise") == ("### BEGIN SOLUTION" in cell.source)
        if tagged(cell, "exercise"):
            assert below is not None
            assert tagged(below, "check")
        assert tagged(cell, "check") == bool(calls(cell, "check"))


def test_every_check_of_the_course_is_used_in_its_lesson():
    used = {(parts(name, i)[2].args[0].value, name[:2]) for name, i in written()}
    assert used == {(e.name, e.lesson) for e in exercises()}


def test_lessons_02_to_08_each_have_an_exercise():
    have = {name[:2] for name, _ in written()}
    assert {f"{n:02}" for n in range(2, 9)} <= have


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_with_exercises_shows_progress_at_its_end(name):
    if name[:2] in {lesson[:2] for lesson, _ in written()}:
        (call,) = calls(code(read(name))[-1], "progress")
        assert [argument.value for argument in call.args] == [name[:2]]


@pytest.mark.parametrize("name", LESSONS)
def test_a_guess_is_written_before_its_answer_is_revealed(name):
    guessed: set[str] = set()
    for cell in code(read(name)):
        loops = [node for node in ast.walk(syntax(cell)) if isinstance(node, ast.For)]
        looped = {name for loop in loops if guessed & names_in(loop.iter) for name in names_in(loop.target)}
        for call in calls(cell, "reveal"):
            assert ast.unparse(call.args[1]) in guessed | looped
        if tagged(cell, "guess"):
            body = syntax(cell).body
            assert all(isinstance(node, ast.Assign) and ast.unparse(node.value) == "None" for node in body)
            guessed |= {ast.unparse(node.targets[0]) for node in body if isinstance(node, ast.Assign)}


@pytest.mark.parametrize("name", LESSONS)
def test_a_student_copy_holds_no_solution_and_no_output(name):
    made = student_copy(read(name))
    nbformat.validate(made)
    assert not [cell for cell in code(made) if cell.outputs or cell.execution_count or "SOLUTION" in cell.source]
    assert all(tagged(cell, "raises-exception") for cell in code(made) if tagged(cell, "check"))


def test_the_minutes_of_the_map_are_those_of_the_lessons():
    text = "\n".join(cell.source for cell in read("00_start_here.ipynb").cells if cell.cell_type == "markdown")
    shown = dict(re.findall(r"^\| \W*(\d\d) .*\| (\d+) \|$", text, re.MULTILINE))
    heads = {name[:2]: read(name).cells[0].source for name in LESSONS if name[0].isdigit()}
    own = {lesson: re.search(r"Time\W+(\d+) minutes", head)[1] for lesson, head in heads.items()}
    assert shown == own
    hours = round(sum(map(int, own.values())) / 60)
    assert f"Together about {['six', 'seven', 'eight', 'nine', 'ten'][hours - 6]} hours" in text
