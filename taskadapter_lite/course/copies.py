"""Executed lessons with solutions -> a student's copies: stubs in place of solutions, and no outputs."""

from __future__ import annotations

import copy
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from taskadapter_lite.files import write_whole

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SOLUTION = re.compile(r"^([ \t]*)### BEGIN SOLUTION\n.*?^[ \t]*### END SOLUTION$", re.MULTILINE | re.DOTALL)
STUB = "{0}# your code here, in place of the next line\n{0}raise NotImplementedError"
LINK = re.compile(r"(\]\(|src=\")([^)\s\"#:]+)")
YOURS = "\n\n*Your copy: write into it as you like. [The executed lesson]({}) has all answers.*"
BESIDE = ("images", "results")  # folders that lessons show or read; they lie beside the copies too
LESSON = re.compile(r"\d\d_\w+\.ipynb|glossary\.ipynb")


def without_solutions(source: str) -> str:
    """A cell with a stub in place of each solution, at its indentation."""
    return SOLUTION.sub(lambda found: STUB.format(found[1]), source)


def student_copy(notebook: Any, find_link: Callable[[str], str] = str) -> Any:
    """The student's copy of a notebook: stubs, no outputs, and Run All goes on past checks that fail.

    Args:
        notebook: as nbformat reads it; it stays as it is.
        find_link: where the target of a relative link lies as seen from the copy.
    """
    result = copy.deepcopy(notebook)
    result.metadata.pop("widgets", None)
    for cell in result.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(lambda found: found[1] + find_link(found[2]), cell.source)
            continue
        cell.source, cell.outputs, cell.execution_count = without_solutions(cell.source), [], None
        tags = cell.metadata.get("tags", [])
        if "check" in tags:
            cell.metadata["tags"] = [*tags, "raises-exception"]
    return result


def write_copies(folder: Path, lessons: Path = NOTEBOOKS, overwrite: bool = False) -> tuple[list[str], list[str]]:
    """Write a student's copy of each lesson; what is there already is a student's work and stays.

    Args:
        folder: where to write; pictures and results that lessons use are copied beside.
        lessons: folder of the executed lessons.
        overwrite: also replace copies that are there.

    Returns:
        The names of the notebooks that were written and of those that were left alone.

    Raises:
        ValueError: there are no lessons in `lessons`, or `folder` is where they lie.
    """
    try:
        import nbformat
    except ImportError:
        raise ValueError("copies of notebooks need nbformat, which comes with jupyterlab") from None
    names = sorted(path.name for path in lessons.glob("*.ipynb") if LESSON.fullmatch(path.name))
    if not names:
        raise ValueError(f"{lessons} holds no lessons; they come with the repository, not with the installed package")
    if folder.resolve() == lessons.resolve():
        raise ValueError(f"{folder} is where the lessons lie; copies need a folder of their own")
    kept = [name for name in names if (folder / name).exists() and not overwrite]

    def find_link(target: str) -> str:
        copied = target in names or target.split("/")[0] in BESIDE or not (lessons / target).exists()
        return target if copied else Path(os.path.relpath(lessons / target, folder)).as_posix()

    for name in (name for name in names if name not in kept):
        made = student_copy(nbformat.read(lessons / name, as_version=4), find_link)
        made.cells[0].source += YOURS.format(find_link(f"./{name}"))
        write_whole(folder / name, nbformat.writes(made) + "\n")
    for beside in BESIDE:
        if (lessons / beside).is_dir():
            shutil.copytree(lessons / beside, folder / beside, dirs_exist_ok=True)
    return [name for name in names if name not in kept], kept
