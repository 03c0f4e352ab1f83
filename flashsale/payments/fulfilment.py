"""Fulfilment: paid orders leave the house. Decided in Postgres alone, under the order's lock.

Redis is not told: the units stay sold. A refund of the same order waits for the lock and then
finds it shipped, or the shipment finds it closing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flashsale.domain.orders import OrderAction, OrderState, transition
from flashsale.orders.values import Refusal
from flashsale.payments import due, queries
from flashsale.payments.records import OrderFacts
from flashsale.payments.values import (
    Imported,
    LineRefusal,
    Shipment,
    ShipmentLine,
    Shipped,
)
from flashsale.settlement.queries import Connection, Pool

NOT_SHIPPABLE = Refusal("order_not_shippable")
ALREADY_SHIPPED = Refusal("already_shipped")
TWICE = Refusal("order_named_twice")


class Fulfilment:
    """Records shipments. Raises Postgres' errors; repeating a call is safe."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def ship(
        self, merchant_id: str, order_id: str, carrier: str, tracking_number: str
    ) -> Shipped | Refusal:
        """Record that a paid order left the house; the same again is answered the same.

        Refusals: unknown_order, order_closing, order_not_shippable (not paid, or not any more),
        already_shipped (otherwise).
        """
        line = ShipmentLine(1, order_id, carrier, tracking_number)

        async def write(connection: Connection) -> list[Shipped | LineRefusal]:
            return await _ship(connection, merchant_id, None, [line])

        (answer,) = await queries.transact(self._pool, write)
        return Refusal(answer.code) if isinstance(answer, LineRefusal) else answer

    async def ship_all(
        self, merchant_id: str, sale_id: str, lines: Sequence[ShipmentLine]
    ) -> Imported | Sequence[LineRefusal]:
        """Record a list of a sale's shipments: all of it, or nothing and the lines at fault.

        Codes as `ship`, and order_named_twice.
        """

        async def write(connection: Connection) -> list[Shipped | LineRefusal]:
            return await _ship(connection, merchant_id, sale_id, lines)

        answers = await queries.transact(self._pool, write)
        refused = [each for each in answers if isinstance(each, LineRefusal)]
        replayed = sum(isinstance(each, Shipped) and each.replayed for each in answers)
        return refused or Imported(len(answers) - replayed, replayed)

    async def shipment_of(self, order_id: str) -> Shipment | None:
        """How an order left the house; None where it has not."""
        return (await queries.shipments_of_orders(self._pool, [order_id])).get(order_id)


async def _ship(
    connection: Connection,
    merchant_id: str,
    sale_id: str | None,
    lines: Sequence[ShipmentLine],
) -> list[Shipped | LineRefusal]:
    """Judge all lines under their orders' locks; where one is refused, the refusals alone."""
    ids = {line.order_id for line in lines}
    orders = {
        name: order
        for name, order in (await queries.lock_orders(connection, ids)).items()
        if order.merchant_id == merchant_id and sale_id in {None, order.sale_id}
    }
    there = await queries.shipments_of_orders(connection, ids)
    judged: list[Shipped | Refusal | None] = []
    named: set[str] = set()
    for line in lines:
        judged.append(TWICE if line.order_id in named else _judge(line, orders, there))
        named.add(line.order_id)
    pairs = list(zip(lines, judged, strict=True))
    refused: list[Shipped | LineRefusal] = [
        LineRefusal(line.number, line.order_id, each.code)
        for line, each in pairs
        if isinstance(each, Refusal)
    ]
    if refused:
        return refused
    await _write(connection, orders, [line for line, each in pairs if each is None])
    there = await queries.shipments_of_orders(connection, ids)
    return [Shipped(there[line.order_id], each is not None) for line, each in pairs]


def _judge(
    line: ShipmentLine, orders: Mapping[str, OrderFacts], there: Mapping[str, Shipment]
) -> Shipped | Refusal | None:
    """None where the line is to be carried out."""
    order, known = orders.get(line.order_id), there.get(line.order_id)
    if order is None:
        return due.UNKNOWN_ORDER
    if known is not None:
        same = (known.carrier, known.tracking_number) == (line.carrier, line.tracking_number)
        return Shipped(known, replayed=True) if same else ALREADY_SHIPPED
    if order.closing is not None:
        return due.CLOSING
    shippable = transition(order.state, OrderAction.FULFIL) is not None
    return None if shippable else NOT_SHIPPABLE


async def _write(
    connection: Connection, orders: Mapping[str, OrderFacts], lines: Sequence[ShipmentLine]
) -> None:
    await queries.insert_shipments(
        connection, [orders[line.order_id].sale_id for line in lines], lines
    )
    await queries.mark_orders(connection, [line.order_id for line in lines], OrderState.FULFILLED)
