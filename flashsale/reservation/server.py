"""What a Redis server says of itself: version, durability, memory, clock. It sets nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError


@dataclass(frozen=True, slots=True)
class RedisServerFacts:
    """What the doctor, and whoever opens a sale, want to know of a server.

    A setting is None where the server does not let us read it. `memory_limit_bytes` 0: none is set.
    """

    name: str
    version: str
    now_ms: int
    memory_used_bytes: int
    memory_limit_bytes: int
    memory_total_bytes: int
    appendonly: str | None
    appendfsync: str | None
    maxmemory_policy: str | None


def unix_ms(time: Sequence[Any]) -> int:
    """The reply to TIME in milliseconds."""
    return int(time[0]) * 1000 + int(time[1]) // 1000


async def server_facts(redis: Redis) -> RedisServerFacts:
    """Ask a server; raises redis-py's errors where it does not answer."""
    info = await redis.info()
    try:
        settings = await redis.config_get("appendonly", "appendfsync", "maxmemory-policy")
    except ResponseError:
        settings = {}  # managed servers often keep CONFIG to themselves
    return RedisServerFacts(
        name="Valkey" if "valkey_version" in info else "Redis",
        version=str(info.get("valkey_version") or info["redis_version"]),
        now_ms=unix_ms(await redis.time()),
        memory_used_bytes=int(info["used_memory"]),
        memory_limit_bytes=int(info["maxmemory"]),
        memory_total_bytes=int(info["total_system_memory"]),
        appendonly=settings.get("appendonly"),
        appendfsync=settings.get("appendfsync"),
        maxmemory_policy=settings.get("maxmemory-policy"),
    )
