"""Puts one bug after the other into a running engine: each must be caught by the checker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

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
        missed = []
        for name in BUGS if named == "all" else (named or "",):
            bug = BUGS[name]
            say(f"planted {name}: {bug.what}")
            if not await self._caught(bug):
                missed.append(name)
        say(f"not caught: {', '.join(missed)}" if missed else "every planted bug was caught")
        return int(bool(missed))

    async def _caught(self, bug: Bug) -> bool:
        faults = [Planned(each.at_ms, each.fault, each.args) for each in bug.faults]
        plan = Plan(
            self._options.seed,
            bug.seconds,
            faults,
            self._options.clients,
            planted=bug.name,
            environment=apply(bug.name),
            patience_seconds=_PATIENCE_SECONDS,
        )
        if bug.units is not None:
            plan = replace(plan, units=bug.units)
        for number in range(TRIES_MAX):
            folder = self._options.out / f"planted-{bug.name}-{number}"
            outcome = await self._one(replace(plan, seed=plan.seed + number), folder)
            if bug.breaks & set(outcome.broken):
                return True
        return False
