"""Progress: kept in one small file, shown as a table, and never in the way of a lesson."""

import json

import pytest

from taskadapter_lite import course
from taskadapter_lite.course.exercises import Exercise, exercises
from taskadapter_lite.course.progress import passed, progress_path


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "progress.json"
    monkeypatch.setenv("TASKADAPTER_PROGRESS", str(path))
    fixed = [Exercise(name, lesson, print, "") for lesson, name in (("02", "a"), ("06", "<b>"), ("06", "c"))]
    monkeypatch.setitem(
        course.progress.__globals__, "exercises", lambda lesson=None: [e for e in fixed if lesson in (None, e.lesson)]
    )
    return path


def test_a_lesson_lists_what_is_done_and_what_is_left(kept):
    passed("06", "c")
    assert repr(course.progress("06")) == "<b>  ·\nc    ✓\n1 of 2 exercises solved"
    assert "&lt;b&gt;" in course.progress("06")._repr_html_()
    assert json.loads(kept.read_text(encoding="utf-8")) == {"format": 1, "passed": {"06": ["c"]}}


def test_the_course_has_a_row_a_lesson():
    for lesson, name in (("02", "a"), ("06", "c"), ("06", "c")):
        passed(lesson, name)
    shown = course.progress()
    assert repr(shown) == "lesson 02  ✓\nlesson 06  ✓·\n2 of 3 exercises solved"
    assert (shown.solved, shown.total) == (2, 3)
    assert repr(course.progress("02")).endswith("the exercise is solved")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"passed": 3}', '{"passed": {"06": 3}}'])
def test_a_damaged_file_counts_as_nothing(kept, content):
    kept.parent.mkdir()
    kept.write_text(content)
    assert course.progress().solved == 0
    passed("06", "c")
    assert course.progress().solved == 1


def test_a_folder_that_can_not_be_written_does_not_stop_a_lesson(kept, capsys):
    kept.parent.write_text("a file where the folder should be")
    passed("06", "c")
    assert "progress is not kept" in capsys.readouterr().out


def test_without_the_variable_it_lies_in_the_users_folder(monkeypatch):
    monkeypatch.delenv("TASKADAPTER_PROGRESS")
    assert progress_path().name == "progress.json"
    assert progress_path().parent.name == "taskadapter_lite"


def test_a_lesson_without_exercises_is_refused():
    with pytest.raises(ValueError, match="lesson '6' has no exercises"):
        course.progress("6")
    assert exercises("02")
