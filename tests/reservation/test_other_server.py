"""A server that took another's place is looked at first, also where it has the scripts already."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from flashsale.reservation.errors import StoreUnavailableError
from flashsale.reservation.links import Links
from flashsale.reservation.scripts import ScriptRunner, load_script
from tests.lua.private_server import private_redis


class LookedAtError(StoreUnavailableError):
    """Stands for a look that found something wrong."""


class Address:
    """A socket behind which servers take turns; each is given the script by somebody else."""

    def __init__(self, path: Path, source: str) -> None:
        self.path, self._source = path, source

    async def lead_to(self, server: Redis) -> None:
        await server.script_load(self._source)
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(server.connection_pool.connection_kwargs["path"])


async def cut(server: Redis) -> None:
    """All connections to a server break, as they do when it ends."""
    await server.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


@pytest.fixture
async def servers() -> AsyncIterator[tuple[Redis, Redis]]:
    async with private_redis() as first, private_redis() as second:
        yield first, second


async def test_it_is_looked_at_before_anything_runs_on_it(tmp_path, servers):
    first, second = servers
    (tmp_path / "one.lua").write_text("#!lua\nreturn {redis.call('INCR', KEYS[1])}\n")
    script = load_script(tmp_path / "one.lua")
    address = Address(tmp_path / "redis.sock", script.source)
    await address.lead_to(first)
    client = Redis(
        unix_socket_path=str(address.path),
        protocol=3,
        decode_responses=True,
        retry=Retry(NoBackoff(), 0),
    )
    looks, trusting = 0, False

    async def look() -> None:
        nonlocal looks
        looks += 1
        if not trusting:
            raise LookedAtError("not as it was left")

    links = Links(client)
    runner = ScriptRunner(links, {"one": script}, look)
    careless = ScriptRunner(links, {"one": script})
    assert await runner.run("one", ["n"], []) == [1]

    await cut(first)
    with pytest.raises(StoreUnavailableError):
        await runner.run("one", ["n"], [])
    assert await runner.run("one", ["n"], []) == [2]
    assert looks == 0, "the same server behind a new connection is no stranger"

    await cut(first)
    await address.lead_to(second)
    with pytest.raises(StoreUnavailableError):
        await runner.run("one", ["n"], [])
    for _ in range(2):
        with pytest.raises(LookedAtError):
            await runner.run("one", ["n"], [])
    assert await careless.run("one", ["n"], []) == [1]  # the control: it has the script

    trusting = True
    assert await runner.run("one", ["n"], []) == [2]
    assert await runner.run("one", ["n"], []) == [3]
    assert looks == 3
    await links.close()
    await client.aclose()
