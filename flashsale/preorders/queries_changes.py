"""Changes of SKU in Postgres: a function a statement. Decides nothing."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from flashsale.preorders.queries import Database, Transaction
from flashsale.sql import load_queries

SQL = load_queries(Path(__file__).with_name("queries_changes.sql"))


class Locked(NamedTuple):
    """An order, locked."""

    item: int
    buyer_id: str
    quantity: int
    state: str
    closing: str | None


class Asked(NamedTuple):
    """A wish that is ours to answer; `fence` tells us from whoever takes it after the lease."""

    item: int
    buyer_id: str
    fence: int


async def buyer_of(database: Database, order_id: str) -> str | None:
    """Whose order it is; None where Postgres has none of that id."""
    buyer: str | None = await database.fetchval(SQL["find_order"], order_id)
    return buyer


async def lock_order(connection: Transaction, order_id: str) -> Locked | None:
    """Lock an order until the end."""
    row = await connection.fetchrow(SQL["lock_order"], order_id)
    return None if row is None else Locked(*row)


async def paid_towards(connection: Transaction, order_id: str) -> int:
    """What was paid of an order, minor units."""
    return int(await connection.fetchval(SQL["paid_towards"], order_id))


async def ask(connection: Transaction, order_id: str, item: int) -> None:
    """Write the wish; the order is locked and nothing else is being decided about it."""
    await connection.execute(SQL["ask_change"], order_id, item)


async def claim(database: Database, order_id: str, lease_ms: int) -> Asked | None:
    """Take the wish that is to be answered; None where there is none, or another has it."""
    row = await database.fetchrow(SQL["claim_change"], order_id, lease_ms)
    return None if row is None else Asked(*row)


async def is_asked(database: Database, order_id: str) -> bool:
    """Whether a wish is still to be answered."""
    return bool(await database.fetchval(SQL["is_asked"], order_id))


async def last_refusal(database: Database, order_id: str) -> str | None:
    """Why the last wish was refused; None where it was granted, or is being decided."""
    refusal: str | None = await database.fetchval(SQL["last_refusal"], order_id)
    return refusal


async def same_epoch(connection: Transaction, sale_id: str, epoch: int) -> bool:
    """Whether the sale's lanes are those of `epoch`, until the end."""
    return bool(await connection.fetchval(SQL["same_epoch"], sale_id, epoch))


async def give_up(database: Database, order_id: str, fence: int) -> None:
    """Leave the wish to whoever comes next."""
    await database.execute(SQL["give_up_change"], order_id, fence)


async def grant(database: Database, order_id: str, fence: int) -> None:
    """The SKU is changed."""
    await database.execute(SQL["grant_change"], order_id, fence)


async def refuse(database: Database, order_id: str, fence: int, code: str) -> None:
    """Nothing was changed, and why."""
    await database.execute(SQL["refuse_change"], order_id, fence, code)


async def free(connection: Transaction, order_id: str) -> None:
    """Nothing is awaited any more."""
    await connection.execute(SQL["free_order"], order_id)
