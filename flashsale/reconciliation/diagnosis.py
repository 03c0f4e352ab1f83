"""Judges servers and this machine: facts in, findings out, each with what to set. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from flashsale.reservation.server import RedisServerFacts
from flashsale.sales.durability import OLDEST_POSTGRES, OLDEST_REDIS

CLOCK_DIFFERENCE_MAX_MS = 250
#: Sockets, files and links to the stores, besides a descriptor for each buyer.
DESCRIPTORS_BESIDE = 200
DISK_FREE_MIN_BYTES = 1 << 30
#: Times the least: the append-only file is rewritten beside itself.
_DISK_FREE_GOOD = 5
_MEMORY_USED_GOOD, _MEMORY_USED_MAX = 0.75, 0.95

#: The settings of Postgres that are looked at.
POSTGRES_SETTINGS = ("server_version_num", "synchronous_commit", "fsync", "full_page_writes")


class Level(StrEnum):
    """How bad it is: a `fail` keeps the engine from what it promises."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at, what was found, and where that is not right, what to set."""

    name: str
    level: Level
    found: str
    advice: str = ""

    @property
    def failed(self) -> bool:
        """Whether the engine cannot keep its promises like this."""
        return self.level is Level.FAIL


def ok(name: str, found: str) -> Finding:
    """Nothing to do."""
    return Finding(name, Level.OK, found)


def judged(
    name: str, found: str, right: bool, advice: str, *, otherwise: Level = Level.FAIL
) -> Finding:
    """OK where it is right, else `otherwise` with the advice."""
    return ok(name, found) if right else Finding(name, otherwise, found, advice)


def redis_findings(facts: RedisServerFacts, *, relaxed: bool = False) -> list[Finding]:
    """Version, durability and memory. `relaxed`: forgetting the last second is accepted."""
    oldest = OLDEST_REDIS[facts.name]
    unsafe = Level.WARN if relaxed else Level.FAIL
    wanted = {
        "appendonly": (facts.appendonly, "yes", unsafe),
        "appendfsync": (facts.appendfsync, "always", unsafe),
        "maxmemory-policy": (facts.maxmemory_policy, "noeviction", Level.FAIL),
    }
    return [
        judged(
            f"{facts.name} version",
            facts.version,
            facts.version_numbers >= oldest,
            f"Run {facts.name} {oldest[0]}.{oldest[1]} or newer.",
        ),
        *(_redis_setting(name, *values) for name, values in wanted.items()),
        _memory(facts),
    ]


def _redis_setting(name: str, found: str | None, right: str, otherwise: Level) -> Finding:
    if found is None:
        return Finding(
            f"Redis {name}",
            Level.WARN,
            "hidden: this server refuses CONFIG GET",
            f"Make sure by other means that it is {right}.",
        )
    advice = f"CONFIG SET {name} {right} (and the same line in redis.conf, for the next start)."
    return judged(f"Redis {name}", found, found == right, advice, otherwise=otherwise)


def _memory(facts: RedisServerFacts) -> Finding:
    limit = facts.memory_limit_bytes or facts.memory_total_bytes
    used = facts.memory_used_bytes / limit if limit else 0.0
    found = f"{_size(facts.memory_used_bytes)} of {_size(limit)} used"
    setting = "CONFIG SET maxmemory" if facts.memory_limit_bytes else "Give the machine more memory"
    advice = (
        f"{setting} (twice what is used), or move other data elsewhere: when full, nobody buys."
    )
    worse = Level.FAIL if used > _MEMORY_USED_MAX else Level.WARN
    return judged("Redis memory", found, used <= _MEMORY_USED_GOOD, advice, otherwise=worse)


def postgres_findings(
    settings: Mapping[str, str], *, schema_is_current: bool, relaxed: bool = False
) -> list[Finding]:
    """Version, durability and schema, out of POSTGRES_SETTINGS."""
    number = int(settings["server_version_num"])
    unsafe = Level.WARN if relaxed else Level.FAIL
    commit = settings["synchronous_commit"]
    return [
        judged(
            "Postgres version",
            f"{number // 10000}.{number % 10000}",
            number >= OLDEST_POSTGRES * 10000,
            f"Run Postgres {OLDEST_POSTGRES} or newer.",
        ),
        judged(
            "Postgres synchronous_commit",
            commit,
            commit != "off",
            "ALTER SYSTEM SET synchronous_commit = on; SELECT pg_reload_conf();",
            otherwise=unsafe,
        ),
        *(
            judged(
                f"Postgres {name}",
                settings[name],
                settings[name] == "on",
                f"ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf();",
            )
            for name in ("fsync", "full_page_writes")
        ),
        judged(
            "Schema",
            "current" if schema_is_current else "not this version's",
            schema_is_current,
            "Run flashsale migrate.",
        ),
    ]


def clock_finding(ahead_ms: Mapping[str, int]) -> Finding:
    """How far the clocks are apart; `ahead_ms` says by how much each is ahead of this machine's."""
    clocks = {"this machine": 0, **ahead_ms}
    apart = max(clocks.values()) - min(clocks.values())
    last, first = min(clocks, key=clocks.__getitem__), max(clocks, key=clocks.__getitem__)
    found = f"{apart} ms apart" + (f" ({last} behind {first})" if apart else "")
    return judged(
        "Clocks",
        found,
        apart <= CLOCK_DIFFERENCE_MAX_MS,
        "Run an NTP client (chrony or systemd-timesyncd) on every machine.",
    )


def library_finding(name: str, present: bool, command: str, otherwise: Level) -> Finding:
    """A compiled library that speed rests on."""
    found = "present" if present else "missing"
    return judged(name, found, present, f"{command}.", otherwise=otherwise)


def disk_finding(
    place: str, free_bytes: int, *, min_bytes: int = DISK_FREE_MIN_BYTES, relaxed: bool = False
) -> Finding:
    """Room for the logs of both servers; with less than `min_bytes` no strict sale opens."""
    good = min_bytes * _DISK_FREE_GOOD
    worse = Level.FAIL if free_bytes < min_bytes and not relaxed else Level.WARN
    return judged(
        "Disk",
        f"{_size(free_bytes)} free {place}",
        free_bytes >= good,
        f"Free {_size(good)} or put the data on a larger disk.",
        otherwise=worse,
    )


def descriptors_finding(limit: int, connections_max: int) -> Finding:
    """Whether a web process may open as many sockets as it may have connections."""
    needed = connections_max + DESCRIPTORS_BESIDE
    return judged(
        "Open files",
        f"{limit} allowed, {needed} needed",
        limit >= needed,
        f"ulimit -n {needed} (LimitNOFILE={needed} in a systemd unit), or lower"
        " web.connections_max.",
        otherwise=Level.WARN,
    )


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GB"
