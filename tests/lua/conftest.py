"""An empty lane on the session's Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.lua.lane import Lane


@pytest.fixture
async def lane(redis_url: str, redis_db: Redis) -> AsyncIterator[Lane]:
    """A lane that nobody has armed yet."""
    client = Redis.from_url(
        redis_url, protocol=3, decode_responses=True, retry=Retry(NoBackoff(), 0)
    )
    lane = Lane(client)
    yield lane
    await lane.close()
    await client.aclose()
