"""A till for the tests of one module."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.payments.till import Till, open_till
from tests.sales.shop import open_shop


@pytest.fixture(scope="module")
async def till(schema, new_database, redis_url, tmp_path_factory) -> AsyncIterator[Till]:
    folder = tmp_path_factory.mktemp("till")
    async with new_database(template=schema) as dsn, open_shop(dsn, redis_url) as shop:
        await shop.redis.flushdb()
        async with open_till(shop, folder) as opened:
            yield opened
