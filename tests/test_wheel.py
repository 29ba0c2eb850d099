"""The wheel: what is in it, where its decoders install, and that it works alone, away from the repository."""

import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from newcomer import lines, make_home
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]

# Platforms and Python versions with a wheel of the newest version, decord 0.6.0 and eva-decord 0.6.1; asked of the
# package index with `pip download --only-binary=:all: --platform ... --python-version ...` on 2026-11-25. Neither
# has a source distribution.
PLATFORMS = {
    "Linux x86-64": {"sys_platform": "linux", "platform_machine": "x86_64"},
    "Linux aarch64": {"sys_platform": "linux", "platform_machine": "aarch64"},
    "Windows x86-64": {"sys_platform": "win32", "platform_machine": "AMD64"},
    "Windows arm64": {"sys_platform": "win32", "platform_machine": "ARM64"},
    "macOS x86-64": {"sys_platform": "darwin", "platform_machine": "x86_64"},
    "macOS arm64": {"sys_platform": "darwin", "platform_machine": "arm64"},
}
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
WHEELS = {
    "decord": {(system, python) for system in ("Linux x86-64", "Windows x86-64") for python in PYTHONS},
    "eva-decord": {(system, python) for system in ("Linux x86-64", "Windows x86-64") for python in PYTHONS}
    | {(system, python) for system in ("macOS x86-64", "macOS arm64") for python in ("3.10", "3.11")},
}


# ---- what pyproject.toml says


def project() -> dict:
    return pytest.importorskip("tomllib").loads((ROOT / "pyproject.toml").read_text("utf-8"))


def decoders() -> list[Requirement]:
    found = [Requirement(spec) for spec in project()["project"]["dependencies"]]
    return [requirement for requirement in found if requirement.name in WHEELS]


@pytest.mark.parametrize("system", PLATFORMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_a_decoder_is_asked_for_only_where_it_has_a_wheel(system, python):
    environment = PLATFORMS[system] | {"python_version": python}
    wanted = [requirement.name for requirement in decoders() if requirement.marker.evaluate(environment)]
    assert len(wanted) <= 1  # both install the module decord
    assert all((system, python) in WHEELS[name] for name in wanted)
    if system in ("Linux x86-64", "Windows x86-64") or (system == "macOS arm64" and python in ("3.10", "3.11")):
        assert len(wanted) == 1  # the faster decoder is used where there is one


def test_conda_has_the_markers_of_pip():
    (*_, from_pip) = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))["dependencies"]
    listed = [Requirement(spec) for spec in from_pip["pip"] if not spec.startswith("--")]
    assert sorted(map(str, listed)) == sorted(map(str, decoders()))


def test_every_folder_of_the_package_is_packed():
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "taskadapter_lite").rglob("__init__.py")}
    packed = set(project()["tool"]["setuptools"]["packages"])
    assert packed == {".".join(folder.parts) for folder in folders} | {"taskadapter_lite.data_samples"}


# ---- the wheel itself


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Folder of a fresh environment with the wheel; the libraries that it needs are those of this interpreter.

    Built from a copy without the clips, so that nothing left over in build/ gets into the wheel.
    """
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("taskadapter_lite", "data_samples"):
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__", "clips"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, folder / "source"], check=True)
    venv.create(folder / "venv", with_pip=False)
    site = run(folder, "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    libraries = [path for path in sys.path if path.endswith("-packages")]
    Path(site, "libraries.pth").write_text("\n".join(libraries))  # these folders alone, not the .pth files in them
    (wheel,) = folder.glob("*.whl")
    install = ["install", "--no-deps", "--no-index", "--ignore-installed", wheel]
    subprocess.run([*pip, "--python", python(folder), *install], check=True)
    return folder


def python(home: Path) -> Path:
    return home / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def run(home: Path, code: str, *options: str, **variables: str) -> str:
    """Run code (or `-m module` with options) with the wheel's interpreter, away from the repository."""
    (home / "elsewhere").mkdir(exist_ok=True)
    ours = {"XDG_CACHE_HOME": str(home / "cache"), "MPLBACKEND": "agg", **variables}
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TASKADAPTER_DATA")}
    command = [python(home), "-m" if options else "-c", code, *options]
    done = subprocess.run(command, cwd=home / "elsewhere", env=inherited | ours, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_weights_adapters_and_episodes_come_with_the_wheel(home):
    found = json.loads(run(home, CONTENTS))
    package = Path(found["package"])
    assert package.is_relative_to((home / "venv").resolve())
    assert Path(found["data"]) == package.parent / "data_samples"
    assert found["clips"] is False
    assert found["episodes"] == [2_000, 2_000]
    assert found["scores"] == [1, 5]
    assert found["version"] == found["metadata"]


CONTENTS = """
import json
from importlib.metadata import version
from pathlib import Path
import taskadapter_lite as ta
from taskadapter_lite.files import data_dir, read_manifest, verify_files

verify_files(data_dir(), read_manifest()["files"])
ta.load_backbone()
model = ta.load_model(data_dir() / "task_adapter.safetensors")
clips = ta.SpriteClips("test", 20)
lists = [ta.load_episodes(data_dir() / "episodes" / f"test_5way_{k}shot.json", clips.labels) for k in (1, 5)]
batch = clips.read_batch(lists[0][0].support.tolist() + [lists[0][0].query.tolist()[0]])
features = model(batch, 5)
scores = ta.cosine_scores(features[:5][:, None], features[5:])
print(json.dumps({
    "package": str(Path(ta.__file__).resolve()), "data": str(data_dir().resolve()),
    "clips": (data_dir() / "clips").exists(), "episodes": [len(one) for one in lists], "scores": list(scores.shape),
    "version": ta.__version__, "metadata": version("taskadapter_lite"),
}))
"""


def test_every_file_of_the_package_is_in_the_wheel(home):
    (wheel,) = home.glob("*.whl")
    files = [
        path for path in (ROOT / "taskadapter_lite").rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    assert {path.relative_to(ROOT).as_posix() for path in files} <= set(zipfile.ZipFile(wheel).namelist())


@pytest.mark.parametrize("name", ["a2", "a3"])
def test_assignments_with_a_backbone_run_from_the_wheel(home, name):
    (sheet,) = (ROOT / "notebooks" / "assignments" / "source" / name).glob("*.ipynb")
    cells = [cell for cell in json.loads(sheet.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert sum("BEGIN SOLUTION" in "".join(cell["source"]) for cell in cells) >= 4
    run(home, "\n\n".join("".join(cell["source"]) for cell in cells))


def test_the_readmes_lines_for_ones_own_videos_run_from_the_wheel(home):
    """As somebody types them who has installed the wheel and has a folder of videos and a file of weights, no more."""
    folder = home / "elsewhere"
    weights = make_home(folder)
    for words in lines():
        said = run(home, "taskadapter_lite", *words, TASKADAPTER_WEIGHTS=str(weights), HF_HUB_OFFLINE="1")
        assert ("weights vit_small_patch14_dinov2.safetensors: unknown (" in said) == (words[0] == "evaluate")
    assert (folder / "runs" / "train" / "adapters.safetensors").is_file()
    assert (folder / "runs" / "cross_video_attention.png").is_file()
    assert len(list((folder / "runs" / "evaluate").glob("*.json"))) == 2


@pytest.mark.slow
def test_the_readme_and_the_demo_run_from_the_wheel_with_clips_rendered_once(home):
    (lines,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    few, n_replaced = re.subn(r"(n_steps|n_episodes)=\d+", r"\1=10", lines)
    assert n_replaced == 3
    assert "%" in run(home, few)
    (made,) = (home / "cache").rglob("manifest.json")
    listed = json.loads((ROOT / "data_samples" / "manifest.json").read_text("utf-8"))["clips"]
    found = json.loads(made.read_text("utf-8"))["clips"]
    assert [entry["path"] for entry in found] == [entry["path"] for entry in listed]
    assert found == listed or found[0] != listed[0]  # all are the bundled ones, or none where the encoder is another
    told = run(home, "taskadapter_lite", "demo", "--quick")
    assert "Task-Adapter" in told
    assert "make" not in told  # there is no Makefile
    assert (home / "elsewhere" / "runs" / "demo" / "result.json").is_file()
    assert len(list((home / "cache").rglob("manifest.json"))) == 1
