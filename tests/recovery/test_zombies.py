"""A settlement worker that stood still through a recovery: what it holds counts no more."""

from __future__ import annotations

import json

from flashsale.domain.events import EventKind
from flashsale.domain.outcomes import Status
from flashsale.settlement.letters import dead_letters, replay
from flashsale.settlement.settler import Settler
from flashsale.stream.reader import LaneReader


async def _hands(ward):
    """What a worker was given before it stood still, and its settler."""
    reader = LaneReader(ward.redis, ward.sale.id, 0, "zombie")
    delivery = await reader.read_new(100)
    assert delivery.size
    settler = Settler(ward.pool)
    return settler, await settler.catalogue(ward.sale.id), delivery


async def _states(ward) -> dict[str, str]:
    rows = await ward.pool.fetch("SELECT buyer_id, state FROM orders")
    return {row["buyer_id"]: row["state"] for row in rows}


async def test_what_redis_lost_is_not_settled_behind_the_back_of_who_bought_it_since(ward):
    await ward.reserve("ann")
    settler, catalogue, delivery = await _hands(ward)
    await ward.redis.flushdb()
    await ward.recover()
    for number in range(10):
        assert (await ward.ask(f"{number:020}", f"buyer-{number}")).status is Status.RESERVED

    settled = await settler.settle(catalogue, 0, delivery)

    assert (settled.rows, settled.dead_letters) == (0, [])
    await ward.settle()
    assert "ann" not in await _states(ward)
    assert set((await _states(ward)).values()) == {"confirmed"}
    assert await ward.broken() == set()


async def test_late_money_for_what_others_bought_since_is_no_dead_letter(ward):
    """It does not fit any more, and nobody has to look at it: the payment is applied anew."""
    order = await ward.reserve("ann")
    await ward.redis.zadd(ward.keys.deadlines, {order: 1})
    place = (ward.sale.id, 0, ward.sale.epoch)
    assert (await ward.store.expire_due(*place, 10)).count == 1
    await ward.settle()
    captured = await ward.store.capture(*place, order, "ann", EventKind.PAID)
    assert captured.status is Status.CAPTURED
    settler, catalogue, delivery = await _hands(ward)
    await ward.redis.flushdb()
    await ward.recover()
    for number in range(10):
        await ward.ask(f"{number:020}", f"buyer-{number}")
    await ward.settle()

    settled = await settler.settle(catalogue, 0, delivery)

    assert (settled.drained, settled.dead_letters) == (1, [])
    # The control: without the fence it is put aside for a person to look at.
    await ward.pool.execute("UPDATE lanes SET drained_epoch = 0")
    assert len((await settler.settle(catalogue, 0, delivery)).dead_letters) == 1


async def test_what_was_drained_is_settled_once(ward):
    await ward.reserve("ann")
    settler, catalogue, delivery = await _hands(ward)
    await ward.recover()
    assert await _states(ward) == {"ann": "confirmed"}
    assert (await settler.settle(catalogue, 0, delivery)).rows == 0
    assert await ward.broken() == set()


async def test_without_the_fence_a_unit_is_sold_twice(ward):
    """The control."""
    await ward.reserve("ann")
    settler, catalogue, delivery = await _hands(ward)
    await ward.redis.flushdb()
    await ward.recover()
    await ward.pool.execute("UPDATE lanes SET drained_epoch = 0")
    for number in range(10):
        await ward.ask(f"{number:020}", f"buyer-{number}")
    await settler.settle(catalogue, 0, delivery)
    await ward.settle()
    assert (await _states(ward))["ann"] == "confirmed"
    assert "rejected" in (await _states(ward)).values()


async def test_a_dead_letter_of_before_stays_one(ward):
    """Its units were on sale again after the rebuilding: settling it now would sell them twice."""
    await ward.reserve("ann")
    await ward.recover()
    (entry_id, fields), *_ = await ward.redis.xrange(ward.keys.events)
    await ward.pool.execute(
        """INSERT INTO dead_letters (sale_id, lane, seq, entry_id, fields, error)
        VALUES ($1, 0, 1, $2, $3, 'a test')""",
        ward.sale.id,
        entry_id,
        json.dumps(fields),
    )
    (letter,) = await dead_letters(ward.pool)
    replayed = await replay(ward.pool, letter, _nothing)
    assert "rebuilt without it" in replayed.error
    assert await dead_letters(ward.pool) == [letter]


async def _nothing(*_: object) -> None:
    pass
