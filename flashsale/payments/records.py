"""Rows as the rules of payments read them, and the names they have. Pure: no I/O, no decision."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

from flashsale.domain.identity import SALE_ID_LENGTH
from flashsale.domain.money import Money
from flashsale.domain.orders import OrderState
from flashsale.payments.values import (
    Cause,
    PaymentState,
    PaymentView,
    Purpose,
    RefundState,
    RefundView,
)

_KEY_BYTES = 9


class OrderFacts(NamedTuple):
    """An order, locked, with what its sale says about money. Amounts are of one unit."""

    id: str
    sale_id: str
    item: int
    buyer_id: str
    quantity: int
    unit_amount: int
    state: OrderState
    version: int
    closing: str | None
    hold_expires_at_ms: int
    merchant_id: str
    kind: str
    sale_state: str
    lanes: int
    epoch: int
    retired: bool
    cancellation: Mapping[str, Any]
    sku: str
    name: str
    currency: str
    deposit_amount: int | None

    @property
    def hash(self) -> str:
        """The order as Redis names it."""
        return self.id[SALE_ID_LENGTH:]

    @property
    def price(self) -> int:
        """The price of the whole order."""
        return self.unit_amount * self.quantity


class PaymentRecord(NamedTuple):
    """A row of `payments`; instants are Unix milliseconds, `applied` means applied_at is set."""

    id: str
    order_id: str
    sale_id: str
    merchant_id: str
    purpose: Purpose
    attempt: int
    provider: str
    provider_ref: str | None
    checkout_url: str | None
    saved: bool
    automatic: bool
    amount: int
    currency: str
    state: PaymentState
    captured: int
    refunding: int
    refunded: int
    fee: int
    counts: bool
    note: str | None
    expires_at_ms: int
    created_at_ms: int
    captured_at_ms: int | None
    applied: bool

    @property
    def left(self) -> int:
        """What came in and was not asked back."""
        return self.captured - self.refunding

    @property
    def moves_stock(self) -> bool:
        """Whether its outcome is decided in Redis: a balance is paid for units that are sold."""
        return self.purpose is not Purpose.BALANCE

    def view(self) -> PaymentView:
        """As it is shown."""
        return PaymentView(
            self.id,
            self.order_id,
            self.purpose,
            self.state,
            Money(self.amount, self.currency),
            self.captured,
            self.refunding,
            self.refunded,
            self.fee,
            self.counts,
            self.note,
            self.provider,
            self.checkout_url,
            self.expires_at_ms,
            self.created_at_ms,
        )


class RefundRecord(NamedTuple):
    """A row of `refunds` with what its payment is called at the provider."""

    id: str
    payment_id: str
    order_id: str
    amount: int
    currency: str
    cause: Cause
    reason: str
    state: RefundState
    provider: str
    payment_ref: str | None
    created_at_ms: int
    done_at_ms: int | None

    def view(self) -> RefundView:
        """As it is shown."""
        return RefundView(
            self.id,
            self.payment_id,
            self.order_id,
            Money(self.amount, self.currency),
            self.cause,
            self.reason,
            self.state,
            self.created_at_ms,
            self.done_at_ms,
        )


class NewPayment(NamedTuple):
    """A row to insert."""

    id: str
    order_id: str
    sale_id: str
    merchant_id: str
    purpose: Purpose
    attempt: int
    provider: str
    saved: bool
    automatic: bool
    amount: int
    currency: str
    expires_at_ms: int
    created_at_ms: int


class NewRefund(NamedTuple):
    """A row to insert; the payment's `refunding` grows with it."""

    id: str
    payment_id: str
    order_id: str
    amount: int
    currency: str
    cause: Cause
    reason: str


def order_facts(row: Any, cancellation: Mapping[str, Any]) -> OrderFacts:
    """An order of a row that has its fields."""
    fields = {name: row[name] for name in OrderFacts._fields}
    state = OrderState(row["state"])
    return OrderFacts(**{**fields, "state": state, "cancellation": cancellation})


def payment_record(row: Any) -> PaymentRecord:
    """A payment of a row that has its fields."""
    fields = {name: row[name] for name in PaymentRecord._fields}
    typed = {"purpose": Purpose(row["purpose"]), "state": PaymentState(row["state"])}
    return PaymentRecord(**{**fields, **typed})


def refund_record(row: Any) -> RefundRecord:
    """A refund of a row that has its fields."""
    fields = {name: row[name] for name in RefundRecord._fields}
    typed = {"cause": Cause(row["cause"]), "state": RefundState(row["state"])}
    return RefundRecord(**{**fields, **typed})


def payment_id(order_id: str, purpose: Purpose, attempt: int) -> str:
    """The name of a payment: who begins it twice names it alike."""
    return f"{order_id}.{purpose.value[0]}{attempt}"


def refund_id(payment: str, cause: Cause) -> str:
    """The name of the one refund that a payment can have for a cause of ours."""
    return f"{payment}.{cause.value}"


def keyed_refund_id(payment: str, key: str) -> str:
    """The name of a refund that a merchant asks for with an idempotency key."""
    return f"{payment}.m{blake2b(key.encode(), digest_size=_KEY_BYTES).hexdigest()}"
