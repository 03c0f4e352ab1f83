"""A merchant's keys as the web works with them: API keys and buyer keys. Logs no secret.

BuyerKeyError
├── UnknownBuyerKeyError   the merchant has no such key
├── LastBuyerKeyError      no other key would be left that stays
└── TooManyBuyerKeysError  as many serve already as any rotation needs
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flashsale.access import queries
from flashsale.access.api_keys import ApiKeyRecord
from flashsale.access.buyer_keys import BuyerKey, BuyerKeyRecord
from flashsale.access.queries import Database, KeysPool

#: Each costs every process a prepared check and every reload a row.
SERVING_KEYS_MAX = 10


class BuyerKeyError(Exception):
    """What a merchant asked of buyer keys cannot be done; nothing was changed."""


class UnknownBuyerKeyError(BuyerKeyError):
    """The merchant has no such key."""


class LastBuyerKeyError(BuyerKeyError):
    """Without this key no buyer could call, and no other one stays."""


class TooManyBuyerKeysError(BuyerKeyError):
    """As many keys serve already as any rotation needs."""


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


@dataclass(frozen=True, slots=True)
class BuyerKeys:
    """Keys for buyer tokens, rotated: a new one is added, the old one retired a while later.

    Other processes learn of a change within their keyring's refresh. Every method raises
    asyncpg's errors where Postgres is away.
    """

    pool: KeysPool

    async def add(self, key: BuyerKey, label: str) -> BuyerKeyRecord:
        """Keep a key, which serves at once. TooManyBuyerKeysError."""
        async with queries.keys_lock(self.pool, key.merchant_id) as transaction:
            listed = await queries.list_buyer_keys(transaction, key.merchant_id)
            if sum(each.state != "retired" for each in listed) >= SERVING_KEYS_MAX:
                raise TooManyBuyerKeysError
            await queries.add_buyer_key(transaction, key, label)
            return await _record(transaction, key.merchant_id, key.kid)

    async def list(self, merchant_id: str) -> list[BuyerKeyRecord]:
        """All of a merchant's keys, oldest first."""
        return await queries.list_buyer_keys(self.pool, merchant_id)

    async def retire(self, merchant_id: str, kid: str, at: datetime | None) -> BuyerKeyRecord:
        """Retire a key for good, now (`at` None) or at an instant, which is never put off again.

        UnknownBuyerKeyError, LastBuyerKeyError. Two at once take turns: one key always stays.
        """
        async with queries.keys_lock(self.pool, merchant_id) as transaction:
            listed = await queries.list_buyer_keys(transaction, merchant_id)
            asked = next((each for each in listed if each.kid == kid), None)
            if asked is None:
                raise UnknownBuyerKeyError
            if asked.state == "retired":
                return asked
            if not any(each.state == "active" and each.kid != kid for each in listed):
                raise LastBuyerKeyError
            await queries.retire_buyer_key(transaction, merchant_id, kid, at)
            return await _record(transaction, merchant_id, kid)


async def _record(transaction: queries.Transaction, merchant_id: str, kid: str) -> BuyerKeyRecord:
    listed = await queries.list_buyer_keys(transaction, merchant_id)
    return next(each for each in listed if each.kid == kid)
