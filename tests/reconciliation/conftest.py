from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.reconciliation.scene import Scene, open_scene


@pytest.fixture
async def scene(schema, new_database, redis_db, redis_url) -> AsyncIterator[Scene]:
    """One lane, nothing reserved."""
    async with new_database(template=schema) as dsn, open_scene(dsn, redis_url) as opened:
        yield opened
