"""A whole engine of its own for one run: real servers and processes, each of which may be hurt."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from flashsale.access.queries import NewMerchant, create_merchant
from flashsale.embedded.folders import locked, socket_dir
from flashsale.embedded.play_money import PlayMoney, beside
from flashsale.embedded.ports import held_port
from flashsale.embedded.postgres_server import PORT, PostgresServer
from flashsale.embedded.process import Child, spawn
from flashsale.embedded.redis_server import RedisServer
from flashsale.embedded.server import start
from flashsale.payments.providers.sandbox import CALLBACK_PATH
from flashsale.settlement.migrate import migrate
from tests.chaos.clock import faked
from tests.chaos.kept import Kept, now_ms
from tests.chaos.process import FOLDER_VARIABLE
from tests.chaos.proxy import Proxy

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
_READY_SECONDS_MAX = 90
#: Clocks that take minutes in earnest take seconds here; rules are the same.
_SETTINGS = {
    "FLASHSALE_WEB__CONNECTIONS_MAX": "500",
    "FLASHSALE_WEB__STOP_SECONDS_MAX": "2",
    "FLASHSALE_RESERVATION__REDIS_TIMEOUT_MS": "2000",
    "FLASHSALE_SETTLEMENT__BLOCK_MS": "500",
    "FLASHSALE_SETTLEMENT__RECLAIM_IDLE_MS": "1500",
    "FLASHSALE_SETTLEMENT__POSTGRES_CONNECTIONS_MAX": "6",
    "FLASHSALE_TIMEKEEPER__EXPIRE_BATCH_MAX": "5",
    "FLASHSALE_PAYMENTS__POSTGRES_CONNECTIONS_MAX": "6",
    "FLASHSALE_PAYMENTS__PROVIDER_TIMEOUT_MS": "2000",
}


class _TimedRedis(RedisServer):
    """The bundled server whose clock can be moved."""

    def spawn(self) -> Child:
        from flashsale.embedded.binaries import find_redis_server
        from flashsale.embedded.server import clean_environment

        return spawn(
            self.name,
            [str(find_redis_server()), *self._settings()],
            env=clean_environment() | faked(self.log_path.parent.parent / "clock-redis"),
            cwd=self.data_dir,
            log_path=self.log_path,
            pass_fds=(self.lock_descriptor,),
        )


@dataclass(slots=True)
class World:
    """What a run may touch. `redis` and `postgres` are proxies; the engine knows nothing else."""

    folder: Path
    redis_server: RedisServer
    postgres_server: PostgresServer
    redis: Proxy
    postgres: Proxy
    place: PlayMoney
    base_url: str
    merchant: NewMerchant | None = None
    kept: dict[str, Kept] = field(default_factory=dict)
    #: What started and ended when.
    lives: list[dict[str, object]] = field(default_factory=list)
    #: Whom a fault of the merchant's acts through; the run sets it.
    seller: Any = None
    _guards: dict[str, asyncio.Lock] = field(default_factory=dict)

    @property
    def redis_data(self) -> Path:
        """Where Redis keeps its append-only files."""
        return self.redis_server.data_dir

    @property
    def redis_url(self) -> str:
        """The server itself, past the proxy."""
        return self.redis_server.url

    @property
    def postgres_dsn(self) -> str:
        """The server itself, past the proxy."""
        return self.postgres_server.dsn

    def guard(self, name: str) -> asyncio.Lock:
        """Held by whoever takes a server down: two at once would undo each other."""
        return self._guards.setdefault(name, asyncio.Lock())

    def told(self, what: dict[str, object]) -> None:
        """Remember a start or an end."""
        self.lives.append({"at_ms": now_ms(), **what})

    def trigger(self, point: str) -> Path:
        """The file that makes a process die at a point."""
        return self.folder / "crash" / point

    def names(self, prefix: str) -> list[str]:
        """Our own processes of one kind."""
        return sorted(name for name in self.kept if name.split("-")[0] == prefix)


def _environment(world: World, planted: dict[str, str]) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("FLASHSALE_")}
    binaries = {name: value for name, value in os.environ.items() if "_BIN" in name}
    dsn = f"postgresql:///flashsale?host={world.postgres.listens_at.parent}&port={PORT}"
    return {
        **ours,
        **binaries,
        **_SETTINGS,
        **world.place.environment(),
        **planted,
        "FLASHSALE_REDIS_URL": f"unix://{world.redis.listens_at}?db=0",
        "FLASHSALE_POSTGRES_DSN": f"{dsn}&user=flashsale",
        FOLDER_VARIABLE: str(world.folder),
    }


def _commands(world: World, port: int) -> dict[str, tuple[str, ...]]:
    web = ("web", "--host", HOST, "--port", str(port), "--share-port")
    return {
        "sandbox": world.place.argv(world.folder, world.base_url + CALLBACK_PATH),
        "web-1": web,
        "web-2": web,
        # One takes up what it left; the other comes back as a stranger, and is reclaimed from.
        "settle-1": ("settle", "--name", "settle-1"),
        "settle-2": ("settle",),
        "timekeeper-1": ("timekeeper",),
        "timekeeper-2": ("timekeeper",),
        "dispatch-1": ("dispatch",),
    }


@contextlib.asynccontextmanager
async def world(
    logs: Path, *, moves_clocks: bool = False, planted: dict[str, str] | None = None
) -> AsyncIterator[World]:
    """A running engine with a merchant; nothing of it is left after the block but its logs."""
    folder = Path(tempfile.mkdtemp(prefix="fs-chaos-"))
    folder.chmod(0o711)
    try:
        async with contextlib.AsyncExitStack() as stack:
            made = await _made(stack, folder, moves_clocks=moves_clocks)
            for name in ("redis", "postgres"):
                await _keep_server(stack, made, name)
            stack.callback(_keep_logs, folder / "logs", logs)
            await migrate(made.postgres_dsn)
            connection = await asyncpg.connect(made.postgres_dsn)
            made.merchant = await create_merchant(connection, "Chaos", now=datetime.now(UTC))
            await connection.close()
            moved = faked(folder / "clock-engine") if moves_clocks else {}
            await _start_processes(stack, made, _environment(made, planted or {}), moved)
            await _until_ready(made)
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _made(stack: contextlib.AsyncExitStack, folder: Path, *, moves_clocks: bool) -> World:
    for name in ("logs", "crash"):
        (folder / name).mkdir(mode=0o700)
    for name in ("clock-redis", "clock-engine"):
        (folder / name).write_text("+0\n")
    lock = await stack.enter_async_context(locked(folder))
    sockets = stack.enter_context(socket_dir(folder))
    logs = folder / "logs"
    kind = _TimedRedis if moves_clocks else RedisServer
    redis = kind(folder / "redis", sockets / "redis", logs / "redis.log", lock, "strict", None)
    postgres = PostgresServer(
        folder / "postgres", sockets / "postgres", logs / "postgres.log", lock, "strict"
    )
    ways = folder / "ways"
    name = f".s.PGSQL.{PORT}"
    made = World(
        folder,
        redis,
        postgres,
        Proxy(ways / "redis.sock", redis.socket),
        Proxy(ways / "pg" / name, postgres.socket_dir / name),
        stack.enter_context(beside(folder)),
        f"http://{HOST}:{stack.enter_context(held_port(HOST, 0))}",
    )
    await stack.enter_async_context(made.redis.listening())
    await stack.enter_async_context(made.postgres.listening())
    return made


async def _keep_server(stack: contextlib.AsyncExitStack, made: World, name: str) -> None:
    server = getattr(made, f"{name}_server")
    if name == "postgres":
        await asyncio.to_thread(_copy_cluster, server)
    server.prepare()
    kept = Kept(name, lambda: start(server), made.told, server.stop_signal)
    made.kept[name] = kept
    stack.push_async_callback(kept.end)
    await kept.begin()


#: An empty cluster, made once: making one takes longer than a short run.
_CLUSTER = tempfile.TemporaryDirectory(prefix="fs-chaos-cluster-")


def _copy_cluster(server: PostgresServer) -> None:
    kept = Path(_CLUSTER.name) / "postgres"
    if not kept.exists():
        server.prepare()
        server.socket_dir.rmdir()
        subprocess.run(["cp", "-a", server.data_dir, kept], check=True)
        return
    subprocess.run(["cp", "-a", kept, server.data_dir], check=True)


async def _start_processes(
    stack: contextlib.AsyncExitStack,
    made: World,
    environment: dict[str, str],
    moved: dict[str, str],
) -> None:
    """All of ours, by `moved` clocks; the provider's clock is the provider's own."""
    port = int(made.base_url.rpartition(":")[2])
    ends = []
    for name, argv in _commands(made, port).items():

        async def begin(name: str = name, argv: tuple[str, ...] = argv) -> Child:
            return spawn(
                name,
                [sys.executable, "-m", "tests.chaos.process", *argv],
                env=environment if name == "sandbox" else environment | moved,
                cwd=ROOT,
                log_path=made.folder / "logs" / f"{name}.log",
            )

        kept = Kept(name, begin, made.told)
        made.kept[name] = kept
        ends.append(kept.end)

    async def end_all() -> None:
        await asyncio.gather(*(end() for end in ends))

    stack.push_async_callback(end_all)
    await asyncio.gather(*(kept.begin() for kept in made.kept.values() if kept._keeper is None))


async def _until_ready(made: World) -> None:
    waits = [f"{made.base_url}/readyz", f"{made.place.url}/healthz"]
    try:
        async with aiohttp.ClientSession() as session, asyncio.timeout(_READY_SECONDS_MAX):
            for url in waits:
                while not await answers(session, url):
                    await asyncio.sleep(0.1)
    except TimeoutError:
        children = [kept.child for kept in made.kept.values() if kept.child is not None]
        words = "; ".join(f"{each.name}: {each.last_words()[:200]}" for each in children)
        raise RuntimeError(f"the engine does not start: {words}") from None


async def answers(session: aiohttp.ClientSession, url: str) -> bool:
    """Whether an address answers 200."""
    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=3)) as response:
            return response.status == 200
    return False


def _keep_logs(source: Path, target: Path) -> None:
    shutil.copytree(source, target, dirs_exist_ok=True)
