"""A store on the session's Redis, over an empty database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from flashsale.reservation.desk import LaneDesk
from flashsale.reservation.scripts import load_scripts
from flashsale.reservation.store import ReservationStore
from flashsale.shipped import shipped
from tests.reservation.door import LANE, Breakable


@pytest.fixture
async def client(redis_url: str, redis_db: Redis) -> AsyncIterator[Redis]:
    """A client that decodes replies, as the store wants it."""
    client = Redis.from_url(
        redis_url, protocol=3, decode_responses=True, retry=Retry(NoBackoff(), 0)
    )
    yield client
    await client.aclose()


@pytest.fixture
async def store(client: Redis) -> AsyncIterator[ReservationStore]:
    store = ReservationStore(client, load_scripts(shipped("lua")))
    yield store
    await store.close()


@pytest.fixture
async def breakable(client: Redis) -> AsyncIterator[Breakable]:
    store = Breakable(client, load_scripts(shipped("lua")))
    yield store
    await store.close()


@pytest.fixture
async def desk(breakable: Breakable) -> AsyncIterator[LaneDesk]:
    """One process; the fixture `store` is another."""
    desk = LaneDesk(breakable, *LANE, batch_max=16, waiting_max=64)
    yield desk
    await desk.stop()
