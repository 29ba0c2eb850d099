"""A process -> what it ran on: device, versions, commit, command and memory."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch


def environment(device: str | torch.device = "cpu") -> dict:
    """What a run ran on, as keyword arguments of `RunResult`: device, versions, commit, command and time."""
    device = torch.device(device)
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": f"{device.type} ({named})",
        "versions": {"python": platform.python_version(), **_versions("torch", "timm", "numpy", "taskadapter_lite")},
        "commit": git_commit(),
        "command": command_line(),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def command_line() -> str:
    """The command that started this process, without the folders of this machine."""
    program = Path(sys.argv[0]).name
    start = ["python", "-m", "taskadapter_lite"] if program == "__main__.py" else [program]
    return shlex.join([*start, *sys.argv[1:]])


def _versions(*packages: str) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a source tree on the path, not installed
            found[package] = "unknown"
    return found


def git_commit() -> str | None:
    """The commit of the package's repository, with "+changes" where tracked files differ; None outside of one."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def peak_memory(device: str | torch.device = "cpu") -> int:
    """Bytes: the most that PyTorch held on the accelerator, or that the process has held in RAM (0 if unknown)."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
