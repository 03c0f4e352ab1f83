"""What a check of a pre-order reads. Writes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from flashsale.preorders.queries import Transaction
from flashsale.preorders.replay import LotRow, ShareRow, StayRow
from flashsale.sql import load_queries

SQL = load_queries(Path(__file__).with_name("queries_verify.sql"))


class Sides(NamedTuple):
    """Two sides that should be equal; `wrong` names the first place where they are not."""

    name: str
    left: int
    right: int
    wrong: str | None


class QueueRows(NamedTuple):
    """Everything that is known of one queue."""

    sku: str
    lots: list[LotRow]
    stays: list[StayRow]
    shares: list[ShareRow]


async def queue_rows(connection: Transaction, sale_id: str) -> list[QueueRows]:
    """The queues of a sale, item by item."""
    found = []
    for item, sku in await connection.fetch(SQL["items"], sale_id):
        lots = [LotRow(*row) for row in await connection.fetch(SQL["lots"], sale_id, item)]
        stays = [
            StayRow(row[0], row[1], (row[2], row[3]), *row[4:])
            for row in await connection.fetch(SQL["stays"], sale_id, item)
        ]
        shares = [ShareRow(*row) for row in await connection.fetch(SQL["shares"], sale_id, item)]
        found.append(QueueRows(sku, lots, stays, shares))
    return found


async def sides(connection: Transaction, sale_id: str) -> list[Sides]:
    """The sums that have to agree."""
    lots = await connection.fetchrow(SQL["lot_sums"], sale_id)
    promises = await connection.fetchrow(SQL["promise_sums"], sale_id)
    balances = await connection.fetchrow(SQL["balance_sums"], sale_id)
    assert lots is not None
    assert promises is not None
    assert balances is not None
    orders = {row["place"]: row for row in await connection.fetch(SQL["order_sums"], sale_id)}
    found = [Sides("lots", *lots)]
    for place in ("served", "waiting"):
        row = orders.get(place)
        found.append(Sides(place, *(row[1:] if row is not None else (0, 0, None))))
    wrong = None if promises["wrong"] is None else f"item {promises['wrong']}"
    found.append(Sides("promises", promises["promised"], promises["kept"], wrong))
    return [*found, Sides("balances", *balances)]
