"""Puts a dispatch process together: what was promised in Postgres is carried out by it.

It works through the outbox (money), sends webhooks, and does what pre-orders do by the clock.
Holds no rule of its own.
"""

from __future__ import annotations

import asyncio

import structlog

from flashsale.clients import postgres_pool
from flashsale.config import Settings
from flashsale.payments.outbox import Outbox
from flashsale.payments.queries_outbox import backlog as outbox_backlog
from flashsale.preorders.clock import PreorderClock
from flashsale.webhooks.delivery import Deliveries
from flashsale.wiring.dispatch_metrics import DispatchMetrics
from flashsale.wiring.money import payment_parts
from flashsale.wiring.provider import payment_provider
from flashsale.wiring.recovery import gated_store
from flashsale.wiring.running import (
    background,
    check_durability,
    every,
    finished,
    now_utc,
    quiet_collector,
)

_LOG = structlog.get_logger(__name__)

METRICS_SECONDS = 1.0
BACKLOG_SECONDS = 5.0


async def dispatch(settings: Settings) -> None:
    """A dispatch process, until it is cancelled; what is in hand then is finished.

    Several share the work: every piece is claimed in Postgres for a while, and taken up by another
    where whoever claimed it has died.
    """
    async with (
        postgres_pool(settings, settings.payments.postgres_connections_max) as pool,
        gated_store(settings, pool) as store,
        payment_provider(settings) as provider,
        payment_parts(settings, pool, store, provider) as parts,
    ):
        await check_durability(settings, store, pool)
        outbox = Outbox(pool, parts.handlers(), parts.counters)
        sweep = parts.sweep()
        clock = PreorderClock(
            pool,
            parts.refunds,
            on_trouble=lambda line: _LOG.warning("preorder_trouble", error=line),
        )
        deliveries = Deliveries(
            pool,
            now_utc,
            allow_private=settings.mode == "development",
            keep_days=settings.webhooks.keep_days,
            on_trouble=lambda line: _LOG.warning("webhook_trouble", error=line),
        )
        metrics = DispatchMetrics(
            {
                "money": parts.counters,
                "webhooks": deliveries.progress,
                "preorders": clock.counts,
            }
        )

        async def count() -> None:
            metrics.totals.count()

        async def look_at_backlog() -> None:
            metrics.backlog(*await outbox_backlog(pool))

        async def run(stop: asyncio.Event) -> None:
            await asyncio.gather(
                outbox.run(stop),
                sweep.run(stop),
                clock.run(stop, now_utc),
                deliveries.run(stop),
            )

        async with background(
            every(METRICS_SECONDS, count), every(BACKLOG_SECONDS, look_at_backlog)
        ):
            quiet_collector()
            _LOG.info("started", process="dispatch")
            await finished(run)
