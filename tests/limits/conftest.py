"""Several web processes' limits on one real Redis."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from flashsale.limits.limiter import Limiter
from flashsale.limits.pot import Pot
from flashsale.reservation.links import Links
from flashsale.reservation.scripts import ScriptRunner, load_scripts
from flashsale.shipped import shipped

SCRIPTS = load_scripts(shipped("lua") / "limits")
TERMS = {"per_second": 1, "burst_seconds": 60, "share_percent": 10, "subjects_max": 1000}


class Process(NamedTuple):
    """What one web process has of one limit."""

    pot: Pot
    limiter: Limiter


@pytest.fixture
async def client(redis_url: str, redis_db: Redis) -> AsyncIterator[Redis]:
    made = Redis.from_url(redis_url, protocol=3, decode_responses=True, retry=Retry(NoBackoff(), 0))
    yield made
    await made.aclose()


@pytest.fixture
async def runner(client: Redis) -> AsyncIterator[ScriptRunner]:
    links = Links(client)
    yield ScriptRunner(links, SCRIPTS)
    await links.close()


Processes = Callable[..., AbstractAsyncContextManager[list[Process]]]


@pytest.fixture
def processes(client: Redis) -> Processes:
    """`async with processes(3, per_second=…) as three`: each with connections of its own."""

    @contextlib.asynccontextmanager
    async def start(count: int, **terms: int) -> AsyncIterator[list[Process]]:
        links = [Links(client, links_max=2) for _ in range(count)]
        pots = [Pot(ScriptRunner(each, SCRIPTS).run) for each in links]
        try:
            yield [Process(pot, Limiter("buyer", pot, **(TERMS | terms))) for pot in pots]
        finally:
            for pot, link in zip(pots, links, strict=True):
                await pot.stop()
                await link.close()

    return start
