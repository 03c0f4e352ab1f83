"""Commands: parse, call, print. Exit codes: 0 done, 1 checked and wrong, 2 used wrongly."""

from __future__ import annotations

import sys


def main() -> None:
    """The program; it ends the process with one of its exit codes."""
    try:
        # Inside, so that Ctrl-C during half a second of imports is no traceback either.
        from flashsale.cli.program import run  # noqa: PLC0415

        code = run()
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
