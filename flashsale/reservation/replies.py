"""What the store is asked and answers, as values. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from flashsale.domain.orders import OrderState
from flashsale.domain.outcomes import HOLD_STATES, Hold, Status
from flashsale.domain.sales import Terms
from flashsale.domain.stock import Stock
from flashsale.reservation.errors import LaneLostError, ScriptError

#: By its text: cheaper than a call of the class, and asked for every reservation.
STATUSES = {status.value: status for status in Status}


class Request(NamedTuple):
    """One buyer's wish: `item` is the SKU's number, -1 where the sale has no such SKU."""

    order: str
    buyer: str
    item: int
    quantity: int


class Moved(NamedTuple):
    """What became of one order; `hold` is its newest record where there is one."""

    status: Status
    hold: Hold | None


@dataclass(frozen=True, slots=True)
class Expired:
    """One pass over what is overdue: how many ended, and when the next falls due.

    A checkout that ended counts too, where its hold goes on.
    """

    count: int
    next_deadline_ms: int | None


@dataclass(frozen=True, slots=True)
class LaneSnapshot:
    """Everything countable of a lane at one instant; `shut` are numbers of items."""

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
    shut: frozenset[int]


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


def status_of(reply: Sequence[Any]) -> Status:
    """The status of a script's reply. Raises ScriptError where the call itself was wrong."""
    status = STATUSES[reply[0]]
    if status is Status.BAD_ARGUMENT:
        raise ScriptError(f"a script refused its arguments: {reply[1:]}")
    return status


def lane_status_of(reply: Sequence[Any]) -> Status:
    """Likewise; raises LaneLostError where the lane is missing or of another epoch."""
    status = status_of(reply)
    if status in {Status.MISSING_LANE, Status.FOREIGN_EPOCH}:
        raise LaneLostError(status.value)
    return status


def parse_hold(record: str) -> Hold:
    """A hold's record, `state:version:item:quantity:deadline_ms:buyer`."""
    letter, number, item, quantity, deadline_ms, buyer = record.split(":", 5)
    state, version = HOLD_STATES[letter], int(number)
    if state is OrderState.RESERVED and version > 1:
        # A checkout came before, and none begins until Postgres has the order.
        state = OrderState.CONFIRMED
    return Hold(state, version, int(item), int(quantity), int(deadline_ms), buyer)
