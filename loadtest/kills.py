"""A launch of 150,000 while every process and both servers are killed, again and again.

    python -m loadtest.kills [--units N] [--rate R] [--seed S]

The crowd comes over real HTTP at a steady rate and asks again, under the same key, whenever an
answer is lost or says "recovering". In the end every order that was answered must be in Postgres,
no other, and the audit must hold. Writes `loadtest/results/kills.json` and `.md`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from flashsale.clients import StartError
from flashsale.demo.crowd import Mix
from flashsale.demo.launch import Launch, announce, crowd_plan
from flashsale.demo.load import driven
from flashsale.demo.plan import Plan
from flashsale.demo.proof import Proof, prove
from flashsale.demo.stores import SQL, open_stores
from flashsale.demo.verdict import Verdict, audit
from flashsale.supervisor import Engine, engine
from loadtest.run import say

RESULTS = Path(__file__).with_name("results")
#: Redis and Postgres stop the sale for as long as they need to come back; the others do not.
VICTIMS = ("web", "settle", "timekeeper", "dispatch", "redis", "postgres")
FIRST_SECONDS = 3.0
PAUSE_SECONDS = (1.5, 3.5)
SETTLE_SECONDS_MAX = 120.0
SALE_SECONDS = 3_600
HOLD_SECONDS = 7_200


@dataclass(frozen=True, slots=True)
class Kill:
    """A kill -9: whom, how many seconds after the opening, and its process id."""

    at: float
    name: str
    pid: int


@dataclass(slots=True)
class Run:
    """What happened. `gaps` are the times without a single yes, longest first, in seconds."""

    units: int
    rate: float
    seed: int
    sale: str = ""
    kills: list[Kill] = field(default_factory=list)
    windows: list[dict[str, Any]] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)
    settled_seconds: float = 0.0
    proof: Proof | None = None
    verdict: Verdict | None = None

    @property
    def holds(self) -> bool:
        """Whether nothing was lost, sold twice or left over."""
        return bool(
            self.proof
            and self.proof.holds
            and self.verdict
            and self.verdict.holds
            and self.result["reserved"] == self.units
            and not self.result["problem_count"]
        )

    def gaps(self) -> list[float]:
        """Stretches without any answer to an order, longest first."""
        found, last = [], 0.0
        for window in self.windows:
            if window["counts"].get("order", {}).get("reserved"):
                found.append(window["at"] - last)
                last = window["at"]
        return sorted(found, reverse=True)


async def run(units: int, rate: float, seed: int) -> Run:
    """Hold the launch on an engine of its own."""
    done = Run(units, rate, seed)
    folder = Path(tempfile.mkdtemp(prefix="flashsale-kills-"))
    try:
        async with engine(folder, host="127.0.0.1", port=0, play_money=False) as started:
            launch = await announce(
                started.credentials,
                name=f"{units:,} under fire",
                units=units,
                opens_in_seconds=2.0,
                lasts_seconds=SALE_SECONDS,
                hold_seconds=HOLD_SECONDS,
            )
            done.sale = launch.sale
            answers = folder / "answered.txt"
            crowd = crowd_plan(
                started.credentials, launch, answers, Mix(losers=1000), rate=done.rate
            )
            killing = asyncio.create_task(_kill(started, launch, done))
            try:
                await _drive(crowd, done)
            finally:
                killing.cancel()
                await asyncio.gather(killing, return_exceptions=True)
            await _judge(started, launch, answers, done)
    except StartError:
        say(f"The logs are in {folder / 'logs'}.")
        raise
    shutil.rmtree(folder, ignore_errors=True)
    return done


async def _drive(plan: Plan, done: Run) -> None:
    async with aclosing(driven(plan)) as reports:
        async for report in reports:
            if "result" in report:
                done.result = report
            else:
                done.windows.append(report)


async def _kill(started: Engine, launch: Launch, done: Run) -> None:
    """Kill one after another, in rounds, until the last unit has gone."""
    chance = random.Random(done.seed)
    opening = launch.starts_at_ms / 1000
    await asyncio.sleep(opening + FIRST_SECONDS - time.time())
    while True:
        for name in chance.sample(VICTIMS, len(VICTIMS)):
            pid = {**started.servers.pids, **_pids(started)}.get(name)
            if pid is None:  # still on its way back from the last time
                continue
            os.kill(pid, signal.SIGKILL)
            done.kills.append(Kill(round(time.time() - opening, 2), name, pid))
            say(f"  {done.kills[-1].at:7.2f} s  kill -9 {name}")
            await asyncio.sleep(chance.uniform(*PAUSE_SECONDS))


def _pids(started: Engine) -> dict[str, int]:
    return {
        each.name: each.child.pid
        for each in started.workers
        if each.child is not None and each.child.exit_code() is None
    }


async def _judge(started: Engine, launch: Launch, answers: Path, done: Run) -> None:
    """Wait until everything is settled, then compare answers, Postgres and Redis."""
    credentials = started.credentials
    async with open_stores(credentials.redis_url, credentials.postgres_dsn) as stores:
        deadline = time.time() + SETTLE_SECONDS_MAX
        while time.time() < deadline:
            settled = await stores.postgres.fetchval(SQL["settled_units"], launch.sale)
            if settled >= done.result["reserved"]:
                break
            await asyncio.sleep(0.25)
        done.settled_seconds = time.time() - launch.starts_at_ms / 1000
        done.proof = await prove(stores.postgres, launch.sale, [answers])
    done.verdict = await audit(credentials, launch.sale)


def page(done: Run) -> str:
    """The run as Markdown."""
    assert done.proof is not None
    assert done.verdict is not None
    by_name = {name: sum(kill.name == name for kill in done.kills) for name in VICTIMS}
    faults, result = done.result["faults"], done.result
    lines = [
        "# A launch under fire",
        "",
        f"`python -m loadtest.kills --units {done.units} --rate {done.rate:g} --seed {done.seed}`",
        "",
        f"{done.units:,} units, {done.rate:,.0f} requests a second over real HTTP to one machine,",
        "while every process and both servers are killed with SIGKILL in turn.",
        "",
        "| | |",
        "|---|---|",
        f"| units reserved | {result['reserved']:,} of {done.units:,} |",
        f"| last one reserved after | {result['last_reserved_seconds']:.1f} s |",
        f"| all settled after | {done.settled_seconds:.1f} s |",
        f"| kills | {len(done.kills)}: {', '.join(f'{n} {c}' for n, c in by_name.items())} |",
        f"| connections lost under a request | {faults['connection_lost']:,} |",
        f"| requests repeated under their key | {faults['repeated']:,} |",
        f"| longest stretch without a yes | {done.gaps()[0]:.2f} s |",
        f"| answers against Postgres | {done.proof.sentence()} |",
        f"| broken promises seen by the crowd | {result['problem_count']} |",
        f"| audit | {done.verdict.sentence} |",
        "",
        "## The audit, equation by equation",
        "",
        "| equation | both sides |",
        "|---|---|",
        *(f"| {name} | {sides.replace('|', '=')} |" for name, sides in done.verdict.equations),
        "",
        "## The kills",
        "",
        "| seconds after the opening | process |",
        "|---|---|",
        *(f"| {kill.at:.2f} | {kill.name} |" for kill in done.kills),
        "",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, publish, and say whether it held."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.kills", description=__doc__)
    parser.add_argument("--units", type=int, default=150_000)
    parser.add_argument("--rate", type=float, default=2_500.0, help="requests a second")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    done = asyncio.run(run(chosen.units, chosen.rate, chosen.seed))
    text = page(done)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "kills.md").write_text(text, encoding="utf-8")
    kept = {
        "units": done.units,
        "rate": done.rate,
        "seed": done.seed,
        "holds": done.holds,
        "kills": [asdict(kill) for kill in done.kills],
        "result": done.result,
        "gaps_seconds": done.gaps()[:20],
        "proof": asdict(done.proof) if done.proof else None,
        "audit": asdict(done.verdict) if done.verdict else None,
        "windows": done.windows,
    }
    (RESULTS / "kills.json").write_text(json.dumps(kept, indent=1), encoding="utf-8")
    say(text)
    say("held" if done.holds else "BROKEN: " + "; ".join(done.result["problems"][:5]))
    return 0 if done.holds else 1


if __name__ == "__main__":
    sys.exit(main())
