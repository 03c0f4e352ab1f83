"""A migrated database with one sale in it, for checks that read Postgres."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

import asyncpg

from flashsale.domain.identity import order_id
from flashsale.settlement.migrate import migrate

SALE = "abcdefghijkl"
NEIGHBOUR = "abcdefghijkm"


def order(number: int, sale: str = SALE) -> str:
    return order_id(b"a secret of the tests", sale, f"buyer-{number}", "key")


async def store(
    connection: asyncpg.Connection,
    orders: Sequence[int],
    *,
    sale: str = SALE,
    state: str = "confirmed",
    buyer: str | None = None,
) -> None:
    """Put orders in as settlement would, but unchecked."""
    await connection.executemany(
        "INSERT INTO orders (id, sale_id, item, buyer_id, quantity, unit_amount, state, version,"
        " hold_expires_at, decided_at) VALUES ($1, $2, 0, $3, 1, 100, $4, 1, now(), now())",
        [(order(number, sale), sale, buyer or f"buyer-{number}", state) for number in orders],
    )


@contextlib.asynccontextmanager
async def ledger(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    await migrate(dsn)
    connection = await asyncpg.connect(dsn)
    try:
        await store(connection, range(1000, 1010), sale=NEIGHBOUR)
        yield connection
    finally:
        await connection.close()
