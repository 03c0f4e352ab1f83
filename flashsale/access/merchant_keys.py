"""A merchant's API keys as the web works with them: keep, find, list, revoke."""

from __future__ import annotations

from dataclasses import dataclass

from flashsale.access import queries
from flashsale.access.api_keys import ApiKeyRecord
from flashsale.access.queries import Database


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """API keys in Postgres; every method raises asyncpg's errors where it is away."""

    database: Database

    async def keep(self, record: ApiKeyRecord) -> None:
        """Keep a key made by `api_keys.generate`."""
        await queries.create_api_key(self.database, record)

    async def find(self, key_hash: str) -> ApiKeyRecord | None:
        """The key of a hash, revoked and expired ones too: ask `is_usable`."""
        return await queries.find_api_key(self.database, key_hash)

    async def page(self, merchant_id: str, after: str | None, limit: int) -> list[ApiKeyRecord]:
        """Up to `limit` of a merchant's keys, oldest first, behind the one with id `after`."""
        return await queries.list_api_keys(self.database, merchant_id, after=after, limit=limit)

    async def revoke(self, merchant_id: str, key_id: str) -> bool:
        """Revoke a key for good; False where the merchant has no such key."""
        return await queries.revoke_api_key(self.database, merchant_id, key_id)
