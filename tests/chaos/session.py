"""Several runs one after another: run, check, shrink what failed, say it in a table."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos import shrink
from tests.chaos.run import Plan, run
from tests.chaos.schedule import Planned, draw

_CHECKER = (sys.executable, "-m", "tests.chaos.checker")
#: Draws a run beside its verdict; a run that cannot be drawn is judged all the same.
_TIMELINE = (sys.executable, "-m", "tests.chaos.timeline")
#: Every one of these must have happened in some run, or the runs proved nothing.
SOMETIMES = ("reclaims", "expiries", "late_payments", "dead_letters", "recoveries")
#: Fewer seconds than this and chance decides what happens.
_SECONDS_THAT_PROVE = 300


@dataclass(frozen=True, slots=True)
class Options:
    """What the command was asked for."""

    seeds: int
    seed: int
    seconds: float
    clients: int
    only: tuple[str, ...]
    planted: str | None
    out: Path
    shrink: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run with its verdict; `broken` names invariants, sorted."""

    name: str
    folder: Path
    broken: tuple[str, ...]
    sometimes: dict[str, int]
    about: dict[str, Any]

    @property
    def holds(self) -> bool:
        """Whether nothing is broken."""
        return not self.broken


class Session:
    """All runs of one command."""

    def __init__(self, options: Options) -> None:
        self._options = options

    async def run(self) -> int:
        """Exit code: 1 where a run is broken, or a planted bug was not caught."""
        if self._options.planted is not None:
            from tests.chaos.planting import Planting

            return await Planting(self._options, self.one).run()
        outcomes = []
        for seed in range(self._options.seed, self._options.seed + self._options.seeds):
            planned = draw(seed, self._options.seconds, self._options.only)
            outcome = await self._seed(seed, planned)
            outcomes.append(outcome)
        return self._conclude(outcomes)

    async def _seed(self, seed: int, planned: Sequence[Planned]) -> Outcome:
        say(f"seed {seed}: {len(planned)} faults in {self._options.seconds:.0f} s")
        for each in planned:
            say(f"  {each}")
        plan = Plan(seed, self._options.seconds, planned, self._options.clients)
        outcome = await self.one(plan, self._options.out / f"seed-{seed}")
        if not outcome.holds and self._options.shrink:
            await self._shrink(plan, outcome)
        return outcome

    async def one(self, plan: Plan, folder: Path) -> Outcome:
        """Run and check."""
        shutil.rmtree(folder, ignore_errors=True)
        about = await run(plan, folder)
        broken = await _check(folder)
        if not about["quiescence"]["reached"]:
            broken = tuple(sorted({*broken, "INV-18"}))
        if not json.loads((folder / "audit.json").read_text())["holds"]:
            broken = tuple(sorted({*broken, "audit"}))
        sometimes = json.loads((folder / "sometimes.json").read_text())
        say(f"  {folder.name}: {', '.join(broken) or 'holds'}; {_brief(about, sometimes)}")
        return Outcome(folder.name, folder, broken, sometimes, about)

    async def _shrink(self, plan: Plan, first: Outcome) -> None:
        async def fails(fewer: Sequence[Planned], number: int) -> bool:
            again = Plan(plan.seed, plan.seconds, fewer, plan.clients)
            folder = first.folder.with_name(f"{first.folder.name}-try-{number}")
            tried = await self.one(again, folder)
            return bool(set(tried.broken) & set(first.broken))

        smallest = await shrink.smallest(list(plan.schedule), fails)
        say(f"seed {plan.seed} breaks {', '.join(first.broken)} with these faults alone:")
        for each in smallest:
            say(f"  {each}")

    def _conclude(self, outcomes: Sequence[Outcome]) -> int:
        say(f"{'run':16}{'verdict':28}{'quiet after':>12}  " + "  ".join(SOMETIMES))
        for each in outcomes:
            took = f"{each.about['quiescence']['took_ms'] / 1000:.1f} s"
            counts = "  ".join(
                str(each.sometimes.get(name, 0)).rjust(len(name)) for name in SOMETIMES
            )
            say(f"{each.name:16}{', '.join(each.broken) or 'holds':28}{took:>12}  {counts}")
        never = [name for name in SOMETIMES if not any(o.sometimes.get(name) for o in outcomes)]
        enough = self._options.seconds * len(outcomes) >= _SECONDS_THAT_PROVE
        if never:
            say(f"never happened: {', '.join(never)}" + (": this proves nothing" if enough else ""))
        return int(any(not each.holds for each in outcomes) or (bool(never) and enough))


async def _check(folder: Path) -> tuple[str, ...]:
    """The invariants that the checker, a program of its own, finds broken."""
    process = await asyncio.create_subprocess_exec(
        *_CHECKER, str(folder), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    told, _ = await process.communicate()
    (folder / "verdict.txt").write_bytes(told)
    verdict = folder / "verdict.json"
    if not verdict.exists():
        say(told.decode(errors="replace")[-2000:])
        return ("no verdict",)
    drawing = await asyncio.create_subprocess_exec(
        *_TIMELINE, str(folder), stdout=asyncio.subprocess.DEVNULL
    )
    await drawing.wait()
    broken = json.loads(verdict.read_text())["broken"]
    for each in broken[:5]:
        say(f"    {each['invariant']}: {each['what']}")
    return tuple(sorted({str(each["invariant"]) for each in broken}))


def _brief(about: dict[str, Any], sometimes: dict[str, int]) -> str:
    operations = sum(about["operations"].values())
    quiet = about["quiescence"]
    last = max(quiet["held_up_ms"].items(), key=lambda each: each[1], default=("", 0))[0]
    left = f" (last: {last})" if quiet["reached"] else f" (never: {quiet['missing']})"
    seen = ", ".join(f"{name} {sometimes.get(name, 0)}" for name in SOMETIMES)
    return f"{operations} operations, quiet after {quiet['took_ms'] / 1000:.1f} s{left}; {seen}"


def say(line: str) -> None:
    """Tell whoever waits at the terminal."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
