"""A migrated database with one running sale, and a stand-in for the scripts that append entries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import asyncpg
import pytest
from redis.asyncio import Redis

from flashsale.domain.identity import order_hash
from flashsale.domain.orders import LIVE_STATES
from flashsale.reservation.keys import lane_keys
from flashsale.settlement import settler
from flashsale.settlement.plan import Catalogue
from flashsale.stream.reader import LaneReader

SALE = "abcdefghijkl"
CAPACITY = 1000
_MERCHANT = "INSERT INTO merchants (id, name) VALUES ('m', 'M')"
_SALE = """INSERT INTO sales (id, merchant_id, name, kind, state, starts_at, ends_at,
    per_buyer_limit, hold_seconds, armed_at)
    VALUES ($1, 'm', 'S', 'launch', 'open', now(), now() + interval '1 hour', 5, 600, now())"""
_ITEM = """INSERT INTO sale_items (sale_id, item, sku, name, price_amount, price_currency, capacity)
    VALUES ($1, $2::int, 'sku-' || $2, 'I', 1000 * ($2 + 1), 'CNY', $3)"""


@pytest.fixture
async def database(new_database: Callable, schema: str) -> AsyncIterator[str]:
    """The DSN of a migrated database that holds the sale, of two items."""
    async with new_database(template=schema) as dsn:
        connection = await asyncpg.connect(dsn)
        await connection.execute(_MERCHANT)
        await connection.execute(_SALE, SALE)
        for item in range(2):
            await connection.execute(_ITEM, SALE, item, CAPACITY)
        await connection.close()
        yield dsn


@pytest.fixture
async def pool(database: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(
        database, min_size=1, max_size=8, server_settings=settler.SERVER_SETTINGS
    ) as pool:
        yield pool


@dataclass
class Lane:
    """One lane of the sale: what the scripts would append, and what Postgres made of it."""

    redis: Redis
    pool: asyncpg.Pool
    number: int = 0
    sale: str = SALE
    catalogue: Catalogue = field(default=Catalogue(SALE, {0: 1000, 1: 2000}))
    seq: int = 0

    @property
    def key(self) -> str:
        return lane_keys(self.sale, self.number).events

    def reader(self, consumer: str = "one", **options: int) -> LaneReader:
        return LaneReader(self.redis, self.sale, self.number, consumer, **options)

    async def append(self, *events: tuple) -> str:
        """One entry of (kind letter, buyer, item, quantity, version); the entry's id."""
        lines = []
        for kind, buyer, *rest in events:
            item, quantity, version = (*rest, *(0, 1, 1 if kind == "R" else 2)[len(rest) :])
            order = self.order(buyer)
            lines.append("\t".join(map(str, (kind, version, order, item, quantity, 9000, buyer))))
        self.seq += 1
        fields = {"seq": self.seq, "epoch": 1, "at_ms": 5000, "available": "1,1"}
        entry_id = await self.redis.xadd(self.key, {**fields, "events": "\n".join(lines)})
        return entry_id.decode()

    def order(self, buyer: str) -> str:
        return order_hash(b"k" * 32, self.sale, buyer, "key")

    async def states(self) -> dict[str, str]:
        """State by buyer."""
        rows = await self.pool.fetch("SELECT buyer_id, state FROM orders")
        return {row["buyer_id"]: row["state"] for row in rows}

    async def live(self) -> list[int]:
        """Live units by item, as counted; what the rows say must be the same."""
        rows = await self.pool.fetch(
            """SELECT i.live, coalesce(sum(o.quantity) FILTER (WHERE o.state = ANY ($1)), 0)
                AS held FROM sale_items i LEFT JOIN orders o USING (sale_id, item)
                GROUP BY i.item, i.live ORDER BY i.item""",
            [state.value for state in LIVE_STATES],
        )
        assert [row["live"] for row in rows] == [row["held"] for row in rows]
        return [row["live"] for row in rows]

    async def settled(self) -> set[int]:
        """Entry numbers remembered as settled."""
        ranges = await self.pool.fetchval("SELECT settled FROM lanes WHERE lane = $1", self.number)
        return {seq for one in ranges or () for seq in range(one.lower, one.upper)}


@pytest.fixture
def lane(redis_db: Redis, pool: asyncpg.Pool) -> Lane:
    return Lane(redis_db, pool)
