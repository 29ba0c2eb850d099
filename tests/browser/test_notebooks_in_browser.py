"""All lessons, run in a real JupyterLab; where there are widgets, every slider and list answers to the keyboard."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time

import nbformat
import pytest
from conftest import ROOT, SECONDS, stop
from subject import press_all

from taskadapter_lite.course.copies import write_copies

pytestmark = pytest.mark.browser
NOTEBOOKS = ["02_episodes", "03_prototypes_and_metrics", "08_seeing_attention", "10_your_own_videos"]
OTHERS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb") if path.stem not in NOTEBOOKS)
WITH_EXERCISES = sorted(
    path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb") if "### BEGIN SOLUTION" in path.read_text("utf-8")
)
SHOWN = """() => [...document.querySelectorAll('img.widget-image, .widget-html-content')]
    .map(e => e.src || e.innerHTML).join()"""


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_runs_and_its_controls_answer(lab, open_notebook, name):
    if not (lab.folder / f"{name}.ipynb").exists():
        pytest.skip(f"NOT TESTED: notebooks/{name}.ipynb is missing")
    notebook = open_notebook(f"{name}.ipynb")
    assert notebook.errors() == []
    page = notebook.page
    assert page.locator(".jupyter-widgets").count() > 0
    notebook.shot()
    handles = page.locator(".noUi-handle:visible, .widget-dropdown select:visible")
    moved = 0
    for i in range(handles.count()):
        handle = handles.nth(i)
        handle.scroll_into_view_if_needed()
        is_list = handle.evaluate("e => e.tagName") == "SELECT"
        stuck = handle.evaluate(
            """e => e.closest('[disabled]') !== null
                || (e.tagName === 'SELECT' ? e.options.length < 2 : e.ariaValueMin === e.ariaValueMax)"""
        )
        if stuck:
            continue
        before = page.evaluate(SHOWN)
        at_end = not is_list and handle.evaluate("e => e.ariaValueNow === e.ariaValueMax")
        press_all(handle, ["Space", "ArrowDown", "Enter"] if is_list else ["ArrowLeft" if at_end else "ArrowRight"])
        page.wait_for_function(f"before => ({SHOWN})() !== before", arg=before)
        moved += 1
    assert moved > 0
    assert notebook.errors() == []
    notebook.shot("-moved")


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_lesson_runs_without_an_error(open_notebook, name):
    notebook = open_notebook(f"{name}.ipynb")
    assert notebook.errors() == []
    notebook.shot()


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_EXERCISES)
def test_a_students_copy_helps_with_empty_stubs_and_passes_with_the_solutions(lab, open_notebook, name):
    folder = lab.folder / "student"
    if not folder.exists():
        write_copies(folder, ROOT / "notebooks")
    cells = [cell for cell in nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells if cell.cell_type == "code"]
    n_exercises = sum("exercise" in cell.metadata.get("tags", []) for cell in cells)
    notebook = open_notebook(f"student/{name}.ipynb")
    found = notebook.errors()
    assert len(found) == n_exercises > 0  # and every cell that is no exercise ran
    assert all(re.match(r"ExerciseError: \w+ is not written yet. A first hint: .{20,}", error) for error in found)
    shown = notebook.page.locator(".jp-OutputArea-output", has_text="is not written yet")
    shown.first.scroll_into_view_if_needed()
    assert "Traceback" not in shown.first.inner_text()  # the words alone
    notebook.shot("-stub")
    notebook.write([cell.source for cell in cells])
    notebook.run_all(f"student/{name}.ipynb")
    assert notebook.errors() == []
    done = notebook.page.locator(".jp-CodeCell").last
    done.scroll_into_view_if_needed()
    assert re.search(rf"all {n_exercises} exercises solved|the exercise is solved", done.inner_text())
    notebook.shot("-solved")


def test_make_lab_opens_the_first_lesson_and_asks_nothing(chromium, tmp_path):
    """What the Makefile starts asks the desktop's browser for a page; a script notes which, and Chromium opens it."""
    (line,) = re.findall(r"^\t\$\(BIN\)/jupyter (lab .*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    write_copies(tmp_path / "notebooks" / "student")
    note, asked = tmp_path / "note.sh", tmp_path / "asked"
    note.write_text(f'#!/bin/sh\necho "$1" > {asked}\n')
    note.chmod(0o755)
    command = [sys.executable, "-m", "jupyter", *shlex.split(line), "--allow-root", "--port=0"]
    with (tmp_path / "log").open("w") as log:
        places = {"PYTHONPATH": str(ROOT), "JUPYTER_RUNTIME_DIR": str(tmp_path)}
        variables = os.environ | places | {"BROWSER": f"{note} %s"}
        process = subprocess.Popen(command, cwd=tmp_path, env=variables, stderr=log, stdout=log, start_new_session=True)
    try:
        end = time.monotonic() + SECONDS
        while not (asked.exists() and asked.read_text()) and time.monotonic() < end and process.poll() is None:
            time.sleep(0.3)
        assert asked.exists(), (tmp_path / "log").read_text()[-2000:]
        page = chromium.new_page()
        page.goto(asked.read_text().strip(), timeout=1000 * SECONDS)
        title = page.locator(".jp-NotebookPanel h1").first
        title.wait_for(timeout=1000 * SECONDS)
        assert title.inner_text().startswith("00")
        page.wait_for_timeout(8000)  # the question about news came within seconds
        assert page.get_by_text("Jupyter news").count() == 0
        page.close()
    finally:
        stop(process)
