"""What every process is started with: a check of its servers, and work that ends with it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import asyncpg
import structlog

from flashsale.clients import StartError, brief
from flashsale.config import Settings
from flashsale.reservation.errors import StoreUnavailableError
from flashsale.reservation.store import ReservationStore
from flashsale.sales.durability import durability_fault
from flashsale.sales.queries import server as postgres_facts

_LOG = structlog.get_logger(__name__)


def now_utc() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


async def fault_of_servers(
    settings: Settings, store: ReservationStore, pool: asyncpg.Pool[asyncpg.Record]
) -> str | None:
    """What to set so that nothing answered is forgotten; raises what the servers raise."""
    return durability_fault(
        await store.server(),
        await postgres_facts(pool),
        disk_free_min_bytes=settings.checks.disk_free_min_mb << 20,
    )


async def check_durability(
    settings: Settings, store: ReservationStore, pool: asyncpg.Pool[asyncpg.Record]
) -> None:
    """StartError in production where the servers may forget what is answered; else a warning."""
    try:
        fault = await fault_of_servers(settings, store, pool)
    except StoreUnavailableError as error:
        fault = f"{brief(error)}: allow INFO, TIME and CONFIG GET, which show what Redis promises."
    if fault is not None and settings.mode == "production":
        raise StartError(fault)
    if fault is not None:
        _LOG.warning("unsafe_durability", advice=fault)


def quiet_collector() -> None:
    """What exists by now stays; without it in the way, collections are short and rare."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


async def finished(work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run `work` until this is cancelled; then tell it to stop, and wait until it has."""
    stop = asyncio.Event()
    working = asyncio.ensure_future(work(stop))
    try:
        await asyncio.shield(working)
    except asyncio.CancelledError:
        stop.set()
        await working
        raise


@contextlib.asynccontextmanager
async def background(*works: Awaitable[None]) -> AsyncIterator[None]:
    """Work that runs while the block does."""
    tasks = [asyncio.ensure_future(work) for work in works]
    for task in tasks:
        task.add_done_callback(_tell_failure)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _tell_failure(task: asyncio.Future[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        _LOG.error("background_work_ended", error=f"{type(error).__name__}: {error}")


async def every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do `work` for ever, with a pause before each time; a failure is logged."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - the next round may succeed
            _LOG.warning("background_work_failed", error=f"{type(error).__name__}: {error}")
