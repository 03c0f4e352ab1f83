"""Order states and the one table of legal transitions; never where an order is stored."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class OrderState(StrEnum):
    """Where an order stands. Terminal states absorb: no action leads out of them."""

    RESERVED = "reserved"
    CONFIRMED = "confirmed"
    PAYING = "paying"
    PAID = "paid"
    FULFILLED = "fulfilled"
    REFUNDED = "refunded"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


class OrderAction(StrEnum):
    """What can happen to an order."""

    SETTLE = "settle"
    REJECT = "reject"
    EXPIRE = "expire"
    CANCEL = "cancel"
    PAY = "pay"
    DECLINE = "decline"
    CAPTURE = "capture"
    FULFIL = "fulfil"
    REFUND = "refund"


_S, _A = OrderState, OrderAction

TRANSITIONS: Mapping[tuple[OrderState, OrderAction], OrderState] = MappingProxyType(
    {
        (_S.RESERVED, _A.SETTLE): _S.CONFIRMED,
        (_S.RESERVED, _A.REJECT): _S.REJECTED,
        (_S.RESERVED, _A.EXPIRE): _S.EXPIRED,
        (_S.RESERVED, _A.CANCEL): _S.CANCELLED,
        (_S.CONFIRMED, _A.EXPIRE): _S.EXPIRED,
        (_S.CONFIRMED, _A.CANCEL): _S.CANCELLED,
        (_S.CONFIRMED, _A.PAY): _S.PAYING,
        (_S.PAYING, _A.DECLINE): _S.CONFIRMED,
        (_S.PAYING, _A.CAPTURE): _S.PAID,
        (_S.PAID, _A.FULFIL): _S.FULFILLED,
        (_S.PAID, _A.REFUND): _S.REFUNDED,
    }
)

#: States whose units are set aside or sold: they count against capacity and the buyer limit.
LIVE_STATES = frozenset({_S.RESERVED, _S.CONFIRMED, _S.PAYING, _S.PAID, _S.FULFILLED})

TERMINAL_STATES = frozenset(_S) - {state for state, _ in TRANSITIONS}


def transition(state: OrderState, action: OrderAction) -> OrderState | None:
    """The state that `action` leads to from `state`, or None where it is not legal."""
    return TRANSITIONS.get((state, action))


def is_live(state: OrderState) -> bool:
    """Whether an order in this state holds units."""
    return state in LIVE_STATES
