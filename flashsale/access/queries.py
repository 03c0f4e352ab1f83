"""Merchants and keys in Postgres: one function a statement. Decides nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from asyncpg import Connection, Pool, Record
from asyncpg.pool import PoolConnectionProxy

from flashsale.access.api_keys import ApiKeyRecord, Scope, generate
from flashsale.access.buyer_keys import BuyerKey, BuyerKeyRecord, generate_buyer_key
from flashsale.access.names import new_id
from flashsale.sql import load_queries

_SQL = load_queries(Path(__file__).with_name("queries.sql"))


# Each statement here is a transaction of its own, unless the caller's connection is in one.
KeysPool: TypeAlias = "Pool[Record]"
Transaction: TypeAlias = "Connection[Record] | PoolConnectionProxy[Record]"
Database: TypeAlias = "KeysPool | Transaction"


@dataclass(frozen=True, slots=True)
class NewMerchant:
    """A merchant as created. The API key's text is kept nowhere: show it now or never."""

    merchant_id: str
    api_key: str = field(repr=False)
    buyer_key: BuyerKey


async def create_merchant(database: Database, name: str, *, now: datetime) -> NewMerchant:
    """Create a merchant with an `admin` API key and an HS256 buyer key.

    `buyer_key.secret` is ASCII: as text it is what JWT libraries sign with.
    """
    merchant_id = new_id("mer")
    buyer_key = generate_buyer_key(merchant_id)
    api_key, record = generate(merchant_id, Scope.ADMIN, now=now, label="first key")
    await database.execute(
        _SQL["create_merchant"],
        merchant_id,
        name,
        buyer_key.kid,
        buyer_key.algorithm,
        buyer_key.secret,
        record.id,
        record.key_hash,
        record.prefix,
        record.scope,
        record.label,
        record.created_at,
        record.expires_at,
    )
    return NewMerchant(merchant_id, api_key, buyer_key)


async def merchant_name(database: Database, merchant_id: str) -> str | None:
    """What a merchant is called; None where there is none of that id."""
    name: str | None = await database.fetchval(_SQL["merchant_name"], merchant_id)
    return name


async def load_buyer_keys(database: Database) -> dict[str, BuyerKey]:
    """Return every buyer key by its kid, retired ones too, oldest first."""
    rows = await database.fetch(_SQL["load_buyer_keys"])
    return {row["kid"]: BuyerKey(**row) for row in rows}


async def add_buyer_key(database: Database, key: BuyerKey, label: str = "") -> datetime:
    """Add an active key; when it was. asyncpg.UniqueViolationError where its kid is taken."""
    made: datetime = await database.fetchval(
        _SQL["add_buyer_key"], key.kid, key.merchant_id, key.algorithm, key.secret, label
    )
    return made


async def list_buyer_keys(database: Database, merchant_id: str) -> list[BuyerKeyRecord]:
    """A merchant's buyer keys, oldest first, retired ones too; no secret among it."""
    rows = await database.fetch(_SQL["list_buyer_keys"], merchant_id)
    return [BuyerKeyRecord(**row) for row in rows]


async def retire_buyer_key(
    database: Database, merchant_id: str, kid: str, at: datetime | None = None
) -> bool:
    """Retire a key for good, now or at an instant; False where the merchant has no such key.

    It does not ask whether another key is left: `merchant_keys.BuyerKeys` does.
    """
    return await database.fetchval(_SQL["retire_buyer_key"], merchant_id, kid, at) is not None


@asynccontextmanager
async def keys_lock(pool: KeysPool, merchant_id: str) -> AsyncIterator[Transaction]:
    """A transaction in which nobody else adds or retires buyer keys of the merchant."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(_SQL["lock_merchant"], merchant_id)
        yield connection


async def create_api_key(database: Database, record: ApiKeyRecord) -> None:
    """Keep a key made by `api_keys.generate`."""
    await database.execute(
        _SQL["create_api_key"],
        record.id,
        record.merchant_id,
        record.key_hash,
        record.prefix,
        record.scope,
        record.label,
        record.created_at,
        record.expires_at,
    )


async def find_api_key(database: Database, key_hash: str) -> ApiKeyRecord | None:
    """Return the key of a hash, revoked and expired ones too: ask `is_usable`."""
    row = await database.fetchrow(_SQL["find_api_key"], key_hash)
    return None if row is None else _api_key(row)


async def list_api_keys(
    database: Database, merchant_id: str, *, after: str | None = None, limit: int = 50
) -> list[ApiKeyRecord]:
    """Return up to `limit` of a merchant's keys, oldest first, behind the one with id `after`."""
    rows = await database.fetch(_SQL["list_api_keys"], merchant_id, after, limit)
    return [_api_key(row) for row in rows]


async def revoke_api_key(database: Database, merchant_id: str, key_id: str) -> bool:
    """Revoke a key for good; False where the merchant has no such key."""
    return await database.fetchval(_SQL["revoke_api_key"], merchant_id, key_id) is not None


def _api_key(row: Record) -> ApiKeyRecord:
    return ApiKeyRecord(**{**row, "scope": Scope(row["scope"])})
