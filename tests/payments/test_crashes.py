"""A process dies between any two steps; another one finishes, and nothing is done twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from flashsale.domain.orders import OrderState
from flashsale.orders.values import Refusal
from flashsale.payments.provider import MoneyKind
from flashsale.payments.values import Begun, Cause, PaymentState
from tests.payments.faults import Died, Faults
from tests.payments.parts import Parts
from tests.payments.till import PRICE, Till

_STEPS_MAX = 40


async def dies_everywhere(
    till: Till,
    prepare: Callable[[], Awaitable[str]],
    work: Callable[[Parts, str], Awaitable[object]],
    finish: Callable[[str], Awaitable[None]],
) -> list[str]:
    """Do `work` on what `prepare` made, dying at each step in turn; the steps there were."""
    for at in range(_STEPS_MAX):
        for after in (False, True):
            subject = await prepare()
            faults = Faults(at, after)
            parts = till.broken_process(faults)
            with suppress(Died):
                await work(parts, subject)
            if not faults.dead:
                assert at > 0
                return faults.steps
            await finish(subject)
    raise AssertionError("the work has no end")


async def dispatch(parts: Parts) -> None:
    """One process' dispatch, which dies with its process."""
    for _ in range(3):
        with suppress(Died):
            await parts.outbox.tick()


async def test_beginning_a_payment(till: Till):
    sale = await till.shop.scheduled(items=[_many()], per_buyer_limit=1)
    buyers = {}

    async def prepare() -> str:
        buyer = till.buyer()
        order = await till.order(sale, buyer)
        buyers[order] = buyer
        return order

    async def begin(parts: Parts, order: str) -> None:
        await parts.payments.begin(buyers[order], order)

    async def finish(order: str) -> None:
        await till.calm()
        begun = await till.parts.payments.begin(buyers[order], order)
        assert isinstance(begun, Begun)
        assert begun.payment.state is PaymentState.OPEN
        await till.press(begun.payment.checkout_url, "pay")
        await till.calm()
        assert await till.state(order) is OrderState.PAID
        assert len(await till.parts.payments.of_order(order)) == 1

    steps = await dies_everywhere(till, prepare, begin, finish)
    assert {"transaction", "pay", "open"} <= set(steps)
    await till.audit(sale)


@pytest.mark.parametrize("late", [False, True], ids=["in time", "cancelled before"])
async def test_bringing_money_to_its_order(till: Till, late: bool):
    sale = await till.shop.scheduled(items=[_many()], per_buyer_limit=1)

    async def prepare() -> str:
        buyer = till.buyer()
        order = await till.order(sale, buyer)
        payment = await till.begin(buyer, order)
        if late:
            # Postgres has not heard of it: Redis will say that the order has ended.
            await till.parts.cancelling.cancel(buyer, order)
        await till.press(payment.checkout_url, "pay")
        return order

    async def apply(parts: Parts, _: str) -> None:
        await dispatch(parts)

    async def finish(order: str) -> None:
        await till.calm()
        ended = OrderState.CANCELLED if late else OrderState.PAID
        assert await till.state(order) is ended
        assert await till.refunds(order) == ([("late", PRICE, "done")] if late else [])

    steps = await dies_everywhere(till, prepare, apply, finish)
    assert {"capture"} <= set(steps)
    assert ("refund" in steps) == late
    await till.calm()
    await till.audit(sale)


async def test_giving_back(till: Till):
    sale = await till.shop.scheduled(items=[_many()], per_buyer_limit=1)

    async def prepare() -> str:
        return await till.paid(sale)

    async def refund(parts: Parts, order: str) -> None:
        await parts.refunds.ask(till.shop.merchant, order, "key", None, "broken")
        await dispatch(parts)

    async def finish(order: str) -> None:
        again = await till.parts.refunds.ask(till.shop.merchant, order, "key", None, "broken")
        assert not isinstance(again, Refusal)
        await till.calm()
        assert await till.state(order) is OrderState.REFUNDED
        assert await till.refunds(order) == [(Cause.MERCHANT.value, PRICE, "done")]

    steps = await dies_everywhere(till, prepare, refund, finish)
    assert {"refund", "return_units"} <= set(steps)
    await till.calm()
    await till.audit(sale)


async def test_closing_what_nobody_paid(till: Till):
    sale = await till.shop.scheduled(items=[_many()], per_buyer_limit=1)

    async def prepare() -> str:
        buyer = till.buyer()
        order = await till.order(sale, buyer)
        payment = await till.begin(buyer, order)
        await till.tell(payment.id, MoneyKind.EXPIRED)
        return order

    async def decline(parts: Parts, _: str) -> None:
        await dispatch(parts)

    async def finish(order: str) -> None:
        await till.calm()
        assert await till.state(order) is OrderState.CONFIRMED
        (payment,) = await till.parts.payments.of_order(order)
        assert payment.state is PaymentState.VOID

    steps = await dies_everywhere(till, prepare, decline, finish)
    assert "decline" in steps
    await till.calm()
    await till.audit(sale)


def _many():
    from tests.sales.shop import item

    return item(supply=200)
