"""A restarted Redis is looked at before a buyer is answered out of it."""

from __future__ import annotations

import asyncio

import pytest

from flashsale.domain.outcomes import Status
from flashsale.recovery.watch import Gate, NotAsLeftError
from flashsale.reservation.replies import Request
from flashsale.reservation.store import ReservationStore
from tests.reconciliation.scene import SCRIPTS


@pytest.fixture
async def gated(ward):
    gate = Gate(ward.pool, ward.store)
    store = ReservationStore(ward.redis, SCRIPTS, on_forgotten=gate)
    gate.heard, gate.won = store.heard, store.won
    yield store
    await store.close()


async def _reserve(store, ward, order="o" * 20, buyer="late"):
    request = Request(order, buyer, 0, 1)
    return (await store.reserve(ward.sale.id, 0, ward.sale.epoch, [request]))[0].status


async def _restart(ward, disk=None) -> None:
    """What a restart does: scripts are gone, and the data is what the disk has."""
    if disk is not None:
        await ward.put_back(disk)
    await ward.redis.script_flush()


async def test_a_restart_that_lost_nothing_goes_unnoticed(ward, gated):
    await ward.reserve("ann")
    await ward.settle()
    await _restart(ward)
    assert await _reserve(gated, ward) is Status.RESERVED


async def test_an_older_disk_sells_nothing(ward, gated):
    await ward.reserve("ann")
    await ward.settle()
    disk = await ward.keep_disk()
    for number in range(9):
        await ward.reserve(f"winner-{number}")
    await ward.settle()
    await _restart(ward, disk)

    with pytest.raises(NotAsLeftError):
        await _reserve(gated, ward)

    # The control: whoever does not look sells a unit that somebody has.
    assert await _reserve(ward.store, ward) is Status.RESERVED
    await ward.recover()
    assert await _reserve(gated, ward, "p" * 20, "later") is Status.SOLD_OUT
    assert await ward.broken() == set()


async def test_a_tail_that_only_its_buyers_heard_of_is_missed(ward, gated):
    """Nobody has settled or counted the entry that the disk lost; who answered with it has."""
    disk = await ward.keep_disk()
    assert await _reserve(gated, ward) is Status.RESERVED
    await _restart(ward, disk)
    assert await ward.faults() == []  # the control: the stores alone cannot tell

    with pytest.raises(NotAsLeftError, match="went back"):
        await _reserve(gated, ward, "p" * 20, "later")

    done = await ward.recover()
    assert done.entries_lost == 1
    sql = "SELECT may_have_lost FROM sales WHERE id = $1"
    assert await ward.pool.fetchval(sql, ward.sale.id)
    assert await _reserve(gated, ward) is Status.RESERVED
    assert await ward.broken() == set()


async def test_a_lost_tail_is_missed_however_much_was_appended_since(ward, gated):
    """Expiry and payments need not ask: they may be first at a server that was put back."""
    await ward.reserve("ann")
    disk = await ward.keep_disk()
    assert await _reserve(gated, ward) is Status.RESERVED
    await _restart(ward, disk)
    await ward.store.pause(ward.sale.id, 0, ward.sale.epoch)
    await ward.store.resume(ward.sale.id, 0, ward.sale.epoch)
    assert gated.heard[ward.sale.id, 0] <= (await ward.store.snapshot(ward.sale.id, 0)).seq
    assert await ward.faults() == []  # the control: as many entries are there as ever were

    with pytest.raises(NotAsLeftError):
        await _reserve(gated, ward, "p" * 20, "later")

    await ward.recover()
    sql = "SELECT may_have_lost FROM sales WHERE id = $1"
    assert await ward.pool.fetchval(sql, ward.sale.id)
    assert await _reserve(gated, ward, "q" * 20, "later") is Status.RESERVED
    assert await ward.broken() == set()


async def test_what_was_lost_in_an_epoch_that_has_ended_is_recovered_once(ward, gated):
    disk = await ward.keep_disk()
    assert await _reserve(gated, ward) is Status.RESERVED
    await ward.put_back(disk)
    await ward.recover()
    await _restart(ward)
    assert await _reserve(gated, ward, "p" * 20, "later") is Status.RESERVED
    assert gated.won[ward.sale.id, 0] == (ward.sale.epoch, "p" * 20)


async def test_a_crowd_looks_once(ward, gated, monkeypatch):
    await _restart(ward)
    looks = []
    from flashsale.recovery import watch

    look = watch.faults

    async def counted(*arguments):
        looks.append(arguments)
        return await look(*arguments)

    monkeypatch.setattr(watch, "faults", counted)
    crowd = [_reserve(gated, ward, f"{n:020}", f"buyer-{n}") for n in range(8)]
    statuses = await asyncio.gather(*crowd)
    assert statuses.count(Status.RESERVED) == 8
    assert len(looks) < 8, "they share a look"
