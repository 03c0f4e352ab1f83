"""Whether the servers keep what a strict sale promises. Reads settings, changes none."""

from __future__ import annotations

from flashsale.reservation.server import RedisServerFacts


def durability_fault(redis: RedisServerFacts, synchronous_commit: str) -> str | None:
    """What to set so that an answered reservation survives a crash; None where all is well."""
    if None in {redis.appendonly, redis.appendfsync, redis.maxmemory_policy}:
        return "Redis hides what it promises: allow CONFIG GET to our account."
    if redis.appendonly != "yes" or redis.appendfsync != "always":
        return "Redis may forget answered reservations: set appendonly yes, appendfsync always."
    if redis.maxmemory_policy != "noeviction":
        return "Redis may evict reservations: set maxmemory-policy noeviction."
    if synchronous_commit == "off":
        return "Postgres may forget confirmed orders: set synchronous_commit = on."
    return None
