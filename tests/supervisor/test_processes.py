"""The processes one by one: what they refuse to start on, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest
from redis.asyncio import Redis

from flashsale.demo.launch import LaunchError
from tests.supervisor.running import Buyers, Up, environment, flashsale, is_running, until

PROCESSES = ("web", "settle", "timekeeper", "dispatch")


def start(
    up: Up, name: str, before: tuple[str, ...] = (), **variables: str
) -> tuple[subprocess.Popen[str], list[dict]]:
    """A process on the engine's servers, and what it logged until it had started."""
    port = ("--port", "0") if name == "web" else ()
    folder = ("--data-dir", str(up.data_dir))
    process = subprocess.Popen(
        [*before, sys.executable, "-m", "flashsale", name, *port, *folder],
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    logged: list[dict] = []
    while not logged or logged[-1]["event"] != "started":
        logged.append(json.loads(process.stderr.readline()))
    return process, logged


def stop(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[int, str, str]:
    process.send_signal(number)
    printed, said = process.communicate()
    return process.returncode, printed, said


@contextlib.asynccontextmanager
async def redis_set(up: Up, name: str, value: str) -> AsyncIterator[None]:
    async with Redis.from_url(up.credentials.redis_url, decode_responses=True) as client:
        before = (await client.config_get(name))[name]
        await client.config_set(name, value)
        try:
            yield
        finally:
            await client.config_set(name, before)


@contextlib.asynccontextmanager
async def postgres_set(up: Up, name: str, value: str) -> AsyncIterator[None]:
    connection = await asyncpg.connect(up.credentials.postgres_dsn)
    await connection.execute(f"ALTER DATABASE flashsale SET {name} = {value}")
    try:
        yield
    finally:
        await connection.execute(f"ALTER DATABASE flashsale RESET {name}")
        await connection.close()


@pytest.mark.parametrize(
    ("setting", "name", "value", "says", "processes"),
    [
        (redis_set, "appendfsync", "everysec", "set appendonly yes, appendfsync always", PROCESSES),
        (redis_set, "maxmemory-policy", "allkeys-lru", "set maxmemory-policy noeviction", ["web"]),
        (postgres_set, "synchronous_commit", "off", "set synchronous_commit = on", ["settle"]),
    ],
)
async def test_production_does_not_start_on_servers_that_forget(
    up, setting, name, value, says, processes
):
    folder = ("--data-dir", str(up.data_dir))
    async with setting(up, name, value):
        for process in processes:
            refused = flashsale(process, *folder, FLASHSALE_MODE="production")
            assert (refused.returncode, refused.stdout) == (2, "")
            assert says in refused.stderr
            assert refused.stderr.count("\n") == 1
        trying, logged = start(up, processes[0])
        assert [line["event"] for line in logged] == ["unsafe_durability", "started"]
        assert says in logged[0]["advice"]
        assert stop(trying)[0] == 0


def test_a_web_process_lifts_the_soft_limit_on_open_files(up):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limited = ("sh", "-c", 'ulimit -Sn 256 && exec "$@"', "sh")
    web, _ = start(up, "web", limited)
    try:
        assert resource.prlimit(web.pid, resource.RLIMIT_NOFILE) == (700, hard)
    finally:
        assert stop(web)[0] == 0


class OtherDoor(Up):
    """The same stores through a web process of the test's own."""

    def __init__(self, up: Up, started: dict) -> None:
        super().__init__(up.data_dir)
        self.url = f"http://{started['host']}:{started['port']}"

    @property
    def credentials(self):
        return replace(super().credentials, base_url=self.url)


async def test_production_opens_no_sale_on_servers_that_forget(up):
    web, [advice, started] = start(up, "web", FLASHSALE_MODE="production")
    assert advice["event"] == "no_trusted_proxies"
    try:
        shop = OtherDoor(up, started)
        async with redis_set(up, "appendfsync", "everysec"):
            with pytest.raises(LaunchError, match="durability_unsafe"):
                await shop.announce(1)
        assert (await shop.announce(1)).units == 1
    finally:
        assert stop(web)[0] == 0


async def test_orders_in_flight_when_the_web_is_stopped_are_answered(up, session):
    web, [started] = start(up, "web")
    shop = OtherDoor(up, started)
    buyers = Buyers(shop.url, await shop.announce(20), session)

    async def all_of_them(when: str) -> list[int]:
        asked = await asyncio.gather(*(buyers.order(f"{when} {number}") for number in range(5)))
        return [status for status, _, _ in asked]

    assert await all_of_them("before") == [201] * 5
    async with Redis.from_url(up.credentials.redis_url) as client:
        await client.execute_command("CLIENT", "PAUSE", 2000, "WRITE")
    asking = asyncio.create_task(all_of_them("meanwhile"))
    await asyncio.sleep(0.5)  # their connections are open: they have been sent by then
    assert await asyncio.to_thread(stop, web) == (0, "", "")
    assert await asking == [201] * 5
    assert buyers.retried == 0


async def test_starting_changes_no_schema(up):
    connection = await asyncpg.connect(up.credentials.postgres_dsn)
    await connection.execute("UPDATE migrations SET sha256 = reverse(sha256)")
    folder = ("--data-dir", str(up.data_dir))
    try:
        for command in (*PROCESSES, "audit"):
            refused = flashsale(command, *folder)
            assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
            assert "run `flashsale migrate`" in refused.stderr
        refused = flashsale("migrate", *folder)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert "was changed after it was applied" in refused.stderr
    finally:
        await connection.execute("UPDATE migrations SET sha256 = reverse(sha256)")
        await connection.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_each_of_them_well(up, number):
    started = [start(up, name)[0] for name in PROCESSES]
    assert [stop(process, number) for process in started] == [(0, "", "")] * len(PROCESSES)


async def test_a_start_that_is_interrupted_leaves_nothing_running(tmp_path):
    folder = tmp_path / "data"
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "flashsale", "up", "--port", "0", "--data-dir", str(folder)],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        )
    await until((folder / "logs" / "settle.log").exists)
    assert stop(process)[:2] == (0, "")
    assert (tmp_path / "said").read_text() == ""
    assert json.loads((folder / "credentials.json").read_text())["pids"] == {}


async def test_a_demo_that_is_interrupted_leaves_nothing_running(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "flashsale", "demo", "--data-dir", str(tmp_path / "data")],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    demo = Up(tmp_path / "data")
    await until(lambda: (demo.data_dir / "credentials.json").exists() and "web" in demo.pids)
    pids = demo.pids
    code, _, said = stop(process, signal.SIGINT)
    assert (code, "Traceback" in said) == (130, False)
    assert not any(is_running(pid) for pid in pids.values())
