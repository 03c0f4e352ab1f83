"""Money of which no callback tells: it is asked for where it moved, and booked once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from flashsale.domain.orders import OrderState
from flashsale.payments.provider import ProviderEvent
from flashsale.payments.recalling import Recalling
from flashsale.payments.values import PaymentState, TakenAs
from flashsale.shipped import shipped
from tests.payments.till import KEY, PATIENCE_SECONDS, PRICE, Till

DAY_MS = 86_400_000


@contextlib.asynccontextmanager
async def silence(till: Till) -> AsyncIterator[None]:
    """What the sandbox tells meanwhile is not heard before the test is long over."""
    await switch(till, DAY_MS)
    try:
        yield
    finally:
        await switch(till, 0)
        till.parts.clock.ahead = timedelta()


async def switch(till: Till, delay_ms: int) -> None:
    url, headers = till.sandbox_url + "/v1/switches", {"Authorization": f"Bearer {KEY}"}
    async with till.browser.put(url, json={"delay_ms": delay_ms}, headers=headers) as answer:
        assert answer.status == 200


async def press(till: Till, url: str | None, action: str) -> None:
    """A button, without the wait for what it tells."""
    assert url is not None
    async with till.browser.post(url, data={"action": action}, allow_redirects=False) as answer:
        assert answer.status == 303


async def work(till: Till) -> None:
    """A round of the sweep, and everything that comes of it."""
    await till.parts.sweep.tick()
    for _ in range(5):
        await till.settle()
        await till.parts.outbox.tick()
    await till.settle()


async def movements(till: Till, payment: str) -> list[ProviderEvent]:
    ref = (await till.payment(payment)).provider_ref
    return list(await till.parts.provider.movements(ref))


async def ledger(till: Till, payment: str) -> list[tuple[str, str]]:
    rows = await till.pool.fetch(
        "SELECT event_id, state FROM ledger_entries WHERE payment_id = $1 ORDER BY received_at",
        payment,
    )
    return [(row["event_id"], row["state"]) for row in rows]


async def nothing(_: Recalling, payment):
    """Who waits for the callback."""
    return payment


@pytest.mark.parametrize("asked", [True, False], ids=["", "control"])
async def test_who_paid_is_paid_although_nobody_was_told(till: Till, monkeypatch, asked: bool):
    if not asked:
        monkeypatch.setattr(Recalling, "book", nothing)
    sale, buyer = await till.shop.scheduled(), till.buyer()
    order = await till.order(sale, buyer)
    payment = await till.begin(buyer, order)
    async with silence(till):
        await press(till, payment.checkout_url, "pay")
        await work(till)
        assert await till.state(order) is OrderState.PAYING, "its time is not over"
        till.parts.clock.ahead = timedelta(hours=1)
        await work(till)
        assert (await till.state(order) is OrderState.PAID) == asked
        if not asked:
            monkeypatch.undo()
            await till.pool.execute("UPDATE outbox SET due_at = now()")
            await work(till)
    assert await till.state(order) is OrderState.PAID
    [event] = await movements(till, payment.id)
    assert await ledger(till, payment.id) == [(event.id, "applied")]
    # The callback that comes after all is the same event.
    taken = await till.parts.intake.take("sandbox", event)
    assert taken.outcome is TakenAs.DUPLICATE
    await till.calm()
    assert (await till.payment(payment.id)).captured == PRICE
    await till.audit(sale)


async def test_who_cancelled_and_paid_unheard_gets_it_back(till: Till):
    sale, buyer = await till.shop.scheduled(), till.buyer()
    order = await till.order(sale, buyer)
    payment = await till.begin(buyer, order)
    async with silence(till):
        await press(till, payment.checkout_url, "pay")
        await till.parts.cancelling.cancel(buyer, order)
        await work(till)
        assert await till.refunds(order) == [("late", PRICE, "sent")]
        till.parts.clock.ahead = timedelta(hours=1)
        await work(till)
    assert await till.state(order) is OrderState.CANCELLED
    assert await till.refunds(order) == [("late", PRICE, "done")]
    await till.audit(sale)


@pytest.mark.parametrize("unheard", [True, False], ids=["", "control"])
async def test_a_refund_is_done_although_nobody_was_told(till: Till, unheard: bool):
    """The control is a refund of a moment ago: its callback is given its time."""
    sale = await till.shop.scheduled()
    order = await till.paid(sale)
    async with silence(till):
        await till.parts.refunds.ask(till.shop.merchant, order, "key", None, "")
        await work(till)
        till.parts.clock.ahead = timedelta(hours=unheard)
        await work(till)
        state = "done" if unheard else "sent"
        assert await till.refunds(order) == [("merchant", PRICE, state)]
    for event in await movements(till, f"{order}.f1"):
        await till.parts.intake.take("sandbox", event)
    await till.calm()
    assert (await till.payment(f"{order}.f1")).refunded == PRICE
    await till.audit(sale)


async def test_money_of_a_wrong_amount_is_put_aside_and_asked_about_ever_more_rarely(till: Till):
    sale, buyer = await till.shop.scheduled(), till.buyer()
    order = await till.order(sale, buyer)
    payment = await till.begin(buyer, order)
    await till.pool.execute("UPDATE payments SET amount = amount - 1 WHERE id = $1", payment.id)
    async with silence(till):
        await press(till, payment.checkout_url, "pay")
        till.parts.clock.ahead = timedelta(hours=1)
        await work(till)
        assert [state for _, state in await ledger(till, payment.id)] == ["quarantined"]
        row = await till.pool.fetchrow("SELECT * FROM outbox WHERE subject = $1", payment.id)
        assert (row["kind"], row["last_error"][:15]) == ("void_payment", "ProviderRefused")
    await till.pool.execute("DELETE FROM outbox WHERE subject = $1", payment.id)


async def test_late_money_that_nobody_heard_of_is_booked_when_somebody_says_so(till: Till):
    """As docs/recovery.md has it: the audit names what a closed payment has brought after all."""
    guide = (shipped("lua").parent / "docs" / "recovery.md").read_text()
    [wished] = [line for line in guide.splitlines() if "'recall_payment'" in line]
    sale, buyer = await till.shop.scheduled(), till.buyer()
    order = await till.order(sale, buyer)
    till.parts.clock.ahead = -timedelta(hours=1)  # for the sandbox its time is over, then
    payment = await till.begin(buyer, order)
    async with silence(till):
        await till.parts.cancelling.cancel(buyer, order)
        await work(till)
        assert (await till.payment(payment.id)).state is PaymentState.VOID
        await press(till, payment.checkout_url, "late")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await movements(till, payment.id):
                await asyncio.sleep(0.02)
        await work(till)
        assert await ledger(till, payment.id) == []
        await till.pool.execute(wished.replace("'PAYMENT'", f"'{payment.id}'"))
        await work(till)
        assert await till.refunds(order) == [("late", PRICE, "sent")]
    for event in await movements(till, payment.id):
        await till.parts.intake.take("sandbox", event)
    await till.calm()
    await till.audit(sale)
