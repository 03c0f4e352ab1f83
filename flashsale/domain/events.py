"""Stream events: what the scripts append and settlement applies.

One stream entry carries the events of one script call. Its fields: `seq` (the lane's entry number,
from 1 without gaps), `epoch`, `at_ms` (Redis' clock), `available` (units left of each SKU after the
call, comma separated in item order) and `events`, one event a line, its fields parted by tabs.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from flashsale.domain.orders import OrderState


class EventKind(StrEnum):
    """The first field of an event line. Order kinds come first, sale kinds after them."""

    RESERVED = "R"
    PAYING = "P"
    DECLINED = "D"
    PAID = "S"
    DEPOSIT_PAID = "E"
    SKU_CHANGED = "M"
    EXPIRED = "X"
    CANCELLED = "C"
    REJECTED = "J"
    REFUNDED = "F"
    FORFEITED = "L"
    OPENED = "open"
    PAUSED = "pause"
    RESUMED = "resume"
    CLOSED = "close"
    SUPPLIED = "supply"
    ITEM_ADDED = "item"
    RECOVERED = "recovered"


#: The order state an order event leads to in Postgres; a reservation arrives there as confirmed.
STATE_OF_KIND = {
    EventKind.RESERVED: OrderState.CONFIRMED,
    EventKind.PAYING: OrderState.PAYING,
    EventKind.DECLINED: OrderState.CONFIRMED,
    EventKind.PAID: OrderState.PAID,
    EventKind.DEPOSIT_PAID: OrderState.DEPOSIT_PAID,
    EventKind.SKU_CHANGED: OrderState.DEPOSIT_PAID,
    EventKind.EXPIRED: OrderState.EXPIRED,
    EventKind.CANCELLED: OrderState.CANCELLED,
    EventKind.REJECTED: OrderState.REJECTED,
    EventKind.REFUNDED: OrderState.REFUNDED,
    EventKind.FORFEITED: OrderState.FORFEITED,
}


class OrderEvent(NamedTuple):
    """One change of one order; complete, so that the events of an order may arrive in any order.

    `order` is the order hash, `item` the SKU's number in its sale, `version` counts the order's
    events from 1, `deadline_ms` is the end of the hold.
    """

    kind: EventKind
    version: int
    order: str
    item: int
    quantity: int
    deadline_ms: int
    buyer: str


class SaleEvent(NamedTuple):
    """One change of the sale itself; `detail` is free text for people (a supply id, a quantity)."""

    kind: EventKind
    detail: str


class Entry(NamedTuple):
    """One stream entry, decoded."""

    entry_id: str
    seq: int
    epoch: int
    at_ms: int
    available: tuple[int, ...]
    orders: tuple[OrderEvent, ...]
    sales: tuple[SaleEvent, ...]
