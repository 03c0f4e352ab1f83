"""Queues and lots in Postgres: a function a statement. Decides nothing, opens no transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from flashsale.preorders.allocation import LotRoom, Share, Waiting
from flashsale.preorders.balance import Window
from flashsale.preorders.values import (
    CapPart,
    Head,
    Joining,
    Leaving,
    Lot,
    NewsOrder,
    QueueKey,
    Served,
)
from flashsale.sales.queries import Database, Pool, Transaction
from flashsale.sales.values import instant
from flashsale.sql import load_queries

__all__ = ["Database", "Pool", "Transaction"]

SQL = load_queries(Path(__file__).with_name("queries.sql"))

#: No order draws on more lots than this at once; what is left of older ones is in later rounds.
LOTS_A_ROUND_MAX = 1_000


class News(NamedTuple):
    """What the trigger noted of an order."""

    id: int
    order_id: str
    sale_id: str


async def take_news(connection: Transaction, limit: int) -> list[News]:
    """Orders that joined or left a queue; nobody else takes them until the end."""
    return [News(*row) for row in await connection.fetch(SQL["take_news"], limit)]


async def drop_news(connection: Transaction, news: Iterable[News]) -> None:
    """Forget news that was acted upon."""
    await connection.execute(SQL["drop_news"], [each.id for each in news])


async def queues_of_orders(connection: Transaction, orders: Sequence[str]) -> list[QueueKey]:
    """The queues that orders are in or belong in."""
    return [QueueKey(*row) for row in await connection.fetch(SQL["queues_of_orders"], orders)]


async def lock_queues(connection: Transaction, queues: Sequence[QueueKey]) -> dict[QueueKey, int]:
    """Lock queues until the end, making those that are missing; the steps they have got to."""
    columns = [queue.sale_id for queue in queues], [queue.item for queue in queues]
    await connection.execute(SQL["make_queues"], *columns)
    rows = await connection.fetch(SQL["lock_queues"], *columns)
    return {QueueKey(row["sale_id"], row["item"]): row["step"] for row in rows}


async def set_steps(connection: Transaction, steps: Mapping[QueueKey, int]) -> None:
    """Remember how far locked queues have got."""
    columns = zip(*((*queue, step) for queue, step in steps.items()), strict=True)
    await connection.execute(SQL["set_steps"], *map(list, columns))


async def lock_news_orders(connection: Transaction, orders: Sequence[str]) -> list[NewsOrder]:
    """Lock orders; with the queue that each is in, whose row is locked already."""
    rows = await connection.fetch(SQL["lock_news_orders"], orders)
    return [NewsOrder(*row) for row in rows]


async def parts_of_cap(connection: Database, queue: QueueKey) -> list[CapPart]:
    """The base supply and then the waves of an item."""
    return [CapPart(*row) for row in await connection.fetch(SQL["parts_of_cap"], *queue)]


async def join(connection: Transaction, rows: Sequence[Joining], now: datetime) -> None:
    """Write orders into their queues, and promise them their units."""
    if rows:
        await connection.execute(SQL["join_queue"], *map(list, zip(*rows, strict=True)), now)
        await connection.execute(SQL["add_promises"], *_units(_promises(rows)))


async def leave(
    connection: Transaction, rows: Sequence[Leaving], promised: Mapping[tuple[QueueKey, str], int]
) -> None:
    """End stays; units go back to their lots and to the cap, `promised` by part."""
    if not rows:
        return
    orders, steps, reasons = map(list, zip(*rows, strict=True))
    await connection.execute(SQL["return_shares"], orders, steps)
    await connection.execute(SQL["leave_queue"], orders, steps, reasons)
    await connection.execute(SQL["drop_balances"], orders)
    await connection.execute(SQL["take_promises"], *_units(promised))


def _promises(rows: Sequence[Joining]) -> dict[tuple[QueueKey, str], int]:
    units: dict[tuple[QueueKey, str], int] = {}
    for row in rows:
        part = QueueKey(row.sale_id, row.item), row.wave
        units[part] = units.get(part, 0) + row.quantity
    return units


def _units(parts: Mapping[tuple[QueueKey, str], int]) -> list[list[object]]:
    rows = [(*queue, wave, units) for (queue, wave), units in sorted(parts.items())]
    return [list(column) for column in zip(*rows, strict=True)]


async def find_lot(database: Database, lot_id: str) -> Lot | None:
    """One lot."""
    row = await database.fetchrow(SQL["find_lot"], lot_id)
    return None if row is None else Lot(**row)


async def insert_lot(
    connection: Transaction, lot_id: str, queue: QueueKey, quantity: int, reason: str, step: int
) -> None:
    """Write a lot; its queue is locked."""
    await connection.execute(SQL["insert_lot"], lot_id, *queue, quantity, reason, step)


async def page_of_lots(
    database: Database, sale_id: str, cursor: str | None, limit: int
) -> list[Lot]:
    """Lots of a sale behind a lot, oldest first."""
    rows = await database.fetch(SQL["page_of_lots"], sale_id, cursor, limit)
    return [Lot(**row) for row in rows]


async def queues_to_serve(database: Database, known_until: datetime, limit: int) -> list[QueueKey]:
    """Queues with free units and somebody who waits for them."""
    rows = await database.fetch(SQL["queues_to_serve"], known_until, limit)
    return [QueueKey(*row) for row in rows]


async def rooms(connection: Transaction, queue: QueueKey) -> list[LotRoom]:
    """Free units, lot by lot."""
    rows = await connection.fetch(SQL["rooms"], *queue, LOTS_A_ROUND_MAX)
    return [LotRoom(*row) for row in rows]


async def in_transit(connection: Transaction, queue: QueueKey) -> datetime | None:
    """When the earliest deposit was received that has not reached its order yet."""
    earliest: datetime | None = await connection.fetchval(SQL["in_transit"], *queue)
    return earliest


async def heads(
    connection: Transaction, queue: QueueKey, known_until: datetime, limit: int
) -> list[Waiting]:
    """Who waits, first come first."""
    rows = await connection.fetch(SQL["heads"], *queue, known_until, limit)
    return [Waiting(*row) for row in rows]


async def lock_heads(connection: Transaction, orders: Sequence[str]) -> dict[str, Head]:
    """Lock orders, and read them as they are now."""
    return {row["id"]: Head(*row) for row in await connection.fetch(SQL["lock_heads"], orders)}


async def write_round(
    connection: Transaction, shares: Sequence[Share], served: Sequence[Served], now: datetime
) -> None:
    """Give orders their units: lots, allocations, stays and the orders themselves."""
    steps = {order: step for order, step, _ in served}
    taken: dict[str, int] = {}
    for share in shares:
        taken[share.lot] = taken.get(share.lot, 0) + share.quantity
    orders = [each.order_id for each in served]
    await connection.execute(SQL["take_from_lots"], list(taken), list(taken.values()))
    await connection.execute(
        SQL["insert_shares"],
        [share.lot for share in shares],
        [steps[share.order] for share in shares],
        [share.order for share in shares],
        [share.quantity for share in shares],
    )
    await connection.execute(SQL["mark_allocated"], orders, [s.step for s in served], now)
    await connection.execute(SQL["allocate_orders"], orders)


async def open_balances(
    connection: Transaction, orders: Sequence[str], sale_id: str, when: Window
) -> None:
    """Remember what is to be asked of orders, and when."""
    instants = [instant(each) for each in when]
    await connection.execute(SQL["insert_balances"], orders, sale_id, *instants)


async def complete(connection: Transaction, orders: Sequence[str]) -> None:
    """Orders that are allocated and have nothing left to pay."""
    if orders:
        await connection.execute(SQL["complete_orders"], orders)
