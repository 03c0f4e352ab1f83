"""Outcomes: every status a script answers. Refusals are values, bugs are exceptions."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from flashsale.domain.orders import OrderState


class Status(StrEnum):
    """The status strings of `lua/`; a test holds the two lists together."""

    # Effects
    RESERVED = "RESERVED"
    REPLAYED = "REPLAYED"
    RELEASED = "RELEASED"
    PAYING = "PAYING"
    DECLINED = "DECLINED"
    CAPTURED = "CAPTURED"
    RETURNED = "RETURNED"
    CHANGED = "CHANGED"
    OPENED = "OPENED"
    UPDATED = "UPDATED"
    DONE = "DONE"
    ALREADY = "ALREADY"
    # Refusals of a reservation, in the order of the checks
    MISSING_LANE = "MISSING_LANE"
    FOREIGN_EPOCH = "FOREIGN_EPOCH"
    KEY_REUSED = "KEY_REUSED"
    SALE_OVER = "SALE_OVER"
    NOT_OPEN = "NOT_OPEN"
    PAUSED = "PAUSED"
    UNKNOWN_SKU = "UNKNOWN_SKU"
    LIMIT_REACHED = "LIMIT_REACHED"
    SOLD_OUT = "SOLD_OUT"
    # Refusals of the other scripts
    UNKNOWN_ORDER = "UNKNOWN_ORDER"
    OVERDUE = "OVERDUE"
    BELOW_LIVE = "BELOW_LIVE"
    ILLEGAL = "ILLEGAL"
    BUSY_LANE = "BUSY_LANE"
    BAD_ARGUMENT = "BAD_ARGUMENT"


#: The letter a hold's record carries for its state, and the order state it means.
HOLD_STATES = {
    "R": OrderState.RESERVED,
    "P": OrderState.PAYING,
    "S": OrderState.PAID,
    "E": OrderState.DEPOSIT_PAID,
    "X": OrderState.EXPIRED,
    "C": OrderState.CANCELLED,
    "J": OrderState.REJECTED,
    "F": OrderState.REFUNDED,
    "L": OrderState.FORFEITED,
}


class Hold(NamedTuple):
    """A hold's record in Redis: the idempotency record and the order's newest state in one."""

    state: OrderState
    version: int
    item: int
    quantity: int
    deadline_ms: int
    buyer: str


class Decision(NamedTuple):
    """What one buyer was answered: `at_ms` is a deadline (RESERVED) or an opening (NOT_OPEN)."""

    status: Status
    at_ms: int = 0
    hold: Hold | None = None
