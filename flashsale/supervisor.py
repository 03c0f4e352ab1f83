"""The whole engine on one machine: servers, schema, processes, credentials; no rule of ours."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import socket
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from flashsale.access.queries import create_merchant, load_buyer_keys
from flashsale.embedded.credentials import Credentials
from flashsale.embedded.errors import CredentialsError, EmbeddedError
from flashsale.embedded.process import Child, spawn
from flashsale.embedded.servers import Servers, resolve_servers
from flashsale.settlement.migrate import migrate

READY_SECONDS_MAX = 30.0
RESTART_SECONDS_MAX = 5.0
STOP_SECONDS_MAX = 15.0
_POLL_SECONDS = 0.05


class SupervisorError(EmbeddedError):
    """The engine cannot be started; one line that says why and what to do."""


@dataclass(slots=True)
class Worker:
    """One of our processes; started again whenever it ends by itself."""

    name: str
    argv: tuple[str, ...]
    child: Child | None = None
    restarts: int = 0


@dataclass(slots=True)
class Engine:
    """A running engine. `credentials` is what `credentials.json` holds."""

    data_dir: Path
    credentials: Credentials
    workers: list[Worker] = field(default_factory=list)


def free_port(host: str, port: int) -> int:
    """`port` itself, or a free one for 0. Raises SupervisorError where it is taken."""
    # Without SO_REUSEPORT, so that another engine on this port is noticed and not joined.
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SupervisorError(
                f"{host}:{port} cannot be listened on ({error.strerror}): choose another --port."
            ) from None
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def engine(
    data_dir: Path,
    *,
    host: str,
    port: int,
    web_processes: int = 1,
    redis_url: str | None = None,
    postgres_dsn: str | None = None,
    redis_config: Path | None = None,
) -> AsyncIterator[Engine]:
    """Run everything on the data in `data_dir`, ready inside the block; data stays after it.

    Given servers are used instead of bundled ones. Raises EmbeddedError or MigrationError, one
    line each, where something cannot start.
    """
    port = free_port(host, port)
    running: list[Engine] = []

    def save() -> None:
        for each in running:
            _save(each, servers)

    async with resolve_servers(
        redis_url, postgres_dsn, data_dir, redis_config=redis_config, on_change=save
    ) as servers:
        await migrate(servers.postgres_dsn)
        credentials = await _credentials(data_dir, servers, f"http://{_address(host)}:{port}")
        started = Engine(data_dir, credentials, _workers(host, port, web_processes))
        running.append(started)
        metrics = _fresh_folder(data_dir / "metrics")
        environment = {
            **os.environ,
            "FLASHSALE_REDIS_URL": servers.redis_url,
            "FLASHSALE_POSTGRES_DSN": servers.postgres_dsn,
            "PROMETHEUS_MULTIPROC_DIR": str(metrics),
        }
        async with contextlib.AsyncExitStack() as stack:
            for worker in started.workers:
                await stack.enter_async_context(_kept_running(worker, started, environment, save))
            await _until_ready(started)
            yield started


def _address(host: str) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - only compared
    return f"[{shown}]" if ":" in shown else shown


def _fresh_folder(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    return folder


def _workers(host: str, port: int, web_processes: int) -> list[Worker]:
    program = (sys.executable, "-m", "flashsale")
    web = (*program, "web", "--host", host, "--port", str(port), "--share-port")
    names = ["web", *(f"web-{number}" for number in range(2, web_processes + 1))]
    return [
        Worker("settle", (*program, "settle")),
        Worker("timekeeper", (*program, "timekeeper")),
        *(Worker(name, web) for name in names),
    ]


async def _credentials(data_dir: Path, servers: Servers, base_url: str) -> Credentials:
    """Those of the last run where its merchant still exists, else a new merchant's."""
    known = None
    with contextlib.suppress(CredentialsError):
        known = Credentials.load(data_dir)
    connection = await asyncpg.connect(servers.postgres_dsn)
    try:
        keys = await load_buyer_keys(connection)
        if known is None or known.merchant_id not in {key.merchant_id for key in keys.values()}:
            merchant = await create_merchant(connection, "Demo shop", now=datetime.now(UTC))
            known = Credentials(
                base_url=base_url,
                merchant_id=merchant.merchant_id,
                api_key=merchant.api_key,
                buyer_signing_key=merchant.buyer_key.secret.decode(),
                console_url=f"{base_url}/console",
                console_password=secrets.token_urlsafe(18),
                redis_url="",
                postgres_dsn="",
                pids={},
            )
    finally:
        await connection.close()
    return replace(known, base_url=base_url, console_url=f"{base_url}/console")


def _save(started: Engine, servers: Servers) -> None:
    pids = dict(servers.pids)
    pids |= {each.name: each.child.pid for each in started.workers if each.child is not None}
    started.credentials = replace(
        started.credentials,
        redis_url=servers.redis_url,
        postgres_dsn=servers.postgres_dsn,
        pids=pids,
    )
    started.credentials.save(started.data_dir)


@contextlib.asynccontextmanager
async def _kept_running(
    worker: Worker, started: Engine, environment: dict[str, str], save: Callable[[], None]
) -> AsyncIterator[None]:
    def start() -> Child:
        log_path = started.data_dir / "logs" / f"{worker.name}.log"
        worker.child = spawn(worker.name, worker.argv, env=environment, log_path=log_path)
        save()
        return worker.child

    async def keep() -> None:
        pause = 0.1
        while True:
            assert worker.child is not None
            begun = asyncio.get_running_loop().time()
            await worker.child.wait()
            worker.restarts += 1
            # A process that dies at once is not started in a tight loop; one that ran long is.
            quick = asyncio.get_running_loop().time() - begun < RESTART_SECONDS_MAX
            pause = min(pause * 2, RESTART_SECONDS_MAX) if quick else 0.1
            await asyncio.sleep(pause)
            start()

    start()
    keeper = asyncio.create_task(keep())
    try:
        yield
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
        if worker.child is not None:
            await worker.child.stop(patience_seconds=STOP_SECONDS_MAX)


async def _until_ready(started: Engine) -> None:
    url = f"{started.credentials.base_url}/readyz"
    try:
        async with asyncio.timeout(READY_SECONDS_MAX):
            while not await asyncio.to_thread(_answers, url):
                _check_alive(started)
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise SupervisorError(
            f"{url} was not ready within {READY_SECONDS_MAX:.0f} s: see {started.data_dir}/logs."
        ) from None


def _check_alive(started: Engine) -> None:
    for worker in started.workers:
        # A second death before anything was ready is no accident.
        if worker.child is not None and worker.restarts > 1:
            words = worker.child.last_words() or f"see {worker.child.log_path}"
            raise SupervisorError(f"{worker.name} cannot start: {words}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own http URL
            return bool(answer.status == 200)
    except OSError:
        return False
