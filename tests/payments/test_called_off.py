"""A sale that was called off gives everything back, many orders together, and looks no further."""

from __future__ import annotations

import asyncio

import pytest

from flashsale.domain.orders import TRANSITIONS, OrderAction, OrderState
from flashsale.payments import queries, sweep
from flashsale.payments.queries_outbox import Wish, wish
from flashsale.payments.sweep import Sweep
from flashsale.payments.values import Cause
from flashsale.sales.values import SaleFacts
from tests.payments.till import PRICE, Till
from tests.sales.shop import item

REFUNDABLE = sorted(state for state, action in TRANSITIONS if action is OrderAction.REFUND)


async def called_off(till: Till, paid: int, unpaid: int = 0) -> tuple[SaleFacts, list[str]]:
    """A sale that was called off, and its orders: so many paid ones, and behind them others."""
    sale = await till.shop.scheduled(items=[item(supply=100)])
    orders = [await till.paid(sale) for _ in range(paid)]
    for _ in range(unpaid):
        await till.order(sale, till.buyer())
    await till.shop.service.cancel(till.shop.merchant, sale.id)
    return sale, orders


def small(till: Till, limit: int) -> Sweep:
    parts = till.parts
    return Sweep(till.pool, parts.intake, parts.refunds, parts.clock, limit=limit)


async def test_it_goes_round_in_small_steps(till: Till, monkeypatch):
    monkeypatch.setattr(sweep, "_LOOKED_MAX", 3)
    monkeypatch.setattr(sweep, "_TOGETHER", 2)
    sale, orders = await called_off(till, 5, unpaid=4)
    rounds = small(till, 2)
    for _ in range(9):
        await rounds.tick()
        await till.calm()
    for order in orders:
        assert await till.state(order) is OrderState.REFUNDED
        assert await till.refunds(order) == [("sale_cancelled", PRICE, "done")]
    await till.audit(sale)


async def test_it_waits_while_others_have_much_to_do(till: Till):
    sale, [order] = await called_off(till, 1)
    await wish(till.pool, [Wish("another", str(number)) for number in range(3)])
    assert await small(till, 3).tick() >= 3, "there is more to do, and soon"
    assert await till.refunds(order) == []
    await small(till, 4).tick()
    assert await till.refunds(order) == [("sale_cancelled", PRICE, "asked")]
    await till.pool.execute("DELETE FROM outbox WHERE kind = 'another'")
    await till.calm()
    await till.audit(sale)


async def test_it_hurries_nobody_where_nothing_is_to_be_given_back(till: Till):
    """So many wishes may be due because their provider is away; the test above is the control."""
    await wish(till.pool, [Wish("another", str(number)) for number in range(3)])
    assert await small(till, 3).tick() == 0
    await till.pool.execute("DELETE FROM outbox WHERE kind = 'another'")


async def test_a_sale_without_live_orders_is_not_looked_through(till: Till):
    sale, [order] = await called_off(till, 1)

    async def looked() -> list[str]:
        rows = await queries.orders_called_off(till.pool, "", REFUNDABLE, 1000)
        return [name for name, _ in rows if name.startswith(sale.id)]

    assert await looked() == [order]
    await till.parts.sweep.tick()
    await till.calm()
    assert await till.state(order) is OrderState.REFUNDED
    assert await looked() == []


@pytest.mark.parametrize("together", [True, False], ids=["", "control"])
async def test_of_two_who_give_back_the_same_orders_each_is_closed_by_one(
    till: Till, together: bool
):
    """The control decides by what it has read before it has the locks."""
    sale = await till.shop.scheduled()
    orders = [await till.paid(sale) for _ in range(4)]
    looked = asyncio.Barrier(2)

    async def naive() -> int:
        found = await queries.read_orders(till.pool, orders)
        await looked.wait()
        return sum(each.closing is None for each in found.values())

    async def close() -> int:
        return await till.parts.refunds.close_all(orders, Cause.MERCHANT)

    way = close if together else naive
    closed = await asyncio.gather(way(), way())
    assert sum(closed) == (4 if together else 8)
    await till.parts.refunds.close_all(orders, Cause.MERCHANT)
    await till.calm()
    assert [await till.refunds(order) for order in orders] == [[("merchant", PRICE, "done")]] * 4
    await till.audit(sale)
