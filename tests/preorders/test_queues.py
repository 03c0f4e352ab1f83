"""Queues and lots on real Postgres: who joins, who is served, what goes back."""

from __future__ import annotations

from datetime import timedelta

from tests.preorders.yard import HOUR, NOW, SALE, order_id

MINUTE = timedelta(minutes=1)


async def test_deposits_are_served_in_the_order_of_the_money_ledger(yard):
    for minutes, buyer in [(30, "c"), (10, "a"), (20, "b"), (40, "d")]:
        await yard.deposit(buyer, at=minutes * MINUTE - HOUR)
    await yard.lot(3)
    clock = await yard.tick()
    assert await yard.allocated() == ["a", "b", "c"]
    assert (await yard.states())["d"] == "deposit_paid"
    assert (clock.counts.joined, clock.counts.allocated) == (4, 3)
    await yard.lot(5)
    await yard.tick()
    assert await yard.allocated() == ["a", "b", "c", "d"]
    assert await yard.free() == 4
    again = await yard.tick()
    assert again.counts.allocated == again.counts.joined == 0


async def test_a_large_order_at_the_head_waits_and_holds_the_queue(yard):
    await yard.deposit("big", quantity=3, at=-2 * HOUR)
    await yard.deposit("small")
    await yard.lot(2)
    await yard.tick()
    assert await yard.allocated() == []
    await yard.lot(1)
    await yard.tick()
    assert await yard.allocated() == ["big"]
    rows = await yard.pool.fetch("SELECT quantity FROM allocations ORDER BY quantity")
    assert [row["quantity"] for row in rows] == [1, 2]  # out of both lots


async def test_bounded_rounds_serve_as_one_would(yard):
    for number in range(20):
        await yard.deposit(f"b{number:02}", at=number * MINUTE - HOUR)
    await yard.lot(7)
    await yard.lot(8)
    await yard.tick(round_max=3)
    assert await yard.allocated() == [f"b{number:02}" for number in range(15)]
    assert await yard.free() == 0


async def test_a_refunded_order_gives_its_place_to_the_next(yard):
    for number, buyer in enumerate("abc"):
        await yard.deposit(buyer, at=number * MINUTE - HOUR)
    await yard.lot(2)
    await yard.tick()
    await yard.set_state(order_id("a"), "refunded")
    clock = await yard.tick()
    assert await yard.allocated() == ["b", "c"]
    assert clock.counts.left == 1
    row = await yard.pool.fetchrow(
        "SELECT left_for, left_step FROM deposits WHERE order_id = $1", order_id("a")
    )
    returned = await yard.pool.fetchval(
        "SELECT returned_step FROM allocations WHERE order_id = $1", order_id("a")
    )
    assert (row["left_for"], row["left_step"]) == ("refunded", returned)
    assert await yard.pool.fetchval(
        "SELECT next_at IS NULL FROM balances WHERE order_id = $1", order_id("a")
    )


async def test_nobody_is_served_before_an_earlier_deposit_that_is_on_its_way(yard):
    await yard.deposit("early", at=-2 * HOUR, state="paying", applied=False)
    await yard.deposit("later", at=-HOUR)
    await yard.lot(1)
    await yard.tick()
    assert await yard.allocated() == []
    await yard.pool.execute("UPDATE payments SET applied_at = now() WHERE applied_at IS NULL")
    await yard.set_state(order_id("early"), "deposit_paid")
    await yard.tick()
    assert await yard.allocated() == ["early"]


async def test_a_deposit_received_this_instant_waits_until_an_earlier_one_would_be_known(yard):
    await yard.deposit("now", at=timedelta(0))
    await yard.lot(1)
    await yard.tick()
    assert await yard.allocated() == []
    await yard.tick(timedelta(seconds=2))
    assert await yard.allocated() == ["now"]


async def test_who_is_changing_the_sku_holds_the_queue_and_who_is_leaving_does_not(yard):
    for number, buyer in enumerate("abc"):
        await yard.deposit(buyer, at=number * MINUTE - HOUR)
    await yard.tick()
    await yard.pool.execute("UPDATE orders SET closing = 'refunded' WHERE id = $1", order_id("a"))
    await yard.pool.execute("UPDATE orders SET closing = 'changing' WHERE id = $1", order_id("c"))
    await yard.lot(3)
    await yard.tick()
    assert await yard.allocated() == ["b"]


async def test_a_changed_order_joins_the_other_queue_at_the_place_of_its_money(yard):
    await yard.deposit("early", at=-3 * HOUR)
    await yard.deposit("silver-1", item=1, at=-2 * HOUR)
    await yard.tick()
    await yard.set_state(order_id("early"), "deposit_paid", item=1)
    await yard.lot(1, sku="silver")
    await yard.tick()
    assert await yard.allocated(1) == ["early"]
    rows = await yard.pool.fetch(
        "SELECT item, left_for, changed FROM deposits WHERE order_id = $1 ORDER BY item",
        order_id("early"),
    )
    assert [tuple(row) for row in rows] == [(0, "changed", False), (1, None, True)]


async def test_nothing_left_to_pay_is_paid_at_once(yard):
    await yard.deposit("whole", item=2)  # the gift costs its deposit
    await yard.lot(1, sku="gift")
    clock = await yard.tick()
    assert await yard.states() == {"whole": "paid"}
    assert clock.counts.completed == 1
    assert await yard.pool.fetchval("SELECT count(*) FROM balances") == 0


async def test_a_launch_order_makes_no_news(yard):
    await yard.deposit("plain", state="confirmed")
    await yard.set_state(order_id("plain"), "refunded")
    assert await yard.pool.fetchval("SELECT count(*) FROM preorder_news") == 0
    await yard.deposit("paid")
    assert await yard.pool.fetchval("SELECT count(*) FROM preorder_news") == 1
    assert yard.now == NOW
    assert SALE
