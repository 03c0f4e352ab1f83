"""Order states and the one table of legal transitions; never where an order is stored."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from types import MappingProxyType


class OrderState(StrEnum):
    """Where an order stands. Terminal states absorb: no action leads out of them."""

    RESERVED = "reserved"
    CONFIRMED = "confirmed"
    PAYING = "paying"
    PAID = "paid"
    DEPOSIT_PAID = "deposit_paid"
    ALLOCATED = "allocated"
    BALANCE_DUE = "balance_due"
    FULFILLED = "fulfilled"
    REFUNDED = "refunded"
    FORFEITED = "forfeited"
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
    CAPTURE_DEPOSIT = "capture_deposit"
    CHANGE_SKU = "change_sku"
    ALLOCATE = "allocate"
    DEMAND_BALANCE = "demand_balance"
    CAPTURE_BALANCE = "capture_balance"
    FULFIL = "fulfil"
    REFUND = "refund"
    FORFEIT = "forfeit"


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
        # A callback may come after its checkout's deadline gave the order back its hold...
        (_S.CONFIRMED, _A.CAPTURE): _S.PAID,
        (_S.CONFIRMED, _A.CAPTURE_DEPOSIT): _S.DEPOSIT_PAID,
        (_S.PAYING, _A.DECLINE): _S.CONFIRMED,
        (_S.PAYING, _A.EXPIRE): _S.EXPIRED,
        (_S.PAYING, _A.CANCEL): _S.CANCELLED,
        (_S.PAYING, _A.CAPTURE): _S.PAID,
        (_S.PAYING, _A.CAPTURE_DEPOSIT): _S.DEPOSIT_PAID,
        # ... or after the hold ran out: where units are left, the buyer's money finds one.
        (_S.EXPIRED, _A.CAPTURE): _S.PAID,
        (_S.EXPIRED, _A.CAPTURE_DEPOSIT): _S.DEPOSIT_PAID,
        (_S.DEPOSIT_PAID, _A.CHANGE_SKU): _S.DEPOSIT_PAID,
        (_S.DEPOSIT_PAID, _A.ALLOCATE): _S.ALLOCATED,
        (_S.DEPOSIT_PAID, _A.REFUND): _S.REFUNDED,
        (_S.ALLOCATED, _A.DEMAND_BALANCE): _S.BALANCE_DUE,
        (_S.ALLOCATED, _A.CAPTURE_BALANCE): _S.PAID,
        (_S.ALLOCATED, _A.REFUND): _S.REFUNDED,
        (_S.BALANCE_DUE, _A.CAPTURE_BALANCE): _S.PAID,
        (_S.BALANCE_DUE, _A.REFUND): _S.REFUNDED,
        (_S.BALANCE_DUE, _A.FORFEIT): _S.FORFEITED,
        (_S.PAID, _A.FULFIL): _S.FULFILLED,
        (_S.PAID, _A.REFUND): _S.REFUNDED,
    }
)

#: States whose units are set aside or sold: they count against capacity and the buyer limit.
LIVE_STATES = frozenset(_S) - {
    _S.EXPIRED,
    _S.CANCELLED,
    _S.REJECTED,
    _S.REFUNDED,
    _S.FORFEITED,
}

TERMINAL_STATES = frozenset(_S) - {state for state, _ in TRANSITIONS}


def transition(state: OrderState, action: OrderAction) -> OrderState | None:
    """The state that `action` leads to from `state`, or None where it is not legal."""
    return TRANSITIONS.get((state, action))


@cache
def reachable(state: OrderState) -> frozenset[OrderState]:
    """Every state that one or more actions lead to: a reader of events may have missed some."""
    found: set[OrderState] = set()
    ahead = [state]
    while ahead:
        here = ahead.pop()
        after = {target for (source, _), target in TRANSITIONS.items() if source is here}
        ahead += after - found
        found |= after
    return frozenset(found)


def is_live(state: OrderState) -> bool:
    """Whether an order in this state holds units."""
    return state in LIVE_STATES
