"""The outbox' statements as typed calls. Decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from flashsale.settlement.queries import Connection, Pool
from flashsale.sql import load_queries

_SQL = load_queries(Path(__file__).with_name("queries_outbox.sql"))
_ERROR_CHARACTERS_MAX = 300


class Wish(NamedTuple):
    """Something to be done outside Postgres: `kind` names the handler, `subject` the row."""

    kind: str
    subject: str
    delay_ms: int = 0


class Claimed(NamedTuple):
    """A wish that is ours until the lease ends."""

    id: int
    kind: str
    subject: str
    attempts: int
    wishes: int


class PutOff(NamedTuple):
    """A wish that could not be carried out, and when it is tried again."""

    id: int
    wishes: int
    delay_ms: int
    error: str


class Backlog(NamedTuple):
    """Wishes that are waiting, and the age of the oldest."""

    waiting: int
    oldest_ms: int


async def wish(connection: Connection | Pool, wishes: Iterable[Wish]) -> None:
    """Ask for work, in the transaction of whatever makes it necessary."""
    asked = sorted(set(wishes))
    if asked:
        columns = [list(column) for column in zip(*asked, strict=True)]
        await connection.execute(_SQL["wish"], *columns)


async def remind(pool: Pool, wishes: Iterable[Wish]) -> None:
    """Ask for work that should be asked for already; a wish that is there keeps its turn."""
    asked = sorted(set(wishes))
    if asked:
        columns = [[each.kind for each in asked], [each.subject for each in asked]]
        await pool.execute(_SQL["remind"], *columns)


async def claim(pool: Pool, kinds: Sequence[str], limit: int, lease_ms: int) -> list[Claimed]:
    """Due wishes, nobody else's until the lease ends."""
    rows = await pool.fetch(_SQL["claim"], list(kinds), limit, lease_ms)
    return [Claimed(**row) for row in rows]


async def renew(pool: Pool, held: Sequence[Claimed], lease_ms: int) -> None:
    """Keep wishes that are worked on, from those on whose lease a third has run out."""
    if held:
        columns = [[each.id, each.attempts, each.wishes] for each in held]
        await pool.execute(_SQL["renew"], *map(list, zip(*columns, strict=True)), lease_ms)


async def done(pool: Pool, finished: Sequence[Claimed]) -> None:
    """Delete what is finished, unless it was wished again meanwhile."""
    ids, counts = [each.id for each in finished], [each.wishes for each in finished]
    await pool.execute(_SQL["done"], ids, counts)


async def forget(connection: Connection, kind: str, subjects: Sequence[str]) -> None:
    """Delete what whoever wished it has finished."""
    await connection.execute(_SQL["forget"], kind, list(subjects))


async def put_off(pool: Pool, failed: Sequence[PutOff]) -> None:
    """Try again later."""
    await pool.execute(
        _SQL["put_off"],
        [each.id for each in failed],
        [each.wishes for each in failed],
        [each.delay_ms for each in failed],
        [each.error[:_ERROR_CHARACTERS_MAX] for each in failed],
    )


async def due_wishes(pool: Pool, limit: int) -> int:
    """How many wishes could be carried out now, counted up to `limit`."""
    count: int = await pool.fetchval(_SQL["due_wishes"], limit)
    return count


async def backlog(pool: Pool) -> Backlog:
    """How much is waiting."""
    row = await pool.fetchrow(_SQL["backlog"])
    assert row is not None
    return Backlog(**row)
