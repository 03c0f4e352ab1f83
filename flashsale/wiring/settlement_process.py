"""Puts a settlement process together. Holds no rule of its own."""

from __future__ import annotations

import os
import socket

import structlog

from flashsale.clients import postgres_pool, redis_client
from flashsale.config import Settings
from flashsale.domain.events import EventKind
from flashsale.domain.outcomes import Status
from flashsale.reservation.errors import LaneLostError
from flashsale.sales.queries import find_sale
from flashsale.settlement.lane import BatchReport, Pace
from flashsale.settlement.settler import SERVER_SETTINGS
from flashsale.settlement.worker import SettlementWorker
from flashsale.web.metrics import SettlementMetrics
from flashsale.wiring.recovery import gated_store
from flashsale.wiring.running import check_durability, finished, quiet_collector

_LOG = structlog.get_logger(__name__)


async def settle(settings: Settings, *, name: str | None = None) -> None:
    """A settlement process, until it is cancelled; what is in flight then is finished.

    Under the `name` of one that died it takes up what that one left at once; no two that live may
    share a name. Without one it gets its own.
    """
    bounds = settings.settlement
    async with (
        postgres_pool(
            settings, bounds.postgres_connections_max, server_settings=SERVER_SETTINGS
        ) as pool,
        gated_store(settings, pool) as store,
        redis_client(settings, block_ms=bounds.block_ms) as redis,
    ):
        await check_durability(settings, store, pool)

        async def give_back(sale: str, lane: int, order: str, buyer: str) -> None:
            # Rare, and an epoch can change: it is read each time.
            facts = await find_sale(pool, sale)
            if facts is not None:
                kind = EventKind.REJECTED
                release = await store.release(sale, lane, facts.epoch, order, buyer, kind)
                if release.status is Status.FOREIGN_EPOCH:
                    raise LaneLostError(release.status.value)  # told again, under the new epoch

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
            name or f"{socket.gethostname()}-{os.getpid()}",
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
        quiet_collector()
        _LOG.info("started", process="settle")
        await finished(worker.run)
