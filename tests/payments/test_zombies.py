"""A process that stood still and goes on with an answer, or a plan, that is true no more.

It is held before or behind one call; meanwhile others finish its work and begin something new.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flashsale.domain.orders import OrderState
from flashsale.domain.outcomes import Status
from flashsale.payments import kinds
from flashsale.payments.provider import MoneyKind
from flashsale.payments.queries_outbox import Wish, wish
from flashsale.sales.values import SaleFacts
from tests.payments.parts import Parts
from tests.payments.till import PRICE, Till, event_of
from tests.sales.shop import item


class Standing:
    """A store whose first call of one script stands still, before it is sent or behind it."""

    def __init__(self, real: Any, script: str, *, behind: bool) -> None:
        self._real, self._script, self._behind = real, script, behind
        self.there, self.on = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        return self._standing(found) if name == self._script else found

    def _standing(self, call: Any) -> Any:
        async def stand(*arguments: Any, **more: Any) -> Any:
            answer = await call(*arguments, **more) if self._behind else None
            self.there.set()
            await self.on.wait()
            return answer if self._behind else await call(*arguments, **more)

        return stand


def slow_process(till: Till, script: str, *, behind: bool = False) -> tuple[Parts, Standing]:
    store = Standing(till.parts.store, script, behind=behind)
    parts = Parts(till.pool, store, till.parts.provider, till.parts.clock, till.parts.desk)
    till.broken.append(parts)
    return parts, store


async def redis_state(till: Till, sale: SaleFacts, order: str) -> OrderState:
    hold = await till.shop.store.find_hold(sale.id, 0, order[12:])
    assert hold is not None
    return hold.state


@pytest.mark.parametrize("script", ["decline", "find_hold"])
async def test_an_old_decline_leaves_a_newer_checkout_alone(till: Till, script: str):
    sale, buyer = await till.shop.scheduled(), till.buyer()
    order = await till.order(sale, buyer)
    first = await till.begin(buyer, order)
    await till.tell(first.id, MoneyKind.DECLINED)
    slow, store = slow_process(till, script)
    late = asyncio.create_task(slow.applying.apply(first.id))
    await store.there.wait()
    await till.calm()
    second = await till.begin(buyer, order)
    assert second.id != first.id
    store.on.set()
    await late
    assert await redis_state(till, sale, order) is OrderState.PAYING
    await till.press(second.checkout_url, "pay")
    await till.calm()
    assert await till.state(order) is OrderState.PAID
    await till.audit(sale)


async def test_a_decline_that_names_no_record_would_end_the_newer_checkout(till: Till):
    sale, buyer = await till.shop.scheduled(), till.buyer()
    order = await till.order(sale, buyer)
    first = await till.begin(buyer, order)
    await till.tell(first.id, MoneyKind.DECLINED)
    step = await till.parts.applying._judging.submit(first.id)
    await till.calm()
    await till.begin(buyer, order)
    moved = await till.parts.stock.decline(step.order)
    assert moved.status is Status.DECLINED
    assert await redis_state(till, sale, order) is OrderState.CONFIRMED


@pytest.mark.parametrize("settled", [True, False])
async def test_an_old_no_does_not_take_back_what_a_twin_has_sold(till: Till, settled: bool):
    """The unit came back between two calls: the second one sold it, the first one answers late."""
    sale = await till.shop.scheduled(items=[item(supply=1)], per_buyer_limit=1)
    buyer, other = till.buyer(), till.buyer()
    order = await till.order(sale, buyer)
    payment = await till.begin(buyer, order)
    await till.expire(sale, order)
    taken = await till.order(sale, other)
    await till.press(payment.checkout_url, "pay")
    slow, store = slow_process(till, "capture", behind=True)
    late = asyncio.create_task(slow.applying.apply(payment.id))
    await store.there.wait()
    await till.expire(sale, taken)
    await till.parts.applying.apply(payment.id)
    if settled:
        await till.settle()
    store.on.set()
    await late
    await till.calm()
    assert await till.state(order) is OrderState.PAID
    assert await till.refunds(order) == []
    await till.audit(sale)


async def test_two_events_of_one_refund_count_once(till: Till):
    """Both wait for the payment; the second one has read the refund before the first was done."""
    sale, buyer = await till.shop.scheduled(), till.buyer()
    order = await till.paid(sale, buyer)
    merchant = till.shop.merchant
    for key in ("one", "two"):
        await till.parts.refunds.ask(merchant, order, key, PRICE // 2, "")
    refund = (await till.parts.refunds.of_order(order))[0]
    other = Parts(
        till.pool, till.shop.store, till.parts.provider, till.parts.clock, till.parts.desk
    )
    till.broken.append(other)

    def told(parts: Parts, number: int) -> asyncio.Task[Any]:
        changes = {"refund_id": refund.id, "amount": PRICE // 2, "id": f"{refund.id}-{number}"}
        event = event_of(refund.payment_id, MoneyKind.REFUNDED, **changes)
        return asyncio.create_task(parts.intake.take("sandbox", event))

    async with till.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM payments WHERE id = $1 FOR UPDATE", refund.payment_id)
        both = [told(parts, number) for number, parts in enumerate((till.parts, other))]
        while await waiting(till) < 2:
            await asyncio.sleep(0.005)
    answers = await asyncio.gather(*both)
    assert sorted(each.outcome.value for each in answers) == ["applied", "ignored"]
    assert (await till.payment(refund.payment_id)).refunded == PRICE // 2


async def waiting(till: Till) -> int:
    return await till.pool.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
        "AND datname = current_database()"
    )


async def test_an_order_that_costs_nothing_is_never_taken_for_emptied(till: Till):
    sale = await till.shop.scheduled(items=[item(price={"amount": 0, "currency": "CNY"})])
    buyer = till.buyer()
    order = await till.order(sale, buyer)
    await till.parts.payments.begin(buyer, order)
    await till.calm()
    assert await till.state(order) is OrderState.PAID
    await wish(till.pool, [Wish(kinds.CLOSE_EMPTIED, order)])
    await till.calm()
    assert await till.state(order) is OrderState.PAID
