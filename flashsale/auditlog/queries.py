"""The audit log in Postgres: one function a statement. Appends and reads; changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import orjson
from asyncpg import Connection, Pool, Record
from asyncpg.pool import PoolConnectionProxy

from flashsale.auditlog.acting import current_act
from flashsale.auditlog.chain import ChainCheck, Entry, Head, Row, Verdict, read
from flashsale.sql import load_queries

_SQL = load_queries(Path(__file__).with_name("queries.sql"))
ROWS_AT_ONCE = 2000

Transaction: TypeAlias = "Connection[Record] | PoolConnectionProxy[Record]"
Database: TypeAlias = "Pool[Record] | Transaction"


async def carry_act(connection: Transaction) -> None:
    """Tell a connection just taken from a pool in whose name it works: the pool's `setup`.

    Costs nothing where nobody in particular acts. asyncpg resets the session on release.
    """
    act = current_act()
    if act is not None:
        await connection.execute(_SQL["carry_act"], act.to_json())


async def record(
    database: Database,
    merchant_id: str,
    actor: str,
    action: str,
    subject: str | None,
    detail: Mapping[str, Any],
    *,
    sale_id: str | None = None,
) -> int:
    """Append an entry, in the caller's transaction where it is in one; the entry's number.

    `detail` is small and holds no secret. A merchant's other appends wait until that transaction
    ends. Most changes need no such call: triggers write them down (`acting`).
    """
    told = orjson.dumps(dict(detail)).decode()
    seq: int = await database.fetchval(
        _SQL["append"], merchant_id, actor, action, subject, sale_id, told
    )
    return seq


async def page(
    database: Database, merchant_id: str, sale_id: str | None, before: int | None, limit: int
) -> list[Entry]:
    """Up to `limit` of a merchant's entries, or of one sale's, newest first, before a number."""
    if sale_id is None:
        rows = await database.fetch(_SQL["page_of_merchant"], merchant_id, before, limit)
    else:
        rows = await database.fetch(_SQL["page_of_sale"], merchant_id, sale_id, before, limit)
    return [read(Row(**row)) for row in rows]


async def verify_chains(connection: Transaction) -> list[Verdict]:
    """Check every merchant's chain, whole, at one point in time (INV-17).

    Reads the log in pages within one read-only transaction: appends go on meanwhile.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        heads = await connection.fetch(_SQL["heads"])
        return [
            await _verify(connection, row["merchant_id"], Head(row["seq"], row["hash"]))
            for row in heads
        ]


async def _verify(connection: Transaction, merchant_id: str, head: Head) -> Verdict:
    check, reached = ChainCheck(merchant_id), 0
    while True:
        rows = await connection.fetch(_SQL["rows_of_chain"], merchant_id, reached, ROWS_AT_ONCE)
        check.feed(Row(**row) for row in rows)
        if len(rows) < ROWS_AT_ONCE:
            return check.verdict(head)
        reached = rows[-1]["seq"]
