"""What the store is asked and answers, as values. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from flashsale.domain.outcomes import HOLD_STATES, Hold, Status
from flashsale.domain.sales import Terms
from flashsale.domain.stock import Stock


class Request(NamedTuple):
    """One buyer's wish: `item` is the SKU's number, -1 where the sale has no such SKU."""

    order: str
    buyer: str
    item: int
    quantity: int


class Release(NamedTuple):
    """How a release ended; `hold` is the order's newest record where there is one."""

    status: Status
    hold: Hold | None


@dataclass(frozen=True, slots=True)
class Expired:
    """One pass over overdue holds: how many ended, and when the next falls due."""

    count: int
    next_deadline_ms: int | None


@dataclass(frozen=True, slots=True)
class LaneSnapshot:
    """Everything countable of a lane at one instant."""

    epoch: int
    seq: int
    now_ms: int
    state: str
    terms: Terms
    hold_records: int
    live_holds: int
    stream_length: int
    last_entry_id: str
    stock: tuple[Stock, ...]


class TailEntry(NamedTuple):
    """A stream entry as a follower sees it."""

    entry_id: str
    seq: int
    events: str


@dataclass(frozen=True, slots=True)
class Tail:
    """Where a lane stands, with the entries after the position that was asked for."""

    seq: int
    now_ms: int
    state: str
    starts_at_ms: int
    ends_at_ms: int
    buyer_limit: int
    capacity: tuple[int, ...]
    available: tuple[int, ...]
    entries: tuple[TailEntry, ...]


def parse_hold(record: str) -> Hold:
    """A hold's record, `state:version:item:quantity:deadline_ms:buyer`."""
    state, version, item, quantity, deadline_ms, buyer = record.split(":", 5)
    return Hold(HOLD_STATES[state], int(version), int(item), int(quantity), int(deadline_ms), buyer)
