"""The whole web on a real port, for tests that mean it ill."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.web.house import House, open_house


@pytest.fixture(scope="module")
async def house(schema, new_database, redis_url) -> AsyncIterator[House]:
    """The web as it is run: the quick way in front."""
    async with (
        new_database(template=schema) as dsn,
        open_house(dsn, redis_url) as opened,
    ):
        yield opened


@pytest.fixture(scope="module")
def port(house: House) -> int:
    """Where the house listens."""
    return int(house.url.rpartition(":")[2])
