"""Every fault that is to be survived, each over by itself. `FAULTS`: what is drawn from.

A fault is a coroutine of (world, arguments) that returns a note. Its length is in its arguments,
in milliseconds, so that a schedule says all there is to say.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, NamedTuple

from tests.chaos import faults_merchant, faults_provider, faults_servers, faults_wires
from tests.chaos.process import POINTS
from tests.chaos.world import World

Arguments = dict[str, Any]
Fault = Callable[[World, Arguments], Awaitable[str]]


class Kind(NamedTuple):
    """How a fault is drawn: how often among all, and with which arguments.

    `loses`: what Redis has answered may be gone afterwards.
    """

    run: Fault
    draw: Callable[[Random, float], Arguments]
    weight: int = 2
    loses: bool = False
    moves_clocks: bool = False
    #: At most once a run: several would be the whole run.
    once: bool = False


async def kill(world: World, args: Arguments) -> str:
    """kill -9; it is started again as a supervisor would."""
    await world.kept[args["name"]].kill()
    return ""


async def stop_and_go(world: World, args: Arguments) -> str:
    """SIGSTOP until others have taken over its work, then SIGCONT: a zombie comes back."""
    kept = world.kept[args["name"]]
    kept.signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(args["ms"] / 1000)
    finally:
        kept.signal(signal.SIGCONT)
    return ""


async def crash_at(world: World, args: Arguments) -> str:
    """The next process that comes to a point ends there."""
    trigger = world.trigger(args["point"])
    trigger.touch()
    try:
        async with asyncio.timeout(args["ms"] / 1000):
            while trigger.exists():
                await asyncio.sleep(0.02)
    except TimeoutError:
        return "nobody came by"
    finally:
        trigger.unlink(missing_ok=True)
    return "crashed"


async def move_clock(world: World, args: Arguments) -> str:
    """The wall clock of the engine or of Redis jumps, and jumps back."""
    file = world.folder / f"clock-{args['whose']}"
    file.write_text(f"{args['seconds']:+d}\n")
    try:
        await asyncio.sleep(args["ms"] / 1000)
    finally:
        file.write_text("+0\n")
    return ""


async def run_dry(world: World, args: Arguments) -> str:
    """Every connection that Postgres has to give is taken by somebody else."""
    return await faults_servers.take_connections(world.postgres_dsn, args["ms"])


def _processes(*names: str) -> Callable[[Random, float], Arguments]:
    return lambda random, _: {"name": random.choice(names)}


def _for(least_ms: int, most_ms: int, **more: Any) -> Callable[[Random, float], Arguments]:
    def draw(random: Random, scale: float) -> Arguments:
        return {**more, "ms": int(random.randint(least_ms, most_ms) * scale)}

    return draw


def _stopped(random: Random, scale: float) -> Arguments:
    names = ("settle-1", "settle-2", "settle-1", "web-1", "dispatch-1", "timekeeper-1")
    return {"name": random.choice(names), "ms": int(random.randint(2500, 4000) * max(scale, 0.8))}


def _point(random: Random, _: float) -> Arguments:
    return {"point": random.choice(POINTS[:-1]), "ms": 3000}


def _clock(random: Random, _: float) -> Arguments:
    whose = random.choice(("engine", "engine", "redis"))
    return {"whose": whose, "seconds": random.choice((-60, 60)), "ms": 3000}


def _either(random: Random, _: float, **more: Any) -> Arguments:
    return {"server": random.choice(("redis", "postgres")), **more}


def _delayed(random: Random, scale: float) -> Arguments:
    return _either(random, scale, delay_ms=random.choice((20, 80)), ms=2000)


def _halved(random: Random, scale: float) -> Arguments:
    return _either(random, scale, replies=random.randint(1, 4))


def _swallowed(random: Random, scale: float) -> Arguments:
    return _either(random, scale, ms=random.choice((800, 2600)))


def _cut(random: Random, _: float) -> Arguments:
    return {"bytes": random.choice((50, 700, 6000, 40_000))}


def _nothing(random: Random, scale: float) -> Arguments:
    return {}


def _switches(random: Random, _: float) -> Arguments:
    drawn = {
        "duplicate": random.randint(0, 3),
        "reorder": random.random() < 0.5,
        "delay_ms": random.choice((0, 500, 4000)),
        "drop": random.choice((0.0, 0.3)),
        "late_ms": random.choice((200, 3000)),
    }
    return {"switches": drawn, "ms": 4000}


def _wave(random: Random, scale: float) -> Arguments:
    return {"quantity": 10, "in_ms": int(random.randint(1000, 6000) * scale)}


_S, _W, _P, _M = faults_servers, faults_wires, faults_provider, faults_merchant
FAULTS: dict[str, Kind] = {
    "kill_web": Kind(kill, _processes("web-1", "web-2"), 3),
    "kill_settle": Kind(kill, _processes("settle-1", "settle-2"), 3),
    "kill_timekeeper": Kind(kill, _processes("timekeeper-1", "timekeeper-2")),
    "kill_dispatch": Kind(kill, _processes("dispatch-1")),
    "kill_sandbox": Kind(kill, _processes("sandbox"), 1),
    "kill_redis": Kind(kill, _processes("redis"), 3),
    "kill_postgres": Kind(kill, _processes("postgres")),
    "stop_and_go": Kind(stop_and_go, _stopped, 4),
    "crash_at": Kind(crash_at, _point, 6),
    "crash_in_recovery": Kind(_S.crash_in_recovery, _nothing, 1, loses=True),
    "cut_aof_tail": Kind(_S.cut_aof_tail, _cut, 2, loses=True),
    "empty_redis": Kind(_S.empty_redis, _nothing, 1, loses=True),
    "old_aof": Kind(_S.put_old_aof_back, _for(1500, 3000), 2, loses=True),
    # Like a new disk, without the restart by which processes know: for planted bugs.
    "flush_redis": Kind(_S.flush_redis, _nothing, 0, loses=True),
    "redis_out_of_memory": Kind(_S.out_of_memory, _for(800, 2000)),
    "redis_disk_full": Kind(_S.redis_disk_full, _for(800, 1500)),
    "postgres_disk_full": Kind(_S.postgres_disk_full, _nothing, 1),
    "postgres_down": Kind(_S.postgres_down, _for(8_000, 12_000), 1, once=True),
    "pool_exhausted": Kind(run_dry, _for(1000, 2500)),
    "delay": Kind(_W.delay, _delayed),
    "reset": Kind(_W.reset, _either),
    "half_a_reply": Kind(_W.half_a_reply, _halved),
    "black_hole": Kind(_W.black_hole, _swallowed),
    "clock": Kind(move_clock, _clock, 2, moves_clocks=True),
    "callbacks": Kind(_P.callbacks, _switches, 3),
    "poison_entry": Kind(_S.poison_entry, _nothing),
    "script_flush": Kind(_S.script_flush, _nothing),
    "edit_stock": Kind(_M.edit_stock, lambda random, _: {"quantity": random.choice((10, -4))}),
    "plan_wave": Kind(_M.plan_wave, _wave),
    "pause_sale": Kind(_M.pause_sale, _for(500, 2500), 3),
    "close_sale": Kind(_M.close_sale, _nothing, 1, once=True),
}
