"""Whether the servers keep what a strict sale promises. Reads settings, changes none."""

from __future__ import annotations

from flashsale.reservation.replies import ServerInfo


def durability_fault(info: ServerInfo, synchronous_commit: str) -> str | None:
    """What to set so that an answered reservation survives a crash; None where all is well."""
    if not info.aof_enabled or info.appendfsync != "always":
        return "Redis may forget answered reservations: set appendonly yes, appendfsync always."
    if info.maxmemory_policy != "noeviction":
        return "Redis may evict reservations: set maxmemory-policy noeviction."
    if synchronous_commit == "off":
        return "Postgres may forget confirmed orders: set synchronous_commit = on."
    return None
