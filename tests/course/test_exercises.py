"""Checks of exercises: what a right answer prints, and in which words a wrong one is refused."""

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

from taskadapter_lite import course
from taskadapter_lite.course import ExerciseError, agree, check, exercise, expect_close, expect_shape
from taskadapter_lite.course.exercises import _EXERCISES, exercises


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("TASKADAPTER_PROGRESS", str(tmp_path / "progress.json"))


@pytest.fixture
def doubling(monkeypatch):
    exercises()  # loads every lesson into the registry before it is copied
    monkeypatch.setattr("taskadapter_lite.course.exercises._EXERCISES", _EXERCISES | {})

    @exercise("double", lesson="00")
    def judge(answer):
        """Multiply by two."""
        expect_close(answer(torch.arange(3.0)), torch.tensor([0.0, 2.0, 4.0]), "double(x)", "Twice, not squared.")


def test_a_right_answer_prints_one_line_and_counts(doubling, capsys):
    check("double", lambda x: 2 * x)
    assert capsys.readouterr().out == "right: double does what the library does\n"
    assert course.progress("00").solved == 1


def test_a_wrong_answer_says_where_what_and_a_hint(doubling):
    with pytest.raises(ExerciseError) as caught:
        check("double", lambda x: x**2)
    assert str(caught.value) == ("double(x) differs at 1 of 3 places; at [1] it is 1, 2 is wanted. Twice, not squared.")
    assert course.progress("00").solved == 0


def test_nothing_written_gives_the_first_hint(doubling):
    def stub(x):
        raise NotImplementedError("yours")

    with pytest.raises(ExerciseError, match="double is not written yet. A first hint: Multiply by two."):
        check("double", stub)


def test_a_function_without_return_is_told_so(doubling):
    with pytest.raises(ExerciseError, match="is None: does the function end with return"):
        check("double", lambda x: None)


def test_an_error_inside_the_answer_names_its_line(doubling):
    def broken(x):
        y = x + 1
        return y @ torch.zeros(7)

    with pytest.raises(ExerciseError, match=r"stopped with RuntimeError: .*line 3 of broken: `return y @"):
        check("double", broken)


def test_an_unknown_exercise_is_refused():
    with pytest.raises(ValueError, match="there is no exercise 'dubble'"):
        check("dubble", None)


def test_a_notebook_shows_the_sentence_alone(doubling, capsys):
    shell = InteractiveShell.instance()
    shell.user_ns |= {"check": check}
    result = shell.run_cell("check('double', lambda x: x)")
    InteractiveShell.clear_instance()
    assert isinstance(result.error_in_exec, ExerciseError)
    shown = capsys.readouterr().out
    assert shown.startswith("not yet: double(x) differs at 2 of 3 places")
    assert "Traceback" not in shown
    assert "line" not in shown


def test_an_exercise_needs_a_hint_and_a_name_of_its_own(doubling):
    with pytest.raises(ValueError, match="needs a docstring"):
        exercise("other", lesson="00")(lambda answer: None)

    def elsewhere(answer):
        """Hint."""

    elsewhere.__module__ = "another"
    with pytest.raises(ValueError, match="there is an exercise 'double' in lesson 00 already"):
        exercise("double", lesson="03")(elsewhere)


def test_exercises_come_in_the_order_of_the_course():
    lessons = [e.lesson for e in exercises()]
    assert lessons == sorted(lessons)
    assert [e.name for e in exercises("02")] == ["draw_episode"]


@pytest.mark.parametrize(
    "got, shape, words",
    [
        (torch.zeros(2, 3), (3, 2), r"has the shape \(2, 3\); \(3, 2\) is wanted. Turn it."),
        ([1, 2], (2,), r"is a list; a tensor \(2,\) is wanted"),
        (torch.zeros(1), (), r"has the shape \(1,\); of one number is wanted"),
    ],
)
def test_shapes(got, shape, words):
    with pytest.raises(ExerciseError, match=words):
        expect_shape(got, shape, "it", "Turn it.")


def test_what_agrees_passes_whatever_its_type():
    expect_close(0.5, torch.tensor(0.5), "x")
    expect_close(np.ones(2), torch.ones(2, requires_grad=True), "x")
    expect_close(torch.tensor([1e6 + 1]), torch.tensor([1e6]), "x")
    expect_close(torch.tensor([True]), np.array([True]), "x")
    assert agree(torch.ones(2), torch.ones(2))
    assert not agree(torch.ones(2), torch.ones(3))


def test_nan_is_wrong():
    with pytest.raises(ExerciseError, match="it is nan, 0 is wanted"):
        expect_close(torch.tensor([0.0, torch.nan]), torch.zeros(2), "x")
