"""The whole engine on one machine: servers, schema, processes, credentials; no rule of ours."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import logging
import os
import secrets
import shutil
import socket
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from flashsale.access.buyer_keys import BuyerKey
from flashsale.access.queries import create_merchant, load_buyer_keys
from flashsale.embedded.credentials import FILE_NAME, Credentials
from flashsale.embedded.errors import EmbeddedError
from flashsale.embedded.play_money import PlayMoney
from flashsale.embedded.play_money import beside as play_money_beside
from flashsale.embedded.ports import held_port, shown_host
from flashsale.embedded.process import Child, spawn
from flashsale.embedded.redis_server import Durability
from flashsale.embedded.servers import Servers, resolve_servers
from flashsale.payments.providers.sandbox import CALLBACK_PATH
from flashsale.settlement.migrate import migrate
from flashsale.shipped import shipped
from flashsale.web.metrics import FOLDER_VARIABLE, forget_process

READY_SECONDS_MAX = 60.0
RESTART_SECONDS_MAX = 5.0
#: A process is killed that much later than it may take to finish what is in flight.
STOP_SECONDS_MORE = 5.0
_RESTART_SECONDS_MIN = 0.1
_POLL_SECONDS = 0.05
# -P: what lies in the folder that somebody happens to stand in is none of our modules.
_PROGRAM = (sys.executable, "-P", "-m", "flashsale")

_logger = logging.getLogger(__name__)


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
    servers: Servers
    credentials: Credentials
    workers: list[Worker] = field(default_factory=list)
    play_money: PlayMoney | None = None

    def save(self, *, stopped: bool = False) -> None:
        """Write `credentials.json`; what keeps it from that is logged, for the processes go on."""
        pids = {each.name: each.child.pid for each in self.workers if each.child is not None}
        pids = {} if stopped else {**self.servers.pids, **pids}
        self.credentials = replace(self.credentials, pids=pids)
        try:
            self.credentials.save(self.data_dir)
        except OSError as error:
            _logger.error("%s cannot be written: %s", FILE_NAME, error)  # noqa: TRY400


@contextlib.asynccontextmanager
async def engine(
    data_dir: Path,
    *,
    host: str,
    port: int,
    web_processes: int = 1,
    redis_url: str | None = None,
    postgres_dsn: str | None = None,
    durability: Durability = "strict",
    play_money: bool = True,
    stop_seconds_max: float = 10.0,
) -> AsyncIterator[Engine]:
    """Run everything on the data in `data_dir`, ready inside the block; data stays after it.

    Given servers are used instead of bundled ones. With `play_money` a sandbox runs beside it and
    is its payment provider; else the environment's settings name one. `stop_seconds_max` is how
    long a process may take to finish what is in flight. Raises EmbeddedError, MigrationError,
    OSError and asyncpg's errors, one line each, where something cannot start.
    """
    running: list[Engine] = []

    def save() -> None:
        for each in running:
            each.save()

    with held_port(host, port) as bound, contextlib.ExitStack() as stack:
        data_dir = _private_folder(data_dir)
        async with resolve_servers(
            redis_url,
            postgres_dsn,
            data_dir,
            redis_config=shipped("config") / "redis.conf",
            durability=durability,
            on_change=save,
        ) as servers:
            await migrate(servers.postgres_dsn)
            place = stack.enter_context(play_money_beside(data_dir)) if play_money else None
            base_url = f"http://{shown_host(host)}:{bound}"
            credentials = await _credentials(data_dir, servers, base_url)
            credentials = replace(credentials, sandbox_url="" if place is None else place.url)
            workers = _workers(data_dir, host, bound, web_processes)
            if place is not None:
                argv = place.argv(data_dir, base_url + CALLBACK_PATH)
                workers.append(Worker("sandbox", (*_PROGRAM, *argv)))
            started = Engine(data_dir, servers, credentials, workers, place)
            running.append(started)
            try:
                async with _kept_running(started, stop_seconds_max + STOP_SECONDS_MORE):
                    await _until_ready(started)
                    yield started
            finally:
                running.clear()
                started.save(stopped=True)


def _private_folder(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder.absolute()


def _workers(data_dir: Path, host: str, port: int, web_processes: int) -> list[Worker]:
    # A server that was killed reads its log before it answers: longer than a start of ours takes.
    wait = ("--wait-seconds", str(int(READY_SECONDS_MAX)))
    web = (*_PROGRAM, "web", *wait, "--host", host, "--port", str(port), "--share-port")
    # The same name at every start: a new process takes up at once what a killed one left.
    place = hashlib.blake2b(os.fsencode(data_dir.resolve()), digest_size=6).hexdigest()
    settler = f"{socket.gethostname()}-{place}"
    names = ["web", *(f"web-{number}" for number in range(2, web_processes + 1))]
    return [
        Worker("settle", (*_PROGRAM, "settle", *wait, "--name", settler)),
        Worker("timekeeper", (*_PROGRAM, "timekeeper", *wait)),
        Worker("dispatch", (*_PROGRAM, "dispatch", *wait)),
        *(Worker(name, web) for name in names),
    ]


async def _credentials(data_dir: Path, servers: Servers, base_url: str) -> Credentials:
    """Those of the last run where its merchant still exists, else a new merchant's.

    CredentialsError where the file is damaged: it is the only copy of the merchant's API key.
    """
    known = Credentials.load(data_dir) if (data_dir / FILE_NAME).exists() else None
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
    return replace(
        known,
        buyer_signing_key=_signing_key(known, keys.values()),
        base_url=base_url,
        console_url=f"{base_url}/console",
        redis_url=servers.redis_url,
        postgres_dsn=servers.postgres_dsn,
    )


def _signing_key(known: Credentials, keys: Iterable[BuyerKey]) -> str:
    """The known secret, or the newest one of its merchant where it signs no more."""
    signing = [
        key.secret.decode()
        for key in keys
        if (key.merchant_id, key.algorithm, key.state) == (known.merchant_id, "HS256", "active")
    ]
    stale = signing and known.buyer_signing_key not in signing
    return signing[-1] if stale else known.buyer_signing_key


@contextlib.asynccontextmanager
async def _kept_running(started: Engine, stop_seconds_max: float) -> AsyncIterator[None]:
    metrics = started.data_dir / "metrics"
    shutil.rmtree(metrics, ignore_errors=True)
    _private_folder(metrics)
    environment = {
        **os.environ,
        "FLASHSALE_REDIS_URL": started.servers.redis_url,
        "FLASHSALE_POSTGRES_DSN": started.servers.postgres_dsn,
        **({} if started.play_money is None else started.play_money.environment()),
        FOLDER_VARIABLE: str(metrics),
    }
    keepers: list[asyncio.Task[None]] = []
    try:
        for worker in started.workers:
            _start(worker, started, environment)
            keepers.append(asyncio.create_task(_keep(worker, started, environment, metrics)))
        yield
    finally:
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        children = [each.child for each in started.workers if each.child is not None]
        stops = (child.stop(patience_seconds=stop_seconds_max) for child in children)
        await asyncio.gather(*stops)


def _start(worker: Worker, started: Engine, environment: dict[str, str]) -> None:
    log_path = started.data_dir / "logs" / f"{worker.name}.log"
    worker.child = spawn(worker.name, worker.argv, env=environment, log_path=log_path)
    started.save()


async def _keep(
    worker: Worker, started: Engine, environment: dict[str, str], metrics: Path
) -> None:
    """Start a worker again whenever it ends, less and less eagerly where it ends at once."""
    clock = asyncio.get_running_loop().time
    pause_seconds = _RESTART_SECONDS_MIN
    while True:
        assert worker.child is not None
        begun = clock()
        code = await worker.child.wait()
        worker.restarts += 1
        forget_process(worker.child.pid, metrics)
        quick = clock() - begun < RESTART_SECONDS_MAX
        pause_seconds = pause_seconds * 2 if quick else _RESTART_SECONDS_MIN
        pause_seconds = min(pause_seconds, RESTART_SECONDS_MAX)
        _logger.warning("%s ended with code %d; starting it again", worker.name, code)
        await asyncio.sleep(pause_seconds)
        try:
            _start(worker, started, environment)
        except OSError as error:  # no memory or no process left now may be there again soon
            _logger.error("%s cannot be started: %s", worker.name, error)  # noqa: TRY400


async def _until_ready(started: Engine) -> None:
    urls = [f"{started.credentials.base_url}/readyz"]
    if started.play_money is not None:
        urls.append(f"{started.play_money.url}/healthz")
    try:
        async with asyncio.timeout(READY_SECONDS_MAX):
            for url in urls:
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
            words = worker.child.last_words().removeprefix("flashsale: ")
            raise SupervisorError(
                f"{worker.name} cannot start: {words or f'see {worker.child.log_path}'}"
            )


def _answers(url: str) -> bool:
    # Our own address: no proxy that the environment names has a part in this.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, http.client.HTTPException):
        return False
