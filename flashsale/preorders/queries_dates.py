"""Promised dates in Postgres: a function a statement. Decides nothing, opens no transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from flashsale.preorders.queries import Database, Transaction
from flashsale.preorders.values import Promise, QueueKey, ShipDate
from flashsale.sql import load_queries

SQL = load_queries(Path(__file__).with_name("queries_dates.sql"))


class Untold(NamedTuple):
    """A move of which those who joined behind `told_step` and before `step` are still to hear."""

    id: str
    sale_id: str
    item: int
    wave: str
    ships_at: datetime
    reason: str
    free_until: datetime
    step: int
    told_step: int


class Affected(NamedTuple):
    """An order whose date has moved."""

    joined_step: int
    order_id: str


async def find(database: Database, ship_date_id: str) -> ShipDate | None:
    """One move."""
    row = await database.fetchrow(SQL["find_ship_date"], ship_date_id)
    return None if row is None else ShipDate(**row)


async def page(database: Database, sale_id: str, cursor: str | None, limit: int) -> list[ShipDate]:
    """Moves of a sale behind one of them, oldest first."""
    rows = await database.fetch(SQL["page_of_ship_dates"], sale_id, cursor, limit)
    return [ShipDate(**row) for row in rows]


async def move(
    connection: Transaction,
    ship_date_id: str,
    queue: QueueKey,
    wave: str,
    *,
    before: datetime | None,
    ships_at: datetime,
    reason: str,
    free_until: datetime,
    step: int,
    now: datetime,
) -> None:
    """Write another date for a part of the cap, and that it was moved; the queue is locked."""
    if wave:
        await connection.execute(SQL["move_wave"], wave, ships_at)
    else:
        await connection.execute(SQL["move_base"], *queue, ships_at)
    told = (ship_date_id, *queue, wave, before, ships_at, reason, free_until, step, now)
    await connection.execute(SQL["insert_ship_date"], *told)
    await connection.execute(SQL["touch_sale"], queue.sale_id)


async def untold(database: Database, limit: int) -> list[str]:
    """Moves of which not everybody has heard."""
    return [row["id"] for row in await database.fetch(SQL["untold"], limit)]


async def lock_untold(connection: Transaction, ship_date_id: str) -> Untold | None:
    """Lock a move; None where everybody has heard, or somebody else tells of it."""
    row = await connection.fetchrow(SQL["lock_untold"], ship_date_id)
    return None if row is None else Untold(*row)


async def affected(connection: Transaction, move: Untold, limit: int) -> list[Affected]:
    """Those who are still to hear of a move, in the order in which they joined."""
    place = (move.sale_id, move.item, move.wave, move.told_step, move.step)
    return [Affected(*row) for row in await connection.fetch(SQL["affected"], *place, limit)]


async def tell(connection: Transaction, move: Untold, orders: Sequence[str]) -> None:
    """Tell of a move, order by order."""
    await connection.execute(SQL["lock_told"], orders)
    await connection.execute(SQL["tell"], move.id, orders)


async def told(connection: Transaction, move: Untold, step: int) -> None:
    """Remember how far the telling has got."""
    await connection.execute(SQL["told"], move.id, step)


async def promise_of(database: Database, order_id: str) -> Promise | None:
    """What an order in a queue was promised; None where it is in none."""
    row = await database.fetchrow(SQL["promise_of"], order_id)
    return None if row is None else Promise(*row)
