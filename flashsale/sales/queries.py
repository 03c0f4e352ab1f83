"""Sales and supplies in Postgres: a function a statement or transaction. Decides nothing."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

from asyncpg import Connection, Record
from asyncpg import Pool as AsyncpgPool
from asyncpg.pool import PoolConnectionProxy

from flashsale.domain.money import Money
from flashsale.domain.orders import LIVE_STATES
from flashsale.domain.sales import SaleKind, SaleState
from flashsale.reservation.server import free_bytes
from flashsale.sales.durability import PostgresServerFacts
from flashsale.sales.errors import FieldError, ValidationFailedError
from flashsale.sales.forms import ItemForm, SaleForm
from flashsale.sales.promises import preorder_of, read_cancellation, stored_cancellation
from flashsale.sales.values import ItemFacts, PreorderTerms, SaleFacts, Supply, SupplyState
from flashsale.sql import load_queries

SQL = load_queries(Path(__file__).with_name("queries.sql"))

#: Microseconds since 1970, about the year 9999.
CURSOR_PLACE_MAX = 2**58 - 1

Pool: TypeAlias = "AsyncpgPool[Record]"
Transaction: TypeAlias = "Connection[Record] | PoolConnectionProxy[Record]"
Database: TypeAlias = "Pool | Transaction"


async def find_sale(database: Database, sale_id: str) -> SaleFacts | None:
    """The sale of an id, whatever its state."""
    found = await find_sales(database, [sale_id])
    return found[0] if found else None


async def find_sales(database: Database, sale_ids: Sequence[str]) -> list[SaleFacts]:
    """The sales of some ids, in the order of the ids."""
    rows = {row["id"]: row for row in await database.fetch(SQL["sales_by_id"], sale_ids)}
    return [_facts(rows[sale_id]) for sale_id in sale_ids if sale_id in rows]


async def running_sales(database: Database, limit: int) -> list[SaleFacts]:
    """Sales whose lanes Redis has to hold now, at most `limit`."""
    rows = await database.fetch(SQL["running_sales"], limit)
    return await find_sales(database, [row["id"] for row in rows])


def _facts(row: Record) -> SaleFacts:
    items = tuple(_item(columns) for columns in json.loads(row["items"]))
    preorder = row["preorder"]
    return SaleFacts(
        **{
            **row,
            "kind": SaleKind(row["kind"]),
            "state": SaleState(row["state"]),
            "items": items,
            "cancellation": read_cancellation(json.loads(row["cancellation"])),
            "preorder": None if preorder is None else PreorderTerms(**json.loads(preorder)),
        }
    )


def _item(columns: Sequence[Any]) -> ItemFacts:
    item, sku, name, amount, currency, capacity, ships_at_ms, deposit, shut_reason = columns
    taken = None if deposit is None else Money(deposit, currency)
    price = Money(amount, currency)
    return ItemFacts(item, sku, name, price, capacity, ships_at_ms, taken, shut_reason)


async def page_of_ids(
    database: Database, statement: str, *scope: str, cursor: str | None, limit: int
) -> tuple[list[str], str | None]:
    """Ids of one page and the next page's cursor. ValidationFailedError for a bad cursor."""
    place, last = _read_cursor(cursor) if cursor is not None else (None, None)
    rows = await database.fetch(SQL[statement], *scope, place, last, limit + 1)
    more = len(rows) > limit
    cursor_at = rows[limit - 1] if more else None
    following = None if cursor_at is None else _cursor(cursor_at["place"], cursor_at["id"])
    return [row["id"] for row in rows[:limit]], following


def _cursor(place: int, last: str) -> str:
    return base64.urlsafe_b64encode(f"{place}.{last}".encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[int, str]:
    """What `_cursor` wrote; anything else would page through a list that we never gave."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        place, _, last = base64.urlsafe_b64decode(padded).decode("ascii").partition(".")
        read = int(place), last
    except (ValueError, binascii.Error):
        read = 0, ""
    if _cursor(*read) != cursor or abs(read[0]) > CURSOR_PLACE_MAX or "\0" in read[1]:
        raise ValidationFailedError([FieldError("cursor", "Is not a cursor of this list.")])
    return read


async def create_sale(pool: Pool, sale_id: str, merchant_id: str, form: SaleForm) -> None:
    """Insert a draft with its items."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(SQL["insert_sale"], sale_id, merchant_id, *_columns(form))
        await _insert_items(connection, sale_id, form.items)


async def edit_sale(pool: Pool, sale: SaleFacts, form: SaleForm, *, items: bool) -> bool:
    """Write an edit; False where the sale is no longer at the revision and state of `sale`."""
    async with pool.acquire() as connection, connection.transaction():
        revision = await connection.fetchval(
            SQL["edit_sale"], sale.id, sale.revision, sale.state.value, *_columns(form)
        )
        if revision is not None and items:
            await connection.execute(SQL["delete_items"], sale.id)
            await _insert_items(connection, sale.id, form.items)
        return revision is not None


def _columns(form: SaleForm) -> tuple[object, ...]:
    preorder = preorder_of(form)
    return (
        form.name,
        form.starts_at,
        form.ends_at,
        form.per_buyer_limit,
        form.hold_seconds,
        form.published_supply,
        form.lanes,
        form.durability,
        form.kind,
        json.dumps(stored_cancellation(form)),
        None if preorder is None else json.dumps(asdict(preorder)),
    )


async def add_item(transaction: Transaction, sale: SaleFacts, form: ItemForm) -> None:
    """Give a sale that is locked one more item, numbered behind those it has."""
    await _insert_items(transaction, sale.id, [form], first=len(sale.items))
    await transaction.execute(SQL["touch_sale"], sale.id)


async def first_supply(database: Database, sale_id: str, first: int) -> list[int]:
    """What the items from number `first` on were given when they were made, in their order."""
    return [row["units"] for row in await database.fetch(SQL["first_supply"], sale_id, first)]


async def _insert_items(
    connection: Transaction, sale_id: str, items: Sequence[ItemForm], *, first: int = 0
) -> None:
    await connection.execute(
        SQL["insert_items"],
        sale_id,
        first,
        [item.sku for item in items],
        [item.name for item in items],
        [item.price.amount for item in items],
        [item.price.currency for item in items],
        [item.supply for item in items],
        [item.ships_at for item in items],
        [None if item.deposit is None else item.deposit.amount for item in items],
    )


async def move_sale(
    pool: Pool, sale: SaleFacts, sources: Iterable[SaleState], target: SaleState
) -> bool:
    """Record a transition; False where the sale is in none of the states it may come from."""
    states = [state.value for state in sources]
    moved = await pool.fetchval(SQL["move_sale"], sale.id, sale.merchant_id, target.value, states)
    return moved is not None


async def mark_armed(pool: Pool, sale_id: str, run: str) -> None:
    """Record that all lanes exist, in this run of Redis."""
    await pool.execute(SQL["mark_armed"], sale_id, run)


async def has_pending_supply(pool: Pool, sale_id: str) -> bool:
    """Whether supply waits for its instant."""
    return bool(await pool.fetchval(SQL["has_pending_supply"], sale_id))


async def server(database: Database) -> PostgresServerFacts:
    """Version, durability and room of the server, as our sessions have them."""
    row = await database.fetchrow(SQL["server_settings"])
    assert row is not None
    settings = dict(row)
    folder = settings.pop("local_folder")
    free = None if folder is None else free_bytes(folder)
    return PostgresServerFacts(**settings, disk_free_bytes=free)


@asynccontextmanager
async def sale_lock(pool: Pool, sale_id: str) -> AsyncIterator[Transaction]:
    """A transaction in which nobody else changes the sale's row or its supply."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(SQL["lock_sale"], sale_id)
        yield connection


async def insert_supply(
    database: Database,
    supply_id: str,
    sale_id: str,
    *,
    item: int,
    quantity: int,
    at: datetime,
    reason: str,
    ships_at: datetime | None = None,
) -> None:
    """Write the intent; nothing where the id is known already."""
    written = (supply_id, sale_id, item, quantity, at, reason, ships_at)
    await database.execute(SQL["insert_supply"], *written)


async def find_supply(database: Database, supply_id: str) -> Supply | None:
    """One supply."""
    found = await find_supplies(database, [supply_id])
    return found[0] if found else None


async def find_supplies(database: Database, supply_ids: Sequence[str]) -> list[Supply]:
    """The supplies of some ids, in the order of the ids."""
    rows = {row["id"]: row for row in await database.fetch(SQL["supplies_by_id"], supply_ids)}
    return [_supply(rows[supply_id]) for supply_id in supply_ids if supply_id in rows]


def _supply(row: Record) -> Supply:
    shares = None if row["shares"] is None else tuple(row["shares"])
    return Supply(**{**row, "state": SupplyState(row["state"]), "shares": shares})


async def due_supplies(database: Database, now: datetime, limit: int) -> list[str]:
    """Supplies whose instant has come and that are not done, oldest first."""
    return [row["id"] for row in await database.fetch(SQL["due_supplies"], now, limit)]


async def half_refused_supplies(database: Database, limit: int) -> list[str]:
    """Refused cuts of which some lane may still have its share taken."""
    return [row["id"] for row in await database.fetch(SQL["half_refused_supplies"], limit)]


async def count_supply(connection: Transaction, supply: Supply, state: SupplyState) -> bool:
    """Take a supply into capacity, once. False, and nothing changed, where bounds forbid it."""
    capacity = await connection.fetchval(
        SQL["change_capacity"], supply.sale_id, supply.item, supply.quantity
    )
    if capacity is None:
        return False
    if await connection.fetchval(SQL["count_supply"], supply.id, state.value) is None:
        raise AssertionError("a supply is counted once: look at it under sale_lock first")
    await connection.execute(SQL["touch_sale"], supply.sale_id)
    return True


async def share_supply(database: Database, supply: Supply, shares: Sequence[int]) -> None:
    """Fix how the lanes share a cut; nothing where that is fixed already."""
    await database.execute(SQL["share_supply"], supply.id, shares)


async def end_supply(
    database: Database, supply: Supply, state: SupplyState, shares: Sequence[int] | None
) -> None:
    """Record a supply's last state, unless it has another one."""
    await database.execute(SQL["end_supply"], supply.id, state.value, shares)


@dataclass(frozen=True, slots=True)
class OrderInstants:
    """When a sale's first and last settled order came (Unix milliseconds); None: no order."""

    first_ms: int | None
    last_ms: int | None
    settlement_lag_max_ms: int | None


async def order_instants(database: Database, sale: SaleFacts) -> OrderInstants:
    """The span of a sale's settled orders."""
    row = await database.fetchrow(SQL["order_instants"], sale.id, sale.terms.hold_ms)
    assert row is not None
    return OrderInstants(**row)


async def sold_out_instants(database: Database, sale: SaleFacts) -> dict[int, int]:
    """For each item of which nothing is left: when the last unit went, in Unix milliseconds."""
    live = [state.value for state in LIVE_STATES]
    rows = await database.fetch(SQL["sold_out_instants"], sale.id, sale.terms.hold_ms, live)
    return {row["item"]: row["at_ms"] for row in rows}
