"""Ledger: what Postgres knows of orders, for readers. It never writes and never asks Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from flashsale.domain.orders import OrderState
from flashsale.settlement.queries import SQL, Pool
from flashsale.sql import load_queries

_BESIDE = load_queries(Path(__file__).with_name("ledger.sql"))
_MIN_ID = ""


class OrderRow(NamedTuple):
    """A settled order. Instants are Unix milliseconds, `unit_amount` is in minor units."""

    id: str
    sale_id: str
    item: int
    buyer_id: str
    quantity: int
    unit_amount: int
    state: OrderState
    version: int
    hold_expires_at_ms: int
    decided_at_ms: int
    settled_at_ms: int


@dataclass(frozen=True, slots=True)
class OrderPage:
    """Some orders; `next_cursor` is None on the last page."""

    items: Sequence[OrderRow]
    next_cursor: str | None


class ReportLine(NamedTuple):
    """Orders of one item in one state: how many, of how many units, worth how much."""

    item: int
    state: OrderState
    orders: int
    units: int
    amount: int


class BesideOrder(NamedTuple):
    """Money of an order in minor units, what came in and what went back; how it was sent."""

    captured: int = 0
    refunded: int = 0
    carrier: str | None = None
    tracking_number: str | None = None
    shipped_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Ledger:
    """Reads of settled orders; every method raises asyncpg's errors where Postgres is away."""

    pool: Pool

    async def find_order(self, order_id: str) -> OrderRow | None:
        """One order by its public id."""
        row = await self.pool.fetchrow(SQL["find_order"], order_id)
        return _order(row) if row else None

    async def orders_of_buyer(
        self, merchant_id: str, buyer: str, cursor: str | None, limit: int
    ) -> OrderPage:
        """A buyer's orders with one merchant, whose own the buyer ids are; sale by sale."""
        rows = await self.pool.fetch(
            SQL["orders_of_buyer"], merchant_id, buyer, cursor or _MIN_ID, limit + 1
        )
        return _page(rows, limit)

    async def orders_of_sale(
        self, sale: str, cursor: str | None, limit: int, state: OrderState | None = None
    ) -> OrderPage:
        """A sale's orders, of one state or all, in the order of their ids."""
        rows = await self.pool.fetch(
            SQL["orders_of_sale"], sale, cursor or _MIN_ID, limit + 1, state and state.value
        )
        return _page(rows, limit)

    async def export(self, sale: str, chunk: int = 2000) -> AsyncIterator[Sequence[OrderRow]]:
        """All orders of a sale in chunks, without holding a connection between them."""
        cursor: str | None = None
        while True:
            page = await self.orders_of_sale(sale, cursor, chunk)
            if page.items:
                yield page.items
            if page.next_cursor is None:
                return
            cursor = page.next_cursor

    async def paid_towards(self, order_ids: Sequence[str]) -> dict[str, int]:
        """What has been paid of each order, in minor units; nothing for those without money."""
        rows = await self.pool.fetch(_BESIDE["paid_towards"], order_ids)
        return {row["order_id"]: row["paid"] for row in rows}

    async def beside(self, order_ids: Sequence[str]) -> dict[str, BesideOrder]:
        """Money and shipment of those of the orders that have either."""
        rows = await self.pool.fetch(_BESIDE["beside_orders"], order_ids)
        return {
            row["id"]: BesideOrder(
                row["captured"] or 0,
                row["refunded"] or 0,
                row["carrier"],
                row["tracking_number"],
                row["shipped_at_ms"],
            )
            for row in rows
        }

    async def report(self, sale: str) -> list[ReportLine]:
        """Counts and sums by item and state."""
        rows = await self.pool.fetch(SQL["report_of_sale"], sale)
        return [
            ReportLine(
                row["item"], OrderState(row["state"]), row["orders"], row["units"], row["amount"]
            )
            for row in rows
        ]


def _page(rows: Sequence[Any], limit: int) -> OrderPage:
    """One row more than asked for tells whether there is a next page."""
    items = [_order(row) for row in rows[:limit]]
    return OrderPage(items, items[-1].id if len(rows) > limit else None)


def _order(row: Any) -> OrderRow:
    return OrderRow(
        row["id"],
        row["sale_id"],
        row["item"],
        row["buyer_id"],
        row["quantity"],
        row["unit_amount"],
        OrderState(row["state"]),
        row["version"],
        row["hold_expires_at_ms"],
        row["decided_at_ms"],
        row["settled_at_ms"],
    )
