"""A Redis that was restarted is used once it is rebuilt, by whatever process comes to it first."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from pathlib import Path

import pytest
from asyncpg import LockNotAvailableError
from redis.exceptions import RedisError

from flashsale.domain.outcomes import Status
from flashsale.recovery import queries
from flashsale.recovery.protocol import Recovered
from flashsale.recovery.watch import Gate, NotAsLeftError
from flashsale.reservation.errors import LaneLostError, StoreUnavailableError
from flashsale.reservation.replies import Request
from flashsale.reservation.store import ReservationStore
from tests.lua.private_server import private_redis
from tests.reconciliation.scene import SCRIPTS
from tests.recovery.address import Address
from tests.recovery.ward import Ward, open_ward

WAITS = """
SELECT EXISTS (
    SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
)
"""


class Restarting:
    """A ward whose Redis can be restarted, with one disk or another."""

    def __init__(self, ward: Ward, address: Address, servers: list) -> None:
        self.ward = ward
        self._address = address
        self._servers = servers

    def gated(self) -> ReservationStore:
        """The store of another process."""
        gate = Gate(self.ward.pool)
        store = ReservationStore(self.ward.redis, SCRIPTS, admit=gate.admit)
        gate.heard = store.heard
        return store

    async def restart(self, disk: dict[str, bytes] | None = None) -> None:
        """Another run, with what the disk has: all, where none is given."""
        disk = await self.ward.keep_disk() if disk is None else disk
        await self._address.lead_to(self._servers.pop())
        await self.reconnect()
        await self.ward.put_back(disk)

    async def reconnect(self) -> None:
        """Every connection of ours that broke is found broken."""
        for ask in (self.ward.redis.ping, self.ward.store.run_id):
            with contextlib.suppress(StoreUnavailableError, RedisError):
                await ask()

    async def cut(self) -> None:
        await self._address.cut()
        await self.reconnect()

    async def recover(self) -> Recovered:
        """As recovery does it: what found its connection broken is done again."""
        try:
            return await self.ward.recover()
        except StoreUnavailableError:
            return await self.ward.recover()

    async def reserve(
        self, store: ReservationStore, order: str = "o" * 20, buyer: str = "late"
    ) -> Status:
        """As a client does that repeats what got no answer."""
        sale = self.ward.sale
        request = Request(order, buyer, 0, 1)
        for _ in range(2):
            try:
                return (await store.reserve(sale.id, 0, sale.epoch, [request]))[0].status
            except NotAsLeftError:
                raise
            except StoreUnavailableError as error:
                broken = error
        raise broken


@pytest.fixture
async def scene(schema, new_database) -> AsyncIterator[Restarting]:
    with tempfile.TemporaryDirectory() as folder:
        async with (
            private_redis() as first,
            private_redis() as second,
            new_database(template=schema) as dsn,
        ):
            address = Address(Path(folder) / "redis.sock", first)
            async with open_ward(dsn, address.url) as ward:
                yield Restarting(ward, address, [second])


@pytest.fixture
async def gated(scene) -> AsyncIterator[ReservationStore]:
    store = scene.gated()
    yield store
    await store.close()


async def test_a_connection_that_broke_is_no_restart(scene, gated):
    assert await scene.reserve(gated) is Status.RESERVED
    await scene.cut()
    assert await scene.reserve(gated, "p" * 20, "later") is Status.RESERVED


async def test_a_restarted_redis_waits_until_it_is_rebuilt(scene, gated):
    ward = scene.ward
    await ward.reserve("ann")
    await ward.settle()
    assert await scene.reserve(gated) is Status.RESERVED
    await scene.restart()

    with pytest.raises(NotAsLeftError):
        await scene.reserve(gated)
    (fault,) = await ward.faults()
    assert "restarted" in fault.reason
    done = await scene.recover()

    assert (done.orders, done.entries_lost) == (2, 0)
    assert await scene.reserve(gated) is Status.REPLAYED
    assert await ward.faults() == []
    assert not await _may_have_lost(ward)
    assert await ward.broken() == set()


async def test_a_sale_that_cannot_be_rebuilt_keeps_nobody_from_the_others(scene, gated):
    ward = scene.ward
    await scene.restart()

    async def broken(_: str, __: int) -> None:
        raise RuntimeError("this sale's entries cannot be settled")

    recovery = replace(ward.recovery(), drain=broken)
    for _ in range(2):  # the first may find a connection broken
        with pytest.raises((RuntimeError, StoreUnavailableError)):
            await recovery.recover(ward.sale.id, "a test")

    with pytest.raises(LaneLostError):  # admitted, and told by the sealed lane
        await scene.reserve(gated)
    assert (await gated.now_ms()) > 0
    await scene.recover()
    assert await scene.reserve(gated) is Status.RESERVED


async def test_an_older_disk_sells_nothing(scene, gated):
    ward = scene.ward
    await ward.reserve("ann")
    await ward.settle()
    disk = await ward.keep_disk()
    for number in range(9):
        await ward.reserve(f"winner-{number}")
    await ward.settle()
    await scene.restart(disk)

    with pytest.raises(NotAsLeftError):
        await scene.reserve(gated)

    # The control: whoever does not ask sells a unit that somebody has.
    assert await scene.reserve(ward.store) is Status.RESERVED
    await scene.recover()
    assert await scene.reserve(gated, "p" * 20, "later") is Status.SOLD_OUT
    assert await ward.broken() == set()


async def test_a_tail_that_only_its_buyers_heard_of_is_told_to_be_lost(scene, gated):
    """Nobody has settled or counted the entry that the disk lost; who answered with it has."""
    ward = scene.ward
    disk = await ward.keep_disk()
    assert await scene.reserve(gated) is Status.RESERVED
    await scene.restart(disk)

    with pytest.raises(NotAsLeftError):
        await scene.reserve(gated, "p" * 20, "later")

    done = await scene.recover()
    assert done.entries_lost == 1
    assert await _may_have_lost(ward)
    assert await scene.reserve(gated) is Status.RESERVED
    assert await ward.broken() == set()


async def test_it_is_told_also_by_a_process_that_comes_after_all_the_others(scene, gated):
    """The lane was rebuilt and has gone on beyond what this process had heard."""
    ward = scene.ward
    disk = await ward.keep_disk()
    assert await scene.reserve(gated) is Status.RESERVED
    await scene.restart(disk)
    await scene.recover()
    for number in range(3):
        await ward.reserve(f"quick-{number}")
    assert not await _may_have_lost(ward)  # the control: the stores alone cannot tell

    assert await scene.reserve(gated, "p" * 20, "later") is Status.RESERVED
    assert await _may_have_lost(ward)
    await ward.settle()
    assert await ward.broken() == set()


async def test_a_sale_that_was_over_before_the_restart_has_lost_nothing(scene, gated):
    ward = scene.ward
    assert await scene.reserve(gated) is Status.RESERVED
    await ward.settle()
    await ward.pool.execute("UPDATE sales SET retired_at = now() WHERE id = $1", ward.sale.id)
    await scene.restart({})
    for _ in range(2):  # the first finds its connection broken
        with contextlib.suppress(StoreUnavailableError):
            await gated.run_id()

    sql = "SELECT survived_seq FROM lanes WHERE sale_id = $1 AND lane = 0"
    survived = await ward.pool.fetchval(sql, ward.sale.id)
    assert gated.heard[ward.sale.id, 0] > survived  # the control: by its numbers it has
    assert not await _may_have_lost(ward)


@pytest.mark.parametrize("ordered", [True, False], ids=["", "control"])
async def test_those_who_tell_of_the_same_lanes_do_not_lock_each_other_out(scene, ordered):
    """The control takes the rows as they came, and holds one that whoever it waits for needs."""
    pool, sale = scene.ward.pool, scene.ward.sale.id
    await queries.note_seen(pool, {(sale, 0): 1, (sale, 1): 1})
    row = "SELECT FROM lanes WHERE sale_id = $1 AND lane = $2 FOR UPDATE NOWAIT"

    def tell() -> Awaitable[object]:
        if ordered:
            return queries.note_seen(pool, {(sale, 1): 2, (sale, 0): 2})
        return pool.execute(queries._SQL["note_seen"], [sale, sale], [1, 0], [2, 2])

    async with pool.acquire() as other:
        locking = other.transaction()
        await locking.start()
        await other.execute(row, sale, 0)
        telling = asyncio.ensure_future(tell())
        while not await pool.fetchval(WAITS):
            await asyncio.sleep(0.001)
        with contextlib.nullcontext() if ordered else pytest.raises(LockNotAvailableError):
            await other.execute(row, sale, 1)
        await locking.rollback()
        await telling


async def test_a_process_that_writes_first_does_not_hide_it(scene):
    """What the disk lost is settled; as many entries are appended again by somebody else."""
    ward = scene.ward
    disk = await ward.keep_disk()
    await ward.reserve("ann")
    await ward.settle()
    await scene.restart(disk)
    keeper, buyer = scene.gated(), scene.gated()

    with pytest.raises(NotAsLeftError):
        await keeper.pause(ward.sale.id, 0, ward.sale.epoch, 9)

    # The control: one that does not ask makes the numbers fit, and nobody sees a difference.
    await ward.store.pause(ward.sale.id, 0, ward.sale.epoch, 9)
    (known,) = (await queries.watched(ward.pool))[0].known
    assert (await ward.store.snapshot(ward.sale.id, 0)).seq == known.seq
    with pytest.raises(NotAsLeftError):
        await scene.reserve(buyer)
    await scene.recover()
    assert await ward.live() == 1
    assert await ward.broken() == set()
    for each in (keeper, buyer):
        await each.close()


async def test_a_crowd_looks_once(scene, gated, monkeypatch):
    looks = []
    look = queries.of_another_run

    async def counted(*arguments):
        looks.append(arguments)
        return await look(*arguments)

    monkeypatch.setattr(queries, "of_another_run", counted)
    crowd = [scene.reserve(gated, f"{n:020}", f"buyer-{n}") for n in range(8)]
    statuses = await asyncio.gather(*crowd)
    assert statuses.count(Status.RESERVED) == 8
    assert len(looks) < 8, "they share a look"


async def _may_have_lost(ward: Ward) -> bool:
    sql = "SELECT may_have_lost FROM sales WHERE id = $1"
    return bool(await ward.pool.fetchval(sql, ward.sale.id))
