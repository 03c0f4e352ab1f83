"""The store's methods for one order hand on what the scripts answer, with the newest record."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from flashsale.domain.events import EventKind
from flashsale.domain.orders import OrderState
from flashsale.domain.outcomes import Hold, Status
from flashsale.domain.stock import Stock
from flashsale.reservation.errors import ScriptError
from flashsale.reservation.replies import Moved, parse_hold
from flashsale.reservation.store import ReservationStore
from tests.reservation.test_store import ANN, LANE, SALE, TERMS

OF_ANN = (*LANE, ANN.order, ANN.buyer)
Call = Callable[[ReservationStore, tuple], Awaitable[Moved]]
CALLS: dict[str, Call] = {
    "release": lambda store, of: store.release(*of, EventKind.CANCELLED),
    "pay": lambda store, of: store.pay(*of, 60_000),
    "decline": lambda store, of: store.decline(*of),
    "capture": lambda store, of: store.capture(*of, EventKind.PAID),
    "return_units": lambda store, of: store.return_units(*of, EventKind.REFUNDED),
    "change_item": lambda store, of: store.change_item(*of, 1),
}


async def test_an_order_all_the_way_to_its_refund(store: ReservationStore):
    await store.open_sale(*LANE, TERMS, [10])
    (decision,) = await store.reserve(*LANE, [ANN])
    hold = Hold(OrderState.PAYING, 2, 0, 2, decision.at_ms, "ann")
    assert await store.pay(*OF_ANN, 60_000) == (Status.PAYING, hold)
    assert await store.pay(*OF_ANN, 60_000) == (Status.ALREADY, hold)
    held = hold._replace(state=OrderState.CONFIRMED, version=3)
    assert await store.decline(*OF_ANN) == (Status.DECLINED, held), "it was confirmed before"
    deposit = held._replace(state=OrderState.DEPOSIT_PAID, version=4)
    captured = await store.capture(*OF_ANN, EventKind.DEPOSIT_PAID)
    assert captured == (Status.CAPTURED, deposit)
    assert await store.change_item(*OF_ANN, 1) == (Status.UNKNOWN_SKU, deposit)
    assert await store.add_item(*LANE, 1, 5) is Status.DONE
    assert await store.add_item(*LANE, 1, 5) is Status.ALREADY
    changed = deposit._replace(item=1, version=5)
    assert await store.change_item(*OF_ANN, 1) == (Status.CHANGED, changed)
    assert (await store.snapshot(SALE, 0)).stock == (Stock(10, 10), Stock(5, 3, sold=2))
    refunded = changed._replace(state=OrderState.REFUNDED, version=6)
    returned = await store.return_units(*OF_ANN, EventKind.REFUNDED)
    assert returned == (Status.RETURNED, refunded)
    assert await store.return_units(*OF_ANN, EventKind.FORFEITED) == (Status.ILLEGAL, refunded)
    assert (await store.snapshot(SALE, 0)).stock == (Stock(10, 10), Stock(5, 5))


@pytest.mark.parametrize("name", CALLS)
async def test_who_it_is_not_for_is_told_so_without_a_record(store: ReservationStore, name: str):
    call = CALLS[name]
    assert await call(store, OF_ANN) == (Status.MISSING_LANE, None)
    await store.open_sale(*LANE, TERMS, [10])
    await store.reserve(*LANE, [ANN])
    for of, status in [
        ((SALE, 0, 2, ANN.order, ANN.buyer), Status.FOREIGN_EPOCH),
        ((*LANE, ANN.order, "bob"), Status.UNKNOWN_ORDER),
        ((*LANE, "other", ANN.buyer), Status.UNKNOWN_ORDER),
    ]:
        assert await call(store, of) == (status, None)


async def test_bad_arguments_are_a_bug_and_not_an_answer(store: ReservationStore):
    await store.open_sale(*LANE, TERMS, [10])
    await store.reserve(*LANE, [ANN])
    with pytest.raises(ScriptError, match="refused its arguments"):
        await store.pay(*OF_ANN, 0)
    with pytest.raises(ScriptError, match="refused its arguments"):
        await store.capture(*OF_ANN, EventKind.REFUNDED)


@pytest.mark.parametrize(("version", "state"), [(1, "reserved"), (3, "confirmed")])
def test_what_was_being_paid_was_confirmed_before(version: int, state: str):
    assert parse_hold(f"R:{version}:0:1:9000:ann").state == state
