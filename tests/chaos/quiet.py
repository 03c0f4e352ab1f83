"""Heals everything and waits until nothing is left to do (INV-18). It mends nothing itself."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Mapping
from typing import Any

import asyncpg
from redis.exceptions import RedisError

from tests.chaos.clients import Shop
from tests.chaos.faults_provider import STEADY, ask_provider
from tests.chaos.faults_servers import plain_redis
from tests.chaos.kept import now_ms
from tests.chaos.launch import SKUS
from tests.chaos.world import World

#: R of INV-18, on machines that do other work besides.
PATIENCE_SECONDS = 60
_POLL_SECONDS = 0.3
_STILL_TIMES = 3
#: The clock's work is done in rounds; a hold that ended a moment ago is not overdue.
_OVERDUE_MS = 1_500

_WAITING = """
SELECT (SELECT count(*) FROM outbox WHERE kind <> 'remind') AS outbox,
    (SELECT count(*) FROM payments WHERE applied_at IS NULL) AS payments,
    (SELECT count(*) FROM refunds WHERE state IN ('asked', 'sent')) AS refunds,
    (SELECT count(*) FROM orders WHERE closing IS NOT NULL) AS closing,
    (SELECT count(*) FROM orders WHERE state = 'confirmed') AS confirmed,
    (SELECT count(*) FROM recoveries WHERE step <> 'opened') AS recoveries,
    (SELECT count(*) FROM supplies WHERE state = 'pending' AND at <= now()) AS supplies
"""

_STATES = "SELECT id, state FROM sales WHERE armed_at IS NOT NULL AND retired_at IS NULL"


async def heal(world: World) -> str:
    """No fault any more: everything runs, at the right time, and hears everything.

    Returns what would not be healed, in words; nothing where all is well.
    """
    for way in (world.redis, world.postgres):
        way.heal()
    for name in ("engine", "redis"):
        (world.folder / f"clock-{name}").write_text("+0\n")
    for each in (world.folder / "crash").iterdir():
        each.unlink(missing_ok=True)
    for kept in world.kept.values():
        kept.signal(signal.SIGCONT)
    name = ""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            for kept in world.kept.values():
                name = kept.name
                await kept.is_up()
            name = "redis"
            async with plain_redis(world) as redis:
                await redis.config_set("maxmemory", "0")
            name = "sandbox"
            await ask_provider(world, "PUT", "/v1/switches", STEADY)
    except (TimeoutError, RedisError) as error:
        return f"{name} does not come back: {type(error).__name__}"
    return ""


async def until_quiet(world: World, probe: Shop, patience_seconds: float) -> dict[str, Any]:
    """Wait for INV-18; what was still missing at the end of the patience is named."""
    begun = now_ms()
    missing: dict[str, Any] = {"nothing": "was looked at"}
    held_up: dict[str, int] = {}
    still = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience_seconds):
            while still < _STILL_TIMES:
                missing = await _missing(world)
                missing |= await _probed(probe) if not missing and not still else {}
                still = 0 if missing else still + 1
                held_up |= dict.fromkeys(missing, now_ms() - begun)
                await asyncio.sleep(_POLL_SECONDS)
    reached = still >= _STILL_TIMES
    took_ms = now_ms() - begun
    # What was waited for last is what a slow recovery is to be blamed for.
    return {"reached": reached, "took_ms": took_ms, "missing": missing, "held_up_ms": held_up}


async def _missing(world: World) -> dict[str, Any]:
    """What is still to be done, by name; nothing where all is done."""
    await _close_checkouts(world)
    missing: dict[str, Any] = {}
    try:
        connection = await asyncpg.connect(world.postgres_dsn, timeout=5)
        try:
            missing |= dict(await connection.fetchrow(_WAITING) or {})
            states = await connection.fetch(_STATES)
        finally:
            await connection.close()
        missing |= await _missing_in_redis(world, {row["id"]: row["state"] for row in states})
        # Money that still comes, and callbacks that nobody took, change both stores once more.
        missing |= await ask_provider(world, "GET", "/v1/pending")
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, RedisError, TimeoutError) as e:
        missing["a store"] = f"{type(e).__name__}: {e}"
    return {name: value for name, value in missing.items() if value}


async def _missing_in_redis(world: World, states: Mapping[str, str]) -> dict[str, Any]:
    missing: dict[str, Any] = {"overdue": 0, "pending": 0, "lag": 0, "states": 0}
    async with plain_redis(world) as redis:
        seconds, micros = await redis.time()
        overdue = seconds * 1000 + micros // 1000 - _OVERDUE_MS
        async for key in redis.scan_iter(match="fs:*:deadlines"):
            missing["overdue"] += await redis.zcount(key, "-inf", overdue)
        for sale, state in states.items():
            # What a merchant was not answered, the timekeeper tells the lane in its next round.
            wanted = {"paused": "paused", "closed": "closed"}.get(state, "open")
            missing["states"] += await redis.hget(f"fs:{{{sale}.0}}:meta", "state") != wanted
        async for key in redis.scan_iter(match="fs:*:events"):
            for group in await redis.xinfo_groups(key):
                missing["pending"] += group["pending"]
                missing["lag"] += group["lag"] or 0
    return missing


async def _close_checkouts(world: World) -> None:
    """Nobody comes back to the pages that are still open."""
    with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        connection = await asyncpg.connect(world.postgres_dsn, timeout=5)
        try:
            rows = await connection.fetch(
                "SELECT provider_ref FROM payments WHERE state = 'open' AND applied_at IS NULL"
                " AND provider_ref IS NOT NULL AND expires_at < now() - interval '8 seconds'"
            )
        finally:
            await connection.close()
        for row in rows:
            await ask_provider(world, "POST", f"/v1/payments/{row[0]}/expire")


async def _probed(probe: Shop) -> dict[str, Any]:
    """A reservation in a sale that nobody else uses, until Postgres has it."""
    stamp = now_ms()
    buyer = f"probe-{stamp}"
    headers = probe.buyer(buyer)
    body = {"sku": SKUS[0], "quantity": 1}
    path = f"/v1/sales/{probe.sale}/orders"
    placed = await probe.history.call(
        -2, "reserve", "POST", path, headers=headers, buyer=buyer, key=buyer, json=body, args=body
    )
    if not placed.ok:
        return {"probe": f"{placed.status} {placed.code}"}
    order = placed.body["id"]
    for _ in range(20):
        read = await probe.history.call(
            -2, "read", "GET", f"/v1/orders/{order}", headers=headers, buyer=buyer, order=order
        )
        if read.ok and read.state == "confirmed":
            await probe.history.call(
                -2,
                "cancel",
                "POST",
                f"/v1/orders/{order}/cancel",
                headers=headers,
                buyer=buyer,
                order=order,
                json={},
            )
            return {}
        await asyncio.sleep(0.1)
    return {"probe": f"{read.status} {read.state}"}
