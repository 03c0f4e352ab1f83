"""Races of pre-orders on both stores, each with a control that goes wrong unprotected."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from flashsale.access.tokens import Buyer
from flashsale.payments.outbox import NotYetError
from flashsale.payments.values import Purpose
from flashsale.preorders import queues
from flashsale.preorders.balances import collect
from flashsale.preorders.values import QueueKey
from flashsale.preorders.verify import verify_preorder
from tests.preorders.field import (
    cancel,
    change,
    clock_of,
    command,
    deposit,
    preorder,
    skus,
    state,
    tick,
)
from tests.web.house import House
from tests.web.till import callback

SOON = timedelta(seconds=5)
ROUNDS = 4


def later(after: timedelta = SOON) -> datetime:
    return datetime.now(UTC) + after


async def rest(house: House) -> None:
    for _ in range(3):
        await house.dispatch()
        await tick(house)


async def faults(house: House, sale: str) -> list[str]:
    return [c.equation for c in await verify_preorder(house.shop.pool, sale) if not c.holds]


async def test_an_allocation_and_a_cancellation_exclude_each_other(house: House):
    """Whoever takes the order's lock first decides; the unit is never with somebody who left."""
    sale = await preorder(house)
    for _ in range(ROUNDS):
        order, buyer = await deposit(house, sale)
        await clock_of(house).tick(later())
        await command(house, sale, "lots", quantity=1)
        clock = clock_of(house)
        reply, _ = await asyncio.gather(cancel(house, order, buyer), clock.tick(later()))
        await rest(house)
        ended = await state(house, order)
        if reply.status == 200:
            assert ended == "refunded"
        else:
            assert (reply.code, ended) == ("order_not_cancellable", "balance_due")
        await house.shop.pool.execute("DELETE FROM lots WHERE free > 0")
    assert await faults(house, sale) == []


@pytest.mark.parametrize("protected", [True, False])
async def test_control_a_round_that_believes_its_queue_serves_who_is_leaving(
    house: House, monkeypatch, protected: bool
):
    """The refund is decided, its event is still to be settled: the queue does not know yet."""
    sale = await preorder(house)
    leaving, buyer = await deposit(house, sale)
    staying, _ = await deposit(house, sale)
    await tick(house)
    assert (await cancel(house, leaving, buyer)).status == 200
    await command(house, sale, "lots", quantity=1)
    if not protected:
        monkeypatch.setattr(queues, "ready", lambda waiting, _heads, _item: list(waiting))
    served = await queues.serve(house.shop.pool, QueueKey(sale, 0), later(), 10)
    assert [each.order_id for each in served] == [staying if protected else leaving]


async def test_a_change_of_sku_and_an_allocation_exclude_each_other(house: House):
    sale = await preorder(house)
    outcomes = set()
    for number in range(ROUNDS):
        order, buyer = await deposit(house, sale)
        await clock_of(house).tick(later())
        await command(house, sale, "lots", quantity=1)
        clock = clock_of(house)
        calls = [change(house, order, buyer, "silver"), clock.tick(later())]
        if number % 2:
            calls.reverse()
        answers = await asyncio.gather(*calls)
        reply = answers[number % 2]
        await rest(house)
        row = await house.shop.pool.fetchrow("SELECT item, state FROM orders WHERE id = $1", order)
        outcomes.add(reply.status)
        if reply.status == 200:
            assert tuple(row) == (1, "deposit_paid")
            assert await house.shop.pool.fetchval("SELECT sum(free) FROM lots") == 1
            await deposit(house, sale)  # who takes the unit that was left
            await rest(house)
        else:
            assert reply.code == "order_not_changeable"
            assert tuple(row) == (0, "balance_due")
    assert outcomes
    assert await faults(house, sale) == []


async def test_control_without_the_note_a_unit_goes_to_an_order_of_another_sku(house: House):
    """What `orders.closing` keeps apart: Redis has changed the SKU, Postgres has not heard yet."""
    sale = await preorder(house)
    order, buyer = await deposit(house, sale)
    await tick(house)
    await house.shop.store.change_item(sale, 0, 1, order[12:], buyer, 1)
    await command(house, sale, "lots", quantity=1)
    await clock_of(house).tick(later())
    given = await house.shop.pool.fetchval("SELECT count(*) FROM allocations")
    assert given == 1  # a unit of gold for an order that is one of silver
    hold = await house.shop.store.find_hold(sale, 0, order[12:])
    assert hold.item == 1


async def test_a_change_that_was_noted_is_waited_for(house: House):
    sale = await preorder(house)
    order, _ = await deposit(house, sale)
    await tick(house)
    async with house.shop.pool.acquire() as connection, connection.transaction():
        await connection.execute("UPDATE orders SET closing = 'changing' WHERE id = $1", order)
        await connection.execute("INSERT INTO item_changes (order_id, item) VALUES ($1, 1)", order)
    await command(house, sale, "lots", quantity=1)
    await clock_of(house).tick(later())
    assert await house.shop.pool.fetchval("SELECT count(*) FROM allocations") == 0


async def overdue(house: House) -> tuple[str, dict]:
    """An order whose balance is to be given up on, and a payment of it that was begun in time."""
    sale = await preorder(house)
    order, buyer = await deposit(house, sale)
    await command(house, sale, "lots", quantity=1)
    await tick(house)
    begun = await house.pay(order, buyer)
    assert begun.json["purpose"] == "balance"
    await house.shop.pool.execute("UPDATE balances SET charges = 9")
    return order, begun.json


@pytest.mark.parametrize("first", ["money", "clock", "together"])
async def test_a_balance_and_its_forfeit_exclude_each_other(house: House, first: str):
    order, payment = await overdue(house)
    ended = later(timedelta(days=10))  # the checkout's time is up as well

    async def money() -> None:
        assert (await house.tell(callback("captured", payment))).status == 200

    async def clock() -> None:
        await collect(house.shop.pool, house.till.desks.refunds, ended, 10)

    if first == "together":
        await asyncio.gather(money(), clock())
    else:
        for step in (money, clock) if first == "money" else (clock, money):
            await step()
    for _ in range(3):
        await house.dispatch()
    ended_as = await state(house, order)
    refunds = await house.shop.pool.fetchval("SELECT coalesce(sum(amount), 0) FROM refunds")
    counting = await house.shop.pool.fetchval(
        "SELECT count(*) FROM payments WHERE purpose = $1 AND counts", Purpose.BALANCE.value
    )
    assert (ended_as, refunds, counting) in {("paid", 0, 1), ("forfeited", 900, 0)}
    if first == "money":
        assert ended_as == "paid"
    if first == "clock":
        assert ended_as == "forfeited"


async def test_control_a_forfeit_that_asks_no_payment_keeps_both(house: House):
    """Without a look at what is in flight, an order whose balance came in is given up on."""
    order, payment = await overdue(house)
    assert (await house.tell(callback("captured", payment))).status == 200
    async with house.shop.pool.acquire() as connection, connection.transaction():
        await house.till.desks.refunds.forfeit_in(connection, order)
    for _ in range(3):
        await house.dispatch()
    assert await state(house, order) == "forfeited"  # although the buyer had paid in time


@pytest.mark.parametrize("statement", ["write_round", "set_steps", "open_balances", "complete"])
async def test_a_crash_within_a_round_loses_nothing(house: House, monkeypatch, statement: str):
    sale = await preorder(house)
    orders = [(await deposit(house, sale))[0] for _ in range(3)]
    await command(house, sale, "lots", quantity=2)
    await clock_of(house).tick(later(-timedelta(hours=1)))  # they join, and wait

    async def crash(*_: object, **__: object) -> None:
        raise ConnectionError("killed")

    with monkeypatch.context() as broken:
        broken.setattr(queues.queries, statement, crash)
        with pytest.raises(ConnectionError):
            await queues.serve(house.shop.pool, QueueKey(sale, 0), later(), 10)
    assert [await state(house, order) for order in orders] == ["deposit_paid"] * 3
    assert await faults(house, sale) == []
    await tick(house)
    assert [await state(house, order) for order in orders] == [
        "balance_due",
        "balance_due",
        "deposit_paid",
    ]
    assert await faults(house, sale) == []


@pytest.mark.parametrize("statement", ["leave", "join", "set_steps", "drop_news"])
async def test_a_crash_while_news_is_taken_up_loses_nothing(house: House, monkeypatch, statement):
    sale = await preorder(house)
    order, _ = await deposit(house, sale)

    async def crash(*_: object, **__: object) -> None:
        raise ConnectionError("killed")

    with monkeypatch.context() as broken:
        broken.setattr(queues.queries, statement, crash)
        with pytest.raises(ConnectionError):
            await queues.take_up(house.shop.pool, later(), 10)
    await command(house, sale, "lots", quantity=1)
    await tick(house)
    assert await state(house, order) == "balance_due"
    assert await faults(house, sale) == []


async def test_several_clocks_serve_everybody_once(house: House):
    sale = await preorder(house)
    orders = [(await deposit(house, sale))[0] for _ in range(6)]
    await command(house, sale, "lots", quantity=4)
    clocks = [clock_of(house) for _ in range(3)]
    while any(await asyncio.gather(*(clock.tick(later()) for clock in clocks))):
        pass
    assert sum(clock.counts.allocated for clock in clocks) == 4
    assert [await state(house, order) for order in orders].count("balance_due") == 4
    assert await faults(house, sale) == []


async def test_two_askers_of_one_change_get_one_answer(house: House):
    sale = await preorder(house)
    order, buyer = await deposit(house, sale)
    changes = house.deps.preorders.changes
    mine = Buyer(house.merchant.merchant_id, buyer)
    answers = await asyncio.gather(
        *(changes.change(mine, order, "silver") for _ in range(3)),
        *(changes.enact(order) for _ in range(3)),
        return_exceptions=True,
    )
    told = [each for each in answers if not isinstance(each, NotYetError)]
    assert {None if each is None else each.code for each in told} <= {None, "order_closing"}
    await house.settle()
    done = await house.shop.pool.fetch("SELECT state FROM item_changes")
    assert [row["state"] for row in done] == ["done"]
    assert (await house.read(order, buyer))["sku"] == "silver"


async def test_more_changes_at_once_than_there_are_connections(house: House, monkeypatch):
    """Redis may have to be looked at through Postgres first: nobody keeps a connection for it."""
    sale = await preorder(house, items=skus(40))
    orders = [await deposit(house, sale) for _ in range(14)]
    tell = house.shop.store.change_item

    async def looked_at(*place):
        await house.shop.pool.fetchval("SELECT 1")
        return await tell(*place)

    monkeypatch.setattr(house.deps.preorders.changes._store, "change_item", looked_at)
    replies = await asyncio.gather(*(change(house, *order, "silver") for order in orders))
    assert {reply.status for reply in replies} == {200}
