"""This computer -> whether the course runs on it, in a few lines that say what to do where it does not."""

from __future__ import annotations

import importlib.metadata as installed
import platform
import sys

from packaging.requirements import Requirement

from taskadapter_lite.sprites.bundled import verify_bundled

PACKAGE = "taskadapter_lite"


def check_installation() -> bool:
    """Print what was looked at, what is wrong with it and how to mend it. True where all is well."""
    found = {
        f"Python {platform.python_version()}": "" if sys.version_info >= (3, 10) else "install Python 3.10 or later",
        f"{len(_requirements())} packages that {PACKAGE} needs": _package_fault(),
        "bundled clips and weights, every checksum": _file_fault(),
    }
    for what, fault in found.items():
        print(f"[FAIL] {what}: {fault}" if fault else f"[OK]   {what}")
    return not any(found.values())


def _requirements() -> list[Requirement]:
    """What the library asks for on this kind of computer."""
    try:
        wanted = [Requirement(text) for text in installed.requires(PACKAGE) or []]
    except installed.PackageNotFoundError:
        return []
    return [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]


def _package_fault() -> str:
    wanted = _requirements()
    if not wanted:
        return "the library is not installed in this kernel; start with `make lab`, or choose its kernel"
    faults = []
    for package in wanted:
        try:
            version = installed.version(package.name)
            if version not in package.specifier:
                faults.append(f"{package.name} {version}, needs {package.specifier}")
        except installed.PackageNotFoundError:
            faults.append(f"{package.name} is missing")
    return f"{'; '.join(faults)}; install the library again" if faults else ""


def _file_fault() -> str:
    try:
        verify_bundled()
    except ValueError as error:
        return str(error)
    return ""
