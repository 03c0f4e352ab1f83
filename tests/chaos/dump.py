"""Writes down what both stores and the provider hold at the end, raw. It interprets nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import platform
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.chaos.faults_provider import ask_provider
from tests.chaos.faults_servers import plain_redis
from tests.chaos.kept import now_ms
from tests.chaos.world import World

_TABLES = (
    *("sales", "sale_items", "orders", "lanes", "dead_letters", "supplies", "recoveries"),
    *("payments", "refunds", "ledger_entries", "outbox", "audit_log", "audit_heads"),
)
_STATEMENT_LINES = 500


async def redis_lanes(world: World) -> list[dict[str, Any]]:
    """Every lane's keys as they are."""
    async with plain_redis(world) as redis:
        names = sorted([key async for key in redis.scan_iter(match="fs:*:meta")])
        return [await _lane(redis, name.removesuffix("meta")) for name in names]


async def _lane(redis: Redis, prefix: str) -> dict[str, Any]:
    sale, _, lane = prefix.removeprefix("fs:{").removesuffix("}:").rpartition(".")
    async with redis.pipeline(transaction=True) as pipe:
        for name in ("meta", "stock", "holds"):
            pipe.hgetall(prefix + name)
        pipe.zrange(prefix + "deadlines", 0, -1, withscores=True)
        pipe.hgetall(prefix + "buyers")
        pipe.xrange(prefix + "events")
        meta, stock, holds, deadlines, buyers, entries = await pipe.execute()
    stream: dict[str, Any] = {"length": len(entries), "last_id": None, "groups": []}
    with contextlib.suppress(RedisError):
        found = await redis.xinfo_stream(prefix + "events")
        stream["last_id"] = found["last-generated-id"]
        stream["groups"] = await redis.xinfo_groups(prefix + "events")
    stream["entries"] = [{"id": name, "fields": fields} for name, fields in entries]
    return {
        "sale": sale,
        "lane": int(lane),
        "meta": meta,
        "stock": stock,
        "holds": holds,
        "deadlines": {order: int(score) for order, score in deadlines},
        "buyers": buyers,
        "stream": stream,
    }


async def postgres_rows(world: World) -> dict[str, list[dict[str, Any]]]:
    """Every row of the tables that matter, as JSON."""
    connection = await asyncpg.connect(world.postgres_dsn)
    try:
        return {
            table: [
                json.loads(row[0])
                for row in await connection.fetch(f"SELECT row_to_json(t)::text FROM {table} AS t")
            ]
            for table in _TABLES
        }
    finally:
        await connection.close()


async def provider_lines(world: World) -> list[dict[str, Any]]:
    """The provider's own statement, oldest first."""
    lines: list[dict[str, Any]] = []
    after = ""
    while True:
        path = f"/v1/statement?limit={_STATEMENT_LINES}&after={after}"
        page = (await ask_provider(world, "GET", path))["items"]
        lines += [
            {
                "event_id": line["id"],
                "kind": line["type"].rpartition(".")[2],
                **{name: line[name] for name in ("payment_id", "amount", "currency", "fee")},
                **{name: line.get(name) for name in ("order_id", "refund_id", "occurred_at_ms")},
            }
            for line in page
        ]
        if len(page) < _STATEMENT_LINES:
            return lines
        after = page[-1]["id"]


async def versions(world: World) -> dict[str, str]:
    """What the run ran on."""
    connection = await asyncpg.connect(world.postgres_dsn)
    try:
        postgres = await connection.fetchval("SHOW server_version")
    finally:
        await connection.close()
    async with plain_redis(world) as redis:
        server = await redis.info("server")
    name = str(server.get("server_name", "redis"))
    return {
        "python": platform.python_version(),
        name: str(server.get(f"{name}_version") or server["redis_version"]),
        "postgres": str(postgres),
    }


def sometimes(
    world: World, rows: dict[str, list[dict[str, Any]]], counts: Counter[str]
) -> dict[str, int]:
    """How often what a run is for has happened."""
    found: Counter[str] = Counter()
    log = world.folder / "sometimes.log"
    for line in log.read_text().splitlines() if log.exists() else ():
        what, _, times = line.rpartition(" ")
        found[what] += int(times)
    late = sum(each["cause"] == "late" for each in rows["refunds"])
    names = {"reclaim": "reclaims", "expiry": "expiries"}
    return {
        **{names.get(what, what): times for what, times in sorted(found.items())},
        **{name: found[name[:-1]] for name in ("reclaims",)},
        "expiries": found["expiry"],
        "late_payments": late,
        "dead_letters": len(rows["dead_letters"]),
        "recoveries": len(rows["recoveries"]),
        "unknown_answers": sum(n for name, n in counts.items() if name.endswith(" None")),
        "told_503": sum(n for name, n in counts.items() if name.endswith(" 503")),
    }


class Tail:
    """Copies the streams' entries while they are there: settled ones are trimmed a second later."""

    def __init__(self, world: World, file: Path) -> None:
        self._world = world
        self._file = file
        self._after: dict[str, str] = {}

    async def run(self) -> None:
        """Copy for ever; a Redis that is away is asked again."""
        with self._file.open("w") as out:
            while True:
                with contextlib.suppress(RedisError, OSError):
                    async with plain_redis(self._world) as redis:
                        while True:
                            for line in await self._fresh(redis):
                                out.write(json.dumps(line, separators=(",", ":")) + "\n")
                            out.flush()
                            await asyncio.sleep(0.1)
                await asyncio.sleep(0.2)

    async def _fresh(self, redis: Redis) -> list[dict[str, Any]]:
        lines = []
        for key in [key async for key in redis.scan_iter(match="fs:*:events")]:
            after = self._after.get(key)
            found = await redis.xrange(key, "-" if after is None else f"({after}")
            if not found and after is not None:
                last = (await redis.xinfo_stream(key))["last-generated-id"]
                if _position(last) < _position(after):  # Redis went back, and goes on from there
                    self._after[key] = last
            for entry, fields in found:
                self._after[key] = entry
                lines.append({"key": key, "id": entry, "fields": fields, "seen_ms": now_ms()})
        return lines


def _position(entry: str) -> tuple[int, int]:
    high, _, low = entry.partition("-")
    return int(high), int(low or 0)
