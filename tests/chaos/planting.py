"""Puts one bug after the other into a running engine: each must be caught by the checker."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.chaos.planted import BUGS, Bug, apply
from tests.chaos.run import Plan
from tests.chaos.schedule import Planned
from tests.chaos.session import Options, Outcome, say

#: Chance has a part in what a bug gets to spoil; a run that it spares is repeated.
TRIES_MAX = 3
_PATIENCE_SECONDS = 20


class Planting:
    """All planted bugs of one command."""

    def __init__(self, options: Options, one: Callable[[Plan, Path], Awaitable[Outcome]]) -> None:
        self._options = options
        self._one = one

    async def run(self) -> int:
        """Exit code: 1 where one was not caught."""
        named = self._options.planted
        names = list(BUGS) if named == "all" else [named or ""]
        found: list[dict[str, Any]] = []
        for name in names:
            bug = BUGS[name]
            say(f"planted {name}: {bug.what}")
            found.append(await self._hunted(bug))
            if self._options.publication is not None:
                self._options.publication.put("planted", found, len(names))
        missed = [each["name"] for each in found if not each["caught_by"]]
        say(f"not caught: {', '.join(missed)}" if missed else "every planted bug was caught")
        return int(bool(missed))

    async def _hunted(self, bug: Bug) -> dict[str, Any]:
        """What caught it, after how many runs and seconds."""
        begun = time.monotonic()
        number, caught = 0, frozenset[str]()
        while number < TRIES_MAX and not caught:
            folder = self._options.out / f"planted-{bug.name}-{number}"
            outcome = await self._one(self._plan(bug, self._options.seed + number), folder)
            caught = bug.breaks & set(outcome.broken)
            number += 1
        return {
            "name": bug.name,
            "what": bug.what,
            "caught_by": sorted(caught),
            "runs": number,
            "seconds": round(time.monotonic() - begun, 1),
        }

    def _plan(self, bug: Bug, seed: int) -> Plan:
        faults = [Planned(each.at_ms, each.fault, each.args) for each in bug.faults]
        plan = Plan(
            seed,
            bug.seconds,
            faults,
            self._options.clients,
            planted=bug.name,
            environment=apply(bug.name),
            patience_seconds=_PATIENCE_SECONDS,
        )
        if bug.units is not None:
            plan = replace(plan, units=bug.units)
        return plan
