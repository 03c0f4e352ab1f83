"""Several clients of one Redis, as several web processes have."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from flashsale.domain.sales import Terms
from flashsale.reservation.scripts import load_scripts
from flashsale.reservation.store import ReservationStore
from flashsale.shipped import shipped

PROCESSES = 4
SALE = "sale2222aaaa"
TERMS = Terms(starts_at_ms=1_000, ends_at_ms=9_000_000_000_000, buyer_limit=2, hold_ms=3_600_000)


@pytest.fixture
async def client(redis_url: str, redis_db: Redis) -> AsyncIterator[Redis]:
    """A client that any number of tasks may share: they wait for its connections."""
    pool = BlockingConnectionPool.from_url(
        redis_url,
        protocol=3,
        decode_responses=True,
        retry=Retry(NoBackoff(), 0),
        max_connections=16,
        timeout=None,
    )
    yield Redis(connection_pool=pool)
    await pool.aclose()


@pytest.fixture
async def stores(client: Redis) -> AsyncIterator[list[ReservationStore]]:
    """One store for each process, all on the same server."""
    scripts = load_scripts(shipped("lua"))
    stores = [ReservationStore(client, scripts) for _ in range(PROCESSES)]
    yield stores
    for store in stores:
        await store.close()
