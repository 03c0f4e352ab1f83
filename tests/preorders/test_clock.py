"""Balances by a virtual clock on real Postgres: asked, reminded, charged, given up, once each."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, replace
from datetime import timedelta

import pytest

from flashsale.preorders.balances import CHARGE
from flashsale.preorders.clock import PreorderClock
from tests.preorders.yard import HOUR, MERCHANT, NOW, SALE, TERMS, Refunding, order_id

DAY = 24 * HOUR


async def allocated(yard, *buyers: str) -> None:
    for buyer in buyers:
        await yard.deposit(buyer)
    await yard.lot(len(buyers))
    await yard.tick()


async def listen(yard) -> None:
    await yard.pool.execute(
        """INSERT INTO webhook_endpoints (id, merchant_id, url, secrets, created_at)
            VALUES ('we_1', $1, 'https://example.org/', '{s}', now())""",
        MERCHANT,
    )


async def told(yard, kind: str) -> list[str]:
    rows = await yard.pool.fetch(
        "SELECT order_id FROM webhook_events WHERE type = $1 ORDER BY id", kind
    )
    return [row["order_id"] for row in rows]


async def test_a_balance_goes_its_whole_way_to_the_outcome_that_was_stated(yard):
    await listen(yard)
    await allocated(yard, "ann")
    assert await yard.states() == {"ann": "balance_due"}  # due on allocation: asked at once
    assert await told(yard, "order.balance_reminder") == []
    await yard.tick(2 * DAY)
    assert await told(yard, "order.balance_reminder") == [order_id("ann")]
    assert await yard.wishes(CHARGE) == []
    await yard.tick(DAY)
    assert await yard.wishes(CHARGE) == [order_id("ann")]
    await yard.pool.execute("DELETE FROM outbox")
    await yard.tick(HOUR)
    assert await yard.wishes(CHARGE) == []
    await yard.tick(DAY - HOUR)
    assert await yard.wishes(CHARGE) == [order_id("ann")]  # tried again
    assert await closings(yard) == {}
    clock = await yard.tick(DAY)
    assert await closings(yard) == {"ann": "forfeited"}
    assert clock.counts.ended == 1
    await yard.set_state(order_id("ann"), "forfeited")
    await yard.tick(HOUR)
    assert await yard.pool.fetchval("SELECT next_at FROM balances") is None
    assert await yard.free() == 1
    assert await told(yard, "order.balance_reminder") == [order_id("ann")]


async def closings(yard) -> dict[str, str]:
    rows = await yard.pool.fetch("SELECT buyer_id, closing FROM orders WHERE closing IS NOT NULL")
    return {row["buyer_id"]: row["closing"] for row in rows}


async def test_a_refund_is_the_other_outcome(yard):
    await set_terms(yard, on_default="refund")
    await allocated(yard, "ann")
    for _ in range(6):
        await yard.tick(DAY)
    assert await closings(yard) == {"ann": "refunded"}


async def set_terms(yard, **changes: object) -> None:
    terms = json.dumps(asdict(replace(TERMS, **changes)))
    await yard.pool.execute("UPDATE sales SET preorder = $1", terms)


async def test_by_date_nobody_is_asked_before_it(yard):
    start = int(NOW.timestamp() * 1000)
    hour = 3_600_000
    await set_terms(
        yard, mode="by_date", opens_at_ms=start + 100 * hour, due_at_ms=start + 200 * hour
    )
    await allocated(yard, "ann")
    assert await yard.states() == {"ann": "allocated"}
    await yard.tick(99 * HOUR)
    assert await yard.states() == {"ann": "allocated"}
    await yard.tick(HOUR)
    assert await yard.states() == {"ann": "balance_due"}
    await yard.tick(99 * HOUR)
    assert await yard.wishes(CHARGE) == []
    await yard.tick(HOUR)
    assert await yard.wishes(CHARGE) == [order_id("ann")]


async def test_who_pays_by_hand_is_asked_nothing_more(yard):
    await allocated(yard, "ann")
    await yard.set_state(order_id("ann"), "paid")
    for _ in range(7):
        await yard.tick(DAY)
    assert await yard.wishes(CHARGE) == []
    assert await yard.states() == {"ann": "paid"}
    assert await yard.allocated() == ["ann"]


@pytest.mark.parametrize("captured", [0, 900])
async def test_nobody_is_given_up_on_while_money_is_on_its_way(yard, captured: int):
    await allocated(yard, "ann")
    for _ in range(4):
        await yard.tick(DAY)
    last_moment = NOW + 5 * DAY - timedelta(minutes=30)
    payment = await yard.pay(
        order_id("ann"), "balance", 900, last_moment, applied=False, captured=captured
    )
    await yard.tick(DAY)
    assert await closings(yard) == {}
    if captured:
        await yard.tick(DAY)
        assert await closings(yard) == {}  # it came in: however long applying it takes
    await yard.pool.execute(
        "UPDATE payments SET applied_at = now(), state = 'declined' WHERE id = $1", payment
    )
    await yard.tick(timedelta(seconds=1))
    assert await closings(yard) == {"ann": "forfeited"}


async def test_what_redis_has_still_to_enact_is_waited_for(yard):
    await allocated(yard, "ann")
    await yard.pool.execute("UPDATE orders SET closing = 'refunded'")
    for _ in range(8):
        await yard.tick(DAY)
    assert await yard.wishes(CHARGE) == []
    assert await closings(yard) == {"ann": "refunded"}


async def test_many_are_collected_in_bounded_rounds_and_by_two_clocks_once(yard):
    buyers = [f"b{number:02}" for number in range(30)]
    await allocated(yard, *buyers)
    yard.now += 3 * DAY
    first, second = yard.clock(round_max=7), yard.clock(round_max=7)
    while any(await asyncio.gather(first.tick(yard.now), second.tick(yard.now))):
        pass
    assert first.counts.charged + second.counts.charged == 30
    assert len(await yard.wishes(CHARGE)) == 30


async def test_a_clock_that_stood_still_charges_before_it_gives_up(yard):
    await allocated(yard, "ann")
    clock = await yard.tick(60 * DAY)
    assert (clock.counts.charged, clock.counts.ended) == (1, 1)


async def test_troubles_are_told_and_time_goes_on(yard):
    class Broken(Refunding):
        async def forfeit_in(self, *_: object):
            raise OSError("gone")

    await allocated(yard, "ann")
    yard.now += 60 * DAY
    lines: list[str] = []
    stop = asyncio.Event()

    def note(line: str) -> None:
        lines.append(line)
        stop.set()

    clock = PreorderClock(yard.pool, Broken(), on_trouble=note)
    await clock.run(stop, lambda: yard.now, rest_seconds=0.01)
    assert lines == ["OSError: gone"]
    assert await closings(yard) == {}
    assert await yard.pool.fetchval("SELECT sale_id FROM balances") == SALE
