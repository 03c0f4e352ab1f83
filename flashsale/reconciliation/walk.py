"""Looks at every order and buyer of a cut, page by page, for those that want a second look.

A lane moves on while its orders are read, so nothing found here is a verdict: `convict` judges the
suspects again, each at the instant of a cut of its own. Memory is bounded by a page, the unapplied
events and SUSPECTS_MAX.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from flashsale.domain.lanes import lane_of
from flashsale.domain.orders import OrderState
from flashsale.reconciliation import queries
from flashsale.reconciliation.cut import Cut, Watched, consistent_cut
from flashsale.reconciliation.diff import (
    Difference,
    is_unreturned,
    judge_buyer,
    judge_order,
    read_record,
)
from flashsale.reconciliation.evaluate import Unreturned
from flashsale.reconciliation.model import OrderFacts
from flashsale.reconciliation.queries import Connection, Pool
from flashsale.reservation.inspector import NAMES_MAX, LaneInspector

SUSPECTS_MAX = 20_000
_PAGE = 2000
_CHUNK = NAMES_MAX // 2

_T = TypeVar("_T")


@dataclass(slots=True)
class Suspects:
    """Orders (hash to buyer) and buyers to look at again.

    Also how many of each were looked at, and the most live units that a buyer has.
    """

    orders: dict[str, str] = field(default_factory=dict)
    buyers: set[str] = field(default_factory=set)
    orders_seen: int = 0
    buyers_seen: int = 0
    most_units: int = 0

    @property
    def full(self) -> bool:
        """Whether there may be more than were noted."""
        return max(len(self.orders), len(self.buyers)) >= SUSPECTS_MAX


async def walk(connection: Connection, inspector: LaneInspector, cut: Cut) -> Suspects:
    """Every order that Postgres has or will have, beside its record and its buyer's count."""
    suspects = Suspects()
    async for orders, buyers in _pages(connection, cut):
        suspects.orders_seen += len(orders)
        suspects.buyers_seen += len(buyers)
        suspects.most_units = max(suspects.most_units, *buyers.values(), 0)
        for lane, some_orders, some_buyers in _by_lane(cut.sale.lanes, orders, buyers):
            names = list(some_orders), list(some_buyers)
            found = await inspector.records_and_units(cut.sale.id, lane, *names)
            for order, record in zip(names[0], found[0], strict=True):
                if judge_order(order, orders[order], record) and not suspects.full:
                    suspects.orders[order] = orders[order].buyer
            for buyer, count in zip(names[1], found[1], strict=True):
                if judge_buyer(buyer, buyers[buyer], count) and not suspects.full:
                    suspects.buyers.add(buyer)
    return suspects


async def _pages(
    connection: Connection, cut: Cut
) -> AsyncIterator[tuple[dict[str, OrderFacts], dict[str, int]]]:
    """Orders, and each buyer's live units once, as they will be after the unapplied events."""
    coming = cut.coming
    only_coming = {coming.orders[order].buyer for order in coming.added}
    last_buyer = None
    async for page in queries.orders_by_buyer(connection, cut.sale.id, _PAGE):
        orders, buyers = {}, {}
        for row in page:
            orders[row.order] = coming.orders.get(row.order, row.facts)
            buyer = row.facts.buyer
            if buyer != last_buyer:
                buyers[buyer] = row.buyer_units + coming.buyer_units.get(buyer, 0)
                only_coming.discard(buyer)
                last_buyer = buyer
        yield orders, buyers
    added = iter(coming.added)
    while part := list(islice(added, _PAGE)):
        orders = {order: coming.orders[order] for order in part}
        fresh = {facts.buyer for facts in orders.values()} & only_coming
        only_coming -= fresh
        yield orders, {buyer: coming.buyer_units.get(buyer, 0) for buyer in fresh}


def _by_lane(
    lanes: int, orders: Mapping[str, OrderFacts], buyers: Mapping[str, int]
) -> Iterator[tuple[int, Sequence[str], Sequence[str]]]:
    if lanes == 1:
        yield 0, list(orders), list(buyers)
        return
    parts: dict[int, tuple[list[str], list[str]]] = {}
    for order, facts in orders.items():
        parts.setdefault(lane_of(facts.buyer, lanes), ([], []))[0].append(order)
    for buyer in buyers:
        parts.setdefault(lane_of(buyer, lanes), ([], []))[1].append(buyer)
    for lane, names in parts.items():
        yield lane, *names


async def convict(
    pool: Pool, inspector: LaneInspector, sale_id: str, suspects: Suspects
) -> list[Difference]:
    """Those of the suspects whose two sides differ at one instant."""
    found: list[Difference] = []
    orders, buyers = iter(suspects.orders.items()), iter(sorted(suspects.buyers))
    while True:
        part, some_buyers = _take(orders), _take(buyers)
        if not part and not some_buyers:
            return found
        rejected = await rejected_and_held(pool, inspector, sale_id) if some_buyers else []
        watched = Watched(list(dict([*part, *rejected]).items()), some_buyers)
        async with consistent_cut(pool, inspector, sale_id, watched=watched) as (connection, cut):
            if cut.whole:
                names = [order for order, _ in part]
                found += await _judge_orders(connection, cut, names)
                found += await _judge_buyers(connection, cut, some_buyers)


def _take(names: Iterator[_T]) -> list[_T]:
    return list(islice(names, _CHUNK))


async def _judge_orders(
    connection: Connection, cut: Cut, orders: Sequence[str]
) -> Iterable[Difference]:
    facts = await facts_of(connection, cut, orders)
    judged = [
        judge_order(cut.sale.id + order, facts[order], cut.records.get(order))
        for order in orders
        if order in facts
    ]
    return [difference for difference in judged if difference]


async def _judge_buyers(
    connection: Connection, cut: Cut, buyers: Sequence[str]
) -> Iterable[Difference]:
    live = await queries.units_of_buyers(connection, cut.sale.id, buyers)
    held_back = await unreturned(connection, cut)
    judged = [
        judge_buyer(
            f"buyer {buyer!r}",
            live.get(buyer, 0)
            + cut.coming.buyer_units.get(buyer, 0)
            + sum(order.quantity for order in held_back if order.buyer == buyer),
            cut.units.get(buyer),
        )
        for buyer in buyers
    ]
    return [difference for difference in judged if difference]


async def facts_of(
    connection: Connection, cut: Cut, orders: Sequence[str]
) -> dict[str, OrderFacts]:
    """Some orders as they will be after the unapplied events."""
    known = await queries.orders_of(connection, cut.sale.id, orders)
    return known | {
        order: cut.coming.orders[order] for order in orders if order in cut.coming.orders
    }


async def unreturned(connection: Connection, cut: Cut) -> list[Unreturned]:
    """Of the orders watched, those rejected in Postgres whose units Redis still holds."""
    facts = await facts_of(connection, cut, list(cut.records))
    return [
        Unreturned(order.item, order.buyer, order.quantity)
        for name, order in facts.items()
        if is_unreturned(order, read_record(cut.records[name]))
    ]


async def rejected_and_held(
    pool: Pool, inspector: LaneInspector, sale_id: str
) -> list[tuple[str, str]]:
    """Orders (hash, buyer) rejected in Postgres and live in Redis: settlement is about to tell it.

    At most half of NAMES_MAX; there are none but for an instant.
    """
    sale = await queries.find_sale(pool, sale_id)
    found: list[tuple[str, str]] = []
    if sale is None:
        return found
    rejected = await queries.rejected_orders(pool, sale_id)
    for at in range(0, len(rejected), _PAGE):
        part = {
            order: OrderFacts(OrderState.REJECTED, 1, 0, 0, buyer)
            for order, buyer in rejected[at : at + _PAGE]
        }
        for lane, orders, _ in _by_lane(sale.lanes, part, {}):
            records, _ = await inspector.records_and_units(sale_id, lane, orders, [])
            found += [
                (order, part[order].buyer)
                for order, record in zip(orders, records, strict=True)
                if is_unreturned(part[order], read_record(record))
            ]
        if len(found) >= _CHUNK:
            break
    return found[:_CHUNK]
