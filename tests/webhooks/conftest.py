"""A merchant with a sale in Postgres, a clock to turn, and a real server that is told things."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import asyncpg
import pytest
from aiohttp import web

from flashsale.webhooks.announce import announce
from flashsale.webhooks.delivery import Deliveries
from flashsale.webhooks.service import WebhookService
from flashsale.webhooks.values import Endpoint

SALE = "abcdefghijkl"
_MERCHANT = "INSERT INTO merchants (id, name) VALUES ($1, 'M') ON CONFLICT DO NOTHING"
_SALE = """INSERT INTO sales (id, merchant_id, name, kind, state, starts_at, ends_at,
    per_buyer_limit, hold_seconds, armed_at)
    VALUES ($1, $2, 'S', 'launch', 'open', now(), now() + interval '1 hour', 5, 600, now())"""
_ITEM = """INSERT INTO sale_items (sale_id, item, sku, name, price_amount, price_currency, capacity)
    VALUES ($1, $2::int, 'sku-' || $2, 'I', 1000, 'CNY', 1000)"""
ORDER = """INSERT INTO orders (id, sale_id, item, buyer_id, quantity, unit_amount, state, version,
    hold_expires_at, decided_at) VALUES ($1, $2, 0, 'ann', 1, 1000, $3, 1, now(), now())"""


class Told(NamedTuple):
    """One request as it arrived."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def type(self) -> str:
        return self.json["type"]

    @property
    def order(self) -> str | None:
        return self.json["data"].get("order_id")


Answer = Callable[[Told], Awaitable[web.StreamResponse]]


@dataclass
class Receiver:
    """A merchant's server; `answer` may be replaced, 204 otherwise."""

    port: int = 0
    told: list[Told] = field(default_factory=list)
    answer: Answer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        told = Told(dict(request.headers), await request.read())
        self.told.append(told)
        return web.Response(status=204) if self.answer is None else await self.answer(told)

    def types(self) -> list[str]:
        return [each.type for each in self.told]

    def respond(self, *statuses: int, **more: Any) -> None:
        """Answer with these statuses in turn, then 204."""
        left = list(statuses)

        async def answer(_: Told) -> web.Response:
            return web.Response(status=left.pop(0) if left else 204, **more)

        self.answer = answer


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver, app = Receiver(), web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.port = runner.addresses[0][1]
    try:
        yield receiver
    finally:
        await runner.cleanup()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as opened:
        yield opened


@dataclass
class Office:
    """Everything a merchant's webhooks need, on a real Postgres; `ahead` turns the clock."""

    pool: asyncpg.Pool
    ahead: timedelta = timedelta()
    merchant: str = "m"

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def wait(self, **duration: float) -> None:
        self.ahead += timedelta(**duration)

    def service(self, **options: Any) -> WebhookService:
        return WebhookService(self.pool, self.now, **({"allow_private": True} | options))

    def deliveries(self, **options: Any) -> Deliveries:
        return Deliveries(self.pool, self.now, **({"allow_private": True} | options))

    async def endpoint(self, receiver: Receiver, *types: str, merchant: str = "m") -> Endpoint:
        return await self.service().create(merchant, receiver.url, types)

    async def order(self, name: str, state: str = "confirmed", sale: str = SALE) -> str:
        """A new order's id."""
        order = sale + name.ljust(20, "a")
        await self.pool.execute(ORDER, order, sale, state)
        return order

    async def move(self, order: str, *states: str) -> None:
        """Bring an order into one state after another, each in a transaction of its own."""
        for state in states:
            await self.pool.execute("UPDATE orders SET state = $2 WHERE id = $1", order, state)

    async def tell(self, event_type: str, order: str | None = None, **data: Any) -> bool:
        async with self.pool.acquire() as connection, connection.transaction():
            return await announce(connection, self.merchant, event_type, order, SALE, data)

    async def types(self) -> list[str]:
        rows = await self.pool.fetch("SELECT type FROM webhook_events ORDER BY id")
        return [row["type"] for row in rows]

    async def states(self) -> list[str]:
        """Of every delivery, by event."""
        rows = await self.pool.fetch(
            "SELECT state FROM webhook_deliveries ORDER BY event_id, endpoint_id"
        )
        return [row["state"] for row in rows]


@pytest.fixture(scope="module")
async def pool(new_database, schema) -> AsyncIterator[asyncpg.Pool]:
    """A database for the tests of one file."""
    async with (
        new_database(template=schema) as dsn,
        asyncpg.create_pool(dsn, min_size=1, max_size=6) as pool,
    ):
        yield pool


@pytest.fixture
async def office(pool: asyncpg.Pool) -> Office:
    """Two merchants with an open sale each, and nothing else."""
    await pool.execute(
        """TRUNCATE orders, webhook_events, webhook_deliveries, webhook_endpoints CASCADE;
        DELETE FROM sale_items; DELETE FROM sales"""
    )
    for sale, merchant in ((SALE, "m"), ("mnopqrstuvwx", "n")):
        await pool.execute(_MERCHANT, merchant)
        await pool.execute(_SALE, sale, merchant)
        for item in range(2):
            await pool.execute(_ITEM, sale, item)
    return Office(pool)


@contextlib.asynccontextmanager
async def running(*deliveries: Deliveries) -> AsyncIterator[None]:
    """Dispatch processes at work."""
    stop = asyncio.Event()
    tasks = [asyncio.ensure_future(each.run(stop)) for each in deliveries]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def until(check: Callable[[], bool]) -> None:
    """Wait for what must come; a generous bound, so that a failure is not a hang."""
    async with asyncio.timeout(20):
        while not check():
            await asyncio.sleep(0.01)
