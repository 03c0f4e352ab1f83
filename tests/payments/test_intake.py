"""What providers tell: each event once, whatever its order, and nothing that does not add up."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from flashsale.domain.orders import OrderState
from flashsale.payments.intake import Intake
from flashsale.payments.provider import MoneyKind
from flashsale.payments.values import Cause, MoneyCounters, PaymentState, TakenAs
from tests.payments.till import PRICE, Till, event_of


async def entry(till: Till, event_id: str) -> asyncpg.Record:
    row = await till.pool.fetchrow("SELECT * FROM ledger_entries WHERE event_id = $1", event_id)
    assert row is not None
    return row


async def waiting_payment(till: Till) -> tuple[str, str]:
    """An order and its payment, which nobody has completed."""
    sale, buyer = await till.shop.scheduled(), till.buyer()
    order = await till.order(sale, buyer)
    return order, (await till.begin(buyer, order)).id


@pytest.mark.parametrize(
    "changes",
    [{"amount": PRICE - 1}, {"amount": PRICE + 1}, {"amount": 0}, {"currency": "USD"}],
    ids=str,
)
async def test_what_is_not_what_was_asked_is_put_aside(till: Till, changes):
    order, payment = await waiting_payment(till)
    before = till.parts.counters.quarantined
    taken = await till.tell(payment, MoneyKind.CAPTURED, id=f"wrong-{payment}", **changes)
    assert taken.outcome is TakenAs.QUARANTINED
    assert till.parts.counters.quarantined == before + 1
    assert (await till.payment(payment)).state is PaymentState.OPEN
    row = await entry(till, f"wrong-{payment}")
    assert (row["state"], row["payment_id"], row["order_id"]) == ("quarantined", payment, order)
    right = await till.tell(payment, MoneyKind.CAPTURED)
    assert right.outcome is TakenAs.APPLIED
    again = await till.tell(payment, MoneyKind.CAPTURED)
    assert again.outcome is TakenAs.IGNORED, "the same money, told in two events"
    other = await till.tell(payment, MoneyKind.CAPTURED, ref="sbx_another")
    assert other.outcome is TakenAs.QUARANTINED, "other money, of which a person has to know"
    assert (await till.payment(payment)).captured == PRICE


async def test_an_event_is_taken_once_however_often_it_comes(till: Till):
    _, payment = await waiting_payment(till)
    other = Intake(till.pool, MoneyCounters())
    event = event_of(payment, MoneyKind.CAPTURED, await till.payment(payment))
    taken = await asyncio.gather(
        *(each.take("sandbox", event) for each in (till.parts.intake, other) for _ in range(10))
    )
    assert sorted(each.outcome for each in taken) == ["applied"] + ["duplicate"] * 19
    assert (await till.payment(payment)).captured == PRICE
    rows = await till.pool.fetchval(
        "SELECT count(*) FROM ledger_entries WHERE payment_id = $1", payment
    )
    assert rows == 1
    await other.stop()


async def test_without_the_ledgers_key_twins_would_both_count(till: Till):
    """The control: who looks first and writes then, with nothing to collide on, adds twice."""
    _, payment = await waiting_payment(till)
    looked = asyncio.Barrier(2)

    async def naive() -> None:
        known = await till.pool.fetchval(
            "SELECT count(*) FROM ledger_entries WHERE payment_id = $1", payment
        )
        await looked.wait()
        if not known:
            await till.pool.execute(
                "UPDATE payments SET captured = captured + amount WHERE id = $1", payment
            )

    await asyncio.gather(naive(), naive())
    assert (await till.payment(payment)).captured == 2 * PRICE


async def test_a_refund_before_its_payment_is_kept(till: Till):
    order, payment = await waiting_payment(till)
    early = await till.tell(payment, MoneyKind.REFUNDED, id=f"early-{payment}", amount=10)
    assert early.outcome is TakenAs.RECEIVED
    assert await till.parts.intake.retry() == 0
    assert (await entry(till, f"early-{payment}"))["state"] == "received"
    await till.tell(payment, MoneyKind.CAPTURED)
    assert (await entry(till, f"early-{payment}"))["state"] == "applied"
    found = await till.payment(payment)
    assert (found.captured, found.refunding, found.refunded) == (PRICE, 10, 10)
    assert await till.refunds(order) == [(Cause.PROVIDER.value, 10, "done")]


async def test_both_in_one_batch_and_the_wrong_way_round(till: Till):
    _, payment = await waiting_payment(till)
    known = await till.payment(payment)
    refund = event_of(payment, MoneyKind.REFUNDED, known, amount=PRICE)
    capture = event_of(payment, MoneyKind.CAPTURED, known)
    taken = await asyncio.gather(
        *(till.parts.intake.take("sandbox", each) for each in (refund, capture, refund))
    )
    assert [each.outcome for each in taken] == ["applied", "applied", "duplicate"]
    found = await till.payment(payment)
    assert (found.captured, found.refunded) == (PRICE, PRICE)


async def test_an_event_of_an_unknown_payment_waits_for_it(till: Till):
    """Out of a batch that another process has not committed yet, or of another database."""
    sale, buyer = await till.shop.scheduled(), till.buyer()
    order = await till.order(sale, buyer)
    before = till.parts.counters.unmatched
    taken = await till.tell(f"{order}.f1", MoneyKind.CAPTURED, unknown=True, ref="sbx_x")
    assert taken.outcome is TakenAs.UNMATCHED
    assert await till.parts.intake.retry() == 0
    assert till.parts.counters.unmatched == before + 1, "told once, however often it is tried"
    payment = await till.begin(buyer, order)
    assert await till.parts.intake.retry() == 1
    assert (await till.payment(payment.id)).captured == PRICE
    await till.pool.execute("UPDATE outbox SET due_at = now()")
    await till.parts.outbox.tick()
    await till.settle()
    assert await till.state(order) is OrderState.PAID


async def test_an_event_is_matched_by_the_providers_own_name(till: Till):
    _, payment = await waiting_payment(till)
    taken = await till.tell(payment, MoneyKind.CAPTURED, payment_id=None)
    assert taken.outcome is TakenAs.APPLIED
    assert (await till.payment(payment)).captured == PRICE


async def test_what_is_of_no_use_is_written_down_and_no_more(till: Till):
    _, payment = await waiting_payment(till)
    taken = await till.tell(payment, MoneyKind.OTHER, type="payment.looked_at")
    assert taken.outcome is TakenAs.IGNORED
    await till.tell(payment, MoneyKind.CAPTURED)
    for kind in (MoneyKind.DECLINED, MoneyKind.EXPIRED):
        assert (await till.tell(payment, kind)).outcome is TakenAs.IGNORED, "it came too late"
    found = await till.payment(payment)
    assert (found.state, found.captured) == (PaymentState.CAPTURED, PRICE)


async def test_another_providers_word_is_not_taken(till: Till):
    _, payment = await waiting_payment(till)
    event = event_of(payment, MoneyKind.CAPTURED, await till.payment(payment))
    taken = await till.parts.intake.take("stripe", event)
    assert taken.outcome is TakenAs.QUARANTINED
    assert (await till.payment(payment)).captured == 0


@pytest.mark.parametrize("amount", [0, PRICE + 1])
async def test_more_than_came_in_cannot_have_gone_back(till: Till, amount: int):
    _, payment = await waiting_payment(till)
    await till.tell(payment, MoneyKind.CAPTURED)
    taken = await till.tell(payment, MoneyKind.REFUNDED, amount=amount)
    assert taken.outcome is TakenAs.QUARANTINED
    assert (await till.payment(payment)).refunded == 0


async def test_a_refund_that_fails_calls_for_a_person(till: Till):
    sale = await till.shop.scheduled()
    order = await till.paid(sale)
    await till.parts.refunds.ask(till.shop.merchant, order, "k", 7, "")
    (refund,) = await till.parts.refunds.of_order(order)
    before = till.parts.counters.refund_failed
    taken = await till.tell(
        refund.payment_id, MoneyKind.REFUND_FAILED, refund_id=refund.id, amount=7
    )
    assert taken.outcome is TakenAs.APPLIED
    assert till.parts.counters.refund_failed == before + 1
    assert await till.refunds(order) == [("merchant", 7, "failed")]
    other = await till.tell(refund.payment_id, MoneyKind.REFUND_FAILED, amount=7)
    assert other.outcome is TakenAs.QUARANTINED
    await till.calm()


async def test_one_unwritable_event_costs_no_other_one(till: Till):
    _, payment = await waiting_payment(till)
    good = event_of(payment, MoneyKind.CAPTURED, await till.payment(payment))
    bad = event_of(payment, MoneyKind.OTHER, id="nul\x00")
    taken = await asyncio.gather(
        *(till.parts.intake.take("sandbox", each) for each in (bad, good)), return_exceptions=True
    )
    assert isinstance(taken[0], asyncpg.PostgresError)
    assert taken[1].outcome is TakenAs.APPLIED


async def test_without_postgres_nothing_is_taken(till: Till):
    """The web answers 503, and the provider comes again."""
    _, payment = await waiting_payment(till)
    event = event_of(payment, MoneyKind.CAPTURED, await till.payment(payment))
    away = await asyncpg.create_pool(till.shop.dsn, min_size=1, max_size=1)
    intake = Intake(away, MoneyCounters())
    await away.close()
    with pytest.raises(asyncpg.InterfaceError):
        await intake.take("sandbox", event)
    await intake.stop()
    assert (await till.parts.intake.take("sandbox", event)).outcome is TakenAs.APPLIED
