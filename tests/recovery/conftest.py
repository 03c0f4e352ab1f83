from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.recovery.ward import Ward, open_ward


@pytest.fixture
async def ward(schema, new_database, redis_db, redis_url) -> AsyncIterator[Ward]:
    async with new_database(template=schema) as dsn, open_ward(dsn, redis_url) as opened:
        yield opened


@pytest.fixture
async def wide_ward(schema, new_database, redis_db, redis_url) -> AsyncIterator[Ward]:
    """The same in four lanes."""
    async with new_database(template=schema) as dsn, open_ward(dsn, redis_url, lanes=4) as opened:
        yield opened
