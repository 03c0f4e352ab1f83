from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.preorders.yard import Yard, furnish


@pytest.fixture
async def yard(schema, new_database) -> AsyncIterator[Yard]:
    async with (
        new_database(template=schema) as dsn,
        asyncpg.create_pool(dsn, min_size=1, max_size=8) as pool,
    ):
        await furnish(pool)
        yield Yard(pool)
