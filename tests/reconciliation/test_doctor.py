"""The doctor names what is wrong with real servers, and says literally what to set."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from redis.asyncio import Redis
from rich.console import Console

from flashsale.embedded.servers import resolve_servers
from flashsale.reconciliation.diagnosis import (
    Level,
    clock_finding,
    descriptors_finding,
    disk_finding,
    library_finding,
    postgres_findings,
    redis_findings,
)
from flashsale.reconciliation.doctor import examine, render_findings
from flashsale.reservation.server import RedisServerFacts
from flashsale.sales.durability import PostgresServerFacts, durability_fault

GB = 1 << 30
REDIS = RedisServerFacts(
    name="Valkey",
    version="9.1.0",
    now_ms=0,
    memory_used_bytes=GB,
    memory_limit_bytes=0,
    memory_total_bytes=8 * GB,
    appendonly="yes",
    appendfsync="always",
    maxmemory_policy="noeviction",
)
POSTGRES = {
    "server_version_num": "180006",
    "synchronous_commit": "on",
    "fsync": "on",
    "full_page_writes": "on",
}


async def test_good_servers_have_no_failure(schema, redis_url, tmp_path):
    findings = await examine(redis_url, schema, connections_max=10, data_dir=tmp_path / "new")
    assert [finding for finding in findings if finding.failed] == []
    assert {finding.name for finding in findings} >= {
        *("Redis appendfsync", "Postgres fsync", "Schema", "Clocks", "Disk", "Open files")
    }


async def test_the_disks_of_local_servers_are_looked_at(schema, redis_url):
    findings = await examine(redis_url, schema, connections_max=10, disk_free_min_bytes=1 << 60)
    full = {finding.found.rpartition("free ")[2] for finding in findings if finding.failed}
    # Postgres shows the place of its data to superusers and members of pg_read_all_settings only.
    assert f"under {findings[0].name}" in full
    assert full <= {f"under {findings[0].name}", "under Postgres"}


async def test_a_redis_that_forgets_is_told_what_to_set(schema, tmp_path):
    async with resolve_servers(None, schema, tmp_path, durability="relaxed") as servers:
        findings = await examine(servers.redis_url, schema, connections_max=10)
        (failed,) = (finding for finding in findings if finding.failed)
        assert failed.name == "Redis appendfsync"
        assert failed.found == "everysec"
        assert failed.advice.startswith("CONFIG SET appendfsync always")
        accepted = await examine(servers.redis_url, schema, connections_max=10, relaxed=True)
        assert not any(finding.failed for finding in accepted)
        async with Redis.from_url(servers.redis_url) as redis:
            _, *command = failed.advice.partition(" (")[0].split()
            await redis.execute_command("CONFIG", *command)
        findings = await examine(servers.redis_url, schema, connections_max=10)
        assert not any(finding.failed for finding in findings)


async def test_a_redis_that_hides_its_settings_is_no_failure(schema, tmp_path):
    async with resolve_servers(None, schema, tmp_path) as servers:
        async with Redis.from_url(servers.redis_url) as redis:
            await redis.execute_command("ACL", "SETUSER", "default", "-config")
        findings = await examine(servers.redis_url, schema, connections_max=10)
        assert [finding.level for finding in findings[2:5]] == [Level.WARN] * 3


async def test_a_database_without_the_schema_is_told_to_migrate(fresh_database, redis_url):
    findings = await examine(redis_url, fresh_database, connections_max=10)
    assert [(finding.name, finding.advice) for finding in findings if finding.failed] == [
        ("Schema", "Run flashsale migrate.")
    ]


@pytest.mark.parametrize(
    ("redis", "postgres"),
    [
        (None, None),
        ("unix:///nowhere/redis.sock", "postgresql://u@127.0.0.1:1/nothing"),
        ("no url", "no dsn"),
    ],
)
async def test_servers_that_do_not_answer_are_findings(redis, postgres):
    findings = await examine(redis, postgres, connections_max=10)
    assert [finding.name for finding in findings if finding.failed] == ["Redis", "Postgres"]
    assert all("FLASHSALE_" in finding.advice for finding in findings[:2])


@pytest.mark.parametrize(
    ("change", "name", "level", "advice"),
    [
        ({}, None, Level.OK, ""),
        ({"name": "Redis", "version": "6.2.14"}, "Redis version", Level.FAIL, "Run Redis 7.0"),
        ({"version": "7.2.4"}, "Valkey version", Level.FAIL, "Run Valkey 8.0"),
        ({"appendonly": "no"}, "Redis appendonly", Level.FAIL, "CONFIG SET appendonly yes"),
        (
            {"maxmemory_policy": "allkeys-lru"},
            "Redis maxmemory-policy",
            Level.FAIL,
            "CONFIG SET maxmemory-policy noeviction",
        ),
        ({"memory_used_bytes": 7 * GB}, "Redis memory", Level.WARN, "Give the machine more"),
        ({"memory_limit_bytes": GB}, "Redis memory", Level.FAIL, "CONFIG SET maxmemory"),
    ],
)
def test_redis_is_judged(change, name, level, advice):
    findings = redis_findings(replace(REDIS, **change))
    wrong = [finding for finding in findings if finding.level is not Level.OK]
    assert [(finding.name, finding.level) for finding in wrong] == ([(name, level)] if name else [])
    assert all(finding.advice.startswith(advice) for finding in wrong)


@pytest.mark.parametrize(
    ("change", "current", "advice"),
    [
        ({}, True, None),
        ({}, False, "Run flashsale migrate."),
        ({"server_version_num": "140011"}, True, "Run Postgres 15 or newer."),
        ({"synchronous_commit": "local"}, True, None),
        ({"synchronous_commit": "off"}, True, "ALTER SYSTEM SET synchronous_commit = on;"),
        ({"fsync": "off"}, True, "ALTER SYSTEM SET fsync = on;"),
        ({"full_page_writes": "off"}, True, "ALTER SYSTEM SET full_page_writes = on;"),
    ],
)
def test_postgres_is_judged(change, current, advice):
    findings = postgres_findings(POSTGRES | change, schema_is_current=current)
    failed = [finding for finding in findings if finding.failed]
    assert len(failed) == (advice is not None)
    assert all(finding.advice.startswith(advice) for finding in failed)


@pytest.mark.parametrize("appendonly", ["yes", "no"])
@pytest.mark.parametrize("appendfsync", ["always", "everysec", "no"])
@pytest.mark.parametrize("policy", ["noeviction", "allkeys-lru"])
@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"synchronous_commit": "remote_apply"},
        {"synchronous_commit": "off"},
        {"fsync": "off"},
        {"full_page_writes": "off"},
        {"server_version_num": "140011"},
    ],
)
@pytest.mark.parametrize("free", [None, GB, GB - 1])
def test_the_doctor_and_the_opening_of_a_sale_agree(appendonly, appendfsync, policy, setting, free):
    redis = replace(REDIS, appendonly=appendonly, appendfsync=appendfsync, maxmemory_policy=policy)
    redis = replace(redis, disk_free_bytes=free)
    settings = POSTGRES | setting
    findings = [*redis_findings(redis), *postgres_findings(settings, schema_is_current=True)]
    findings += [] if free is None else [disk_finding("under Redis", free)]
    version = int(settings.pop("server_version_num")) // 10000
    postgres = PostgresServerFacts(version, **settings)
    fault = durability_fault(redis, postgres, disk_free_min_bytes=GB)
    assert any(finding.failed for finding in findings) == bool(fault)


@pytest.mark.parametrize(
    ("finding", "level", "found"),
    [
        (clock_finding({"Redis": 100, "Postgres": -150}), Level.OK, "250 ms apart"),
        (clock_finding({"Redis": 251}), Level.FAIL, "251 ms apart (this machine behind Redis)"),
        (disk_finding("in /d", 5 * GB), Level.OK, "5.0 GB free in /d"),
        (disk_finding("in /d", 2 * GB), Level.WARN, "2.0 GB free in /d"),
        (disk_finding("in /d", 1), Level.FAIL, "0.0 GB free in /d"),
        (disk_finding("in /d", 1, relaxed=True), Level.WARN, "0.0 GB free in /d"),
        (disk_finding("in /d", GB, min_bytes=2 * GB), Level.FAIL, "1.0 GB free in /d"),
        (descriptors_finding(1024, 20000), Level.WARN, "1024 allowed, 20200 needed"),
        (descriptors_finding(20200, 20000), Level.OK, "20200 allowed, 20200 needed"),
        (library_finding("uvloop", False, "pip install uvloop", Level.WARN), Level.WARN, "missing"),
    ],
)
def test_the_machine_is_judged(finding, level, found):
    assert finding.level is level
    assert finding.found.startswith(found)
    assert bool(finding.advice) == (level is not Level.OK)


async def test_findings_are_shown_with_what_to_do():
    shown = io.StringIO()
    findings = await examine(None, None, connections_max=10)
    Console(file=shown, width=120).print(render_findings(findings))
    assert "→ Set FLASHSALE_REDIS_URL, or give --data-dir." in shown.getvalue()
