"""The composition root: puts each process together out of settings. Holds no rule of its own."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from functools import partial

import asyncpg
import structlog

from flashsale.access import queries as access_queries
from flashsale.access.keyring import Keyring
from flashsale.clients import StartError, brief, postgres_pool, redis_client, reservation_store
from flashsale.config import Settings
from flashsale.domain.events import EventKind
from flashsale.orders.board import Board
from flashsale.orders.service import OrderDesk
from flashsale.sales.queries import find_sale
from flashsale.sales.service import SaleService
from flashsale.settlement.faults import Fault, fault_of
from flashsale.settlement.lane import BatchReport, Pace
from flashsale.settlement.ledger import Ledger
from flashsale.settlement.migrate import schema_is_current
from flashsale.settlement.settler import SERVER_SETTINGS
from flashsale.settlement.worker import SettlementWorker
from flashsale.timekeeper.timekeeper import Timekeeper
from flashsale.web.app import build_app
from flashsale.web.auth import Access
from flashsale.web.deps import WebDeps
from flashsale.web.hot import HotRoutes
from flashsale.web.metrics import Metrics, SettlementMetrics
from flashsale.web.middleware import Faults
from flashsale.web.server import serving

_LOG = structlog.get_logger(__name__)

KEYS_REFRESH_SECONDS = 5.0
METRICS_SECONDS = 1.0
LISTEN_AGAIN_SECONDS = 1.0
WEB_POSTGRES_CONNECTIONS_MAX = 8


def now_utc() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


async def _require_schema(pool: asyncpg.Pool[asyncpg.Record]) -> None:
    async with pool.acquire() as connection:
        if not await schema_is_current(connection):
            raise StartError("The schema is not this version's: run `flashsale migrate` first.")


@contextlib.asynccontextmanager
async def _background(*works: Awaitable[None]) -> AsyncIterator[None]:
    """Work that runs while the block does; its failures are logged by itself."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - the next round may succeed
            _LOG.warning("background_work_failed", error=f"{type(error).__name__}: {error}")


async def _listen(pool: asyncpg.Pool[asyncpg.Record], board: Board) -> None:
    """Forget facts of sales that change, for ever; without a messenger, forget everything."""
    while True:
        try:
            await _listen_once(pool, board)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            _LOG.warning("listener_lost", error=brief(error))
        board.forget()
        await asyncio.sleep(LISTEN_AGAIN_SECONDS)


async def _listen_once(pool: asyncpg.Pool[asyncpg.Record], board: Board) -> None:
    gone = asyncio.Event()
    async with pool.acquire() as connection:
        connection.add_termination_listener(lambda *_: gone.set())
        await connection.add_listener("sale_changed", lambda *notice: board.forget(notice[-1]))
        board.forget()  # what changed while nobody listened
        await gone.wait()


async def _order_id_secret(settings: Settings, pool: asyncpg.Pool[asyncpg.Record]) -> bytes:
    if settings.order_id_secret is not None:
        return settings.order_id_secret.get_secret_value().encode()[:64]
    secret: bytes = await pool.fetchval("SELECT order_id_secret FROM engine")
    return secret


@contextlib.asynccontextmanager
async def web(
    settings: Settings, *, host: str, port: int, share_port: bool
) -> AsyncIterator[tuple[str, int]]:
    """A web process; yields the address it listens on."""
    async with (
        reservation_store(settings) as store,
        postgres_pool(settings, WEB_POSTGRES_CONNECTIONS_MAX) as pool,
    ):
        await _require_schema(pool)
        keyring = Keyring(partial(access_queries.load_buyer_keys, pool))
        await keyring.refresh()
        board = Board(
            partial(find_sale, pool),
            store,
            batch_max=settings.reservation.batch_max,
            waiting_max=settings.reservation.waiting_max,
        )
        ledger = Ledger(pool)
        metrics = Metrics()

        async def redis_answers() -> str | None:
            await store.ping()
            return None

        async def schema_answers() -> str | None:
            async with pool.acquire() as connection:
                return None if await schema_is_current(connection) else "run `flashsale migrate`"

        deps = WebDeps(
            access=Access(keyring, partial(access_queries.find_api_key, pool), now_utc),
            api_keys=pool,
            desk=OrderDesk(board, store, ledger, await _order_id_secret(settings, pool)),
            sales=SaleService(
                pool,
                store,
                now_utc,
                hold_seconds_min=settings.merchant.hold_seconds_min,
                production=settings.mode == "production",
            ),
            ledger=ledger,
            store=store,
            probes={"redis": redis_answers, "postgres": schema_answers},
            metrics=metrics,
            faults=Faults(lambda error: fault_of(error) is Fault.OUTAGE),
            now=now_utc,
        )
        hot = HotRoutes(deps.access, deps.desk, deps.faults.problem_of)

        async def export() -> None:
            hot.export(metrics)
            metrics.gathered(*board.take_gathered())

        async with (
            _background(
                _every(KEYS_REFRESH_SECONDS, keyring.refresh),
                _every(METRICS_SECONDS, export),
                _listen(pool, board),
                board.watch(settings.reservation.watch_ms),
            ),
            serving(
                build_app(deps), host=host, port=port, reuse_port=share_port, front=hot.front
            ) as address,
        ):
            # What exists by now stays; without it in the way, collections are short and rare.
            gc.collect()
            gc.freeze()
            gc.set_threshold(50_000, 20, 20)
            try:
                yield address
            finally:
                await board.stop()


async def settle(settings: Settings, stop: asyncio.Event) -> None:
    """A settlement process, until `stop`."""
    bounds = settings.settlement
    async with (
        reservation_store(settings) as store,
        redis_client(settings, block_ms=bounds.block_ms) as redis,
        postgres_pool(settings, bounds.postgres_connections_max, **SERVER_SETTINGS) as pool,
    ):
        await _require_schema(pool)
        epochs: dict[str, int] = {}

        async def give_back(sale: str, lane: int, order: str, buyer: str) -> None:
            if sale not in epochs:
                facts = await find_sale(pool, sale)
                epochs[sale] = facts.epoch if facts else 1
            await store.release(sale, lane, epochs[sale], order, buyer, EventKind.REJECTED)

        metrics = SettlementMetrics()

        def told(batch: BatchReport) -> None:
            metrics.settled(
                orders=batch.settled.rows,
                rejected=len(batch.settled.rejected),
                dead_letters=len(batch.settled.dead_letters),
                lag_ms=batch.lag_ms,
            )
            for letter in batch.settled.dead_letters:
                _LOG.error("dead_letter", entry_id=letter.entry_id, error=letter.error)
            for event in batch.settled.rejected:
                _LOG.error("order_rejected", order=event.order, reason="above capacity")

        worker = SettlementWorker(
            pool,
            redis,
            f"{socket.gethostname()}-{os.getpid()}",
            give_back=give_back,
            trim=store.trim_events,
            pace=Pace(
                batch_rows_max=bounds.batch_rows_max,
                in_flight_max=bounds.in_flight_max,
                block_ms=bounds.block_ms,
            ),
            reclaim_idle_ms=bounds.reclaim_idle_ms,
            deliveries_max=bounds.deliveries_max,
            on_batch=told,
            on_trouble=lambda line: _LOG.warning("settlement_trouble", error=line),
        )
        await worker.run(stop)


async def timekeeper(settings: Settings, stop: asyncio.Event) -> None:
    """A timekeeper process, until `stop`."""
    async with reservation_store(settings) as store, postgres_pool(settings, 4) as pool:
        await _require_schema(pool)
        bounds = settings.timekeeper
        keeper = Timekeeper(
            pool,
            store,
            tick_ms=bounds.tick_ms,
            expire_batch_max=bounds.expire_batch_max,
            records_keep_hours=bounds.records_keep_hours,
            on_trouble=lambda line: _LOG.warning("timekeeper_trouble", error=line),
        )
        await keeper.run(stop)
