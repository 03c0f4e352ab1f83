"""Several runs one after another: run, check, shrink what failed, say it in a table."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos import shrink
from tests.chaos.publish import Publication, row_of
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
    publication: Publication | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run with its verdict; `broken` names invariants, sorted."""

    name: str
    folder: Path
    broken: tuple[str, ...]
    sometimes: dict[str, int]
    about: dict[str, Any]
    #: The checker's verdict; empty where it came to none.
    judged: dict[str, Any] = field(default_factory=dict)

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
            plan = Plan(seed, self._options.seconds, planned, self._options.clients)
            say(f"seed {seed}: {len(planned)} faults in {self._options.seconds:.0f} s")
            for each in planned:
                say(f"  {each}")
            outcomes.append(await self.one(plan, self._options.out / f"seed-{seed}"))
            self._publish(outcomes)
            if not outcomes[-1].holds and self._options.shrink:
                await self._shrink(plan, outcomes[-1])
        return self._conclude(outcomes)

    def _publish(self, outcomes: Sequence[Outcome]) -> None:
        publication = self._options.publication
        if publication is None:
            return
        rows = [row_of(each.about, each.broken, each.judged) for each in outcomes]
        drawn = next((each for each in outcomes if each.judged), None)
        shown = drawn is not None and publication.draw(drawn.folder)
        picture = drawn.about["seed"] if drawn is not None and shown else None
        seen = {"never": _never(outcomes), "picture": picture}
        publication.put("seeds", rows, self._options.seeds, **seen)

    async def one(self, plan: Plan, folder: Path) -> Outcome:
        """Run and check."""
        shutil.rmtree(folder, ignore_errors=True)
        try:
            about = await run(plan, folder)
        except Exception as error:  # noqa: BLE001 - told as what it is: a run that proved nothing
            return _not_run(plan, folder, error)
        broken = await _check(folder)
        if not about["quiescence"]["reached"]:
            broken = tuple(sorted({*broken, "INV-18"}))
        if not _read(folder / "audit.json")["holds"]:
            broken = tuple(sorted({*broken, "audit"}))
        sometimes = _read(folder / "sometimes.json")
        say(f"  {folder.name}: {', '.join(broken) or 'holds'}; {_brief(about, sometimes)}")
        judged = _read(folder / "verdict.json")
        return Outcome(folder.name, folder, broken, sometimes, about, judged)

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
        never = _never(outcomes)
        enough = self._options.seconds * len(outcomes) >= _SECONDS_THAT_PROVE
        if never:
            say(f"never happened: {', '.join(never)}" + (": this proves nothing" if enough else ""))
        return int(any(not each.holds for each in outcomes) or (bool(never) and enough))


def _never(outcomes: Sequence[Outcome]) -> list[str]:
    return [name for name in SOMETIMES if not any(o.sometimes.get(name) for o in outcomes)]


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return found


def _not_run(plan: Plan, folder: Path, error: Exception) -> Outcome:
    """A run that ended before it could be judged holds nothing."""
    traceback.print_exception(error)
    told = f"{type(error).__name__}: {error}"[:500]
    about = {"seed": plan.seed, "seconds": plan.seconds, "schedule": [], "error": told}
    about |= {"quiescence": {"reached": False, "took_ms": 0}}
    say(f"  {folder.name}: not run; {told}")
    return Outcome(folder.name, folder, ("not run",), {}, about)


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
