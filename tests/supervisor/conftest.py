from __future__ import annotations

import signal
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.supervisor.running import Up


@pytest.fixture(scope="module")
def up(tmp_path_factory) -> AsyncIterator[Up]:
    """An engine that is running, for tests that leave it running."""
    engine = Up(tmp_path_factory.mktemp("up") / "data")
    engine.start()
    yield engine
    if engine.process.returncode is None:
        engine.stop(signal.SIGTERM)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as opened:
        yield opened
