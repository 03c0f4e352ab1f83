"""Money that comes late, twice or for nothing: it finds a unit, or goes back exactly once."""

from __future__ import annotations

import asyncio

import pytest

from flashsale.domain.events import EventKind
from flashsale.domain.orders import OrderState
from flashsale.payments import kinds
from flashsale.payments.applying import Told
from flashsale.payments.outbox import Outbox
from flashsale.payments.provider import MoneyKind
from flashsale.payments.queries_outbox import Wish, wish
from flashsale.payments.values import PaymentState
from tests.payments.till import PRICE, Till
from tests.sales.shop import item


@pytest.mark.parametrize("left", ["units", "none", "limit"])
async def test_money_after_the_hold_ran_out(till: Till, left: str):
    supply = item(supply=1 if left == "none" else 5)
    sale = await till.shop.scheduled(items=[supply], per_buyer_limit=1)
    buyer = till.buyer()
    order = await till.order(sale, buyer)
    payment = await till.begin(buyer, order)
    await till.expire(sale, order)
    if left == "none":
        await till.order(sale, till.buyer())
    elif left == "limit":
        await till.order(sale, buyer)
    await till.press(payment.checkout_url, "pay")
    await till.calm()
    found = await till.payment(payment.id)
    assert found.applied
    if left == "units":
        assert await till.state(order) is OrderState.PAID
        assert (await till.refunds(order), found.note, found.counts) == ([], None, True)
    else:
        assert await till.state(order) is OrderState.EXPIRED
        assert await till.refunds(order) == [("late", PRICE, "done")]
        assert ("limit" in found.note) == (left == "limit")
        assert not found.counts
    await till.audit(sale)


async def test_money_for_a_declined_payment_still_pays(till: Till):
    """Providers let buyers try another card after they told us of the first one."""
    sale, buyer = await till.shop.scheduled(), till.buyer()
    order = await till.order(sale, buyer)
    payment = await till.begin(buyer, order)
    await till.tell(payment.id, MoneyKind.DECLINED)
    await till.calm()
    assert await till.state(order) is OrderState.CONFIRMED
    await till.press(payment.checkout_url, "pay")
    await till.calm()
    assert await till.state(order) is OrderState.PAID
    await till.audit(sale)


async def test_who_pays_twice_gets_the_second_one_back(till: Till):
    sale, buyer = await till.shop.scheduled(), till.buyer()
    order = await till.order(sale, buyer)
    first = await till.begin(buyer, order)
    await till.tell(first.id, MoneyKind.DECLINED)
    await till.calm()
    second = await till.begin(buyer, order)
    await asyncio.gather(
        till.press(first.checkout_url, "pay"), till.press(second.checkout_url, "pay")
    )
    await till.calm()
    assert await till.state(order) is OrderState.PAID
    assert await till.refunds(order) == [("duplicate", PRICE, "done")]
    found = [await till.payment(each.id) for each in (first, second)]
    assert sorted(each.counts for each in found) == [False, True]
    await till.audit(sale)


@pytest.mark.parametrize("ended", ["cancelled", "refunded"])
@pytest.mark.parametrize("runs", [1, 3])
async def test_a_callback_never_brings_back_what_ended(till: Till, ended: str, runs: int):
    """Whatever is carried out again, side by side: the money goes back exactly once."""
    sale, buyer = await till.shop.scheduled(), till.buyer()
    order = await till.order(sale, buyer)
    first = await till.begin(buyer, order)
    if ended == "refunded":
        await till.tell(first.id, MoneyKind.DECLINED)
        await till.calm()
        second = await till.begin(buyer, order)
        await till.press(second.checkout_url, "pay")
        await till.calm()
    await till.parts.cancelling.cancel(buyer, order)
    # An unpaid order ends at once; that its checkout is to be closed waits in the outbox.
    await (till.calm() if ended == "refunded" else till.settle())
    assert await till.state(order) == ended
    before = await till.refunds(order)
    await till.press(first.checkout_url, "pay")
    for _ in range(runs):
        await asyncio.gather(*(till.parts.applying.apply(first.id) for _ in range(runs)))
        await wish(till.pool, [Wish(kinds.APPLY_PAYMENT, first.id)])
        await till.calm()
    assert await till.state(order) == ended
    cause = "duplicate" if ended == "refunded" else "late"
    assert await till.refunds(order) == [*before, (cause, PRICE, "done")]
    await till.audit(sale)


async def test_two_answers_of_redis_to_one_payment_still_end_in_one(till: Till):
    """A twin heard "sold out", another one found a unit that came back between the two calls."""
    sale = await till.shop.scheduled(items=[item(supply=1)], per_buyer_limit=1)
    buyer, other = till.buyer(), till.buyer()
    order = await till.order(sale, buyer)
    payment = await till.begin(buyer, order)
    await till.expire(sale, order)
    taken = await till.order(sale, other)
    await till.tell(payment.id, MoneyKind.CAPTURED)
    parts = till.parts
    slow = await parts.applying._judging.submit(payment.id)
    await parts.applying.apply(payment.id)
    assert [cause for cause, *_ in await till.refunds(order)] == ["late"]
    await till.expire(sale, taken)
    moved = await parts.stock.capture(slow.order, EventKind.PAID)
    assert moved.status == "CAPTURED", "the unit is sold to who gets the money back"
    await parts.applying._finishing.submit(Told(payment.id, order, captured=True, moved=moved))
    async with asyncio.timeout(30):
        while await till.state(order) is not OrderState.REFUNDED:
            await till.settle()
            await till.pool.execute("UPDATE outbox SET due_at = now()")
            await Outbox(
                till.pool,
                {k: v for k, v in parts.handlers.items() if k != kinds.SEND_REFUND},
                parts.counters,
            ).tick()
    found = await till.payment(payment.id)
    assert (found.state, found.counts, found.left) == (PaymentState.CAPTURED, False, 0)
    stock = await till.shop.stock(sale)
    assert (stock.available, stock.sold) == (1, 0)
    await till.pool.execute("DELETE FROM outbox")
