"""Balances in Postgres: a function a statement. Decides nothing, opens no transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from flashsale.preorders.balance import Progress, Window
from flashsale.preorders.queries import Database, Transaction
from flashsale.sql import load_queries

SQL = load_queries(Path(__file__).with_name("queries_balances.sql"))


class Due(NamedTuple):
    """A balance about which there is something to do, and its order, both locked."""

    order_id: str
    sale_id: str
    merchant_id: str
    state: str
    closing: str | None
    done: Progress
    when: Window
    in_flight: bool


class Written(NamedTuple):
    """How far a balance has got; `next_at` None: nothing is left to do."""

    order_id: str
    reminded: bool
    charges: int
    next_at: datetime | None


async def due_balances(database: Database, now: datetime, limit: int) -> list[str]:
    """Orders whose balance wants something."""
    return [row["order_id"] for row in await database.fetch(SQL["due_balances"], now, limit)]


async def lock_balances(connection: Transaction, orders: Sequence[str], now: datetime) -> list[Due]:
    """Lock orders and those of their balances that are due and in nobody else's hands."""
    await connection.execute(SQL["lock_orders"], orders)
    rows = await connection.fetch(SQL["lock_balances"], orders, now)
    return [
        Due(
            row["order_id"],
            row["sale_id"],
            row["merchant_id"],
            row["state"],
            row["closing"],
            Progress(row["state"] != "allocated", row["reminded"], row["charges"]),
            Window(row["opens_at_ms"], row["due_at_ms"], row["ends_at_ms"]),
            row["in_flight"],
        )
        for row in rows
    ]


async def demand(connection: Transaction, orders: Sequence[str]) -> None:
    """Orders whose balance may be paid from now on."""
    if orders:
        await connection.execute(SQL["demand_orders"], orders)


async def write(connection: Transaction, rows: Sequence[Written]) -> None:
    """Remember how far balances have got."""
    if rows:
        await connection.execute(SQL["update_balances"], *map(list, zip(*rows, strict=True)))


async def due_at_ms(database: Database, order_id: str) -> int | None:
    """When an order's balance is due, Unix milliseconds; None where none is."""
    found: int | None = await database.fetchval(SQL["find_balance"], order_id)
    return found


async def remind(connection: Transaction, orders: Sequence[str]) -> None:
    """Tell whoever listens that balances are soon due."""
    if orders:
        await connection.execute(SQL["remind"], orders)
