"""The map of the package: imports point up the pipeline only, and the two lists of requirements agree."""

import ast
import re
import runpy
from pathlib import Path

import pytest
import yaml

import taskadapter_lite

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "taskadapter_lite"

# Who may import whom: a room may import from the rooms before it. What is in no folder is the method and the task.
ORDER = [
    {"files", "bars"},
    {"results", "text", "metrics", "adapters", "layouts"},
    {"backbone", "episodes", "figures", "sprites"},
    {"data"},
    {"model"},
    {"attention", "cache"},
    {"evaluation", "prediction"},
    {"training", "widgets", "course"},
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


def test_only_the_command_line_knows_the_course():
    users = {room(path) for path in MODULES if "course" in imports_of(path)}
    assert users <= {"course", "commands"}


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
    assert set().union(*rows) >= set().union(*ORDER)


def test_pre_commit_runs_the_ruff_that_the_project_asks_for():
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    (minimum,) = re.findall(r'"ruff>=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert repo["rev"].removeprefix("v").removesuffix(".0") == minimum.removesuffix(".0")


def test_the_citation_is_that_of_the_readme_and_the_version_that_of_the_package():
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (authors,) = re.findall(r"author=\{(.*)\}", readme)
    (paper,) = cff["references"]
    assert [f"{a['family-names']}, {a['given-names']}" for a in paper["authors"]] == authors.split(" and ")
    assert f"pages={{{paper['start']}--{paper['end']}}}" in readme
    assert f"{{{paper['title']}}}" in readme
    assert cff["version"] == taskadapter_lite.__version__
    assert cff["license"] == "MIT"


ENTRY = re.compile(r" {4}[*\w]+(?:, [*\w]+)*: (.+)")
CODE = {"True", "False", "None"}


def entries(docstring: str) -> list[str]:
    """What stands after the colon of each entry under "Args:", "Attributes:" and "Raises:", on one line."""
    found: list[str] = []
    for section in re.findall(r"^(?:Args|Attributes|Raises):\n((?: .*\n?)*)", docstring, re.MULTILINE):
        for line in section.splitlines():
            if match := ENTRY.fullmatch(line):
                found.append(match[1])
            elif found:
                found[-1] += " " + line.strip()
    return found


def errors(tree: ast.AST) -> list[tuple[str, str]]:
    """First and last piece of the sentence of each `raise`, "" where it is computed."""
    calls = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)]
    texts = [call.args[0] for call in calls if call.args]
    pieces = [text.values if isinstance(text, ast.JoinedStr) else [text] for text in texts]
    return [tuple(str(getattr(piece, "value", "")) for piece in (parts[0], parts[-1])) for parts in pieces]


def speaks_up(text: str) -> bool:
    """Whether it starts with a capital that is neither code nor an acronym."""
    word = re.match(r"[A-Z][a-z']+\b", text)
    return word is not None and word[0] not in CODE


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_docstrings_speak_with_one_voice(path):
    """Entries start in lower case and end with a period, sentences of errors start in lower case and end without."""
    tree = ast.parse(path.read_text())
    documented = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    said = [entry for node in documented for entry in entries(ast.get_docstring(node) or "")]
    assert not [entry for entry in said if speaks_up(entry) or not entry.endswith((".", ".)"))]
    assert not [(start, end) for start, end in errors(tree) if speaks_up(start) or end.endswith(".")]


def test_the_check_of_the_voice_sees_what_it_should():
    text = "Draw.\n\nArgs:\n    T: Frames\n        a clip.\n    D: width.\n\nRaises:\n    ValueError: T, as it is.\n"
    assert entries(text) == ["Frames a clip.", "width.", "T, as it is."]
    assert [speaks_up(entry) for entry in entries(text)] == [True, False, False]
    assert errors(ast.parse('raise ValueError(f"Bad {x}: choose.")\nraise E("T is 0")')) == [
        ("Bad ", ": choose."),
        ("T is 0", "T is 0"),
    ]


def test_every_break_still_finds_what_it_replaces():
    """`make mutants` stops at a break whose code was changed; its tests are files that are there."""
    for found in runpy.run_path(str(ROOT / "tests" / "mutants" / "breaks.py"))["BREAKS"]:
        assert (PACKAGE / found.file).read_text(encoding="utf-8").count(found.old) == 1, found.what
        assert all((ROOT / "tests" / name).is_file() for name in found.tests.split()), found.what


def test_each_module_that_differs_on_a_cuda_device_is_in_the_list():
    section = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## What differs on a CUDA device")[1]
    section = section.split("\n## ")[0]
    differs = re.compile(r"""["']cuda["']|torch\.cuda|pin_memory|autocast\(|torch\.compile\(""")
    found = [str(path.relative_to(PACKAGE)) for path in MODULES if differs.search(path.read_text(encoding="utf-8"))]
    assert {"cache.py", "studies/speed.py"} < set(found)
    assert not [name for name in found if f"`{name}`" not in section]
    tests = re.findall(r"`(test_\w+)\.\.\.", section)
    assert len(tests) >= 7
    covered = (ROOT / "tests" / "test_cuda.py").read_text(encoding="utf-8")
    assert not [test for test in tests if f"def {test}" not in covered]
