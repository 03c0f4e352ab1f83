"""Redis loses what it was told of money before that was settled: recovery has it told again."""

from __future__ import annotations

import pytest

from flashsale.domain.orders import OrderState
from flashsale.payments.values import Cause
from flashsale.recovery import queries
from flashsale.recovery.protocol import Recovery
from flashsale.reservation.links import Links
from flashsale.reservation.rebuilding import LaneRebuilder
from flashsale.reservation.scripts import ScriptRunner
from flashsale.sales.queries import find_sale
from flashsale.sales.values import SaleFacts
from flashsale.settlement.queries import LaneToRead
from tests.payments.till import Till
from tests.reconciliation.scene import SCRIPTS


async def lose_everything(till: Till, sale: SaleFacts) -> None:
    """The disk of Redis is new, and the sale is rebuilt out of Postgres."""
    await till.shop.redis.flushdb()

    async def drain(sale_id: str, lane: int) -> None:
        await (await till.worker.lane(LaneToRead(sale_id, lane))).drain()

    links = Links(till.shop.redis)
    rebuilder = LaneRebuilder(ScriptRunner(links, SCRIPTS))
    recovery = Recovery(till.pool, till.shop.store, rebuilder, drain)
    assert await recovery.recover(sale.id, "a test") is not None
    await links.close()


async def paid_and_unsettled(till: Till, sale: SaleFacts) -> str:
    """An order whose money Redis has taken note of, and Postgres has not heard so."""
    buyer = till.buyer()
    order = await till.order(sale, buyer)
    await till.press((await till.begin(buyer, order)).checkout_url, "pay")
    await till.settle()
    while await till.parts.outbox.tick():
        pass
    assert await till.state(order) is OrderState.PAYING
    assert (await till.payment(f"{order}.f1")).applied
    return order


async def nothing(*_: object) -> None:
    pass


@pytest.mark.parametrize("told_again", [True, False], ids=["", "control"])
async def test_money_is_brought_to_its_order_again(till: Till, monkeypatch, told_again: bool):
    if not told_again:
        monkeypatch.setattr(queries, "wish_again", nothing)
    sale = await till.shop.scheduled()
    order = await paid_and_unsettled(till, sale)
    await lose_everything(till, sale)
    await till.calm()
    assert (await till.state(order) is OrderState.PAID) == told_again
    assert await till.refunds(order) == []


async def test_money_whose_unit_went_to_others_meanwhile_goes_back(till: Till):
    sale = await till.shop.scheduled()
    order = await paid_and_unsettled(till, sale)
    await lose_everything(till, sale)
    found = await find_sale(till.pool, sale.id)
    assert found is not None
    sale = found
    await till.run_out(sale, order)
    await till.shop.store.expire_due(sale.id, 0, sale.epoch, 10)
    capacity = sale.items[0].capacity
    for _ in range(capacity):
        await till.order(sale, till.buyer())
    await till.calm()
    assert await till.state(order) is OrderState.EXPIRED
    assert [cause for cause, *_ in await till.refunds(order)] == ["late"]
    assert await till.money(order) == 0


@pytest.mark.parametrize("told_again", [True, False], ids=["", "control"])
async def test_units_of_refunded_orders_are_returned_again(
    till: Till, monkeypatch, told_again: bool
):
    if not told_again:
        monkeypatch.setattr(queries, "wish_again", nothing)
    sale = await till.shop.scheduled()
    order = await till.paid(sale)
    await till.parts.refunds.close(order, Cause.MERCHANT)
    while await till.parts.outbox.tick():
        pass
    assert await till.state(order) is OrderState.PAID
    await lose_everything(till, sale)
    await till.calm()
    assert (await till.state(order) is OrderState.REFUNDED) == told_again
    assert await till.money(order) == 0


async def test_who_is_paying_keeps_the_units_until_the_checkout_ends(till: Till):
    """The hold's own time would be over before: the buyer would pay for what others have."""
    sale, buyer = await till.shop.scheduled(hold_seconds=60), till.buyer()
    order = await till.order(sale, buyer)
    payment = await till.begin(buyer, order)
    await lose_everything(till, sale)
    assert await till.state(order) is OrderState.CONFIRMED
    hold = await till.shop.store.find_hold(sale.id, 0, order[12:])
    assert (hold.state, hold.version) == (OrderState.RESERVED, 1), "the checkout is forgotten"
    assert hold.deadline_ms >= payment.expires_at_ms
    await till.press(payment.checkout_url, "pay")
    await till.calm()
    assert await till.state(order) is OrderState.PAID
