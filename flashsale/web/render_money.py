"""Values to JSON: payments, refunds, shipments, for buyers and for merchants. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flashsale.domain.money import Money
from flashsale.orders.values import OrderView
from flashsale.payments.values import PaymentView, RefundAnswer, RefundView, Shipment
from flashsale.web import render
from flashsale.web.render import money, rfc3339


def payment(view: PaymentView) -> dict[str, Any]:
    """A payment as its buyer sees it."""
    currency = view.amount.currency
    return {
        "id": view.id,
        "order_id": view.order_id,
        "purpose": view.purpose.value,
        "state": view.state.value,
        "amount": money(view.amount),
        "captured": money(Money(view.captured, currency)),
        "refunded": money(Money(view.refunded, currency)),
        "note": view.note,
        "checkout_url": view.checkout_url,
        "expires_at": rfc3339(view.expires_at_ms),
        "created_at": rfc3339(view.created_at_ms),
    }


def merchant_payment(view: PaymentView) -> dict[str, Any]:
    """A payment as its merchant sees it."""
    currency = view.amount.currency
    return payment(view) | {
        "provider": view.provider,
        # As in the report: what is on its way back, and not what has arrived there too.
        "refunding": money(Money(view.refunding - view.refunded, currency)),
        "fee": money(Money(view.fee, currency)),
        "counts": view.counts,
    }


def refund(view: RefundView) -> dict[str, Any]:
    """Money on its way back."""
    return {
        "id": view.id,
        "payment_id": view.payment_id,
        "order_id": view.order_id,
        "amount": money(view.amount),
        "cause": view.cause.value,
        "reason": view.reason,
        "state": view.state.value,
        "created_at": rfc3339(view.created_at_ms),
        "done_at": None if view.done_at_ms is None else rfc3339(view.done_at_ms),
    }


def refund_answer(answer: RefundAnswer) -> dict[str, Any]:
    """What a merchant's request came to."""
    return {
        "order_id": answer.order_id,
        "amount": money(answer.amount),
        "refunds": [refund(each) for each in answer.refunds],
    }


def shipment(sent: Shipment) -> dict[str, Any]:
    """How an order left the house."""
    return {
        "order_id": sent.order_id,
        "carrier": sent.carrier,
        "tracking_number": sent.tracking_number,
        "shipped_at": rfc3339(sent.shipped_at_ms),
    }


def order_detail(
    view: OrderView,
    payments: Sequence[PaymentView],
    sent: Shipment | None,
    *,
    ships_at_ms: int | None,
    balance_due_at_ms: int | None,
) -> dict[str, Any]:
    """An order with its payments and its way; what there is nothing of is left out."""
    answer = render.order(view)
    if payments:
        answer["payments"] = [payment(each) for each in payments]
    if sent is not None:
        answer["shipment"] = shipment(sent)
    if ships_at_ms is not None:
        answer["ships_at"] = rfc3339(ships_at_ms)
    if balance_due_at_ms is not None:
        answer["balance_due_at"] = rfc3339(balance_due_at_ms)
    return answer
