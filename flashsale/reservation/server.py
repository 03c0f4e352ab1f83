"""What a Redis server says of itself: version, durability, memory, clock. It sets nothing."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError


@dataclass(frozen=True, slots=True)
class RedisServerFacts:
    """What the doctor, and whoever opens a sale, want to know of a server.

    A setting is None where the server does not let us read it. `memory_limit_bytes` 0: none is set.
    `disk_free_bytes`: what is free where its data lies, None unless that is on this machine.
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
    disk_free_bytes: int | None = None

    @property
    def version_numbers(self) -> tuple[int, ...]:
        """Major and minor version, to be compared."""
        return tuple(int(part) for part in self.version.split(".")[:2])


def unix_ms(time: Sequence[Any]) -> int:
    """The reply to TIME in milliseconds."""
    return int(time[0]) * 1000 + int(time[1]) // 1000


def run_id(info: str) -> str:
    """Out of the reply to INFO: a name that a server gives itself anew at each start."""
    _, _, following = info.partition("run_id:")
    return following.partition("\r\n")[0]


async def server_facts(redis: Redis) -> RedisServerFacts:
    """Ask a server; raises redis-py's errors where it does not answer."""
    info = await redis.info()
    try:
        settings = await redis.config_get("appendonly", "appendfsync", "maxmemory-policy", "dir")
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
        disk_free_bytes=_free(redis, settings.get("dir")),
    )


def _free(redis: Redis, folder: str | None) -> int | None:
    address = redis.connection_pool.connection_kwargs
    host = str(address.get("host", "localhost"))
    local = "path" in address or host in {"localhost", "::1"} or host.startswith("127.")
    # A folder of that name may be somebody else's: behind a tunnel, or in another container.
    return free_bytes(folder) if local and folder is not None else None


def free_bytes(folder: str) -> int | None:
    """What is free on the disk of a folder; None where there is no such folder."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None
