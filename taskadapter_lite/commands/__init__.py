"""One module a verb of the command line: HELP, add_arguments(parser), run(args) -> status.

What several verbs ask for (data, device, episodes) is in `shared`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import NoReturn

import taskadapter_lite

VERBS = tuple(sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py")))


class _Defaults(argparse.ArgumentDefaultsHelpFormatter):
    """Ends each option's help with its default, unless there is none or the help explains it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        none = action.default is None or action.default is False or action.default == []
        return action.help if none or "default:" in (action.help or "") else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and where the help is; helps name the defaults."""

    def __init__(self, **options) -> None:
        super().__init__(formatter_class=_Defaults, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def program() -> str:
    """How the command line was called."""
    name = Path(sys.argv[0]).stem
    return name if name == "taskadapter-lite" else "python -m taskadapter_lite"


def build_parser(*wanted: str) -> argparse.ArgumentParser:
    """The parser; only the wanted verbs' modules are imported, so that the help of one comes quickly."""
    parser = Parser(prog=program(), description="Task-Adapter: few-shot action recognition.")
    parser.add_argument("--version", action="version", version=f"taskadapter_lite {taskadapter_lite.__version__}")
    parser.add_argument("--traceback", action="store_true", help="on an error, show where it arose")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name in VERBS:
        if name in wanted:
            command = importlib.import_module(f"taskadapter_lite.commands.{name}")
            sub = subparsers.add_parser(
                name.replace("_", "-"), help=command.HELP, description=command.HELP.capitalize() + "."
            )
            command.add_arguments(sub)
            sub.set_defaults(run=command.run)
        else:
            subparsers.add_parser(name.replace("_", "-"))
    return parser
