"""`python -m loadtest PROFILE`: what `flashsale loadtest` runs, in a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from flashsale.clients import StartError
from flashsale.embedded.errors import EmbeddedError
from loadtest.profiles import PROFILES
from loadtest.run import run_profile


def main() -> int:
    """0 where every check holds, 1 where one does not, 2 for wrong use."""
    parser = argparse.ArgumentParser(
        prog="flashsale loadtest", epilog="example: flashsale loadtest launch-150k --minutes 1"
    )
    parser.add_argument("profile", help=f"one of {', '.join(PROFILES)}")
    parser.add_argument("--minutes", type=float, help="shorter, with fewer units; same rates")
    parser.add_argument(
        "--data-dir", type=Path, help="the engine of this folder, started if need be"
    )
    parser.add_argument("--web-processes", type=int, default=1, help="of an engine started here")
    parser.add_argument("--results", type=Path, help="where the report goes")
    options = parser.parse_args()
    try:
        return asyncio.run(
            run_profile(
                options.profile,
                options.minutes,
                data_dir=options.data_dir,
                web_processes=options.web_processes,
                results=options.results,
            )
        )
    except (ValueError, StartError, EmbeddedError) as error:
        sys.stderr.write(f"flashsale: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted; what was started has been stopped.\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
