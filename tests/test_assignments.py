"""The graded assignments: student copies are up to date, right answers get all points, wrong ones fail their test."""

from __future__ import annotations

import contextlib
import csv
import html
import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import nbformat
import pytest
from traitlets.config import Config, PyFileConfigLoader

COURSE = Path(__file__).parent.parent / "notebooks" / "assignments"
WRONG = Path(__file__).parent / "wrong_answers"
LEFT_BY_OTHERS = shutil.ignore_patterns("*.db", "submitted", "autograded", "feedback")  # of earlier tests
NAMES = sorted(folder.name for folder in (COURSE / "source").iterdir())
WRONG_ANSWERS = sorted(WRONG.glob("*/*.py"))  # a1/<exercise>__<mistake>.py; the first line says which test sees it
STUB = 'raise NotImplementedError("not written yet: the task above this cell says what it returns")'

pytestmark = pytest.mark.filterwarnings("ignore:Object of type <Submitted")  # nbgrader's own, from its data base


# ---- reading notebooks


def find_notebook(part: str, name: str, course: Path = COURSE) -> Path:
    (path,) = (course / part / name).glob("*.ipynb")
    return path


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def graded(notebook: nbformat.NotebookNode) -> dict[str, nbformat.NotebookNode]:
    """grade_id -> cell, of the cells that nbgrader knows."""
    return {cell.metadata.nbgrader.grade_id: cell for cell in notebook.cells if "nbgrader" in cell.metadata}


@cache
def sheet(part: str, name: str) -> dict[str, nbformat.NotebookNode]:
    return graded(read(find_notebook(part, name)))


def points(name: str) -> dict[str, int]:
    """grade_id of each test -> its points."""
    return {key: cell.metadata.nbgrader.points for key, cell in sheet("source", name).items() if is_test(cell)}


def is_test(cell: nbformat.NotebookNode) -> bool:
    return cell.metadata.nbgrader.grade


def exercises(name: str) -> list[str]:
    return [key for key, cell in sheet("source", name).items() if cell.metadata.nbgrader.solution]


# ---- grading without a kernel: what nbgrader does, in this process and so in no time


def failing_tests(name: str, answers: dict[str, str], tests: str = "source", only: str | None = None) -> set[str]:
    """Runs an assignment with other answers; "release" leaves the hidden tests out, `only` all exercises but one."""
    space, failed = {"__name__": "__main__"}, set()
    for key, cell in sheet("source", name).items():
        if only is not None and (key in exercises(name) or is_test(cell)) and key not in (only, f"test_{only}"):
            continue
        source = sheet(tests, name)[key].source if is_test(cell) else answers.get(key, cell.source)
        if cell.cell_type == "code" and runs_into_error(source, space):
            failed.add(key)
    return {key for key in failed if key in points(name)}


def runs_into_error(source: str, space: dict) -> bool:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(source, "<cell>", "exec"), space)
    except Exception:
        return True
    return False


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    beside_python = str(Path(sys.executable).parent)  # nbgrader starts `alembic` by name
    monkeypatch.setenv("PATH", beside_python + os.pathsep + os.environ["PATH"])


@pytest.mark.parametrize("name", NAMES)
def test_the_given_solution_passes_every_test(name):
    assert failing_tests(name, {}) == set()


@pytest.mark.parametrize("name", NAMES)
def test_the_stub_passes_no_test(name):
    stubs = {key: sheet("release", name)[key].source for key in exercises(name)}
    assert failing_tests(name, stubs) == failing_tests(name, stubs, tests="release") == set(points(name))


@pytest.mark.parametrize("path", WRONG_ANSWERS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_wrong_answer_fails_the_test_meant_for_it_and_no_other(path):
    name, exercise, text = path.parent.name, path.stem.split("__")[0], path.read_text()
    seen_by = text.split("\n")[0].removeprefix("# ").split(":")[0]
    assert seen_by in ("visible test", "hidden test"), "the first line says which test sees the mistake"
    meant = {f"test_{exercise}"}
    assert failing_tests(name, {exercise: text}) == meant
    visibly = failing_tests(name, {exercise: text}, tests="release", only=exercise)
    assert visibly == (meant if seen_by == "visible test" else set())


@pytest.mark.parametrize("name", NAMES)
def test_every_exercise_has_a_wrong_answer_and_some_are_seen_by_hidden_tests_alone(name):
    files = [path for path in WRONG_ANSWERS if path.parent.name == name]
    assert {path.stem.split("__")[0] for path in files} == set(exercises(name))
    assert any(path.read_text().startswith("# hidden test") for path in files)


# ---- the notebooks


@pytest.mark.parametrize("name", NAMES)
def test_an_assignment_has_four_to_six_exercises_of_four_cells(name):
    keys = list(sheet("source", name))
    cells = read(find_notebook("source", name)).cells
    ids = [cell.metadata.get("nbgrader", {}).get("grade_id") for cell in cells]
    assert 4 <= len(exercises(name)) <= 6
    assert len(keys) == len(set(keys))
    for exercise in exercises(name):
        start = ids.index(f"task_{exercise}")
        assert ids[start : start + 3] == [f"task_{exercise}", exercise, f"test_{exercise}"]
        assert ids[start + 3] is None, "what to look at next belongs to no grade"
        assert f"({points(name)[f'test_{exercise}']} points)" in cells[start].source
        assert "BEGIN HIDDEN TESTS" in cells[start + 2].source


@pytest.mark.parametrize("name", NAMES)
def test_source_notebooks_are_saved_from_one_clean_run(name):
    code = [cell for cell in read(find_notebook("source", name)).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]


@pytest.mark.parametrize("name", NAMES)
def test_students_get_no_solution_no_hidden_test_and_no_output(name):
    cells = read(find_notebook("release", name)).cells
    text = "\n".join(cell.source for cell in cells)
    assert "SOLUTION" not in text
    assert "HIDDEN" not in text
    assert not any(cell.get("outputs") for cell in cells)
    assert all(STUB in sheet("release", name)[key].source for key in exercises(name))


# ---- nbgrader itself, in a course folder of its own


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    """A copy of the course without its release."""
    folder = tmp_path_factory.mktemp("course")
    ignored = shutil.ignore_patterns("release", "submitted", "autograded", "feedback", "*.db", ".*", "__pycache__")
    return Path(shutil.copytree(COURSE, folder / "course", ignore=ignored))


def nbgrader(course: Path):
    from nbgrader.apps import NbGraderAPI

    settings: Config = PyFileConfigLoader("nbgrader_config.py", str(course)).load_config()
    settings.CourseDirectory.root = str(course)
    return NbGraderAPI(config=settings)


def succeed(result: dict) -> None:
    assert result["success"], result.get("log") or result.get("error")


@pytest.mark.parametrize("name", NAMES)
def test_the_release_is_what_the_source_generates(course, name):
    succeed(nbgrader(course).generate_assignment(name))
    made, kept = course / "release" / name, COURSE / "release" / name
    assert sorted(path.name for path in made.iterdir()) == sorted(path.name for path in kept.iterdir())
    for path in made.iterdir():
        assert path.read_bytes() == (kept / path.name).read_bytes(), f"generate {name} again, see TEACHERS.md"


def hand_in(course: Path, name: str, student: str, answers: dict[str, str]) -> None:
    """Writes what a student with these answers hands in: the released notebook, answers filled in."""
    path = find_notebook("release", name)
    notebook = read(path)
    for key, cell in graded(notebook).items():
        cell.source = answers.get(key, cell.source)
    folder = course / "submitted" / student / name
    shutil.copytree(path.parent, folder)
    nbformat.write(notebook, folder / path.name)


def grade(course: Path, name: str, student: str, answers: dict[str, str]) -> dict[str, float]:
    """Points of each test, by nbgrader."""
    hand_in(course, name, student, answers)
    api = nbgrader(course)
    succeed(api.generate_assignment(name))
    succeed(api.autograde(name, student))
    with api.gradebook as book:
        (notebook,) = book.find_submission(name, student).notebooks
        return {entry.name: entry.score for entry in notebook.grades}


def wrong_rounds(name: str) -> list[dict[str, str]]:
    """All wrong answers to an assignment, as few submissions with one wrong answer to each exercise or fewer."""
    rounds: list[dict[str, str]] = []
    for path in (path for path in WRONG_ANSWERS if path.parent.name == name):
        exercise = path.stem.split("__")[0]
        free = next((answers for answers in rounds if exercise not in answers), None)
        if free is None:
            rounds.append(free := {})
        free[exercise] = path.read_text()
    return rounds


def solutions(name: str) -> dict[str, str]:
    return {key: sheet("source", name)[key].source for key in exercises(name)}


def test_nbgrader_grades_a_submission(course):
    name, (first, *others) = NAMES[0], exercises(NAMES[0])
    wrong = next(path for path in WRONG_ANSWERS if path.parent.name == name and path.stem.startswith(first))
    answers = {**solutions(name), first: wrong.read_text(), others[-1]: STUB}
    lost = {f"test_{first}", f"test_{others[-1]}"}
    scores = grade(course, name, "mixed", answers)
    assert scores == {key: 0 if key in lost else value for key, value in points(name).items()}


@pytest.mark.parametrize("name", NAMES)
def test_an_exercise_that_is_left_out_costs_its_own_cells_alone(name, monkeypatch):
    """With the stub of one exercise, or of all, the only cells that fail are tests and cells that use the answer."""
    monkeypatch.chdir(find_notebook("source", name).parent)  # the runs of a4 lie beside it
    cells = [cell for cell in read(find_notebook("source", name)).cells if cell.cell_type == "code"]
    left_out = [{exercise} for exercise in exercises(name)] + [set(exercises(name))]
    for missing in left_out:
        space: dict = {"__name__": "__main__"}
        for cell in cells:
            key = cell.metadata.get("nbgrader", {}).get("grade_id")
            stub = key in missing
            failed = runs_into_error(sheet("release", name)[key].source if stub else cell.source, space)
            uses = any(re.search(rf"\b{exercise}\b", cell.source) for exercise in missing)
            assert not failed or uses, f"without {missing} this cell fails: {cell.source[:200]}"
            if failed:
                assert not stub, "the cell of an answer has no tag: Run All ends where one fails"
                assert "raises-exception" in cell.metadata.get("tags", []), "or Run All ends there"
    assert not runs_into_error("plt.close('all')", space)


GUIDE = (COURSE / "TEACHERS.md").read_text(encoding="utf-8")


def guide_command(verb: str) -> list[str]:
    """The command of the guide that begins with `nbgrader VERB`, without its comment."""
    (line,) = set(re.findall(rf"^    (nbgrader {verb}\b[^#\n]*)", GUIDE, re.MULTILINE))
    return line.split()


def test_the_commands_of_the_guide_lead_from_an_archive_to_feedback(course, tmp_path):
    """Two students of a Moodle course, one archive; one of them fails a hidden test and leaves an exercise out."""
    folder = Path(shutil.copytree(course, tmp_path / "course", ignore=LEFT_BY_OTHERS))
    wrong = WRONG / "a1" / "leaky_share__mean_of_episodes.py"
    assert wrong.read_text().startswith("# hidden test")
    answers = {
        "Ada Lovelace_4711": solutions("a1"),
        "José da Silva_12": {**solutions("a1"), "leaky_share": wrong.read_text()},
    }
    answers["José da Silva_12"]["episodes_needed"] = STUB
    places = ("{}_assignsubmission_file/{}", "{}_assignsubmission_file_{}")
    archive = folder / "downloaded" / "a1" / "archive" / "A1-4711.zip"
    archive.parent.mkdir(parents=True)
    path = find_notebook("release", "a1")
    with zipfile.ZipFile(archive, "w") as packed:
        for (student, given), place in zip(answers.items(), places, strict=True):
            notebook = read(path)
            for key, cell in graded(notebook).items():
                cell.source = given.get(key, cell.source)
            packed.writestr(place.format(student, path.name), nbformat.writes(notebook))
    logs = ""
    for verb in ("generate_assignment", "zip_collect", "autograde", "generate_feedback", "export"):
        command = [str(Path(sys.executable).parent / "nbgrader"), *guide_command(verb)[1:]]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-2000:]
        logs += done.stdout + done.stderr
    assert "checksum" not in logs.lower()
    rows = {
        row["student_id"]: float(row["score"])
        for row in csv.DictReader((folder / "grades.csv").open())
        if row["assignment"] == "a1"
    }
    total = sum(points("a1").values())
    assert rows == {
        "4711": total,
        "12": total - points("a1")["test_leaky_share"] - points("a1")["test_episodes_needed"],
    }
    (page,) = (folder / "feedback" / "12" / "a1").glob("*.html")
    text = html.unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))
    assert "all queries count alike: 1 of 4" in text  # the sentence, but nothing around it
    assert "AssertionError" in text
    for hidden in ("HIDDEN", "the order of episodes can't matter", "names of sources can't matter"):
        assert hidden not in text


@pytest.mark.skipif(not (COURSE.parents[1] / ".git").exists() or shutil.which("make") is None, reason="no checkout")
def test_the_archive_for_students_holds_no_solution(tmp_path):
    root = COURSE.parents[1]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # of an outer make
    make = ["make", "-n", "--no-print-directory", "students"]
    done = subprocess.run(make, cwd=root, env=alone, capture_output=True, text=True, check=True)
    command = done.stdout.replace("runs/students.zip", str(tmp_path / "students.zip"))
    subprocess.run(command, shell=True, cwd=root, check=True)
    names = zipfile.ZipFile(tmp_path / "students.zip").namelist()
    assert any(name.endswith("assignments/release/a1/a1_episodes_and_intervals.ipynb") for name in names)
    assert any(name.endswith("taskadapter_lite/metrics.py") for name in names)
    for kept in ("assignments/source", "wrong_answers", "TEACHERS.md", "test_assignments.py"):
        assert not any(kept in name for name in names)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_nbgrader_gives_the_solution_all_points_and_the_stub_none(course, name):
    assert grade(course, name, "solution", solutions(name)) == points(name)
    assert set(grade(course, name, "stub", {}).values()) == {0}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_nbgrader_takes_the_points_of_wrong_answers_alone(course, name):
    for number, wrong in enumerate(wrong_rounds(name)):
        scores = grade(course, name, f"wrong{number}", {**solutions(name), **wrong})
        assert {key for key, score in scores.items() if score == 0} == {f"test_{exercise}" for exercise in wrong}
