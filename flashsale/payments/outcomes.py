"""What the outcome of a payment means for its order, as Postgres shows the two. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto
from typing import NamedTuple

from flashsale.domain.orders import OrderState
from flashsale.domain.outcomes import Status
from flashsale.payments.records import OrderFacts, PaymentRecord
from flashsale.payments.values import Cause, PaymentState

_S = OrderState

#: The order has had its money: that state has been settled, so Redis need not be asked again.
HAS_MONEY = frozenset(
    {
        _S.PAID,
        _S.DEPOSIT_PAID,
        _S.ALLOCATED,
        _S.BALANCE_DUE,
        _S.FULFILLED,
        _S.REFUNDED,
        _S.FORFEITED,
    }
)
#: States in which Redis may still find units for money that comes in.
_OPEN = frozenset({_S.RESERVED, _S.CONFIRMED, _S.PAYING, _S.EXPIRED})
_OWES_BALANCE = frozenset({_S.ALLOCATED, _S.BALANCE_DUE})

#: What a buyer is told whose money goes back.
DUPLICATE_NOTE = "The order was paid before. This payment goes back."
NOTES = {
    Status.ILLEGAL: "The order had ended when the payment arrived. The payment goes back.",
    Status.SOLD_OUT: "The units had gone to others when the payment arrived. It goes back.",
    Status.LIMIT_REACHED: "With other orders the limit was reached when the payment arrived. "
    "It goes back.",
}


class StepKind(Enum):
    """What is to be done next; SETTLED and BALANCE need nobody outside Postgres."""

    NOTHING = auto()
    CAPTURE = auto()
    DECLINE = auto()
    BALANCE = auto()
    SETTLED = auto()
    REFUSE = auto()


class Step(NamedTuple):
    """A next step; `cause` and `note` with REFUSE, the rows filled in by who decides."""

    kind: StepKind
    cause: Cause | None = None
    note: str = ""
    order: OrderFacts | None = None
    payment: PaymentRecord | None = None


_NOTHING = Step(StepKind.NOTHING)
_SETTLED = Step(StepKind.SETTLED)
_LATE = Step(StepKind.REFUSE, Cause.LATE, NOTES[Status.ILLEGAL])
_DUPLICATE = Step(StepKind.REFUSE, Cause.DUPLICATE, DUPLICATE_NOTE)


def step_of(payment: PaymentRecord, order: OrderFacts, siblings: Iterable[PaymentRecord]) -> Step:
    """The next step for a payment; `siblings` are all payments of the order, this one too."""
    if payment.state in {PaymentState.CREATED, PaymentState.OPEN}:
        return _NOTHING
    if payment.state is not PaymentState.CAPTURED:
        return _NOTHING if payment.applied else _unpaid(payment)
    if payment.counts:
        return _resumed(payment, order)
    if payment.applied and payment.left == 0:
        return _NOTHING
    if payment.captured > 0 and payment.left == 0:
        return _unpaid(payment)  # all of it was given back before it could count
    return _fresh(payment, order, siblings)


def _unpaid(payment: PaymentRecord) -> Step:
    return Step(StepKind.DECLINE) if payment.moves_stock else _SETTLED


def _resumed(payment: PaymentRecord, order: OrderFacts) -> Step:
    """It counted before: a crash, or a twin of ours, is between that and the end.

    Applied and not settled yet, Redis may have forgotten it since: it says itself what it knows.
    """
    if order.state in HAS_MONEY:
        return _NOTHING if payment.applied else _SETTLED
    return Step(StepKind.CAPTURE)


def _fresh(payment: PaymentRecord, order: OrderFacts, siblings: Iterable[PaymentRecord]) -> Step:
    """Money that has come in and was not looked at."""
    if any(other.counts and other.purpose is payment.purpose for other in siblings):
        return _DUPLICATE
    if order.closing is not None:
        return _LATE
    if not payment.moves_stock:
        return Step(StepKind.BALANCE) if order.state in _OWES_BALANCE else _LATE
    return Step(StepKind.CAPTURE) if order.state in _OPEN else _LATE
