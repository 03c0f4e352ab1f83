"""The audit's reads of money as typed calls; they write nothing and judge nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from flashsale.reconciliation.queries import Connection, Database
from flashsale.sql import load_queries

_SQL = load_queries(Path(__file__).with_name("money.sql"))
_PAGE = 5000


class Balance(NamedTuple):
    """One equation over all its places: the sums of its sides, without places still moving.

    `waiting` places differ and are on their way; `wrong` places differ. `names`, `lefts` and
    `rights` show the first few of the wrong ones.
    """

    equation: str
    left: int
    right: int
    waiting: int
    wrong: int
    names: Sequence[str]
    lefts: Sequence[int]
    rights: Sequence[int]


class Notes(NamedTuple):
    """Numbers of a sale's money; amounts in the sale's minor units."""

    payments: int
    ledger_rows: int
    quarantined: int
    unmatched: int
    granted: int
    granted_amount: int
    refunds_failed: int


class InstallationNotes(NamedTuple):
    """What belongs to no sale (`quarantined`, `unmatched`), to a wrong one, or waits to be done."""

    quarantined: int
    unmatched: int
    misplaced: int
    outbox: int
    stuck: int


class LedgerRow(NamedTuple):
    """A movement as a callback told it."""

    event_id: str
    kind: str
    payment_id: str | None
    refund_id: str | None
    amount: int
    currency: str
    fee: int


async def balances(
    connection: Connection,
    sale_id: str,
    coming: Collection[str],
    *,
    transit_seconds: int,
    unapplied_seconds: int,
    closing_seconds: int,
) -> list[Balance]:
    """Every equation that has a place; `coming` are ids of orders that unsettled events change."""
    seconds = (transit_seconds, unapplied_seconds, closing_seconds)
    rows = await connection.fetch(_SQL["balances"], sale_id, list(coming), *seconds)
    return [Balance(*row) for row in rows]


async def sums(connection: Connection, sale_id: str) -> list[Balance]:
    """The equations that sums over the whole sale can show."""
    return [Balance(*row) for row in await connection.fetch(_SQL["sums"], sale_id)]


async def notes(connection: Connection, sale_id: str) -> Notes:
    """Numbers of a sale's money."""
    row = await connection.fetchrow(_SQL["notes"], sale_id)
    assert row is not None
    return Notes(*row)


async def installation_notes(database: Database, attempts_max: int) -> InstallationNotes:
    """What no sale's audit shows; `stuck` are wishes tried at least `attempts_max` times."""
    row = await database.fetchrow(_SQL["installation_notes"], attempts_max)
    assert row is not None
    return InstallationNotes(*row)


async def ledger_rows(
    database: Database, provider: str, events: Collection[str], payments: Collection[str]
) -> list[LedgerRow]:
    """A provider's captures and refunds: some events, and all of some payments."""
    rows = await database.fetch(_SQL["ledger_rows"], provider, list(events), list(payments))
    return [LedgerRow(*row) for row in rows]


async def movements(
    database: Database, provider: str, older_than_seconds: int
) -> AsyncIterator[list[str]]:
    """Event ids of a provider's captures and refunds that are old enough, in pages."""
    behind = ""
    while True:
        rows = await database.fetch(
            _SQL["page_of_movements"], provider, behind, older_than_seconds, _PAGE
        )
        if rows:
            yield [row["event_id"] for row in rows]
            behind = rows[-1]["event_id"]
        if len(rows) < _PAGE:
            return
