"""Payments' statements as typed calls, and the transaction that they run in. Decides nothing."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import asyncpg

from flashsale.domain.orders import OrderState
from flashsale.payments.records import (
    NewPayment,
    NewRefund,
    OrderFacts,
    PaymentRecord,
    RefundRecord,
    order_facts,
    payment_record,
    refund_record,
)
from flashsale.payments.values import PaymentState, RefundState, Shipment, ShipmentLine
from flashsale.settlement.faults import Fault, fault_of
from flashsale.settlement.queries import Connection, Pool
from flashsale.sql import load_queries

_HERE = Path(__file__)
SQL = {
    **load_queries(_HERE.with_name("queries.sql")),
    **load_queries(_HERE.with_name("queries_refunds.sql")),
}
_ATTEMPTS_MAX = 10

_T = TypeVar("_T")


class SalePlace(NamedTuple):
    """Where Redis keeps a sale's orders, and whose the sale is."""

    merchant_id: str
    lanes: int
    epoch: int
    armed: bool
    retired: bool


async def transact(pool: Pool, work: Callable[[Connection], Awaitable[_T]]) -> _T:
    """`work` in one transaction; again from its start where another one was in its way."""
    for _ in range(_ATTEMPTS_MAX - 1):
        try:
            async with pool.acquire() as connection, connection.transaction():
                return await work(connection)
        except asyncpg.PostgresError as error:
            if fault_of(error) is not Fault.AGAIN:
                raise
    async with pool.acquire() as connection, connection.transaction():
        return await work(connection)


async def lock_orders(connection: Connection, order_ids: Iterable[str]) -> dict[str, OrderFacts]:
    """Those of the orders that are in Postgres, locked until the end of the transaction."""
    ids = sorted(set(order_ids))
    await connection.execute(SQL["lock_orders"], ids)
    return await read_orders(connection, ids)


async def read_orders(
    connection: Connection | Pool, order_ids: Iterable[str]
) -> dict[str, OrderFacts]:
    """Those of the orders that are in Postgres."""
    rows = await connection.fetch(SQL["order_facts"], list(order_ids))
    return {row["id"]: order_facts(row, json.loads(row["cancellation"])) for row in rows}


async def find_order(pool: Pool, order_id: str) -> OrderFacts | None:
    """One order as it stands."""
    return (await read_orders(pool, [order_id])).get(order_id)


async def find_place(pool: Pool, sale_id: str) -> SalePlace | None:
    """Where a sale's orders are; None where there is no such sale."""
    row = await pool.fetchrow(SQL["sale_place"], sale_id)
    return SalePlace(**row) if row else None


async def payments_of_orders(
    connection: Connection | Pool, order_ids: Iterable[str]
) -> dict[str, list[PaymentRecord]]:
    """Every payment of some orders, oldest first; an order without any has an empty list."""
    ids = list(order_ids)
    found: dict[str, list[PaymentRecord]] = {order_id: [] for order_id in ids}
    for row in await connection.fetch(SQL["payments_of_orders"], ids):
        found[row["order_id"]].append(payment_record(row))
    return found


async def lock_payments_of_orders(
    connection: Connection, order_ids: Iterable[str]
) -> dict[str, list[PaymentRecord]]:
    """Likewise, locked until the end of the transaction."""
    ids = sorted(set(order_ids))
    await connection.execute(SQL["lock_payments_of_orders"], ids)
    return await payments_of_orders(connection, ids)


async def lock_payments(
    connection: Connection, payment_ids: Iterable[str]
) -> dict[str, PaymentRecord]:
    """Those of the payments that exist, locked until the end of the transaction."""
    ids = sorted(set(payment_ids))
    if not ids:
        return {}
    await connection.execute(SQL["lock_payments"], ids)
    return await read_payments(connection, ids)


async def read_payments(
    connection: Connection | Pool, payment_ids: Iterable[str]
) -> dict[str, PaymentRecord]:
    """Those of the payments that exist."""
    rows = await connection.fetch(SQL["payments_by_id"], list(payment_ids))
    return {row["id"]: payment_record(row) for row in rows}


async def find_payment(pool: Pool, payment_id: str) -> PaymentRecord | None:
    """One payment as it stands."""
    return (await read_payments(pool, [payment_id])).get(payment_id)


async def orders_of_payments(connection: Connection, payment_ids: Sequence[str]) -> dict[str, str]:
    """The order of each payment."""
    rows = await connection.fetch(SQL["orders_of_payments"], list(payment_ids))
    return {row["id"]: row["order_id"] for row in rows}


async def insert_payments(connection: Connection, rows: Sequence[NewPayment]) -> None:
    """Add payments; asyncpg.UniqueViolationError where an order has one under way."""
    if rows:
        await connection.execute(SQL["insert_payments"], *_columns(rows))


async def open_payments(
    connection: Connection, opened: Sequence[tuple[str, str, str | None]]
) -> None:
    """(payment, the provider's name, where the buyer pays), of locked payments."""
    await connection.execute(SQL["open_payments"], *_columns(opened))


async def void_payments(
    connection: Connection | Pool, payment_ids: Sequence[str], *, applied: bool, note: str | None
) -> list[str]:
    """Close payments into which nothing came; those that this closed."""
    rows = await connection.fetch(SQL["void_payments"], list(payment_ids), applied, note)
    return [row["id"] for row in rows]


async def count_payments(connection: Connection, payment_ids: Sequence[str]) -> None:
    """Mark the money that pays an order."""
    if payment_ids:
        await connection.execute(SQL["count_payments"], list(payment_ids))


async def apply_payments(connection: Connection, payment_ids: Sequence[str]) -> None:
    """Remember that the order has heard of the outcome."""
    if payment_ids:
        await connection.execute(SQL["apply_payments"], list(payment_ids))


async def refuse_payments(connection: Connection, notes: Mapping[str, str]) -> None:
    """Money for which there is nothing, with what the buyer is told."""
    if notes:
        await connection.execute(SQL["refuse_payments"], list(notes), list(notes.values()))


async def mark_orders(connection: Connection, order_ids: Sequence[str], state: OrderState) -> None:
    """A state of locked orders that moves no stock."""
    if order_ids:
        await connection.execute(SQL["mark_orders"], list(order_ids), state.value)


async def close_orders(connection: Connection, order_ids: Sequence[str], closing: str) -> None:
    """Decide about locked orders what Redis is told next."""
    await connection.execute(SQL["close_orders"], order_ids, closing)


async def open_order(connection: Connection, order_id: str) -> None:
    """What was decided is done."""
    await connection.execute(SQL["open_order"], order_id)


async def overdue_payments(pool: Pool, until: Any, limit: int) -> list[tuple[str, PaymentState]]:
    """Payments past their time whose outcome the order has not heard of."""
    rows = await pool.fetch(SQL["overdue_payments"], until, limit)
    return [(row["id"], PaymentState(row["state"])) for row in rows]


async def unapplied_payments(connection: Connection | Pool, order_id: str) -> list[str]:
    """The payments of an order that are under way."""
    return [row["id"] for row in await connection.fetch(SQL["unapplied_payments"], order_id)]


async def orders_called_off(
    pool: Pool, behind: str, states: Iterable[OrderState], limit: int
) -> list[tuple[str, bool]]:
    """Orders of sales that were called off, and whether each is in one of the states still."""
    wanted = [state.value for state in states]
    return [tuple(row) for row in await pool.fetch(SQL["orders_called_off"], behind, wanted, limit)]


async def insert_refunds(connection: Connection, refunds: Sequence[NewRefund]) -> list[str]:
    """Ask money back, once an id; the new ones. Their payments are locked and have it."""
    if not refunds:
        return []
    rows = await connection.fetch(SQL["insert_refunds"], *_columns(refunds))
    new = {row["id"] for row in rows}
    added = [(each.payment_id, each.amount) for each in refunds if each.id in new]
    if added:
        await connection.execute(SQL["add_refunding"], *_columns(added))
    return sorted(new)


async def read_refunds(
    connection: Connection | Pool, refund_ids: Iterable[str]
) -> dict[str, RefundRecord]:
    """Those of the refunds that exist."""
    rows = await connection.fetch(SQL["refunds_by_id"], list(refund_ids))
    return {row["id"]: refund_record(row) for row in rows}


async def refunds_of_order(connection: Connection | Pool, order_id: str) -> list[RefundRecord]:
    """Everything that goes back of an order, oldest first."""
    return [refund_record(row) for row in await connection.fetch(SQL["refunds_of_order"], order_id)]


async def mark_refunds(
    connection: Connection, marked: Sequence[tuple[RefundRecord, RefundState, str | None]]
) -> set[str]:
    """How far the provider is, and its name for it; those that it told nothing else of since.

    Their payments are locked.
    """
    rows = [(known.id, state.value, known.state.value, ref) for known, state, ref in marked]
    return {row["id"] for row in await connection.fetch(SQL["mark_refunds"], *_columns(rows))}


async def unheard_refunds(pool: Pool, until: Any, limit: int) -> list[str]:
    """Payments of which a provider was asked to give back something, and has not told that."""
    rows = await pool.fetch(SQL["unheard_refunds"], until, limit)
    return [row["payment_id"] for row in rows]


async def refund_under_way(pool: Pool, payment_id: str) -> int | None:
    """When the oldest refund of a payment that the provider has was asked for (Unix ms)."""
    since_ms: int | None = await pool.fetchval(SQL["refund_under_way"], payment_id)
    return since_ms


async def insert_shipments(
    connection: Connection, sale_ids: Sequence[str], lines: Sequence[ShipmentLine]
) -> None:
    """Record how orders left the house, each with its sale."""
    rows = [
        (line.order_id, sale_id, line.carrier, line.tracking_number)
        for sale_id, line in zip(sale_ids, lines, strict=True)
    ]
    if rows:
        await connection.execute(SQL["insert_shipments"], *_columns(rows))


async def shipments_of_orders(
    connection: Connection | Pool, order_ids: Iterable[str]
) -> dict[str, Shipment]:
    """The shipments of those of the orders that were shipped."""
    rows = await connection.fetch(SQL["shipments_of_orders"], list(order_ids))
    return {row["order_id"]: Shipment(**row) for row in rows}


def _columns(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
