"""A payment from its beginning to the money, and back, through the real sandbox."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from flashsale.domain.orders import OrderState
from flashsale.orders.values import OrderView, Refusal
from flashsale.payments.provider import MoneyKind
from flashsale.payments.values import (
    Begun,
    Cause,
    Closed,
    PaymentState,
    RefundAnswer,
    Shipped,
    TakenAs,
)
from tests.payments.till import PRICE, Till
from tests.sales.shop import item


async def test_an_order_is_paid(till: Till):
    sale, buyer = await till.shop.scheduled(), till.buyer()
    order = await till.order(sale, buyer, quantity=2)
    begun = await till.parts.payments.begin(buyer, order)
    assert isinstance(begun, Begun)
    assert not begun.replayed
    assert begun.payment.state is PaymentState.OPEN
    assert begun.payment.amount == (2 * PRICE, "CNY")
    again = await till.parts.payments.begin(buyer, order)
    assert again == Begun(begun.payment, replayed=True)
    await till.settle()
    assert await till.state(order) is OrderState.PAYING
    await till.press(begun.payment.checkout_url, "pay")
    await till.calm()
    assert await till.state(order) is OrderState.PAID
    payment = await till.payment(begun.payment.id)
    assert (payment.captured, payment.counts, payment.applied) == (2 * PRICE, True, True)
    assert payment.fee == 2 * PRICE // 100
    assert await till.parts.payments.begin(buyer, order) == Refusal("nothing_due")
    assert [each.id for each in await till.parts.payments.list(buyer, order)] == [payment.id]
    assert await till.parts.payments.list(till.buyer(), order) is None
    await till.audit(sale)


async def test_who_declines_may_begin_again(till: Till):
    sale, buyer = await till.shop.scheduled(), till.buyer()
    order = await till.order(sale, buyer)
    first = await till.begin(buyer, order)
    await till.press(first.checkout_url, "decline")
    async with asyncio.timeout(30):
        while (await till.payment(first.id)).state is not PaymentState.DECLINED:
            await asyncio.sleep(0.005)
    assert await till.parts.payments.begin(buyer, order) == Refusal("payment_in_progress")
    await till.calm()
    assert await till.state(order) is OrderState.CONFIRMED
    second = await till.begin(buyer, order)
    assert second.id != first.id
    await till.press(second.checkout_url, "pay")
    await till.calm()
    assert await till.state(order) is OrderState.PAID
    await till.audit(sale)


async def test_a_checkout_past_its_time_is_closed(till: Till):
    sale, buyer = await till.shop.scheduled(), till.buyer()
    order = await till.order(sale, buyer)
    payment = await till.begin(buyer, order)
    await till.parts.sweep.tick()
    assert (await till.payment(payment.id)).state is PaymentState.OPEN
    till.parts.clock.ahead = timedelta(hours=1)
    try:
        assert await till.parts.payments.begin(buyer, order) == Refusal("payment_in_progress")
        await till.parts.sweep.tick()
    finally:
        till.parts.clock.ahead = timedelta()
    await till.calm()
    closed = await till.payment(payment.id)
    assert (closed.state, closed.applied) == (PaymentState.VOID, True)
    assert await till.state(order) is OrderState.CONFIRMED
    assert (await till.begin(buyer, order)).id != payment.id


async def test_what_costs_nothing_is_paid_by_asking(till: Till):
    free = item(price={"amount": 0, "currency": "CNY"})
    sale, buyer = await till.shop.scheduled(items=[free]), till.buyer()
    order = await till.order(sale, buyer)
    payment = await till.begin(buyer, order)
    assert (payment.state, payment.provider, payment.captured) == ("captured", "none", 0)
    await till.calm()
    assert await till.state(order) is OrderState.PAID
    closed = await till.parts.refunds.close(order, Cause.MERCHANT)
    assert closed == Closed(order, 0)
    await till.calm()
    assert await till.state(order) is OrderState.REFUNDED
    assert await till.refunds(order) == []


async def test_part_by_part_until_all_is_given_back(till: Till):
    sale = await till.shop.scheduled()
    order, ask = await till.paid(sale), till.parts.refunds.ask
    first = await ask(till.shop.merchant, order, "a", 100, "a scratch")
    assert isinstance(first, RefundAnswer)
    assert (first.amount.amount, first.replayed) == (100, False)
    again = await ask(till.shop.merchant, order, "a", 100, "a scratch")
    assert (again.amount.amount, again.replayed) == (100, True)
    reused = Refusal("idempotency_key_reused")
    assert await ask(till.shop.merchant, order, "a", 101, "a scratch") == reused
    assert await ask(till.shop.merchant, order, "a", 100, "a dent") == reused
    above = Refusal("refund_above_captured")
    assert await ask(till.shop.merchant, order, "b", PRICE - 99, "") == above
    assert await ask("another", order, "b", 1, "") == Refusal("unknown_order")
    await till.calm()
    assert await till.state(order) is OrderState.PAID
    rest = await ask(till.shop.merchant, order, "b", None, "")
    assert rest.amount.amount == PRICE - 100
    assert await ask(till.shop.merchant, order, "c", 1, "") == Refusal("order_closing")
    await till.calm()
    assert await till.state(order) is OrderState.REFUNDED
    assert await till.refunds(order) == [
        ("merchant", 100, "done"),
        ("merchant", PRICE - 100, "done"),
    ]
    await till.audit(sale)


@pytest.mark.parametrize("paid", ["refund", "refused"])
async def test_a_buyer_cancels_what_is_paid_by_the_sales_policy(till: Till, paid: str):
    sale, buyer = await till.shop.scheduled(cancellation={"paid": paid}), till.buyer()
    order = await till.paid(sale, buyer)
    answer = await till.parts.cancelling.cancel(buyer, order)
    if paid == "refused":
        assert answer == Refusal("order_not_cancellable")
        assert await till.refunds(order) == []
        return
    assert isinstance(answer, OrderView)
    assert answer.state is OrderState.REFUNDED
    assert await till.parts.cancelling.cancel(buyer, order) == answer
    await till.calm()
    assert await till.refunds(order) == [("cancelled", PRICE, "done")]
    await till.audit(sale)


async def test_a_policy_ends_after_its_minutes(till: Till):
    policy = {"paid": "refund", "within_minutes": 10}
    sale, buyer = await till.shop.scheduled(cancellation=policy), till.buyer()
    order = await till.paid(sale, buyer)
    till.parts.clock.ahead = timedelta(minutes=11)
    try:
        late = await till.parts.cancelling.cancel(buyer, order)
    finally:
        till.parts.clock.ahead = timedelta()
    assert late == Refusal("order_not_cancellable")
    assert isinstance(await till.parts.cancelling.cancel(buyer, order), OrderView)


async def test_money_for_what_was_cancelled_while_paying_goes_back(till: Till):
    sale, buyer = await till.shop.scheduled(), till.buyer()
    order = await till.order(sale, buyer)
    payment = await till.begin(buyer, order)
    answer = await till.parts.cancelling.cancel(buyer, order)
    assert isinstance(answer, OrderView)
    assert answer.state is OrderState.CANCELLED
    await till.press(payment.checkout_url, "pay")
    await till.calm()
    assert await till.state(order) is OrderState.CANCELLED
    assert await till.refunds(order) == [("late", PRICE, "done")]
    assert "goes back" in ((await till.payment(payment.id)).note or "")
    assert till.parts.counters.late >= 1
    await till.audit(sale)


async def test_a_sale_that_is_called_off_gives_all_its_money_back(till: Till):
    sale = await till.shop.scheduled()
    orders = [await till.paid(sale) for _ in range(3)]
    await till.shop.service.cancel(till.shop.merchant, sale.id)
    assert await till.parts.sweep.tick() >= 3
    await till.calm()
    assert {await till.state(order) for order in orders} == {OrderState.REFUNDED}
    assert [await till.refunds(order) for order in orders] == [
        [("sale_cancelled", PRICE, "done")]
    ] * 3
    assert await till.parts.sweep.tick() == 0
    await till.audit(sale)


async def test_money_given_back_at_the_provider_ends_the_order(till: Till):
    sale = await till.shop.scheduled()
    order = await till.paid(sale)
    (payment,) = await till.parts.payments.of_order(order)
    taken = await till.tell(payment.id, MoneyKind.REFUNDED)
    assert taken.outcome is TakenAs.APPLIED
    await till.calm()
    assert await till.state(order) is OrderState.REFUNDED
    assert await till.refunds(order) == [("provider", PRICE, "done")]


async def test_orders_are_shipped_once(till: Till):
    sale = await till.shop.scheduled()
    order, ship = await till.paid(sale), till.parts.fulfilment.ship
    first = await ship(till.shop.merchant, order, "SF", "1")
    assert isinstance(first, Shipped)
    assert await ship(till.shop.merchant, order, "SF", "1") == first._replace(replayed=True)
    assert await ship(till.shop.merchant, order, "SF", "2") == Refusal("already_shipped")
    assert await ship("another", order, "SF", "1") == Refusal("unknown_order")
    assert await till.state(order) is OrderState.FULFILLED
    assert await till.parts.fulfilment.shipment_of(order) == first.shipment
    whole = await till.parts.refunds.ask(till.shop.merchant, order, "k", None, "")
    assert whole == Refusal("order_not_refundable")
    part = await till.parts.refunds.ask(till.shop.merchant, order, "k", 5, "")
    assert isinstance(part, RefundAnswer)
    await till.calm()
    assert await till.state(order) is OrderState.FULFILLED
