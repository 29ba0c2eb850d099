"""The map of the package: imports point up the pipeline only, and the two lists of requirements agree."""

import ast
import re
from pathlib import Path

import pytest
import yaml

import taskadapter_lite

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "taskadapter_lite"

# Who may import whom: a room may import from the rooms before it. What is in no folder is the method and the task.
ORDER = [
    {"files"},
    {"results", "text", "metrics", "adapters", "intervals", "provenance"},
    {"backbone", "episodes", "figures", "sprites"},
    {"data"},
    {"model"},
    {"attention", "cache"},
    {"evaluation", "prediction"},
    {"training", "widgets"},
    {"studies"},
    {"commands"},
]
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__main__.py")


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Rooms of the package that a file imports from."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            found.add("a relative import")
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE.name:
            inner = node.module.split(".")[1:]
            found |= {inner[0]} if inner else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith(PACKAGE.name + ".")}
    return found


def test_every_room_has_its_place():
    assert {room(path) for path in MODULES} - {"__init__"} == set().union(*ORDER)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down_only(path):
    level = next((i for i, rooms in enumerate(ORDER) if room(path) in rooms), 0)
    assert not imports_of(path) - {room(path)} - set().union(*ORDER[: level + 1])


def test_figures_take_arrays_and_import_nothing_of_ours_but_figures():
    assert all(imports_of(path) <= {"figures"} for path in (PACKAGE / "figures").glob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_docstring_says_what_goes_in_and_out(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_no_folder_is_crowded_and_no_module_long():
    folders = {path.parent for path in MODULES}
    assert all(len([p for p in MODULES if p.parent == folder and p.name != "__init__.py"]) <= 16 for folder in folders)
    assert [p.name for p in MODULES if len(p.read_text().splitlines()) > 400] == ["actions.py"]


def test_conda_and_pip_ask_for_the_same_versions():
    tomllib = pytest.importorskip("tomllib")  # in the standard library from Python 3.11 on
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    pip = {re.sub(r"\s*;.*", "", spec) for spec in [*project["dependencies"], *extras["lab"], *extras["test"]]}
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    *conda, from_pip = environment
    listed = {spec.replace("pytorch>", "torch>") for spec in conda if spec != "pip"}
    listed |= {re.sub(r"\s*;.*", "", spec) for spec in from_pip["pip"] if not spec.startswith("--")}
    assert listed == pip | {f"python{project['requires-python']}"}


def test_the_map_for_contributors_names_every_room_in_the_order_of_imports():
    table = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("| room |")[1].split("\n\n")[0]
    rows = [set(re.findall(r"`(\w+)`", row.split("|")[1])) for row in table.splitlines()[2:]]
    assert all(row <= rooms for row, rooms in zip(rows, ORDER, strict=True))
    assert set().union(*rows) | {"intervals", "provenance", "saving"} >= set().union(*ORDER)


def test_pre_commit_runs_the_ruff_that_the_project_asks_for():
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    (minimum,) = re.findall(r'"ruff>=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert repo["rev"].removeprefix("v").removesuffix(".0") == minimum.removesuffix(".0")


def test_the_citation_is_that_of_the_readme_and_the_version_that_of_the_package():
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (authors,) = re.findall(r"author\s+= \{(.*)\}", readme)
    (paper,) = cff["references"]
    assert [f"{a['family-names']}, {a['given-names']}" for a in paper["authors"]] == authors.split(" and ")
    assert f"pages     = {{{paper['start']}--{paper['end']}}}" in readme
    assert f"{{{paper['title']}}}" in readme
    assert cff["version"] == taskadapter_lite.__version__
    assert cff["license"] == "MIT"
