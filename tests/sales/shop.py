"""A merchant with real servers: what the tests of sales and of the timekeeper begin with."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import asyncpg
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from flashsale.access.queries import create_merchant
from flashsale.auditlog.queries import carry_act
from flashsale.domain.identity import order_hash
from flashsale.domain.outcomes import Decision, Status
from flashsale.reservation.replies import Request
from flashsale.reservation.scripts import load_scripts
from flashsale.reservation.store import ReservationStore
from flashsale.sales.forms import SaleForm, SalePatch, SupplyForm, parse_form
from flashsale.sales.service import SaleService
from flashsale.sales.values import SaleFacts
from flashsale.shipped import shipped

SCRIPTS = load_scripts(shipped("lua"))
_keys = itertools.count()


def now() -> datetime:
    return datetime.now(UTC)


def rfc3339(instant: datetime) -> str:
    return instant.isoformat(timespec="milliseconds")


def body(**changes: Any) -> dict[str, Any]:
    """A valid form that opens at once; `changes` replace fields, None removes one."""
    whole = {
        "name": "Mi 3",
        "kind": "launch",
        "starts_at": rfc3339(now()),
        "ends_at": rfc3339(now() + timedelta(hours=1)),
        "items": [item()],
        "per_buyer_limit": 2,
        "hold_seconds": 60,
    } | changes
    return {name: value for name, value in whole.items() if value is not None}


def item(sku: str = "mi3-16", supply: int = 10, **changes: Any) -> dict[str, Any]:
    price = {"amount": 199900, "currency": "CNY"}
    return {"sku": sku, "name": "Mi 3 16 GB", "price": price, "supply": supply} | changes


class Shop(NamedTuple):
    """A merchant, and everything a command needs."""

    pool: asyncpg.Pool
    redis: Redis
    store: ReservationStore
    service: SaleService
    merchant: str
    dsn: str

    async def draft(self, **changes: Any) -> SaleFacts:
        return await self.service.create(self.merchant, parse_form(SaleForm, body(**changes)))

    async def scheduled(self, **changes: Any) -> SaleFacts:
        return await self.service.schedule(self.merchant, (await self.draft(**changes)).id)

    async def patch(self, sale: SaleFacts, **changes: Any) -> SaleFacts:
        form = parse_form(SalePatch, changes)
        return await self.service.patch(self.merchant, sale.id, form, sale.revision)

    async def supply(self, sale: SaleFacts, quantity: int, **more: Any):
        key = more.pop("idempotency_key", None)
        sku = more.pop("sku", sale.items[0].sku)
        form = parse_form(SupplyForm, {"sku": sku, "quantity": quantity, "reason": "wave"} | more)
        return await self.service.add_supply(self.merchant, sale.id, form, idempotency_key=key)

    async def reserve(
        self, sale: SaleFacts, buyer: str, quantity: int = 1, lane: int = 0
    ) -> Decision:
        key = order_hash(b"s" * 32, sale.id, buyer, str(next(_keys)))
        request = Request(key, buyer, 0, quantity)
        return (await self.store.reserve(sale.id, lane, sale.epoch, [request]))[0]

    async def hold(self, sale: SaleFacts, count: int, lane: int = 0) -> None:
        """Holds of one unit for as many buyers."""
        for number in range(count):
            decision = await self.reserve(sale, f"holder{next(_keys)}-{number}", lane=lane)
            assert decision.status is Status.RESERVED

    async def stock(self, sale: SaleFacts, lane: int = 0, item: int = 0):
        return (await self.store.snapshot(sale.id, lane)).stock[item]

    async def capacity(self, sale: SaleFacts) -> int:
        return (await self.service.facts(sale.id)).items[0].capacity

    async def set_columns(self, sale: SaleFacts, assignments: str) -> SaleFacts:
        """What a crash, or the passing of time, left in Postgres."""
        await self.pool.execute(f"UPDATE sales SET {assignments} WHERE id = $1", sale.id)
        return await self.service.facts(sale.id)


@contextlib.asynccontextmanager
async def open_shop(dsn: str, redis_url: str) -> AsyncIterator[Shop]:
    redis = Redis.from_url(
        redis_url, protocol=3, decode_responses=True, retry=Retry(NoBackoff(), 0)
    )
    async with redis, asyncpg.create_pool(dsn, min_size=1, max_size=12, setup=carry_act) as pool:
        merchant = await create_merchant(pool, "Mi", now=now())
        store = ReservationStore(redis, SCRIPTS)
        service = SaleService(pool, store, now)
        yield Shop(pool, redis, store, service, merchant.merchant_id, dsn)
        await store.close()
