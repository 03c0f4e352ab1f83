"""Histories that the scripts could have decided, and what Postgres would hold of them."""

from __future__ import annotations

from collections import Counter

from hypothesis import strategies as st

from flashsale.domain.events import Entry, EventKind, OrderEvent
from flashsale.domain.orders import LIVE_STATES, OrderState
from flashsale.settlement.plan import (
    Catalogue,
    IllegalEvent,
    KnownOrder,
    fold,
    plan,
    reject_overflow,
)

SALE = "abcdefghijkl"
CATALOGUE = Catalogue(SALE, {0: 1999, 1: 500})
R, P, D = EventKind.RESERVED, EventKind.PAYING, EventKind.DECLINED
S, E, M = EventKind.PAID, EventKind.DEPOSIT_PAID, EventKind.SKU_CHANGED
X, C, J = EventKind.EXPIRED, EventKind.CANCELLED, EventKind.REJECTED
F, L = EventKind.REFUNDED, EventKind.FORFEITED
#: What may follow a kind, as the scripts decide it; a late capture follows an expiry.
NEXT: dict[EventKind, tuple[EventKind, ...]] = {
    R: (P, S, E, X, C),
    P: (D, S, E, X, C),
    D: (P, S, E, X, C),
    X: (S, E),
    S: (F,),
    E: (M, F, L),
    M: (M, F, L),
}


def event(
    kind: EventKind, order: str, item: int = 0, quantity: int = 1, version: int | None = None
) -> OrderEvent:
    version = version or (1 if kind is R else 2)
    return OrderEvent(kind, version, order, item, quantity, 1_800_000_600_000, f"buyer of {order}")


def entry(seq: int, *events: OrderEvent) -> Entry:
    return Entry(f"{seq}-0", seq, 1, 1_800_000_000_000 + seq, (0, 0), events, ())


class Ledger:
    """What Postgres would hold: plans are applied to it as the settler applies them."""

    def __init__(self, capacity: int | None = None) -> None:
        self.orders: dict[str, KnownOrder] = {}
        self.units: dict[str, int] = {}
        self.amounts: dict[str, int] = {}
        self.live: Counter[int] = Counter()
        self.settled: set[int] = set()
        self.rejected: list[str] = []
        self.illegal: list[IllegalEvent] = []
        self.capacity = capacity

    def settle(self, entries: list[Entry]) -> None:
        batch = fold(entries)
        known = {order: self.orders[order] for order in batch.newest if order in self.orders}
        changes = plan(CATALOGUE, batch, known)
        if self.capacity is not None:
            room = {item: self.capacity - self.live[item] for item in CATALOGUE.amounts}
            changes = reject_overflow(SALE, changes, batch, room)
        for row in changes.inserts:
            order = row[0].removeprefix(SALE)
            assert order not in self.orders, "COPY would fail"
            self.orders[order] = KnownOrder(OrderState(row[6]), row[7], row[2])
            self.units[order] = row[4]
            self.amounts[order] = row[5]
        for update in changes.updates:
            order = update.id.removeprefix(SALE)
            assert self.orders[order].version < update.version
            self.orders[order] = KnownOrder(update.state, update.version, update.item)
            self.amounts[order] = update.unit_amount
        self.live.update(changes.live_deltas)
        self.rejected += [event.order for event in changes.rejected]
        self.illegal += changes.illegal
        for low, high in batch.sequences:
            self.settled |= set(range(low, high))

    def balances(self) -> bool:
        """INV-2 and INV-4: the counters are what the rows say, and within capacity."""
        live: Counter[int] = Counter()
        for order, known in self.orders.items():
            if known.state in LIVE_STATES:
                live[known.item] += self.units[order]
        fits = self.capacity is None or max(live.values(), default=0) <= self.capacity
        return +live == +self.live and fits


@st.composite
def lives(draw: st.DrawFn, order: str, most: int) -> list[OrderEvent]:
    """All events of one order: what the scripts could have decided of it, in their order."""
    item, quantity, kind = draw(st.integers(0, 1)), draw(st.integers(1, 3)), R
    events = [event(R, order, item, quantity, 1)]
    while (ways := NEXT.get(kind)) and len(events) < most and draw(st.integers(0, 4)):
        kind = draw(st.sampled_from(ways))
        item = 1 - item if kind is M else item
        events.append(event(kind, order, item, quantity, len(events) + 1))
    return events


@st.composite
def histories(draw: st.DrawFn, most: int = 7) -> list[Entry]:
    """A valid history: the lives of some orders, mixed; several events an entry."""
    left = [draw(lives(f"o{number}", most)) for number in range(draw(st.integers(1, 6)))]
    events: list[OrderEvent] = []
    while left := [life for life in left if life]:
        events.append(draw(st.sampled_from(left)).pop(0))
    cuts = sorted(draw(st.sets(st.integers(1, len(events)))))
    pieces = zip([0, *cuts], [*cuts, len(events)], strict=True)
    return [entry(seq, *events[low:high]) for seq, (low, high) in enumerate(pieces, start=1)]


@st.composite
def deliveries(draw: st.DrawFn, most: int = 7) -> tuple[list[Entry], list[list[Entry]]]:
    """A history, and a delivery of it: repeated, shuffled and cut into batches."""
    history = draw(histories(most))
    repeated = history + draw(st.lists(st.sampled_from(history), max_size=5))
    shuffled = draw(st.permutations(repeated))
    cuts = sorted(draw(st.sets(st.integers(1, len(shuffled) - 1)))) if len(shuffled) > 1 else []
    pieces = zip([0, *cuts], [*cuts, len(shuffled)], strict=True)
    return history, [shuffled[low:high] for low, high in pieces]
