"""The notebooks with widgets, run in a real JupyterLab; every slider and list answers to the keyboard."""

from __future__ import annotations

import pytest
from subject import press_all

pytestmark = pytest.mark.browser
NOTEBOOKS = ["02_episodes", "03_prototypes_and_metrics", "08_seeing_attention", "10_your_own_videos"]
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
    assert moved > 0 or name == "10_your_own_videos"
    assert notebook.errors() == []
    notebook.shot("-moved")
