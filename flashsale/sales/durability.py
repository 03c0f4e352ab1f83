"""Whether the servers keep what a strict sale promises. Reads settings, changes none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from flashsale.reservation.server import RedisServerFacts

#: The oldest servers that the scripts and the statements were written for.
OLDEST_REDIS: Mapping[str, tuple[int, int]] = MappingProxyType({"Redis": (7, 0), "Valkey": (8, 0)})
OLDEST_POSTGRES = 15


@dataclass(frozen=True, slots=True)
class PostgresServerFacts:
    """What Postgres says of itself to our sessions; `version` is its major one.

    `disk_free_bytes`: what is free where its data lies, None unless that is on this machine.
    """

    version: int
    synchronous_commit: str
    fsync: str
    full_page_writes: str
    disk_free_bytes: int | None = None


def durability_fault(
    redis: RedisServerFacts, postgres: PostgresServerFacts, *, disk_free_min_bytes: int = 0
) -> str | None:
    """What to set so that an answered reservation survives a crash; None where all is well."""
    return (
        _redis_fault(redis)
        or _postgres_fault(postgres)
        or _room(redis, postgres, disk_free_min_bytes)
    )


def _redis_fault(redis: RedisServerFacts) -> str | None:
    oldest = OLDEST_REDIS[redis.name]
    if redis.version_numbers < oldest:
        return f"{redis.name} {redis.version} is too old: run {oldest[0]}.{oldest[1]} or newer."
    if None in {redis.appendonly, redis.appendfsync, redis.maxmemory_policy}:
        return "Redis hides what it promises: allow CONFIG GET to our account."
    if redis.appendonly != "yes" or redis.appendfsync != "always":
        return "Redis may forget answered reservations: set appendonly yes, appendfsync always."
    if redis.maxmemory_policy != "noeviction":
        return "Redis may evict reservations: set maxmemory-policy noeviction."
    return None


def _postgres_fault(postgres: PostgresServerFacts) -> str | None:
    if postgres.version < OLDEST_POSTGRES:
        return f"Postgres {postgres.version} is too old: run {OLDEST_POSTGRES} or newer."
    if postgres.synchronous_commit == "off":
        return "Postgres may forget confirmed orders: set synchronous_commit = on."
    for name in ("fsync", "full_page_writes"):
        if getattr(postgres, name) != "on":
            return f"Postgres may lose its data in a crash of the machine: set {name} = on."
    return None


def _room(
    redis: RedisServerFacts, postgres: PostgresServerFacts, disk_free_min_bytes: int
) -> str | None:
    for name, free in ((redis.name, redis.disk_free_bytes), ("Postgres", postgres.disk_free_bytes)):
        if free is not None and free < disk_free_min_bytes:
            return (
                f"The disk under {name} has {free >> 20} MB free: free {disk_free_min_bytes >> 20}"
                " MB, or lower checks.disk_free_min_mb."
            )
    return None
