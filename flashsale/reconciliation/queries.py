"""The audit's reads of Postgres as typed calls; they write nothing and judge nothing."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from flashsale.domain.identity import SALE_ID_LENGTH
from flashsale.domain.orders import LIVE_STATES, OrderState
from flashsale.domain.sales import SaleState
from flashsale.reconciliation.errors import NoLedgerError
from flashsale.reconciliation.model import OrderFacts
from flashsale.reconciliation.ranges import Ranges
from flashsale.sql import load_queries

_SQL = load_queries(Path(__file__).with_name("queries.sql"))
_LIVE = sorted(LIVE_STATES)

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
Database: TypeAlias = "Pool | Connection"


@dataclass(frozen=True, slots=True)
class AuditedSale:
    """What the audit must know of a sale."""

    id: str
    state: SaleState
    lanes: int
    epoch: int
    per_buyer_limit: int
    armed: bool
    retired: bool

    @property
    def in_redis(self) -> bool:
        """Whether its lanes must be there."""
        return self.armed and not self.retired


class LaneLedger(NamedTuple):
    """What settlement remembers of a lane: entry numbers settled, and the newest entry id."""

    settled: Ranges = ()
    last_entry_id: str = "0-0"


class DeadLetter(NamedTuple):
    """An entry put aside."""

    lane: int
    seq: int
    entry_id: str
    fields: dict[str, str]
    error: str


class ShutItem(NamedTuple):
    """An item that nobody may reserve, since when and why."""

    item: int
    sku: str
    shut_at: datetime
    shut_reason: str


class ItemLedger(NamedTuple):
    """An item; `in_transit` units may be counted in one store and not yet in the other."""

    item: int
    sku: str
    capacity: int
    live: int
    in_transit: int


class Tally(NamedTuple):
    """The orders of one item in one state, and how many of them break a rule of rows."""

    item: int
    state: OrderState
    orders: int
    units: int
    misfiled: int
    illegal: int
    outside: int


class BuyerOrder(NamedTuple):
    """An order and what its buyer has in all."""

    order: str
    facts: OrderFacts
    buyer_units: int


@contextlib.asynccontextmanager
async def one_instant(pool: Pool) -> AsyncIterator[Connection]:
    """A connection whose every read sees the database as it is at the first one."""
    async with (
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        yield connection


async def sales_to_audit(database: Database) -> list[str]:
    """Ids of all sales that were ever armed."""
    return [row["id"] for row in await database.fetch(_SQL["sales_to_audit"])]


async def find_sale(database: Database, sale_id: str) -> AuditedSale | None:
    """The sale, None where there is none of that id."""
    row = await database.fetchrow(_SQL["sale"], sale_id)
    return AuditedSale(**{**row, "state": SaleState(row["state"])}) if row else None


async def lanes(database: Database, sale: AuditedSale) -> list[LaneLedger]:
    """What is settled of each lane, in the order of the lanes."""
    found = [LaneLedger()] * sale.lanes
    for row in await database.fetch(_SQL["lanes"], sale.id):
        settled = tuple((bounds.lower, bounds.upper) for bounds in row["settled"])
        if row["lane"] < sale.lanes:
            found[row["lane"]] = LaneLedger(settled, row["last_entry_id"])
    return found


async def sales_to_watch(database: Database) -> list[str]:
    """Ids of the sales whose lanes are in Redis and whose start is near or past."""
    return [row["id"] for row in await database.fetch(_SQL["sales_to_watch"])]


async def shut_item(database: Database, sale_id: str, item: int, reason: str) -> bool:
    """Record that an item is shut, and tell the merchant; False where it is shut already."""
    return await database.fetchval(_SQL["shut_item"], sale_id, item, reason) is not None


async def shut_items(database: Database) -> int:
    """How many items are shut of sales that are still in Redis."""
    return int(await database.fetchval(_SQL["shut_items"]))


async def shut_items_of(database: Database, sale_id: str) -> list[ShutItem]:
    """The items of a sale that are shut."""
    return [ShutItem(**row) for row in await database.fetch(_SQL["shut_items_of"], sale_id)]


async def shut_item_of(database: Database, sale_id: str, sku: str) -> int | None:
    """The number of the item sold under a SKU, None unless it is shut."""
    shut = await shut_items_of(database, sale_id)
    return next((item.item for item in shut if item.sku == sku), None)


async def reopen_item(database: Database, sale_id: str, item: int, because: str) -> None:
    """Record that an item may be reserved again, and tell the merchant."""
    await database.execute(_SQL["reopen_item"], sale_id, item, because)


async def dead_letters(database: Database, sale_id: str) -> list[DeadLetter]:
    """Every entry of the sale that was put aside."""
    rows = await database.fetch(_SQL["dead_letters"], sale_id)
    return [DeadLetter(**{**row, "fields": json.loads(row["fields"])}) for row in rows]


async def items(connection: Connection, sale_id: str) -> list[ItemLedger]:
    """The sale's items in their order."""
    return [ItemLedger(**row) for row in await connection.fetch(_SQL["items"], sale_id)]


async def tally(connection: Connection, sale_id: str) -> list[Tally]:
    """The sale's orders, counted."""
    rows = await connection.fetch(_SQL["tally"], sale_id)
    return [Tally(**{**row, "state": OrderState(row["state"])}) for row in rows]


async def largest_buyer_units(connection: Connection, sale_id: str) -> int:
    """The most live units that one buyer has."""
    return int(await connection.fetchval(_SQL["largest_buyer_units"], sale_id, _LIVE))


async def orders_by_buyer(
    connection: Connection, sale_id: str, page: int
) -> AsyncIterator[list[BuyerOrder]]:
    """Every order of a sale in pages, sorted by buyer."""
    cursor = await connection.cursor(_SQL["orders_by_buyer"], sale_id, _LIVE)
    while rows := await cursor.fetch(page):
        yield [BuyerOrder(row[0], _facts(row), row[6]) for row in rows]


async def orders_of(
    connection: Connection, sale_id: str, orders: Sequence[str]
) -> dict[str, OrderFacts]:
    """Those of the orders, named by hash, that Postgres has."""
    if not orders:
        return {}
    assert len(sale_id) == SALE_ID_LENGTH
    rows = await connection.fetch(_SQL["orders_of"], [sale_id + order for order in orders])
    return {row[0]: _facts(row) for row in rows}


async def rejected_orders(database: Database, sale_id: str) -> list[tuple[str, str]]:
    """(order hash, buyer) of every order that did not fit."""
    return [(row[0], row[1]) for row in await database.fetch(_SQL["rejected_orders"], sale_id)]


async def units_of_buyers(
    connection: Connection, sale_id: str, buyers: Sequence[str]
) -> dict[str, int]:
    """Live units of those of the buyers who have any."""
    if not buyers:
        return {}
    rows = await connection.fetch(_SQL["units_of_buyers"], sale_id, buyers, _LIVE)
    return {row["buyer_id"]: row["units"] for row in rows}


@contextlib.asynccontextmanager
async def doctors_connection(dsn: str, *, timeout_seconds: float) -> AsyncIterator[Connection]:
    """A connection of its own: a pool cannot be made where nobody answers. NoLedgerError."""
    try:
        connection = await asyncpg.connect(dsn, timeout=timeout_seconds)
        try:
            yield connection
        finally:
            await connection.close()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
        raise NoLedgerError(str(error) or type(error).__name__) from error


async def server_settings(connection: Connection, names: Sequence[str]) -> dict[str, str]:
    """Settings of the server, as this session sees them."""
    rows = await connection.fetch(_SQL["server_settings"], names)
    return {row["name"]: row["setting"] for row in rows}


async def clock_ms(connection: Connection) -> int:
    """Postgres' clock, Unix milliseconds."""
    return int(await connection.fetchval(_SQL["clock"]))


def _facts(row: asyncpg.Record) -> OrderFacts:
    return OrderFacts(_STATES[row[1]], row[2], row[3], row[4], row[5])


_STATES = {state.value: state for state in OrderState}
