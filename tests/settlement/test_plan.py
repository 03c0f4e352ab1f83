"""Any order, any batches, any number of times: the same rows and the same live counts."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsale.domain.events import STATE_OF_KIND, Entry, EventKind
from flashsale.domain.orders import OrderState, is_live, reachable
from flashsale.settlement.plan import (
    KnownOrder,
    NoRoomError,
    SettlementPlan,
    UnknownItemError,
    fold,
    plan,
)
from tests.settlement.histories import (
    CATALOGUE,
    SALE,
    C,
    F,
    J,
    Ledger,
    M,
    P,
    R,
    S,
    X,
    deliveries,
    entry,
    event,
)


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
    newest = {one.order: one for entry in history for one in entry.orders}
    assert (
        actual.orders
        == expected.orders
        == {
            order: KnownOrder(STATE_OF_KIND[one.kind], one.version, one.item)
            for order, one in newest.items()
        }
    )
    assert actual.amounts == {order: CATALOGUE.amounts[one.item] for order, one in newest.items()}
    assert not actual.illegal
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
        with suppress(NoRoomError):  # nothing of the batch is written then
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
        ((R, P), OrderState.PAYING, 2),
        ((S,), OrderState.PAID, 2),
        ((R, X), OrderState.EXPIRED, 0),
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


@pytest.mark.parametrize("before", OrderState)
@pytest.mark.parametrize("kind", STATE_OF_KIND)
def test_an_event_leads_only_where_some_actions_do(before: OrderState, kind: EventKind) -> None:
    """Actions, not one: those between may be in batches that are still to be settled."""
    after = STATE_OF_KIND[kind]
    known = {"o": KnownOrder(before, 1, 0)}
    changes = plan(CATALOGUE, fold([entry(7, event(kind, "o", 0, 2, version=5))]), known)
    assert not changes.inserts
    if after in reachable(before):
        assert [update[1:3] for update in changes.updates] == [(after, 5)]
        moved = 2 * (is_live(after) - is_live(before))
        assert changes.live_deltas == ({0: moved} if moved else {})
        assert [one.order for one in changes.gains] == (["o"] if moved > 0 else [])
        assert not changes.illegal
    else:
        # A hold may have ended in Redis before it heard that the ledger had rejected it.
        told = before is not OrderState.REJECTED or is_live(after)
        assert [(one.state, one.event.kind) for one in changes.illegal] == [(before, kind)] * told
        assert (changes.updates, changes.live_deltas) == ([], {})


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("kind", STATE_OF_KIND)
@pytest.mark.parametrize("refined", ["fulfilled", "allocated", "balance_due", "paid"])
def test_what_postgres_has_decided_since_is_not_set_back(
    refined: str, kind: EventKind, version: int
) -> None:
    known = {"o": KnownOrder(OrderState(refined), 3, 0)}
    changes = plan(CATALOGUE, fold([entry(7, event(kind, "o", 1, 1, version))]), known)
    assert changes == SettlementPlan([], [], {}, [], [], [])


@pytest.mark.parametrize("refined", ["paid", "allocated", "balance_due"])
def test_a_refund_of_what_postgres_has_decided_since_is_settled(refined: str) -> None:
    known = {"o": KnownOrder(OrderState(refined), 3, 0)}
    changes = plan(CATALOGUE, fold([entry(7, event(F, "o", 0, 1, version=4))]), known)
    assert [update.state for update in changes.updates] == [OrderState.REFUNDED]
    assert changes.live_deltas == {0: -1}


def test_a_change_of_sku_moves_units_and_price() -> None:
    known = {"o": KnownOrder(OrderState.DEPOSIT_PAID, 3, 0)}
    changes = plan(CATALOGUE, fold([entry(7, event(M, "o", 1, 2, version=4))]), known)
    (update,) = changes.updates
    assert (update.state, update.item, update.unit_amount) == ("deposit_paid", 1, 500)
    assert changes.live_deltas == {0: -2, 1: 2}
    assert [one.order for one in changes.gains] == ["o"]


def test_money_takes_its_units_before_new_orders_do() -> None:
    ledger = Ledger(capacity=3)
    ledger.settle([entry(1, event(R, "late", 0, 2)), entry(2, event(X, "late", 0, 2))])
    ledger.settle(
        [
            entry(3, event(R, "a"), event(R, "b")),
            entry(4, event(S, "late", 0, 2, version=3)),
        ]
    )
    states = {order: known.state.value for order, known in ledger.orders.items()}
    assert states == {"late": "paid", "a": "confirmed", "b": "rejected"}
    assert ledger.balances()


@pytest.mark.parametrize("known", [True, False], ids=["known", "new"])
def test_money_that_finds_no_room_is_an_error_and_never_a_rejection(known: bool) -> None:
    ledger = Ledger(capacity=1)
    if known:
        ledger.settle([entry(1, event(R, "late")), entry(2, event(X, "late"))])
    ledger.settle([entry(3, event(R, "a"))])
    before = dict(ledger.orders)
    with pytest.raises(NoRoomError):
        ledger.settle([entry(4, event(S, "late", version=3))])
    assert ledger.orders == before


def test_a_rejection_that_redis_was_not_told_of_is_told_again() -> None:
    batch = fold([entry(1, event(R, "o"))])
    changes = plan(CATALOGUE, batch, {"o": KnownOrder(OrderState.REJECTED, 1, 0)})
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
