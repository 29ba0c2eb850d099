"""`python -m taskadapter_lite VERB`: finds the verb, runs it, and turns mistakes into one clear line."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

VERBS = tuple(sorted(p.stem for p in (Path(__file__).parent / "commands").glob("[a-z]*.py")))


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and where the help is."""

    def error(self, message: str) -> None:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def build_parser(verb: str | None) -> argparse.ArgumentParser:
    """The parser; only the named verb's module is imported in full, so that `--help` stays quick."""
    parser = Parser(prog="python -m taskadapter_lite", description="Task-Adapter: few-shot action recognition.")
    parser.add_argument("--traceback", action="store_true", help="on an error, show where it arose")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name in VERBS:
        if verb is None or name == verb:
            command = importlib.import_module(f"taskadapter_lite.commands.{name}")
            sub = subparsers.add_parser(
                name.replace("_", "-"), help=command.HELP, description=command.HELP.capitalize() + "."
            )
            command.add_arguments(sub)
            sub.set_defaults(run=command.run)
        else:
            subparsers.add_parser(name.replace("_", "-"))
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one verb. Returns its exit status; 2 for anything that the caller can mend."""
    argv = sys.argv[1:] if argv is None else argv
    verb = next((word.replace("-", "_") for word in argv if not word.startswith("-")), None)
    args = build_parser(verb if verb in VERBS else None).parse_args(argv)
    try:
        return args.run(args)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except Exception as error:
        if args.traceback or not _is_the_callers(error):
            raise
        print(f"python -m taskadapter_lite {args.verb}: {error}", file=sys.stderr)
        return 2


def _is_the_callers(error: Exception) -> bool:
    from taskadapter_lite.data.clips import ClipError
    from taskadapter_lite.training.checkpoints import CheckpointError

    return isinstance(error, (ValueError, OSError, ClipError, CheckpointError))


if __name__ == "__main__":
    sys.exit(main())
