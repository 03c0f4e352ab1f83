"""The bundled servers come up, keep their data, and end with their supervisor."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from flashsale.embedded.folders import SOCKET_PATH_BYTES_MAX
from flashsale.embedded.servers import bundled_servers, resolve_servers


async def test_they_start_with_the_promised_durability(tmp_path: Path):
    async with bundled_servers(tmp_path / "data") as servers:
        async with Redis.from_url(servers.redis_url, decode_responses=True) as client:
            names = ("appendonly", "appendfsync", "maxmemory-policy", "save", "port")
            redis_settings = await client.config_get(*names)
        connection = await asyncpg.connect(servers.postgres_dsn)
        names = ("fsync", "synchronous_commit", "listen_addresses", "full_page_writes")
        postgres_settings = [await connection.fetchval(f"SHOW {name}") for name in names]
        await connection.close()
    assert redis_settings == {
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
        "save": "",
        "port": "0",
    }
    assert postgres_settings == ["on", "on", "", "on"]


async def test_relaxed_durability_is_what_it_says(tmp_path: Path):
    async with bundled_servers(tmp_path / "data", durability="relaxed") as servers:
        async with Redis.from_url(servers.redis_url, decode_responses=True) as client:
            assert await client.config_get("appendfsync") == {"appendfsync": "everysec"}
        connection = await asyncpg.connect(servers.postgres_dsn)
        assert await connection.fetchval("SHOW synchronous_commit") == "off"
        await connection.close()


async def test_a_redis_config_tunes_but_cannot_weaken(tmp_path: Path):
    config = tmp_path / "redis.conf"
    config.write_text("hz 37\nappendonly no\nappendfsync no\nmaxmemory-policy allkeys-lru\n")
    async with (
        bundled_servers(tmp_path / "data", redis_config=config) as servers,
        Redis.from_url(servers.redis_url, decode_responses=True) as client,
    ):
        names = ("hz", "appendonly", "appendfsync", "maxmemory-policy")
        found = await client.config_get(*names)
    assert [found[name] for name in names] == ["37", "yes", "always", "noeviction"]


async def test_only_we_can_reach_them(tmp_path: Path):
    async with bundled_servers(tmp_path / "data") as servers:
        sockets = Path(servers.redis_url.removeprefix("unix://").partition("?")[0]).parents[1]
        found = sockets.stat()
        assert stat.S_IMODE(found.st_mode) == 0o700
        assert found.st_uid == os.geteuid()
    assert not sockets.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill -9"])
async def test_they_end_with_their_supervisor_and_the_data_is_found_again(
    tmp_path: Path, supervise, number: int
):
    first = supervise(tmp_path / "data")
    await first.write(41)
    first.signal_group(number)
    await first.servers_gone()
    second = supervise(tmp_path / "data")
    assert await second.read() == (41, 41)


async def test_a_start_right_after_a_kill_waits_for_the_old_servers(tmp_path: Path, supervise):
    supervisor = supervise(tmp_path / "data")
    for value in range(3):
        await supervisor.write(value)
        supervisor.signal_group(signal.SIGKILL)
        supervisor = supervise(tmp_path / "data")
        assert await supervisor.read() == (value, value)


async def test_ctrl_c_lets_postgres_shut_down_in_good_order(tmp_path: Path, supervise):
    supervisor = supervise(tmp_path / "data")
    supervisor.signal_group(signal.SIGINT)
    log = (tmp_path / "data" / "logs" / "postgres.log").read_text()
    assert "received fast shutdown request" in log
    assert "database system is shut down" in log.splitlines()[-1]


async def test_a_second_supervisor_is_refused_in_one_line(tmp_path: Path, supervise):
    first = supervise(tmp_path / "data")
    await first.write(1)
    output, errors = supervise(tmp_path / "data", ready=False).process.communicate()
    assert output == ""
    assert errors == (
        f"{tmp_path / 'data'} is in use by another flashsale; "
        "stop it or choose another --data-dir.\n"
    )
    assert await first.read() == (1, 1)


@pytest.mark.parametrize("name", ["redis", "postgres"])
async def test_a_killed_server_is_started_again_on_its_data(tmp_path: Path, supervise, name: str):
    supervisor = supervise(tmp_path / "data")
    await supervisor.write(13)
    before = dict(supervisor.pids)
    connection = await asyncpg.connect(supervisor.postgres_dsn)
    os.kill(before[name], signal.SIGKILL)
    supervisor.read_report()
    assert {key for key in before if supervisor.pids[key] != before[key]} == {name}
    assert await supervisor.read() == (13, 13)
    connection.terminate()


async def test_given_servers_are_used(tmp_path: Path):
    given = ("redis://redis.example:6379/0", "postgresql://flashsale@postgres.example/flashsale")
    async with resolve_servers(*given, tmp_path / "data") as servers:
        assert (servers.redis_url, servers.postgres_dsn) == given
        assert servers.pids == {}
        assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("given", ["redis", "postgres"])
async def test_only_the_server_that_is_not_given_is_started(tmp_path: Path, given: str):
    redis_url = "redis://redis.example:6379/0" if given == "redis" else None
    dsn = "postgresql://flashsale@postgres.example/flashsale" if given == "postgres" else None
    async with resolve_servers(redis_url, dsn, tmp_path / "data") as servers:
        assert servers.pids.keys() == {"redis", "postgres"} - {given}
        assert servers.redis_url == redis_url or servers.redis_url.startswith("unix://")
        assert servers.postgres_dsn == dsn or servers.postgres_dsn.startswith("postgresql:///")


@pytest.mark.parametrize(
    "name", ["d" * 120, "a folder, with = ? & # % ' and \u00e9"], ids=["long", "strange"]
)
async def test_any_data_dir_will_do(tmp_path: Path, supervise, name: str):
    data_dir = tmp_path / name / "data"
    supervisor = supervise(data_dir)
    await supervisor.write(7)
    assert await supervisor.read() == (7, 7)
    socket = supervisor.redis_url.removeprefix("unix://").partition("?")[0]
    assert len(socket) <= SOCKET_PATH_BYTES_MAX
    assert {"postgres", "redis"} <= {path.name for path in data_dir.iterdir()}
