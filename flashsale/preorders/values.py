"""What pre-orders are made of, as values. Decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple


class QueueKey(NamedTuple):
    """The queue of one SKU."""

    sale_id: str
    item: int


@dataclass(frozen=True, slots=True)
class Lot:
    """Incoming supply of a SKU; `free` units are not given to an order. Unix milliseconds."""

    id: str
    sale_id: str
    item: int
    sku: str
    quantity: int
    free: int
    reason: str
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class ShipDate:
    """A promised date that was moved; `wave` is a supply's id, or None for the base supply."""

    id: str
    sale_id: str
    sku: str
    wave: str | None
    before_ms: int | None
    ships_at_ms: int
    reason: str
    free_until_ms: int
    moved_at_ms: int


class Promise(NamedTuple):
    """What an order was promised, what holds now, and its terms. Unix milliseconds.

    `free_until_ms`: a promised date was moved, and until then the order may be cancelled freely.
    """

    promised_at_ms: int | None
    ships_at_ms: int | None
    free_until_ms: int | None
    balance_due_at_ms: int | None


class CapPart(NamedTuple):
    """A part of the cap: how many units it has, how many are promised, and for when."""

    wave: str
    units: int
    ships_at: datetime | None
    promised: int


class NewsOrder(NamedTuple):
    """An order that joins or leaves a queue, locked; `present_item` is the queue it is in."""

    id: str
    sale_id: str
    item: int
    quantity: int
    state: str
    present_item: int | None
    joined_step: int | None
    wave: str | None
    received_at: datetime
    event_id: str


class Joining(NamedTuple):
    """A row of `deposits`, in the order of its columns."""

    sale_id: str
    item: int
    step: int
    order_id: str
    quantity: int
    received_at: datetime
    event_id: str
    wave: str
    promised_at: datetime | None
    changed: bool


class Leaving(NamedTuple):
    """The end of a stay in a queue."""

    order_id: str
    step: int
    reason: str


class Head(NamedTuple):
    """An order at the head of a queue, locked; `rest` is what is left to pay, minor units."""

    id: str
    item: int
    state: str
    closing: str | None
    rest: int


class Served(NamedTuple):
    """An order that gets its units at a step of its queue."""

    order_id: str
    step: int
    rest: int


@dataclass(slots=True)
class Counts:
    """Totals of the clock since its start, for metrics."""

    joined: int = 0
    left: int = 0
    allocated: int = 0
    demanded: int = 0
    reminded: int = 0
    charged: int = 0
    ended: int = 0
    completed: int = 0
    notified: int = 0
    failures: int = 0
