from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.web.house import House, open_house


@pytest.fixture(scope="module")
async def house(schema, new_database, redis_url) -> AsyncIterator[House]:
    """The web as it is run: hot routes in front."""
    async with (
        new_database(template=schema) as dsn,
        open_house(dsn, redis_url) as opened,
    ):
        yield opened


@pytest.fixture(scope="module", params=["quick", "hot", "routed"])
async def either_house(request, schema, new_database, redis_url) -> AsyncIterator[House]:
    """Three times: each way must answer as the others do."""
    async with (
        new_database(template=schema) as dsn,
        open_house(dsn, redis_url, way=request.param) as opened,
    ):
        yield opened
