"""Runs with random faults, each checked, failures shrunk. It decides nothing itself.

python -m tests.chaos --seeds 20 --seconds 60 [--seed S] [--planted NAME|all] [--publish]
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import signal
import sys
from pathlib import Path

from tests.chaos.faults import FAULTS
from tests.chaos.publish import Publication
from tests.chaos.session import Options, Session


def _options(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seeds", type=int, default=1, help="how many runs")
    parser.add_argument("--seed", type=int, default=1, help="the first one's seed")
    parser.add_argument("--seconds", type=float, default=60, help="how long faults go on in each")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--faults", default="", help="only these, parted by commas")
    parser.add_argument("--planted", default=None, help="a planted bug, or all: each to be caught")
    parser.add_argument("--out", type=Path, default=Path("var/chaos"))
    parser.add_argument("--publish", action="store_true", help="into loadtest/results/chaos.md")
    parser.add_argument("--no-shrink", action="store_true", help="leave a failing schedule whole")
    given = parser.parse_args(arguments)
    only = tuple(filter(None, given.faults.split(",")))
    for name in only:
        if name not in FAULTS:
            parser.error(f"{name} is no fault; there are {', '.join(FAULTS)}")
    if given.publish and given.planted not in {None, "all"}:
        parser.error("of planted bugs only all of them are published")
    command = shlex.join(("python", "-m", "tests.chaos", *arguments))
    return Options(
        seeds=given.seeds,
        seed=given.seed,
        seconds=given.seconds,
        clients=given.clients,
        only=only,
        planted=given.planted,
        out=given.out,
        shrink=not given.no_shrink,
        publication=Publication(command) if given.publish else None,
    )


if __name__ == "__main__":
    # Told to end, it ends its world too: what was started and written is cleaned up.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(asyncio.run(Session(_options(sys.argv[1:])).run()))
