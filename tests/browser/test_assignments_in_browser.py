"""The graded assignments, walked as a student: the archive is unpacked, Run All with stubs, then with answers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import zipfile

import nbformat
import pytest
from conftest import ROOT

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SOURCE = ROOT / "notebooks" / "assignments" / "source"
NAMES = sorted(folder.name for folder in SOURCE.iterdir())


@pytest.fixture(scope="module")
def handed_out(lab, tmp_path_factory):
    """What `make students` packs, unpacked into the folder that JupyterLab serves: the path of its assignments."""
    if not (ROOT / ".git").exists() or shutil.which("make") is None:
        pytest.skip("NOT TESTED: the archive for students is made from a checkout, by make")
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # of an outer make
    make = ["make", "-n", "--no-print-directory", "students"]
    command = subprocess.run(make, cwd=ROOT, env=alone, capture_output=True, text=True, check=True).stdout
    archive = tmp_path_factory.mktemp("archive") / "students.zip"
    subprocess.run(command.replace("runs/students.zip", str(archive)), shell=True, cwd=ROOT, check=True)
    zipfile.ZipFile(archive).extractall(lab.folder / "archive")
    return "archive/taskadapter_lite/notebooks/assignments/release"


def code_cells(path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


def key_of(cell) -> str | None:
    return cell.metadata.get("nbgrader", {}).get("grade_id")


@pytest.mark.parametrize("name", NAMES)
def test_an_assignment_helps_with_empty_stubs_and_passes_with_the_solutions(lab, handed_out, open_notebook, name):
    (path,) = (lab.folder / handed_out / name).glob("*.ipynb")
    released = code_cells(path)
    solved = {key_of(cell): cell.source for cell in code_cells(SOURCE / name / path.name) if key_of(cell)}
    answers = {key for key in map(key_of, released) if f"test_{key}" in solved}
    notebook = open_notebook(f"{handed_out}/{name}/{path.name}")
    for error in notebook.errors():  # a cell that did not run is named here too
        assert re.match(r"NotImplementedError: not written yet: the task above .{10,}", error)
    failed = notebook.failed()
    assert {f"test_{key}" for key in answers} <= {key_of(released[number]) for number in failed}
    for number in failed:  # a test, or a cell that shows what the answer gives; every other cell ran
        assert any(re.search(rf"\b{key}\b", released[number].source) for key in answers)
    shown = notebook.page.locator(".jp-OutputArea-output", has_text="not written yet: the task above").first
    shown.scroll_into_view_if_needed()
    notebook.shot("-stub")
    notebook.write([solved[key] if (key := key_of(cell)) in answers else cell.source for cell in released])
    notebook.run_all(f"{handed_out}/{name}/{path.name}")
    assert notebook.errors() == []
    notebook.cell(len(released) - 1).scroll_into_view_if_needed()
    notebook.shot("-solved")
