"""`python -m taskadapter_lite VERB`: finds the verb, runs it, and turns the caller's mistakes into one clear line."""

from __future__ import annotations

import dis
import sys
from pathlib import Path

from taskadapter_lite.commands import VERBS, build_parser, program

PACKAGE = Path(__file__).parent


def main(argv: list[str] | None = None) -> int:
    """Run one verb. Returns its exit status; 2 for anything that the caller can mend."""
    argv = sys.argv[1:] if argv is None else argv
    verb = next((word.replace("-", "_") for word in argv if not word.startswith("-")), None)
    wants_version = verb is None and "--version" in argv
    args = build_parser(*([verb] if verb in VERBS else [] if wants_version else VERBS)).parse_args(argv)
    try:
        return args.run(args)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except Exception as error:
        if args.traceback or not is_the_callers(error):
            raise
        print(f"{program()} {args.verb}: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return 2


def is_the_callers(error: Exception) -> bool:
    """Whether an error is the caller's to mend: a sentence that this package wrote, or a file that can't be used.

    A `ValueError` counts if a `raise` of the package made it. One out of PyTorch, NumPy or the standard library, or
    of a conversion or an unpacking in our own lines, is a bug: nobody has put it into words for the caller.
    """
    if isinstance(error, _own_errors()) or (isinstance(error, OSError) and error.filename is not None):
        return True
    return isinstance(error, (ValueError, OSError)) and _raised_by_us(error)


def _own_errors() -> tuple[type[Exception], ...]:
    from taskadapter_lite.data import ClipError
    from taskadapter_lite.training import CheckpointError

    return ClipError, CheckpointError


def _raised_by_us(error: Exception) -> bool:
    """Whether the innermost frame is the package's, and stands at a `raise`."""
    trace = error.__traceback__
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    at_a_raise = dis.opname[code.co_code[trace.tb_lasti]] == "RAISE_VARARGS"
    return at_a_raise and Path(code.co_filename).is_relative_to(PACKAGE)


if __name__ == "__main__":
    sys.exit(main())
