"""What a rebuilt lane holds, out of what Postgres knows. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from flashsale.domain.lanes import split
from flashsale.domain.orders import OrderState
from flashsale.domain.sales import SaleKind
from flashsale.reservation.rebuilding import LaneOrder

#: A hold that ran out while nobody could pay is kept for so long after the rebuilding.
GRACE_MS = 30_000

#: The letter of a hold's record, by the state of its order; what a deposit is refined to is `E`.
_LETTERS = {
    OrderState.CONFIRMED: "R",
    OrderState.PAYING: "P",
    OrderState.PAID: "S",
    OrderState.FULFILLED: "S",
    OrderState.DEPOSIT_PAID: "E",
    OrderState.ALLOCATED: "E",
    OrderState.BALANCE_DUE: "E",
    OrderState.EXPIRED: "X",
    OrderState.CANCELLED: "C",
    OrderState.REJECTED: "J",
    OrderState.REFUNDED: "F",
    OrderState.FORFEITED: "L",
}


class StoredOrder(NamedTuple):
    """An order as Postgres has it; `pay_by_ms`: until when its payment may decide, 0 for none."""

    id: str
    state: OrderState
    version: int
    item: int
    quantity: int
    buyer: str
    hold_expires_at_ms: int
    pay_by_ms: int


class LaneHistory(NamedTuple):
    """Entry numbers of a lane: settled or put aside as half-open ranges, and the highest seen."""

    known: Sequence[tuple[int, int]]
    seq: int


def lane_order(order: StoredOrder, kind: SaleKind, sale_id: str, now_ms: int) -> LaneOrder:
    """The record that Redis has to hold of an order."""
    letter = _LETTERS[order.state]
    if kind is SaleKind.PREORDER and letter == "S":
        letter = "E"  # a pre-order's units were sold by its deposit
    due_ms, deadline_ms = 0, order.hold_expires_at_ms
    if letter == "R":
        # That its buyer is at the provider's page Redis may have forgotten before it was settled.
        due_ms = deadline_ms = max(deadline_ms, order.pay_by_ms, now_ms + GRACE_MS)
    elif letter == "P":
        due_ms = max(order.pay_by_ms, now_ms + GRACE_MS)
    return LaneOrder(
        order.id[len(sale_id) :],
        letter,
        order.version,
        order.item,
        order.quantity,
        deadline_ms,
        due_ms,
        order.buyer,
    )


def lane_capacities(
    capacities: Sequence[int], live: Sequence[Mapping[int, int]]
) -> list[list[int]]:
    """Each lane's capacity of each item: what is live there, and its share of what is unsold.

    `live` are live units by item, lane by lane.
    """
    shares = [
        split(capacity - sum(lane.get(item, 0) for lane in live), len(live))
        for item, capacity in enumerate(capacities)
    ]
    return [
        [lane.get(item, 0) + share[number] for item, share in enumerate(shares)]
        for number, lane in enumerate(live)
    ]


def lost_entries(history: LaneHistory) -> list[tuple[int, int]]:
    """Entry numbers up to the highest that are neither settled nor put aside: no disk has them."""
    lost: list[tuple[int, int]] = []
    following = 1
    for low, high in sorted(history.known):
        if low > following:
            lost.append((following, low))
        following = max(following, high)
    if history.seq >= following:
        lost.append((following, history.seq + 1))
    return lost
