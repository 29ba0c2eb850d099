"""Break the method's modules one by one and report which breaks the tests let pass.

python tests/mutants/run.py            every break; the exit status is the number of survivors
python tests/mutants/run.py 3 17       some of them
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from breaks import BREAKS, Break

ROOT = Path(__file__).parents[2]
LIMIT_S = 600  # a break that makes tests run on for ever is noticed


def copy_of_the_sources(folder: Path) -> Path:
    """Package and tests in a folder of their own, the clips by a link."""
    for name in ("taskadapter_lite", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name in ("data_samples", "notebooks"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def survives(found: Break, folder: Path) -> bool:
    """Whether the tests pass although the code is broken.

    Raises:
        ValueError: what should be replaced is not there exactly once.
    """
    path = folder / "taskadapter_lite" / found.file
    intact = path.read_text(encoding="utf-8")
    if intact.count(found.old) != 1:
        raise ValueError(f"{found.what}: {found.file} holds {found.old!r} {intact.count(found.old)} times, not once")
    path.write_text(intact.replace(found.old, found.new), encoding="utf-8")
    files = [f"tests/{name}" for name in found.tests.split()]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=LIMIT_S)
        if done.returncode not in (0, 1):
            raise ValueError(f"{found.what}: pytest ended with {done.returncode}: {done.stdout.decode()[-500:]}")
        return done.returncode == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        path.write_text(intact, encoding="utf-8")


def main() -> int:
    """Run the breaks, print a line each and the survivors at the end."""
    chosen = [int(number) for number in sys.argv[1:]] or range(len(BREAKS))
    survivors = []
    with tempfile.TemporaryDirectory() as name:
        folder = copy_of_the_sources(Path(name))
        for number in chosen:
            start = time.monotonic()
            passed = survives(BREAKS[number], folder)
            survivors += [BREAKS[number].what] if passed else []
            verdict = "SURVIVES" if passed else "noticed"
            print(f"{number:3} {verdict:9} {time.monotonic() - start:5.0f} s  {BREAKS[number].what}", flush=True)
    print(f"{len(survivors)} of {len(chosen)} breaks survive" + "".join(f"\n  {what}" for what in survivors))
    return len(survivors)


if __name__ == "__main__":
    sys.exit(main())
