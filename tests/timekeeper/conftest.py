from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.sales.shop import Shop, open_shop


@pytest.fixture
async def shop(schema, new_database, redis_db, redis_url) -> AsyncIterator[Shop]:
    async with new_database(template=schema) as dsn, open_shop(dsn, redis_url) as opened:
        yield opened
