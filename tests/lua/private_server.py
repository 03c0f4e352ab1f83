"""A Redis of one test's own, for settings that a shared one must not have."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from flashsale.embedded.binaries import find_redis_server
from flashsale.embedded.process import spawn
from flashsale.embedded.server import clean_environment


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.asynccontextmanager
async def private_redis(folder: Path, **settings: str | int) -> AsyncIterator[Redis]:
    """A client of a new server on the loopback interface; settings use _ for -."""
    port = _free_port()
    known = {"port": port, "bind": "127.0.0.1", "dir": ".", "save": "", "appendonly": "no"}
    words = [
        word
        for name, value in {**known, **settings}.items()
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]
    child = spawn(
        "private redis",
        [str(find_redis_server()), *words],
        env=clean_environment(),
        cwd=folder,
        log_path=folder / "redis.log",
    )
    client = Redis(
        host="127.0.0.1", port=port, protocol=3, decode_responses=True, retry=Retry(NoBackoff(), 0)
    )
    try:
        while not await _answers(client):
            assert child.exit_code() is None, child.last_words()
            await asyncio.sleep(0.01)
        yield client
    finally:
        await client.aclose()
        await child.stop()


async def _answers(client: Redis) -> bool:
    with contextlib.suppress(RedisConnectionError):
        return bool(await client.ping())
    return False
