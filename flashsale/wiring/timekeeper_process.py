"""Puts a timekeeper process together. Holds no rule of its own."""

from __future__ import annotations

import asyncio
from functools import partial

import structlog

from flashsale.clients import lane_inspector, postgres_pool, reservation_store
from flashsale.config import Settings
from flashsale.reconciliation.watch import DriftWatch
from flashsale.reconciliation.watch_drift import Drift
from flashsale.timekeeper.opening import OpeningGuard
from flashsale.timekeeper.timekeeper import Timekeeper
from flashsale.wiring.recovery import gated_store, recovery, recovery_keeper
from flashsale.wiring.running import (
    background,
    check_durability,
    every,
    fault_of_servers,
    finished,
)
from flashsale.wiring.timekeeper_metrics import TimekeeperMetrics

_LOG = structlog.get_logger(__name__)

#: The one that leads, its supplies, the guard of openings, and two that reconcile.
POSTGRES_CONNECTIONS_MAX = 6
METRICS_SECONDS = 1.0


async def timekeeper(settings: Settings) -> None:
    """A timekeeper process, until it is cancelled; the step it is at then is finished."""
    async with (
        postgres_pool(settings, POSTGRES_CONNECTIONS_MAX) as pool,
        gated_store(settings, pool) as store,
        lane_inspector(settings) as inspector,
        reservation_store(settings) as ungated,
        recovery(settings, ungated) as recovering,
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
        opening = OpeningGuard(
            pool,
            store,
            partial(fault_of_servers, settings, store, pool),
            stops=settings.mode == "production",
            may_look=lambda: keeper.progress.leading,
            on_fault=_on_unsafe,
            on_trouble=lambda line: _LOG.warning("timekeeper_trouble", error=line),
        )
        drift = DriftWatch(
            pool,
            inspector,
            store,
            every_seconds=settings.checks.reconcile_seconds,
            may_look=lambda: keeper.progress.leading,
            on_drift=_on_drift,
            on_trouble=lambda line: _LOG.warning("reconciliation_trouble", error=line),
        )
        nurse = recovery_keeper(recovering)
        metrics = TimekeeperMetrics(keeper.progress, opening, nurse.progress, drift.progress)

        async def export() -> None:
            metrics.export()

        async def run(stop: asyncio.Event) -> None:
            await asyncio.gather(*(each.run(stop) for each in (keeper, opening, nurse, drift)))

        async with background(every(METRICS_SECONDS, export)):
            _LOG.info("started", process="timekeeper")
            await finished(run)


def _on_unsafe(sale: str, fault: str, paused: bool) -> None:
    if paused:
        _LOG.error("opening_stopped", sale=sale, reason=fault)
    else:
        _LOG.error("opening_unsafe", sale=sale, advice=fault)


def _on_drift(sale: str, drift: Drift, shut: bool) -> None:
    _LOG.error("stores_differ", sale=sale, drift=drift.words, shut=shut)
