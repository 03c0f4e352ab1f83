"""What docs/operating.md has an operator do about money that was put aside, done as it says."""

from __future__ import annotations

import re

import pytest

from flashsale.domain.orders import OrderState
from flashsale.payments.provider import MoneyKind
from flashsale.payments.values import PaymentState, TakenAs
from flashsale.shipped import shipped
from tests.payments.till import PRICE, Till

GUIDE = (shipped("lua").parent / "docs" / "operating.md").read_text()


def advice(name: str) -> str:
    """The statements behind *name* in the chapter about quarantined rows."""
    chapter = GUIDE.partition("### Money put aside")[2].partition("\n### ")[0]
    found = re.search(
        rf"^\*{name}\*[^\n]*(?:\n[^\n]+)*\n\n((?:    [^\n]*\n)+)", chapter, re.MULTILINE
    )
    assert found is not None, name
    return found[1]


async def follow(till: Till, name: str, **names: str) -> None:
    statements = advice(name)
    for placeholder, value in names.items():
        assert f"'{placeholder}'" in statements
        statements = statements.replace(f"'{placeholder}'", f"'{value}'")
    await till.pool.execute(statements)


async def put_aside(till: Till, payment: str, note: str) -> str:
    """The quarantined row of a payment."""
    [row] = await till.pool.fetch(
        "SELECT event_id, note FROM ledger_entries WHERE payment_id = $1 AND state = 'quarantined'",
        payment,
    )
    assert row["note"] == note
    return row["event_id"]


async def judged_again(till: Till) -> None:
    await till.parts.sweep.tick()
    await till.calm()


async def unsettled(till: Till) -> int:
    return await till.pool.fetchval(
        "SELECT count(*) FROM ledger_entries"
        " WHERE state IN ('quarantined', 'unmatched', 'received')"
    )


@pytest.fixture(autouse=True)
async def clean(till: Till) -> None:
    assert await unsettled(till) == 0


async def test_a_payment_of_a_wrong_amount_is_closed(till: Till):
    sale, buyer = await till.shop.scheduled(), till.buyer()
    order = await till.order(sale, buyer)
    payment = (await till.begin(buyer, order)).id
    await till.tell(payment, MoneyKind.CAPTURED, amount=PRICE - 1)
    await till.tell(payment, MoneyKind.REFUNDED, amount=PRICE - 1)
    await put_aside(till, payment, "another amount than was asked")
    await till.settle()
    await follow(till, "Close the payment", PAYMENT=payment)
    await till.calm()
    closed = await till.payment(payment)
    assert (closed.state, closed.applied, closed.captured) == (PaymentState.VOID, True, 0)
    assert await till.state(order) is OrderState.CONFIRMED, "the buyer may pay, and rightly"
    assert await unsettled(till) == 0
    await till.press((await till.begin(buyer, order)).checkout_url, "pay")
    await till.calm()
    assert await till.state(order) is OrderState.PAID
    await till.audit(sale)


async def test_what_was_given_back_by_hand_is_named_after_the_refund_that_failed(till: Till):
    sale = await till.shop.scheduled()
    order = await till.paid(sale)
    payment, ask = f"{order}.f1", till.parts.refunds.ask
    refund = (await ask(till.shop.merchant, order, "key", 500, "a scratch")).refunds[0].id
    await till.pool.execute("DELETE FROM outbox WHERE subject = $1", refund)
    await till.pool.execute("UPDATE refunds SET state = 'failed' WHERE id = $1", refund)
    rest = (await ask(till.shop.merchant, order, "rest", PRICE - 500, "all of it")).refunds[0].id
    await till.calm()
    assert await till.state(order) is OrderState.REFUNDED
    taken = await till.tell(payment, MoneyKind.REFUNDED, amount=500)
    assert taken.outcome is TakenAs.QUARANTINED
    event = await put_aside(till, payment, "more goes back than came in")
    await follow(till, "Name that refund", EVENT=event, REFUND=refund)
    await judged_again(till)
    states = {each.id: each.state.value for each in await till.parts.refunds.of_order(order)}
    assert states == {refund: "done", rest: "done"}
    assert (await till.payment(payment)).refunded == PRICE
    assert await unsettled(till) == 0


async def test_a_refund_of_another_amount_is_corrected(till: Till):
    sale = await till.shop.scheduled()
    order = await till.paid(sale)
    payment, ask = f"{order}.f1", till.parts.refunds.ask
    refund = (await ask(till.shop.merchant, order, "key", 500, "a scratch")).refunds[0].id
    await till.pool.execute("DELETE FROM outbox WHERE subject = $1", refund)
    await till.tell(payment, MoneyKind.REFUNDED, refund_id=refund, amount=400)
    event = await put_aside(till, payment, "another amount than was given back")
    await follow(till, "Correct the refund", EVENT=event)
    await judged_again(till)
    assert await till.refunds(order) == [("merchant", 400, "done")]
    found = await till.payment(payment)
    assert (found.refunding, found.refunded) == (400, 400)
    assert await unsettled(till) == 0


async def test_what_is_settled_otherwise_is_put_away(till: Till):
    sale = await till.shop.scheduled()
    order = await till.paid(sale)
    payment = f"{order}.f1"
    await till.tell(payment, MoneyKind.CAPTURED, ref="another")
    event = await put_aside(till, payment, "captured before, under another name")
    await till.tell("unknown", MoneyKind.REFUNDED, unknown=True, id="evt_of_the_second")
    assert await unsettled(till) == 2
    for name in (event, "evt_of_the_second"):
        await follow(till, "Put away", EVENT=name)
    await judged_again(till)
    assert await unsettled(till) == 0
    assert await till.state(order) is OrderState.PAID
    await till.audit(sale)


def test_every_reason_to_put_something_aside_has_its_advice():
    code = (shipped("lua").parent / "flashsale" / "payments" / "judging.py").read_text()
    notes = set(re.findall(r'QUARANTINED, "(.*)"\)', code))
    assert len(notes) > 7
    told = " ".join(GUIDE.partition("### Money put aside")[2].partition("\n### ")[0].split())
    assert {note for note in notes if note not in told} == set()
