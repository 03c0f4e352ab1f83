"""Puts a timekeeper process together. Holds no rule of its own."""

from __future__ import annotations

import asyncio

import structlog

from flashsale.clients import postgres_pool, reservation_store
from flashsale.config import Settings
from flashsale.timekeeper.timekeeper import Timekeeper
from flashsale.wiring.recovery import recovery, recovery_keeper
from flashsale.wiring.running import check_durability, finished

_LOG = structlog.get_logger(__name__)

POSTGRES_CONNECTIONS_MAX = 4


async def timekeeper(settings: Settings) -> None:
    """A timekeeper process, until it is cancelled; the step it is at then is finished."""
    async with (
        reservation_store(settings) as store,
        postgres_pool(settings, POSTGRES_CONNECTIONS_MAX) as pool,
        recovery(settings, store) as recovering,
    ):
        await check_durability(settings, store, pool)
        bounds = settings.timekeeper
        keeper = Timekeeper(
            pool,
            store,
            tick_ms=bounds.tick_ms,
            expire_batch_max=bounds.expire_batch_max,
            records_keep_minutes=bounds.records_keep_minutes,
            on_trouble=lambda line: _LOG.warning("timekeeper_trouble", error=line),
        )
        _LOG.info("started", process="timekeeper")

        async def run(stop: asyncio.Event) -> None:
            await asyncio.gather(keeper.run(stop), recovery_keeper(recovering).run(stop))

        await finished(run)
