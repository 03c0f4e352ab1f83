"""Any order, any batches, any number of times: the same rows and the same live counts."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsale.domain.events import Entry, EventKind, OrderEvent
from flashsale.domain.orders import LIVE_STATES, OrderState
from flashsale.settlement.plan import (
    Catalogue,
    KnownOrder,
    UnknownItemError,
    fold,
    plan,
    reject_overflow,
)

SALE = "abcdefghijkl"
CATALOGUE = Catalogue(SALE, {0: 1999, 1: 500})
ENDS = (EventKind.EXPIRED, EventKind.CANCELLED)
R, X, C, J = EventKind.RESERVED, EventKind.EXPIRED, EventKind.CANCELLED, EventKind.REJECTED


def event(kind: EventKind, order: str, item: int = 0, quantity: int = 1) -> OrderEvent:
    version = 1 if kind is R else 2
    return OrderEvent(kind, version, order, item, quantity, 1_800_000_600_000, f"buyer of {order}")


def entry(seq: int, *events: OrderEvent) -> Entry:
    return Entry(f"{seq}-0", seq, 1, 1_800_000_000_000 + seq, (0, 0), events, ())


class Ledger:
    """What Postgres would hold: plans are applied to it as the settler applies them."""

    def __init__(self, capacity: int | None = None) -> None:
        self.orders: dict[str, KnownOrder] = {}
        self.units: dict[str, tuple[int, int]] = {}
        self.live: Counter[int] = Counter()
        self.settled: set[int] = set()
        self.rejected: list[str] = []
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
            self.orders[order] = KnownOrder(OrderState(row[6]), row[7])
            self.units[order] = row[2], row[4]
        for update in changes.updates:
            order = update.id.removeprefix(SALE)
            assert self.orders[order].version < update.version
            self.orders[order] = KnownOrder(update.state, update.version)
        self.live.update(changes.live_deltas)
        self.rejected += [event.order for event in changes.rejected]
        for low, high in batch.sequences:
            self.settled |= set(range(low, high))

    def balances(self) -> bool:
        """INV-2 and INV-4: the counters are what the rows say, and within capacity."""
        live: Counter[int] = Counter()
        for order, known in self.orders.items():
            if known.state in LIVE_STATES:
                live[self.units[order][0]] += self.units[order][1]
        fits = self.capacity is None or max(live.values(), default=0) <= self.capacity
        return +live == +self.live and fits


@st.composite
def histories(draw: st.DrawFn) -> list[Entry]:
    """A valid history: every order is reserved, and some of them end; several events an entry."""
    events: list[OrderEvent] = []
    for number in range(draw(st.integers(1, 8))):
        item, quantity = draw(st.integers(0, 1)), draw(st.integers(1, 3))
        events.append(event(R, f"o{number}", item, quantity))
        if (end := draw(st.sampled_from((None, *ENDS)))) is not None:
            events.append(event(end, f"o{number}", item, quantity))
    cuts = sorted(draw(st.sets(st.integers(1, len(events)))))
    pieces = zip([0, *cuts], [*cuts, len(events)], strict=True)
    return [entry(seq, *events[low:high]) for seq, (low, high) in enumerate(pieces, start=1)]


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[Entry], list[list[Entry]]]:
    """A history, and a delivery of it: repeated, shuffled and cut into batches."""
    history = draw(histories())
    repeated = history + draw(st.lists(st.sampled_from(history), max_size=5))
    shuffled = draw(st.permutations(repeated))
    cuts = sorted(draw(st.sets(st.integers(1, len(shuffled) - 1)))) if len(shuffled) > 1 else []
    pieces = zip([0, *cuts], [*cuts, len(shuffled)], strict=True)
    return history, [shuffled[low:high] for low, high in pieces]


@given(deliveries())
def test_any_delivery_of_a_history_settles_to_the_same_rows(
    delivery: tuple[list[Entry], list[list[Entry]]],
) -> None:
    history, batches = delivery
    expected, actual = Ledger(), Ledger()
    for one in history:
        expected.settle([one])
    for batch in batches:
        actual.settle(batch)
    assert actual.orders == expected.orders
    assert +actual.live == +expected.live
    assert actual.settled == {one.seq for one in history}
    assert actual.balances()


@given(deliveries(), st.integers(0, 6))
def test_no_delivery_exceeds_the_capacity(
    delivery: tuple[list[Entry], list[list[Entry]]], capacity: int
) -> None:
    _, batches = delivery
    ledger = Ledger(capacity)
    for batch in batches:
        ledger.settle(batch)
        assert ledger.balances()
    states = {order: known.state for order, known in ledger.orders.items()}
    refused = {order for order, state in states.items() if state is OrderState.REJECTED}
    assert refused == set(ledger.rejected), "each rejected order is given back, and no other"


@pytest.mark.parametrize(
    ("kinds", "state", "live"),
    [
        ((R,), OrderState.CONFIRMED, 2),
        ((R, C), OrderState.CANCELLED, 0),
        ((C, R), OrderState.CANCELLED, 0),
        ((X, R, X), OrderState.EXPIRED, 0),
        ((J,), OrderState.REJECTED, 0),
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_the_newest_version_of_an_order_counts(
    kinds: tuple[EventKind, ...], state: OrderState, live: int, together: bool
) -> None:
    entries = [entry(seq, event(kind, "o", 1, 2)) for seq, kind in enumerate(kinds, start=1)]
    ledger = Ledger()
    for batch in [entries] if together else [[one] for one in entries]:
        ledger.settle(batch)
    assert ledger.orders["o"].state is state
    assert ledger.live[1] == live


@pytest.mark.parametrize(
    ("before", "kind", "after"),
    [
        (OrderState.CONFIRMED, X, OrderState.EXPIRED),
        (OrderState.CONFIRMED, C, OrderState.CANCELLED),
        (OrderState.REJECTED, J, None),
        (OrderState.REJECTED, C, None),
        (OrderState.CANCELLED, X, None),
        (OrderState.EXPIRED, C, None),
    ],
)
def test_what_is_terminal_stays(
    before: OrderState, kind: EventKind, after: OrderState | None
) -> None:
    changes = plan(CATALOGUE, fold([entry(7, event(kind, "o"))]), {"o": KnownOrder(before, 1)})
    assert not changes.inserts
    assert not changes.illegal
    assert [update.state for update in changes.updates] == ([after] if after else [])
    assert changes.live_deltas == ({0: -1} if after else {})


@pytest.mark.parametrize(
    ("before", "kind"), [(OrderState.PAYING, X), (OrderState.PAID, C), (OrderState.CONFIRMED, J)]
)
def test_an_illegal_event_changes_nothing_and_is_told(before: OrderState, kind: EventKind) -> None:
    changes = plan(CATALOGUE, fold([entry(7, event(kind, "o"))]), {"o": KnownOrder(before, 1)})
    assert (changes.inserts, changes.updates, changes.live_deltas) == ([], [], {})
    assert [(one.state, one.event.kind) for one in changes.illegal] == [(before, kind)]


def test_a_rejection_that_redis_was_not_told_of_is_told_again() -> None:
    batch = fold([entry(1, event(R, "o"))])
    changes = plan(CATALOGUE, batch, {"o": KnownOrder(OrderState.REJECTED, 1)})
    assert [one.order for one in changes.rejected] == ["o"]
    assert not changes.inserts


def test_room_goes_to_releases_first_and_then_in_the_order_of_the_stream() -> None:
    ledger = Ledger(capacity=3)
    ledger.settle([entry(1, event(R, "z"), event(R, "y", 0, 2))])
    ledger.settle(
        [entry(2, event(R, "c", 0, 2), event(R, "b"), event(R, "a")), entry(3, event(C, "y", 0, 2))]
    )
    states = {order: known.state.value for order, known in ledger.orders.items()}
    assert states == {
        "z": "confirmed", "y": "cancelled", "c": "confirmed", "b": "rejected", "a": "rejected",
    }  # fmt: skip


def test_a_row_carries_price_and_instants() -> None:
    (row,) = plan(CATALOGUE, fold([entry(5, event(R, "o", 1, 2))]), {}).inserts
    instant = datetime.fromtimestamp(1_800_000_000, UTC)
    assert row[:8] == (SALE + "o", SALE, 1, "buyer of o", 2, 500, "confirmed", 1)
    assert row[8] == instant.replace(minute=instant.minute + 10)
    assert row[9] == instant.replace(microsecond=5000)


def test_entries_are_remembered_as_ranges_and_by_the_highest_id() -> None:
    batch = fold([entry(seq, event(R, f"o{seq}")) for seq in (9, 10, 3, 4, 10)])
    assert batch.sequences == ((3, 5), (9, 11))
    assert batch.last_entry_id == "10-0"


def test_an_item_the_sale_does_not_have_is_an_error() -> None:
    with pytest.raises(UnknownItemError, match="no item 7"):
        plan(CATALOGUE, fold([entry(1, event(R, "o", 7))]), {})
