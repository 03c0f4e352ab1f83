"""One order and one buyer as both stores have them at one instant: do they agree? Pure."""

from __future__ import annotations

from typing import NamedTuple

from flashsale.domain.orders import OrderState, is_live
from flashsale.domain.outcomes import Hold
from flashsale.reconciliation.model import OrderFacts
from flashsale.reservation.replies import parse_hold

_S = OrderState
#: The order states that a hold's state may stand beside, at the same version: Postgres alone goes
#: on from a deposit to its balance, and from what is paid to what is sent.
_BESIDE = {
    _S.RESERVED: frozenset({_S.CONFIRMED}),
    _S.CONFIRMED: frozenset({_S.CONFIRMED}),
    _S.PAYING: frozenset({_S.PAYING}),
    _S.PAID: frozenset({_S.PAID, _S.FULFILLED}),
    _S.DEPOSIT_PAID: frozenset(
        {_S.DEPOSIT_PAID, _S.ALLOCATED, _S.BALANCE_DUE, _S.PAID, _S.FULFILLED}
    ),
    _S.EXPIRED: frozenset({_S.EXPIRED}),
    _S.CANCELLED: frozenset({_S.CANCELLED}),
    _S.REJECTED: frozenset({_S.REJECTED}),
    _S.REFUNDED: frozenset({_S.REFUNDED}),
    _S.FORFEITED: frozenset({_S.FORFEITED}),
}


class Difference(NamedTuple):
    """Something that the two stores tell differently."""

    invariant: str
    name: str
    text: str


def read_record(record: str | None) -> Hold | None:
    """The hold of a record; None where there is none or it is damaged."""
    if record is None:
        return None
    try:
        return parse_hold(record)
    except (ValueError, KeyError):
        return None


def is_unreturned(order: OrderFacts, hold: Hold | None) -> bool:
    """Whether Postgres has rejected an order whose units Redis still holds."""
    return (
        order.state is OrderState.REJECTED
        and hold is not None
        and hold.state in {OrderState.RESERVED, OrderState.CONFIRMED}
    )


def judge_order(name: str, order: OrderFacts, record: str | None) -> Difference | None:
    """What is wrong with an order, as it is in Postgres after all events, and its record."""
    hold = read_record(record)
    if hold is None:
        missing = "is missing in Redis" if record is None else f"is damaged in Redis: {record!r}"
        return Difference("INV-9", name, f"the record of a {order.state} order {missing}")
    if (hold.item, hold.quantity, hold.buyer) != (order.item, order.quantity, order.buyer):
        return Difference(
            "INV-8",
            name,
            f"item, quantity, buyer are {hold.item}, {hold.quantity}, {hold.buyer!r} in Redis and"
            f" {order.item}, {order.quantity}, {order.buyer!r} in Postgres",
        )
    if order.state is OrderState.REJECTED and (
        not is_live(hold.state) or is_unreturned(order, hold)
    ):
        # Redis learns of a rejection last, and may have ended the hold in another way before.
        return None
    if hold.version == order.version and order.state in _BESIDE[hold.state]:
        return None
    ended_once = is_live(hold.state) == is_live(order.state)
    return Difference(
        "INV-11" if ended_once else "INV-5",
        name,
        f"{hold.state} (version {hold.version}) in Redis,"
        f" {order.state} (version {order.version}) in Postgres",
    )


def judge_buyer(name: str, expected: int, counted: int | None) -> Difference | None:
    """What is wrong with a buyer's live units and Redis' count of them."""
    if counted == expected:
        return None
    shown = "no count" if counted is None else counted
    return Difference("INV-7", name, f"{shown} in Redis, {expected} live units in all orders")
