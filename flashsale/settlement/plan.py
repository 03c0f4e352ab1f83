"""Plan: stream entries become row changes. Pure: no I/O, no clock; it must never guess a state.

Events carry their order's version and are complete, so they may arrive in any order, in any batch
and any number of times: only a newer version changes an order, and only to a state that its own
leads to. What Postgres alone has decided (allocated, fulfilled, ...) left the version as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from operator import itemgetter
from typing import NamedTuple

from flashsale.domain.events import STATE_OF_KIND, Entry, EventKind, OrderEvent
from flashsale.domain.orders import LIVE_STATES, OrderState, is_live, reachable
from flashsale.stream.position import position

#: One row of `orders`, in the order of ORDER_COLUMNS; a plain tuple, because COPY takes no other.
InsertRow = tuple[str, str, int, str, int, int, str, int, datetime, datetime]

ORDER_COLUMNS = (
    "id",
    "sale_id",
    "item",
    "buyer_id",
    "quantity",
    "unit_amount",
    "state",
    "version",
    "hold_expires_at",
    "decided_at",
)

_CONFIRMED = OrderState.CONFIRMED.value
_LIVE = frozenset(state.value for state in LIVE_STATES)

#: By an order's first event to be seen: its state in Postgres, and whether its units are live.
_NEW = {kind: (state.value, is_live(state)) for kind, state in STATE_OF_KIND.items()}


class UnknownItemError(ValueError):
    """An event names an item that its sale does not have; its entry becomes a dead letter."""


class NoRoomError(ValueError):
    """INV-2 refuses units that are paid; their entry becomes a dead letter, for people to see."""


class Catalogue(NamedTuple):
    """What settlement must know of a sale: the price of one unit, minor units, by item."""

    sale: str
    amounts: Mapping[int, int]


class KnownOrder(NamedTuple):
    """An order as Postgres has it."""

    state: OrderState
    version: int
    item: int


class OrderUpdate(NamedTuple):
    """A newer state of an order that is in Postgres already."""

    id: str
    state: OrderState
    version: int
    decided_at: datetime
    item: int
    unit_amount: int


class IllegalEvent(NamedTuple):
    """A newer event that the order's state does not lead to; it changes nothing and is reported."""

    state: OrderState
    event: OrderEvent


@dataclass(frozen=True, slots=True)
class Folded:
    """A batch by order: the newest event of each, and when Redis decided it.

    `sequences` are the entry numbers as half-open ranges, `last_entry_id` is the highest, `epoch`
    the lowest.
    """

    newest: Mapping[str, tuple[OrderEvent, datetime]]
    sequences: tuple[tuple[int, int], ...]
    last_entry_id: str
    epoch: int

    def changed_orders(self) -> list[str]:
        """Hashes of the orders that Postgres may know already: their newest event is not the first.

        A first event may be there too, delivered before; only that insert's failure tells.
        """
        return [order for order, (event, _) in self.newest.items() if event.version > 1]


@dataclass(frozen=True, slots=True)
class SettlementPlan:
    """Row changes of one batch; `live_deltas` counts units by item, without zeros.

    `gains` are events of orders in Postgres that take units of their item which they did not have.
    `rejected` are orders whose units Redis must take back, `illegal` are events left out.
    """

    inserts: Sequence[InsertRow]
    updates: Sequence[OrderUpdate]
    live_deltas: Mapping[int, int]
    gains: Sequence[OrderEvent] = ()
    rejected: Sequence[OrderEvent] = ()
    illegal: Sequence[IllegalEvent] = ()


def fold(entries: Sequence[Entry]) -> Folded:
    """Group a batch, which is not empty, by order. Raises ValueError for an impossible instant."""
    newest: dict[str, tuple[OrderEvent, datetime]] = {}
    for entry in entries:
        decided_at = _instant(entry.at_ms)
        for event in entry.orders:
            seen = newest.get(event.order)
            if seen is None or seen[0].version < event.version:
                newest[event.order] = event, decided_at
    return Folded(
        newest,
        _ranges(entry.seq for entry in entries),
        max((entry.entry_id for entry in entries), key=position),
        min(entry.epoch for entry in entries),
    )


def plan(catalogue: Catalogue, batch: Folded, known: Mapping[str, KnownOrder]) -> SettlementPlan:
    """What a batch changes, given the orders (by hash) that Postgres has.

    Inserts and updates come sorted by id: two workers lock the same orders in the same order.
    Raises UnknownItemError where an event's item is not in the catalogue.
    """
    sale, amounts = catalogue
    inserts: list[InsertRow] = []
    updates: list[OrderUpdate] = []
    deltas = dict.fromkeys(amounts, 0)
    gains: list[OrderEvent] = []
    rejected: list[OrderEvent] = []
    illegal: list[IllegalEvent] = []
    instants: dict[int, datetime] = {}
    for order, (event, decided_at) in batch.newest.items():
        kind, version, _, item, quantity, deadline_ms, buyer = event
        if item not in deltas:
            raise UnknownItemError(f"the sale has no item {item}")
        before = known.get(order)
        if before is None:
            # Holds of one call end together, and making an instant costs as much as the row.
            expires_at = instants.get(deadline_ms)
            if expires_at is None:
                expires_at = instants[deadline_ms] = _instant(deadline_ms)
            state, live = _NEW[kind]
            inserts.append(
                (
                    sale + order,
                    sale,
                    item,
                    buyer,
                    quantity,
                    amounts[item],
                    state,
                    version,
                    expires_at,
                    decided_at,
                )
            )
            deltas[item] += quantity * live
        elif version <= before.version:
            # Delivered again, perhaps because Redis could not be told of the rejection.
            if before.state is OrderState.REJECTED and kind is EventKind.RESERVED:
                rejected.append(event)
        elif (after := STATE_OF_KIND[kind]) in reachable(before.state):
            if before.item not in deltas:
                raise UnknownItemError(f"the sale has no item {before.item}")
            row = sale + order, after, version, decided_at, item, amounts[item]
            updates.append(OrderUpdate(*row))
            deltas[before.item] -= quantity * is_live(before.state)
            deltas[item] += quantity * is_live(after)
            if is_live(after) and not (is_live(before.state) and before.item == item):
                gains.append(event)
        # A hold that the ledger has rejected may have ended in Redis before Redis was told.
        elif before.state is not OrderState.REJECTED or is_live(after):
            illegal.append(IllegalEvent(before.state, event))
    inserts.sort(key=itemgetter(0))
    updates.sort(key=itemgetter(0))
    changed = {item: delta for item, delta in deltas.items() if delta}
    return SettlementPlan(inserts, updates, changed, gains, rejected, illegal)


def reject_overflow(
    sale: str, changes: SettlementPlan, batch: Folded, room: Mapping[int, int]
) -> SettlementPlan:
    """INV-2: the same plan where it fits, else one whose new orders that do not fit are rejected.

    `room` is capacity minus live of each changed item. Units that the batch gives back make room
    first, then what is paid or being paid takes its units, then new orders in the order of the
    stream. Those rejected stand last in `rejected`. Raises NoRoomError where money finds no room.
    """
    left = {
        item: room[item] - delta
        for item, delta in changes.live_deltas.items()
        if delta > room[item]
    }
    if not left:
        return changes
    # A new row's id ends in the order's hash; rows of orders that ended already ask for nothing.
    states = {row[0]: row[6] for row in changes.inserts if row[2] in left and row[6] in _LIVE}
    arrived = [event for event, _ in batch.newest.values() if sale + event.order in states]
    wishes = [event for event in arrived if states[sale + event.order] == _CONFIRMED]
    paid = [event for event in arrived if states[sale + event.order] != _CONFIRMED]
    paid += [event for event in changes.gains if event.item in left]
    for event in wishes + paid:
        left[event.item] += event.quantity
    for event in paid:
        left[event.item] -= event.quantity
    if min(left.values()) < 0:
        raise NoRoomError("more units are paid than there are")
    deltas = dict(changes.live_deltas)
    refused: list[OrderEvent] = []
    for event in wishes:
        if event.quantity <= left[event.item]:
            left[event.item] -= event.quantity
        else:
            refused.append(event)
            deltas[event.item] -= event.quantity
    ids = {sale + event.order for event in refused}
    return replace(
        changes,
        inserts=[_rejected(row) if row[0] in ids else row for row in changes.inserts],
        live_deltas={item: delta for item, delta in deltas.items() if delta},
        rejected=[*changes.rejected, *refused],
    )


def _rejected(row: InsertRow) -> InsertRow:
    return (*row[:6], OrderState.REJECTED.value, *row[7:])


def _instant(unix_ms: int) -> datetime:
    return datetime.fromtimestamp(unix_ms / 1000, UTC)


def _ranges(numbers: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """The numbers as half-open ranges, as few as possible."""
    ranges: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if ranges and ranges[-1][1] == number:
            ranges[-1] = ranges[-1][0], number + 1
        else:
            ranges.append((number, number + 1))
    return tuple(ranges)
