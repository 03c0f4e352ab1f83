"""The two bundled servers as one resource: up inside the block, gone after it, data kept."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flashsale.embedded.folders import locked, socket_dir
from flashsale.embedded.postgres_server import PostgresServer
from flashsale.embedded.redis_server import Durability, RedisServer
from flashsale.embedded.server import Server, kept_running


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the two stores are, and the process ids of those that are ours.

    `pids` is live: a server that died and was started again has its new id in it.
    """

    redis_url: str
    postgres_dsn: str
    pids: Mapping[str, int]


def _made(data_dir: Path) -> Path:
    """Create the data folder, whose contents are private, and its folder of logs."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    (data_dir / "logs").mkdir(mode=0o700, exist_ok=True)
    return data_dir.absolute()


def _nothing() -> None:
    pass


@contextlib.asynccontextmanager
async def bundled_servers(
    data_dir: Path,
    *,
    redis_config: Path | None = None,
    durability: Durability = "strict",
    on_change: Callable[[], None] = _nothing,
) -> AsyncIterator[Servers]:
    """Run both servers on the data in `data_dir`; the folder is made where it is missing.

    A server that dies is started again, and `on_change` is called after each start. Raises
    EmbeddedError, one line, where the folder is in use or a server cannot start.
    """
    async with resolve_servers(
        None,
        None,
        data_dir,
        redis_config=redis_config,
        durability=durability,
        on_change=on_change,
    ) as servers:
        yield servers


@contextlib.asynccontextmanager
async def resolve_servers(
    redis_url: str | None,
    postgres_dsn: str | None,
    data_dir: Path,
    *,
    redis_config: Path | None = None,
    durability: Durability = "strict",
    on_change: Callable[[], None] = _nothing,
) -> AsyncIterator[Servers]:
    """Use the servers that are given by URL or DSN, and run bundled ones for those that are not."""
    pids: dict[str, int] = {}
    async with contextlib.AsyncExitStack() as stack:
        if redis_url and postgres_dsn:
            yield Servers(redis_url, postgres_dsn, pids)
            return
        data_dir = _made(data_dir)
        lock_descriptor = await stack.enter_async_context(locked(data_dir))
        sockets = stack.enter_context(socket_dir(data_dir))
        logs = data_dir / "logs"

        async def run(server: Server) -> None:
            def changed(pid: int) -> None:
                pids[server.name] = pid
                on_change()

            await stack.enter_async_context(kept_running(server, changed))

        if not postgres_dsn:
            postgres = PostgresServer(
                data_dir / "postgres",
                sockets / "postgres",
                logs / "postgres.log",
                lock_descriptor,
                durability,
            )
            await run(postgres)
            postgres_dsn = postgres.dsn
        if not redis_url:
            redis = RedisServer(
                data_dir / "redis",
                sockets / "redis",
                logs / "redis.log",
                lock_descriptor,
                durability,
                redis_config,
            )
            await run(redis)
            redis_url = redis.url
        yield Servers(redis_url, postgres_dsn, pids)
