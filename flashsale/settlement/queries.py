"""Settlement's statements as typed calls; they never open or end a transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import asyncpg

from flashsale.domain.events import Entry, OrderEvent
from flashsale.domain.orders import OrderState
from flashsale.settlement.plan import (
    ORDER_COLUMNS,
    Catalogue,
    Folded,
    InsertRow,
    KnownOrder,
    OrderUpdate,
)
from flashsale.sql import load_queries
from flashsale.stream.reader import PoisonEntry

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

#: Aliases as text: asyncpg's classes take type arguments only in their stubs.
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

SQL = load_queries(Path(__file__).with_name("queries.sql"))


class LaneToRead(NamedTuple):
    """A lane that exists in Redis."""

    sale: str
    lane: int


async def lanes_to_read(connection: Connection) -> list[LaneToRead]:
    """Every lane of every sale that is armed and not retired."""
    return [
        LaneToRead(row["id"], lane)
        for row in await connection.fetch(SQL["lanes_to_read"])
        for lane in range(row["lanes"])
    ]


async def read_catalogue(connection: Connection, sale: str) -> Catalogue:
    """The sale's prices; empty where there is no such sale."""
    rows = await connection.fetch(SQL["catalogue"], sale)
    return Catalogue(sale, {row["item"]: row["price_amount"] for row in rows})


async def lock_orders(
    connection: Connection, sale: str, orders: Collection[str]
) -> dict[str, KnownOrder]:
    """Those of the orders, named by hash, that are in Postgres; locked until the end."""
    if not orders:
        return {}
    rows = await connection.fetch(SQL["lock_orders"], [sale + order for order in orders])
    return {
        row["id"][len(sale) :]: KnownOrder(OrderState(row["state"]), row["version"], row["item"])
        for row in rows
    }


async def insert_orders(connection: Connection, rows: Sequence[InsertRow]) -> None:
    """Add new orders; asyncpg.UniqueViolationError where one is there already."""
    if rows:
        await connection.copy_records_to_table("orders", records=rows, columns=ORDER_COLUMNS)


async def update_orders(connection: Connection, updates: Sequence[OrderUpdate]) -> None:
    """Write newer states of locked orders."""
    if updates:
        await connection.execute(SQL["update_orders"], *map(list, zip(*updates, strict=True)))


async def reject_orders(connection: Connection, sale: str, events: Iterable[OrderEvent]) -> None:
    """Mark orders inserted in this transaction as not fitting."""
    await connection.execute(SQL["reject_orders"], [sale + event.order for event in events])


async def lock_room(connection: Connection, sale: str, items: Iterable[int]) -> dict[int, int]:
    """Capacity minus live of the items, which stay locked until the end."""
    rows = await connection.fetch(SQL["lock_room"], sale, sorted(items))
    return {row["item"]: row["room"] for row in rows}


async def add_live(connection: Connection, sale: str, deltas: Mapping[int, int]) -> None:
    """Count units; asyncpg.CheckViolationError where more would be live than exist."""
    await connection.execute(SQL["add_live"], sale, list(deltas), list(deltas.values()))


async def has_gap(connection: Connection, sale: str, lane: int, batch: Folded) -> bool:
    """Whether something that was decided earlier than the batch, or near it, is still to come."""
    ranges = [asyncpg.Range(low, high) for low, high in batch.sequences]
    return bool(await connection.fetchval(SQL["has_gap"], sale, lane, ranges))


async def advance_lane(connection: Connection, sale: str, lane: int, batch: Folded) -> bool:
    """Remember the batch's entries as settled; False where recovery has done with its epoch."""
    ranges = [asyncpg.Range(low, high) for low, high in batch.sequences]
    entry_id, epoch = batch.last_entry_id, batch.epoch
    return bool(await connection.fetchval(SQL["advance_lane"], sale, lane, ranges, entry_id, epoch))


async def is_drained(connection: Connection, sale: str, lane: int, entry: Entry) -> bool:
    """Whether recovery has done with the entry's epoch."""
    return bool(await connection.fetchval(SQL["is_drained"], sale, lane, entry.epoch))


async def add_dead_letters(
    connection: Connection, sale: str, lane: int, letters: Sequence[PoisonEntry]
) -> None:
    """Keep entries that cannot be settled; their units stay held in Redis."""
    await connection.execute(
        SQL["add_dead_letters"],
        sale,
        lane,
        [letter.seq for letter in letters],
        [letter.entry_id for letter in letters],
        [json.dumps(letter.fields) for letter in letters],
        [letter.error for letter in letters],
    )
