from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.preorders.yard import Yard, furnish
from tests.web.house import House, open_house


@pytest.fixture
async def yard(schema, new_database) -> AsyncIterator[Yard]:
    async with (
        new_database(template=schema) as dsn,
        asyncpg.create_pool(dsn, min_size=1, max_size=8) as pool,
    ):
        await furnish(pool)
        yield Yard(pool)


@pytest.fixture
async def house(schema, new_database, redis_db, redis_url) -> AsyncIterator[House]:
    async with new_database(template=schema) as dsn, open_house(dsn, redis_url) as opened:
        yield opened
