"""A replica of Redis takes over: it may lack entries, and is rebuilt before it is used."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
from redis.asyncio import Redis

from flashsale.domain.outcomes import Status
from flashsale.recovery.watch import Gate, NotAsLeftError
from flashsale.reservation.replies import Request
from flashsale.reservation.store import ReservationStore
from tests.cli.test_repairs import Operator
from tests.lua.private_server import free_port, private_redis
from tests.reconciliation.scene import SCRIPTS
from tests.recovery.ward import Ward, open_ward

_STRICT = {"appendonly": "yes", "appendfsync": "always"}


class Replicated(NamedTuple):
    primary: Redis
    replica: Redis

    async def kill_primary(self) -> None:
        os.kill((await self.primary.info("server"))["process_id"], signal.SIGKILL)

    async def promote(self) -> str:
        """Its URL."""
        assert await self.replica.execute_command("REPLICAOF", "NO", "ONE")
        return _url(self.replica)


def _url(redis: Redis) -> str:
    return f"unix://{redis.connection_pool.connection_kwargs['path']}"


@pytest.fixture
async def replicated() -> AsyncIterator[Replicated]:
    port = free_port()
    async with (
        private_redis(**_STRICT, port=port) as primary,
        private_redis(**_STRICT, port=free_port(), replicaof=f"127.0.0.1 {port}") as replica,
    ):
        while (await replica.info("replication"))["master_link_status"] != "up":
            await asyncio.sleep(0.01)
        yield Replicated(primary, replica)


@contextlib.asynccontextmanager
async def _gated(ward: Ward, heard: ReservationStore) -> AsyncIterator[ReservationStore]:
    """The store of a web process that knows what it answered out of the primary."""
    gate = Gate(ward.pool)
    gate.heard = heard.heard
    store = ReservationStore(ward.redis, SCRIPTS, admit=gate.admit)
    yield store
    await store.close()


async def _ask(store: ReservationStore, ward: Ward, order: str, buyer: str) -> Status:
    request = Request(order, buyer, 0, 1)
    return (await store.reserve(ward.sale.id, 0, ward.sale.epoch, [request]))[0].status


async def test_a_replica_that_has_everything_takes_over(schema, new_database, replicated):
    async with new_database(template=schema) as dsn:
        async with open_ward(dsn, _url(replicated.primary)) as before:
            await before.reserve("ada")
            await before.settle()
            kept = await before.reserve("bo")
            assert await before.redis.wait(1, 0) == 1
            await replicated.kill_primary()
        async with (
            open_ward(dsn, await replicated.promote()) as after,
            _gated(after, before.store) as store,
        ):
            after.sale = before.sale
            with pytest.raises(NotAsLeftError):
                await _ask(store, after, kept, "bo")
            done = await after.recover()
            assert (done.entries_lost, after.sale.may_have_lost) == (0, False)
            assert await _ask(store, after, kept, "bo") is Status.REPLAYED
            assert await after.live() == 2
            assert await after.broken() == set()


async def test_a_replica_that_is_behind_sells_nothing_until_it_is_rebuilt(
    schema, new_database, replicated
):
    async with new_database(template=schema) as dsn:
        async with open_ward(dsn, _url(replicated.primary)) as before:
            await before.reserve("ada")
            assert await before.redis.wait(1, 0) == 1
            url = await replicated.promote()  # from here on it hears of nothing, as if it were slow
            for number in range(8):
                await before.reserve(f"winner-{number}")
            await before.settle()
            lost = await before.reserve("bo")  # answered, and in no other place
            await replicated.kill_primary()
        async with open_ward(dsn, url) as after, _gated(after, before.store) as store:
            after.sale = before.sale
            with pytest.raises(NotAsLeftError, match="another run"):
                await _ask(store, after, "n" * 20, "late")
            # The control: whoever does not look sells units that winners have.
            for number in range(2):
                taken = await _ask(after.store, after, f"{number:020}", f"late-{number}")
                assert taken is Status.RESERVED

            recovered = await Operator(dsn, url)("recover", after.sale.id)

            assert (recovered.code, recovered.said) == (0, "")
            await after.look_again()
            assert await after.faults() == []
            assert await after.broken() == set()
            assert after.sale.may_have_lost
            assert await after.live() == 10  # nine winners, one of the late for bo's unit
            assert await _ask(store, after, lost, "bo") is Status.SOLD_OUT
