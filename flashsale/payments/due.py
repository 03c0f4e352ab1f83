"""What is to be paid for an order now, or why nothing is. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from flashsale.domain.orders import OrderState
from flashsale.orders.values import Refusal
from flashsale.payments.records import OrderFacts, PaymentRecord
from flashsale.payments.values import PaymentState, Purpose

UNKNOWN_ORDER = Refusal("unknown_order")
NOT_CONFIRMED = Refusal("order_not_confirmed")
HOLD_EXPIRED = Refusal("hold_expired")
NOT_PAYABLE = Refusal("order_not_payable")
NOTHING_DUE = Refusal("nothing_due")
IN_PROGRESS = Refusal("payment_in_progress")
CLOSING = Refusal("order_closing")
UNAVAILABLE = Refusal("provider_unavailable")

_S = OrderState
_BALANCE = frozenset({_S.ALLOCATED, _S.BALANCE_DUE})
_REFUSED = {
    _S.RESERVED: NOT_CONFIRMED,
    _S.PAID: NOTHING_DUE,
    _S.FULFILLED: NOTHING_DUE,
    _S.DEPOSIT_PAID: NOTHING_DUE,
    _S.EXPIRED: HOLD_EXPIRED,
    _S.CANCELLED: NOT_PAYABLE,
    _S.REJECTED: NOT_PAYABLE,
    _S.REFUNDED: NOT_PAYABLE,
    _S.FORFEITED: NOT_PAYABLE,
}
_UNDER_WAY = frozenset({PaymentState.CREATED, PaymentState.OPEN})


class Due(NamedTuple):
    """A payment to begin; `amount` in minor units of the order's currency."""

    purpose: Purpose
    attempt: int
    amount: int


def due(
    order: OrderFacts, payments: Sequence[PaymentRecord], now_ms: int
) -> Due | PaymentRecord | Refusal:
    """The payment to begin, the one that is under way already, or a refusal.

    `payments` are all of the order's. Postgres may be behind Redis here: what it shows as payable
    is asked of Redis next.
    """
    refused = _REFUSED.get(order.state)
    if refused is not None:
        return refused
    if order.closing is not None:
        return CLOSING
    for payment in payments:
        if not payment.applied:
            running = payment.state in _UNDER_WAY and payment.expires_at_ms > now_ms
            return payment if running else IN_PROGRESS
    if order.sale_state == "cancelled":
        return NOT_PAYABLE
    purpose, amount = _owed(order, payments)
    mine = [payment for payment in payments if payment.purpose is purpose]
    if any(payment.counts for payment in mine):
        return NOTHING_DUE  # applied in Redis; its event is on the way to this row
    return Due(purpose, 1 + max((payment.attempt for payment in mine), default=0), amount)


def _owed(order: OrderFacts, payments: Iterable[PaymentRecord]) -> tuple[Purpose, int]:
    if order.state in _BALANCE:
        return Purpose.BALANCE, balance(order, payments)
    if order.kind == "preorder" and order.deposit_amount is not None:
        return Purpose.DEPOSIT, order.deposit_amount * order.quantity
    return Purpose.FULL, order.price


def balance(order: OrderFacts, payments: Iterable[PaymentRecord]) -> int:
    """What the price leaves to be paid, in minor units."""
    paid = sum(payment.captured for payment in payments if payment.counts)
    return max(0, order.price - paid)
