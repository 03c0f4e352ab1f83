"""What rate limits cost an order: `python -m loadtest.bench.limits [--rounds N] [--seconds S]`.

Web processes that differ in their limits alone take orders in turn, as in P1. What is compared is
the processor time of an order, in the web process and in Redis: rates follow the machine's noise.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop

from loadtest.bench.http import Contender, one, order_shape
from loadtest.bench.processes import cpu_seconds
from loadtest.bench.stage import Stage, median, stage

_LIMIT = "FLASHSALE_LIMITS__{}".format
_OFF = {_LIMIT(f"{name}_PER_SECOND"): "0" for name in ("BUYER", "ADDRESS", "SALE")}
#: The load comes from loopback, which is not counted otherwise.
_COUNTED = {_LIMIT("EXEMPT_NETWORKS"): "192.0.2.0/24", _LIMIT("ADDRESS_PER_SECOND"): "1000000"}
CONTROL = "none, in another process"
#: A limit that is less than ten times the rate: most orders need a unit of Redis' pot. It is shown
#: beside the others and not judged: whoever sets such a limit means to have orders wait for it.
POT = "the sale's from the common pot"
LIMITS: dict[str, dict[str, str]] = {
    "none": _OFF,
    # The control: what two processes of the same code differ by is noise.
    CONTROL: _OFF,
    "buyer, address": _COUNTED,
    "buyer, address, sale": _COUNTED | {_LIMIT("SALE_PER_SECOND"): "1000000"},
    POT: _COUNTED | {_LIMIT("SALE_PER_SECOND"): "50000"},
}
TARGET = 0.03


async def measure(place: Stage, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Microseconds of an order by the name of `LIMITS`, one for each round; round 0 warms up."""
    costs: dict[str, list[float]] = defaultdict(list)
    async with AsyncExitStack() as stack:
        sale = await place.sale(100_000_000)
        ports = {
            name: await stack.enter_async_context(
                place.process(name.replace(" ", "-"), "flashsale", "web", variables=variables)
            )
            for name, variables in LIMITS.items()
        }
        for number in range(rounds + 1):
            for name in _turned(list(LIMITS), number):
                contender = Contender(name, ports[name], order_shape(ports[name], sale))
                before = _used(place, name)
                fired = await one(place, contender, f"{name}-{number}", seconds if number else 1)
                if number:
                    costs[name].append((_used(place, name) - before) / fired.answered * 1e6)
    return costs


def _turned(names: list[str], number: int) -> list[str]:
    """Another one begins each round: what comes first finds a machine that has rested."""
    first = number % len(names)
    return names[first:] + names[:first]


def _used(place: Stage, name: str) -> float:
    pids = {"web": place.pids[name.replace(" ", "-")], "redis": place.servers.pids["redis"]}
    return sum(cpu_seconds(pids).values())


async def _show(rounds: int, seconds: float) -> int:
    with tempfile.TemporaryDirectory(prefix="flashsale-limits-") as folder:
        async with stage(Path(folder)) as place:
            costs = await measure(place, rounds, seconds)
    without = costs["none"]
    worst = 0.0
    for name, found in costs.items():
        more = median(found) / median(without) - 1
        rounds_shown = " ".join(f"{each:.1f}" for each in found)
        print(f"{median(found):6.1f} us an order {more:+7.1%}  {name}  ({rounds_shown})")
        worst = max(worst, more if name not in {CONTROL, POT} else 0.0)
    print(f"at most {TARGET:.0%}: {'met' if worst <= TARGET else 'missed'}")
    return int(worst > TARGET)


def main() -> int:
    """Print a line for each; exit code 1 where limits cost more than they may."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4)
    given = parser.parse_args()
    return uvloop.run(_show(given.rounds, given.seconds))


if __name__ == "__main__":
    sys.exit(main())
