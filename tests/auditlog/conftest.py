from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest

from flashsale.access.queries import create_merchant
from flashsale.auditlog.queries import carry_act


@pytest.fixture
async def pool(schema, new_database) -> AsyncIterator[asyncpg.Pool]:
    async with (
        new_database(template=schema) as dsn,
        asyncpg.create_pool(dsn, min_size=1, max_size=8, setup=carry_act) as pool,
    ):
        yield pool


@pytest.fixture
async def merchant(pool) -> str:
    return (await create_merchant(pool, "Mi", now=datetime.now(UTC))).merchant_id
