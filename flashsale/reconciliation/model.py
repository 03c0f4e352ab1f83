"""What Postgres will hold once the unapplied events are settled. Pure, and no copy of settlement.

Written apart from settlement's plan on purpose: an auditor that shares the code it audits shares
its faults.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from flashsale.domain.events import STATE_OF_KIND, OrderEvent
from flashsale.domain.orders import OrderState, is_live, reachable

#: States in which an order has a hold with a deadline in Redis.
HELD_STATES = frozenset({OrderState.CONFIRMED, OrderState.PAYING})


class OrderFacts(NamedTuple):
    """An order as Postgres has it, or will have it."""

    state: OrderState
    version: int
    item: int
    quantity: int
    buyer: str


def apply(before: OrderFacts | None, event: OrderEvent) -> OrderFacts:
    """The order after its newest event, which must be newer and of a state that can follow."""
    state = STATE_OF_KIND[event.kind]
    if before is None:
        return OrderFacts(state, event.version, event.item, event.quantity, event.buyer)
    if event.version <= before.version or state not in reachable(before.state):
        return before
    return before._replace(state=state, version=event.version, item=event.item)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the unapplied events will change.

    `orders` are the orders they touch, by hash, as they will be; `added` those of them that
    Postgres does not know yet. `units` are live units by item, `buyer_units` by buyer, `held` is
    the number of orders with a deadline: differences to what Postgres has now.
    """

    orders: Mapping[str, OrderFacts]
    added: frozenset[str]
    units: Mapping[int, int]
    buyer_units: Mapping[str, int]
    held: int


def forecast(newest: Mapping[str, OrderEvent], known: Mapping[str, OrderFacts]) -> Forecast:
    """The effect of the newest unapplied event of each order on the rows that are there."""
    orders: dict[str, OrderFacts] = {}
    units: Counter[int] = Counter()
    buyers: Counter[str] = Counter()
    held = 0
    for order, event in newest.items():
        before = known.get(order)
        after = orders[order] = apply(before, event)
        units[after.item] += live_units(after)
        buyers[after.buyer] += live_units(after)
        if before is not None:
            units[before.item] -= live_units(before)
            buyers[before.buyer] -= live_units(before)
        held += (after.state in HELD_STATES) - (before is not None and before.state in HELD_STATES)
    return Forecast(orders, frozenset(newest.keys() - known.keys()), units, buyers, held)


def live_units(order: OrderFacts) -> int:
    """The units an order has, 0 once it has ended."""
    return order.quantity if is_live(order.state) else 0
