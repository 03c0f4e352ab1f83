"""What Stripe's documented events come to: each movement is told once."""

from __future__ import annotations

import pytest

from flashsale.payments.provider import MoneyKind
from flashsale.payments.providers.stripe_events import event_of, line_of, movements_of


def event(kind, about, **before):
    data = {"object": about} | ({"previous_attributes": before} if before else {})
    return {"id": "evt_1", "type": kind, "created": 1_700_000_000, "data": data}


def refund(status):
    return {
        "object": "refund",
        "id": "re_1",
        "amount": 500,
        "currency": "eur",
        "payment_intent": "pi_1",
        "status": status,
        "metadata": {"refund_id": "refund-1"},
    }


INTENT = {
    "object": "payment_intent",
    "id": "pi_1",
    "amount": 1000,
    "amount_received": 900,
    "currency": "eur",
    "metadata": {"payment_id": "pay-1"},
}


@pytest.mark.parametrize(
    ("told", "kind", "amount"),
    [
        (event("payment_intent.succeeded", INTENT), MoneyKind.CAPTURED, 900),
        (event("payment_intent.payment_failed", INTENT), MoneyKind.DECLINED, 1000),
        (event("payment_intent.canceled", INTENT), MoneyKind.EXPIRED, 1000),
        (event("payment_intent.processing", INTENT), MoneyKind.OTHER, 0),
        (event("refund.created", refund("succeeded")), MoneyKind.REFUNDED, 500),
        (event("refund.created", refund("pending")), MoneyKind.OTHER, 0),
        (event("refund.updated", refund("succeeded"), status="pending"), MoneyKind.REFUNDED, 500),
        (event("refund.updated", refund("succeeded"), metadata={}), MoneyKind.OTHER, 0),
        (event("refund.updated", refund("failed"), status="pending"), MoneyKind.OTHER, 0),
        (event("refund.failed", refund("failed")), MoneyKind.REFUND_FAILED, 500),
        (event("charge.refunded", {"object": "charge", "id": "ch_1"}), MoneyKind.OTHER, 0),
        (event("customer.created", {"object": "customer", "id": "cus_1"}), MoneyKind.OTHER, 0),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else None,
)
def test_an_event_is_read(told, kind, amount):
    read = event_of(told)
    assert (read.kind, read.amount, read.type) == (kind, amount, told["type"])
    assert read.occurred_at_ms == 1_700_000_000_000
    assert read.payload == told


def test_names_are_ours_and_a_refund_names_its_payment():
    captured = event_of(event("payment_intent.succeeded", INTENT))
    assert (captured.payment_id, captured.refund_id, captured.ref) == ("pay-1", None, "pi_1")
    given = event_of(event("refund.created", refund("succeeded")))
    assert (given.payment_id, given.refund_id, given.ref) == (None, "refund-1", "pi_1")


def test_a_balance_transaction_is_read_in_the_money_that_was_paid():
    booked = {"id": "txn_1", "created": 5, "fee": 42, "amount": 1080, "currency": "usd"}
    source = {"object": "charge", "amount": 1000, "currency": "eur", "metadata": None}
    line = line_of({**booked, "source": source})
    assert (line.amount, line.currency, line.fee, line.payment_id) == (1000, "EUR", 42, None)
    assert line_of({**booked, "source": {"object": "payout"}}) is None
    assert line_of({**booked, "source": None}) is None


def attempt(name, status, ours="refund-1"):
    return refund(status) | {
        "id": name,
        "created": 6,
        "metadata": {"refund_id": ours} if ours else {},
    }


def test_what_moved_is_told_by_the_newest_attempt_of_each_refund_of_ours():
    intent = INTENT | {"status": "succeeded", "latest_charge": {"id": "ch_1", "created": 5}}
    refunds = [
        attempt("re_1", "failed"),
        attempt("re_2", "succeeded"),
        attempt("re_3", "failed", "refund-2"),
        attempt("re_4", "pending", "refund-3"),
        attempt("re_5", "succeeded", None),
    ]
    told = movements_of(intent, refunds)
    assert [(each.id, each.kind, each.refund_id) for each in told] == [
        ("ch_1", MoneyKind.CAPTURED, None),
        ("re_2", MoneyKind.REFUNDED, "refund-1"),
        ("re_3", MoneyKind.REFUND_FAILED, "refund-2"),
    ]
    assert (told[0].payment_id, told[0].amount, told[0].occurred_at_ms) == ("pay-1", 900, 5000)
    assert movements_of(INTENT | {"status": "processing"}, []) == []


def test_the_secret_of_a_payment_is_not_written_down():
    told = event_of(event("payment_intent.payment_failed", INTENT | {"client_secret": "pi_1_s"}))
    assert "pi_1_s" not in str(told.payload)
    assert told.payload["data"]["object"] == INTENT
