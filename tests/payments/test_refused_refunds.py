"""A refund that the provider refuses is asked for again for some days, and whenever told to."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flashsale.payments import kinds
from flashsale.payments.provider import MoneyKind
from flashsale.payments.queries_outbox import Wish, wish
from flashsale.payments.values import Cause, Closed
from tests.payments.till import PRICE, Till


async def refused(till: Till) -> tuple[str, str | None]:
    """An order with a refund that the sandbox refuses, for nobody has paid there."""
    sale, buyer = await till.shop.scheduled(), till.buyer()
    order = await till.order(sale, buyer)
    payment = await till.begin(buyer, order)
    await till.tell(payment.id, MoneyKind.CAPTURED)
    await till.calm()
    assert await till.parts.refunds.close(order, Cause.MERCHANT) == Closed(order, PRICE)
    while await till.parts.outbox.tick():
        pass
    await till.settle()
    assert await till.refunds(order) == [("merchant", PRICE, "failed")]
    return order, payment.checkout_url


async def due_in_seconds(till: Till) -> list[float]:
    rows = await till.pool.fetch(
        "SELECT extract(epoch FROM due_at - now())::float8 AS due FROM outbox"
    )
    return [row["due"] for row in rows]


@pytest.fixture(autouse=True)
async def put_back(till: Till):
    yield
    till.parts.clock.ahead = timedelta()
    await till.pool.execute("DELETE FROM outbox")


async def test_it_is_asked_for_again_later_and_is_paid_out_then(till: Till):
    before = till.parts.counters.refund_failed
    order, url = await refused(till)
    assert till.parts.counters.refund_failed == before + 1, "a person is told at once"
    (due,) = await due_in_seconds(till)
    assert due > 30, "not at once again"
    await till.press(url, "pay")
    await till.calm()
    assert await till.refunds(order) == [("merchant", PRICE, "done")]
    assert await till.money(order) == 0


async def test_it_is_given_up_after_some_days_unless_somebody_wishes_it_again(till: Till):
    order, url = await refused(till)
    till.parts.clock.ahead = timedelta(days=4)
    await till.pool.execute("UPDATE outbox SET due_at = now()")
    await till.parts.outbox.tick()
    assert await due_in_seconds(till) == []
    assert await till.refunds(order) == [("merchant", PRICE, "failed")]
    await till.press(url, "pay")
    (refund,) = await till.parts.refunds.of_order(order)
    await wish(till.pool, [Wish(kinds.SEND_REFUND, refund.id)])
    await till.calm()
    assert await till.refunds(order) == [("merchant", PRICE, "done")]
    assert await till.money(order) == 0


async def test_what_was_paid_out_is_not_asked_for_again(till: Till):
    sale = await till.shop.scheduled()
    order = await till.paid(sale)
    await till.parts.refunds.close(order, Cause.MERCHANT)
    await till.calm()
    (refund,) = await till.parts.refunds.of_order(order)
    sent = till.parts.counters.refunds_sent
    await wish(till.pool, [Wish(kinds.SEND_REFUND, refund.id)])
    await till.calm()
    assert till.parts.counters.refunds_sent == sent
    assert await till.money(order) == 0
