"""A Redis of one test's own, for settings that a shared one must not have."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from flashsale.embedded.binaries import find_redis_server
from flashsale.embedded.process import spawn
from flashsale.embedded.server import clean_environment


def free_port() -> int:
    """A port of the loopback interface that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.asynccontextmanager
async def private_redis(**settings: str | int) -> AsyncIterator[Redis]:
    """A client of a new server, reached by a Unix socket; settings are written with _ for -."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "redis.sock"  # a path of pytest's own could be longer than a socket's
        known = {"port": 0, "bind": "127.0.0.1", "unixsocket": str(path), "save": ""}
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
            unix_socket_path=str(path),
            protocol=3,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
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
