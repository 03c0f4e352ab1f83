"""What nobody calls for is looked for: also behind what cannot be got on with."""

from __future__ import annotations

from datetime import timedelta

from flashsale.payments.sweep import Sweep
from tests.payments.till import Till


async def test_payments_that_cannot_be_closed_do_not_keep_others_from_it(till: Till):
    sale = await till.shop.scheduled()
    buyers = [till.buyer() for _ in range(3)]
    orders = [await till.order(sale, buyer) for buyer in buyers]
    begun = [await till.begin(buyer, order) for buyer, order in zip(buyers, orders, strict=True)]
    till.parts.clock.ahead = timedelta(hours=1)
    parts = till.parts
    sweep = Sweep(till.pool, parts.intake, parts.refunds, parts.clock, limit=1)
    for _ in begun:
        await sweep.tick()
        await till.pool.execute("UPDATE outbox SET due_at = now() + interval '1 hour'")
    rows = await till.pool.fetch("SELECT subject FROM outbox WHERE kind = 'void_payment'")
    assert {row["subject"] for row in rows} == {payment.id for payment in begun}
    till.parts.clock.ahead = timedelta()
    await till.calm()
