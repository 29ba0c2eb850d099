"""The map of the package: imports point up the pipeline only, and the two lists of requirements agree."""

import ast
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "taskadapter_lite"

# File order = data flow = lesson order. A module may import from the ones before it.
ORDER = [
    "decoding",
    "clips",
    "motions",
    "actions",
    "sprites",
    "splits",
    "locating",
    "bundled",
    "labelled",
    "datasets",
    "opening",
    "checking",
    "saving",
    "episodes",
    "backbone",
    "pretraining",
    "probes",
    "adapters",
    "model",
    "recording",
    "metrics",
    "semantic",
    "provenance",
    "intervals",
    "results",
    "checkpoints",
    "caching",
    "evaluation",
    "distributed",
    "recipes",
    "learner",
    "training_run",
    "training",
    "prediction",
    "ladder",
    "leak",
    "benchmark",
    "figures_clips",
    "figures_matrices",
    "figures_attention",
    "figures_features",
    "figures_results",
    "figures_speed",
    "figures",
    "live",
    "widgets_base",
    "playground",
    "widgets",
]


def imports_of(path: Path) -> set[str]:
    """Modules of the package that a file imports, `commands.x` by its dotted name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            found.add("a relative import")
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE.name:
            inner = node.module.split(".")[1:]
            found |= {".".join(inner)} if inner else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".", 1)[1] for a in node.names if a.name.startswith(PACKAGE.name + ".")}
    return found


def test_every_module_has_its_place():
    modules = {p.stem for p in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert modules == set(ORDER)


@pytest.mark.parametrize("module", ORDER)
def test_imports_point_down_the_list_only(module):
    later = ORDER[ORDER.index(module) :]
    assert not imports_of(PACKAGE / f"{module}.py") & {*later, "commands", "__main__", "a relative import"}


@pytest.mark.parametrize("module", [name for name in ORDER if name.startswith("figures")])
def test_figures_take_arrays_and_import_nothing_of_ours_but_figures(module):
    assert all(name.startswith("figures") for name in imports_of(PACKAGE / f"{module}.py"))


@pytest.mark.parametrize("module", ORDER)
def test_module_docstring_says_what_goes_in_and_out(module):
    assert ast.get_docstring(ast.parse((PACKAGE / f"{module}.py").read_text()))


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
