from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.sandbox.house import House, open_house


@pytest.fixture
async def house(tmp_path) -> AsyncIterator[House]:
    async with open_house(tmp_path / "sandbox.db") as opened:
        yield opened
