"""The doctor: looks at servers, clocks and this machine, and says what to set. It sets nothing."""

from __future__ import annotations

import resource
import shutil
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from rich.table import Table
from rich.text import Text

from flashsale.reconciliation import queries
from flashsale.reconciliation.diagnosis import (
    DISK_FREE_MIN_BYTES,
    POSTGRES_SETTINGS,
    Finding,
    Level,
    clock_finding,
    descriptors_finding,
    disk_finding,
    library_finding,
    ok,
    postgres_findings,
    redis_findings,
)
from flashsale.reconciliation.errors import NoLedgerError
from flashsale.reservation.errors import StoreUnavailableError
from flashsale.reservation.inspector import inspector_of
from flashsale.sales.queries import server as postgres_facts
from flashsale.settlement.migrate import schema_is_current

_TIMEOUT_SECONDS = 5
_COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}
#: Module, how to get it, and how bad it is without.
_LIBRARIES = (
    ("aiohttp._http_parser", "pip install --force-reinstall --only-binary :all: aiohttp", "fail"),
    ("uvloop", "pip install uvloop", "warn"),
    ("hiredis", "pip install 'redis[hiredis]'", "warn"),
)


async def examine(
    redis_url: str | None,
    postgres_dsn: str | None,
    *,
    connections_max: int,
    data_dir: Path | None = None,
    relaxed: bool = False,
    disk_free_min_bytes: int = DISK_FREE_MIN_BYTES,
) -> list[Finding]:
    """Look at everything; a server that does not answer is a finding, not an error.

    `connections_max` is what one web process may be given. `relaxed`: an installation that accepts
    to forget the last second in a crash. Disks are looked at that are this machine's.
    """
    ahead_ms: dict[str, int] = {}
    free: dict[str, int | None] = {}
    findings = [
        *await _redis(redis_url, ahead_ms, free, relaxed=relaxed),
        *await _postgres(postgres_dsn, ahead_ms, free, relaxed=relaxed),
    ]
    if ahead_ms:
        findings.append(clock_finding(ahead_ms))
    if data_dir is not None:
        place = next(folder for folder in (data_dir, *data_dir.parents) if folder.exists())
        free = {f"in {data_dir}": shutil.disk_usage(place).free}
    findings += [
        disk_finding(place, found, min_bytes=disk_free_min_bytes, relaxed=relaxed)
        for place, found in free.items()
        if found is not None
    ]
    return [*findings, *_machine(connections_max)]


async def _redis(
    url: str | None, ahead_ms: dict[str, int], free: dict[str, int | None], *, relaxed: bool
) -> list[Finding]:
    if url is None:
        return [_unnamed("Redis", "FLASHSALE_REDIS_URL")]
    try:
        async with inspector_of(url, timeout_ms=_TIMEOUT_SECONDS * 1000) as inspector:
            await inspector.server()  # the first call connects: its clock would be old
            asked_at = time.time_ns()
            facts = await inspector.server()
            ahead_ms[facts.name] = _ahead(facts.now_ms, asked_at)
    except (StoreUnavailableError, ValueError) as error:
        return [_unreachable("Redis", error, "FLASHSALE_REDIS_URL")]
    free[f"under {facts.name}"] = facts.disk_free_bytes
    return [ok(facts.name, "reachable"), *redis_findings(facts, relaxed=relaxed)]


async def _postgres(
    dsn: str | None, ahead_ms: dict[str, int], free: dict[str, int | None], *, relaxed: bool
) -> list[Finding]:
    if dsn is None:
        return [_unnamed("Postgres", "FLASHSALE_POSTGRES_DSN")]
    try:
        async with queries.doctors_connection(dsn, timeout_seconds=_TIMEOUT_SECONDS) as connection:
            settings = await queries.server_settings(connection, POSTGRES_SETTINGS)
            current = await schema_is_current(connection)
            free["under Postgres"] = (await postgres_facts(connection)).disk_free_bytes
            asked_at = time.time_ns()
            ahead_ms["Postgres"] = _ahead(await queries.clock_ms(connection), asked_at)
    except NoLedgerError as error:
        return [_unreachable("Postgres", error, "FLASHSALE_POSTGRES_DSN")]
    return [
        ok("Postgres", "reachable"),
        *postgres_findings(settings, schema_is_current=current, relaxed=relaxed),
    ]


def _machine(connections_max: int) -> list[Finding]:
    findings = [
        library_finding(module, _is_there(module), command, Level(otherwise))
        for module, command, otherwise in _LIBRARIES
    ]
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return [*findings, descriptors_finding(limit, connections_max)]


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _ahead(clock_ms: int, asked_at_ns: int) -> int:
    """By how much a clock is ahead of ours, taken in the middle of the question and the answer."""
    ours_ms = (asked_at_ns + time.time_ns()) // 2_000_000
    return clock_ms - ours_ms


def _unnamed(server: str, variable: str) -> Finding:
    return Finding(server, Level.FAIL, "not named", f"Set {variable}, or give --data-dir.")


def _unreachable(server: str, error: Exception, variable: str) -> Finding:
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return Finding(server, Level.FAIL, first, f"Start it, or check {variable}.")


def render_findings(findings: Sequence[Finding]) -> Table:
    """The findings for a terminal."""
    table = Table(show_header=False, box=None, pad_edge=False)
    for finding in findings:
        what = Text(finding.found)
        if finding.advice and finding.level is not Level.OK:
            what.append(f"\n→ {finding.advice}", _COLOURS[finding.level])
        table.add_row(Text(finding.level, _COLOURS[finding.level]), finding.name, what)
    return table
