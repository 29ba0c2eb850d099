"""JupyterLab on a free port of this machine, and a page of headless Chromium."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "runs" / "browser"  # screenshots; never committed
SECONDS = float(os.environ.get("BROWSER_TEST_SECONDS", "180"))  # patience for one step, in a slow machine too
TOKEN = "for-this-test-alone"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # every cell is in the page, seen or not
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """Address of a JupyterLab whose folder is `lab.folder`."""
    home = tmp_path_factory.mktemp("lab")
    folder = home / "notebooks"
    left_out = shutil.ignore_patterns("release", "student", ".ipynb_checkpoints")
    shutil.copytree(ROOT / "notebooks", folder, ignore=left_out)
    for name, values in SETTINGS.items():
        path = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(values))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {
        "JUPYTERLAB_SETTINGS_DIR": home / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces",
        "JUPYTER_RUNTIME_DIR": home / "runtime",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)]),
        "TASKADAPTER_DATA": os.environ.get("TASKADAPTER_DATA", ROOT / "data_samples"),
        "TASKADAPTER_PROGRESS": home / "progress.json",  # that of the tests, not of who runs them
        "OMP_NUM_THREADS": "1",
    }
    options = f"--no-browser --ip=127.0.0.1 --port={port} --IdentityProvider.token={TOKEN} --allow-root"
    options += f" --LabApp.expose_app_in_browser=True --ServerApp.root_dir={folder}"
    with (home / "lab.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options.split()],
            env=os.environ | {name: str(value) for name, value in variables.items()},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/api?token={TOKEN}", process, home / "lab.log")
        yield Lab(address, folder)
    finally:
        stop(process)


def stop(process: subprocess.Popen) -> None:
    """Ask a server that leads its own session to end its kernels and itself; end all of them if it takes too long."""
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Lab:
    """A running JupyterLab: its address and the folder it serves."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address, self.folder = address, folder


def _wait_for(address, process, log):
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"JupyterLab did not start: {log.read_text()[-2000:]}")


@pytest.fixture(scope="session")
def chromium():
    if CHROMIUM is None:
        pytest.skip("BROWSER NOT TESTED: no Chromium found; install it with: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api", reason="BROWSER NOT TESTED: pip install -e '.[browser]'")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_notebook(lab, chromium, request):
    """Call it with the path of a notebook below the served folder: a `Notebook` whose cells have all run."""
    with page_of(chromium) as page:
        yield lambda path: Notebook(page, request.node.name).opened(lab, path)


@contextmanager
def page_of(chromium):
    """A page of the browser, whose kernel ends with it."""
    page = chromium.new_page(viewport={"width": 1500, "height": 1100})
    page.set_default_timeout(1000 * SECONDS)
    yield page
    page.evaluate("window.panel ? window.panel.sessionContext.shutdown() : null")
    page.close()


class Notebook:
    """A notebook in the page: its cells, outputs and screenshots."""

    def __init__(self, page, name: str) -> None:
        self.page, self.name = page, name

    def opened(self, lab: Lab, path: str) -> Notebook:
        """Open it and run all cells."""
        self.page.goto(f"{lab.address}/lab/tree/{path}?token={TOKEN}&reset")
        self.run_all(path)
        return self

    def run_all(self, path: str) -> None:
        """Run all cells; "Run All" before the kernel has connected would be dropped silently, so wait for it."""
        self.page.wait_for_function("window.jupyterapp !== undefined")
        self.page.evaluate(
            """([path, seconds]) => Promise.race([(async () => {
                const app = window.jupyterapp;
                await app.restored;
                const panel = await app.commands.execute('docmanager:open', {path});
                await panel.context.ready;
                await panel.sessionContext.ready;
                await panel.sessionContext.session.kernel.info;
                window.panel = panel;
                await app.commands.execute('notebook:run-all-cells');
                let quiet = 0;  // after a cell that failed Lab waits for no other, and between cells a kernel is idle
                while (quiet < 2000) {
                    await new Promise(r => setTimeout(r, 200));
                    quiet = panel.sessionContext.kernelDisplayStatus === 'idle' ? quiet + 200 : 0;
                }
            })(), new Promise((_, fail) => setTimeout(fail, 1000 * seconds, `${path} is not done`))])""",
            [path, 3 * SECONDS],
        )

    def errors(self) -> list[str]:
        """Names and messages of all errors in the outputs; stops at what no cell ran."""
        return self.page.evaluate(
            """() => {
                const cells = [...window.panel.content.model.cells].filter(cell => cell.type === 'code');
                const found = cells.filter(cell => cell.sharedModel.source.trim() && cell.executionCount === null)
                    .map(cell => 'not run: ' + cell.sharedModel.source);
                for (const cell of cells)
                    for (let i = 0; i < cell.outputs.length; i++) {
                        const output = cell.outputs.get(i).toJSON();
                        if (output.output_type === 'error') found.push(output.ename + ': ' + output.evalue);
                    }
                return found;
            }"""
        )

    def failed(self) -> list[int]:
        """Which of the code cells, counted from 0, show an error."""
        return self.page.evaluate(
            """() => [...window.panel.content.model.cells].filter(cell => cell.type === 'code').flatMap((cell, i) =>
                cell.outputs.toJSON().some(output => output.output_type === 'error') ? [i] : [])"""
        )

    def cell(self, number: int):
        """The n-th code cell with its output."""
        return self.page.locator(".jp-CodeCell").nth(number)

    def shot(self, name: str = "") -> None:
        """Keep what is seen now."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{self.name}{name}.png".replace("/", "-"))

    def write(self, sources: list[str]) -> None:
        """Give the code cells these sources, as a reader who types them."""
        self.page.evaluate(
            """sources => {
                const cells = [...window.panel.content.model.cells].filter(cell => cell.type === 'code');
                cells.forEach((cell, i) => cell.sharedModel.setSource(sources[i]));
            }""",
            sources,
        )
