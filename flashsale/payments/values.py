"""Payments as values: what callers ask and are answered. No I/O, and never a decision.

What the other packages call (everything else here is the inside):

    Stock(pool, store)                                      stock.py; what the others tell Redis by
    PaymentDesk(pool, store, opening, provider_name, clock, checkout_ms=…)          service.py
        begin(buyer, order_id) -> Begun | Refusal           POST /v1/orders/{order}/payments
        list(buyer, order_id) -> [PaymentView] | None       None: no such order of this buyer's
        of_order(order_id) -> [PaymentView]                 for the merchant
    Opening(pool, stock, providers, intake.take, clock)     opening.py; recalling.py is its part
    Intake(pool, counters)                                  intake.py
        take(provider_name, event) -> Taken                 after Provider.verify; raises outages
    Refunds(pool)                                           refunds.py
        ask(merchant_id, order_id, key, amount, reason) -> RefundAnswer | Refusal
        close(order_id, cause, reason) -> Closed | Refusal  all money back, the units too
        close_all(order_ids, cause) -> how many             those that can be closed
        close_in(connection, order_id, cause, reason)       the same in the caller's transaction
        forfeit_in(connection, order_id)                    units back, the money stays
        of_order(order_id) -> [RefundView]
    Giving(pool, stock, providers, counters)                giving.py
    Cancelling(pool, order_desk, stock, giving, clock, free_cancel=…)               cancel.py
        cancel(buyer, order_id) -> OrderView | Refusal      POST /v1/orders/{order}/cancel
    Fulfilment(pool)                                        fulfilment.py
        ship(merchant_id, order_id, carrier, tracking_number) -> Shipped | Refusal
        ship_all(merchant_id, sale_id, lines) -> Imported | [LineRefusal]
        shipment_of(order_id) -> Shipment | None
    Charges(pool, clock)                                    charges.py
        charge_balance(order_id) -> PaymentView | Refusal   by the saved deposit, without the buyer
        charge_in(connection, order_id)                     the same in the caller's transaction
    Applying(pool, stock, counters)                         applying.py
    Outbox(pool, handlers(opening, applying, giving) | more, counters, bounds=…)    outbox.py
        run(stop), tick() -> int
    Sweep(pool, intake, refunds, clock)                     sweep.py
        run(stop), tick() -> int
    queries_outbox.wish(connection, [Wish(kind, subject)])  others wish for their own kinds, too

PaymentDesk, Opening, Intake, Applying and Giving have `stop()`; `providers` is a mapping by name.
Refusal codes: unknown_order, order_not_confirmed (not settled yet, or no room yet: retry),
hold_expired, order_not_payable, nothing_due, payment_in_progress, order_closing,
provider_unavailable, order_not_cancellable, order_not_refundable, refund_above_captured,
idempotency_key_reused, already_shipped, order_not_shippable,
order_named_twice, nothing_saved.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from flashsale.domain.money import Money

#: What a payment of nothing is captured by.
NO_PROVIDER = "none"


class PaymentState(StrEnum):
    """created: asked for; open: the provider has it; void: closed before anything came in."""

    CREATED = "created"
    OPEN = "open"
    CAPTURED = "captured"
    DECLINED = "declined"
    VOID = "void"


class Purpose(StrEnum):
    """What the money is for; `full` is the whole price at once."""

    FULL = "full"
    DEPOSIT = "deposit"
    BALANCE = "balance"


class Cause(StrEnum):
    """Why money goes back. `provider`: it was given back at the provider, without our asking."""

    LATE = "late"
    DUPLICATE = "duplicate"
    CANCELLED = "cancelled"
    MERCHANT = "merchant"
    SALE_CANCELLED = "sale_cancelled"
    DEFAULT = "default"
    PROVIDER = "provider"


class RefundState(StrEnum):
    """asked: to be sent; sent: the provider has it; done: the provider says it is paid out."""

    ASKED = "asked"
    SENT = "sent"
    DONE = "done"
    FAILED = "failed"


class PaymentView(NamedTuple):
    """A payment as buyers and merchants see it; instants are Unix milliseconds.

    `note` says in words why money that came in goes back. `counts`: it pays the order.
    """

    id: str
    order_id: str
    purpose: Purpose
    state: PaymentState
    amount: Money
    captured: int
    refunding: int
    refunded: int
    fee: int
    counts: bool
    note: str | None
    provider: str
    checkout_url: str | None
    expires_at_ms: int
    created_at_ms: int


class Begun(NamedTuple):
    """A payment under way: begun now, or by an earlier request (`replayed`)."""

    payment: PaymentView
    replayed: bool


class RefundView(NamedTuple):
    """Money on its way back; instants are Unix milliseconds."""

    id: str
    payment_id: str
    order_id: str
    amount: Money
    cause: Cause
    reason: str
    state: RefundState
    created_at_ms: int
    done_at_ms: int | None


class RefundAnswer(NamedTuple):
    """What a merchant's request came to: a refund for each payment that gives something back."""

    order_id: str
    amount: Money
    refunds: tuple[RefundView, ...]
    replayed: bool


class Closed(NamedTuple):
    """An order that gives its units back, and `amount` (minor units) with them."""

    order_id: str
    amount: int


class TakenAs(StrEnum):
    """What became of a callback; `unmatched` is answered 202, everything else 200."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    IGNORED = "ignored"
    RECEIVED = "received"
    UNMATCHED = "unmatched"
    QUARANTINED = "quarantined"


class Taken(NamedTuple):
    """A callback that is in the ledger; `note` says why it changed nothing."""

    outcome: TakenAs
    note: str | None = None


class Shipment(NamedTuple):
    """How an order left the house; `shipped_at_ms` is Unix milliseconds."""

    order_id: str
    carrier: str
    tracking_number: str
    shipped_at_ms: int


class Shipped(NamedTuple):
    """A shipment that is recorded: now, or by the same request before (`replayed`)."""

    shipment: Shipment
    replayed: bool


class ShipmentLine(NamedTuple):
    """One line of a merchant's list; `number` is the line's, for the answer."""

    number: int
    order_id: str
    carrier: str
    tracking_number: str


class LineRefusal(NamedTuple):
    """A line that cannot be carried out: a refusal's code."""

    number: int
    order_id: str
    code: str


class Imported(NamedTuple):
    """A list that was carried out as a whole."""

    shipped: int
    replayed: int


@dataclass(slots=True)
class MoneyCounters:
    """What a process has seen since it began, for metrics; the second half calls for a person."""

    captured: int = 0
    declined: int = 0
    applied: int = 0
    late: int = 0
    duplicates: int = 0
    refunds_sent: int = 0
    refunded: int = 0
    outbox_done: int = 0
    outbox_failures: int = 0
    quarantined: int = 0
    unmatched: int = 0
    refund_failed: int = 0
    outbox_stuck: int = 0
