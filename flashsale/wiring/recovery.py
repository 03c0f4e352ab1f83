"""Puts recovery together: all the time in the timekeeper, by hand with `flashsale recover`."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator

import structlog

from flashsale.clients import postgres_pool, redis_client, reservation_store
from flashsale.config import Settings
from flashsale.recovery.keeper import RecoveryKeeper
from flashsale.recovery.protocol import NotRecoverableError, Recovered, Recovery
from flashsale.recovery.watch import Fault, Gate
from flashsale.reservation.links import Links
from flashsale.reservation.rebuilding import LaneRebuilder
from flashsale.reservation.scripts import ScriptRunner, load_scripts
from flashsale.reservation.store import ReservationStore
from flashsale.settlement.lane import Pace
from flashsale.settlement.queries import LaneToRead, Pool
from flashsale.settlement.settler import SERVER_SETTINGS
from flashsale.settlement.worker import SettlementWorker
from flashsale.shipped import shipped

_LOG = structlog.get_logger(__name__)

#: One session holds the lock of a sale, one watches, and draining takes two more.
POSTGRES_CONNECTIONS_MAX = 5
#: Entries that would make room are gone where a disk was lost: nobody waits for them for long.
ROOM_WAIT_MS = 1000


@contextlib.asynccontextmanager
async def gated_store(settings: Settings, pool: Pool) -> AsyncIterator[ReservationStore]:
    """The store of everybody but recovery: a restarted Redis is used once it is rebuilt."""
    gate = Gate(pool)
    async with reservation_store(settings, gate.admit) as store:
        gate.heard = store.heard
        yield store


async def _nothing(*_: object) -> None:
    """What is rejected while a lane is sealed is left out when it is filled again."""


@contextlib.asynccontextmanager
async def recovery(settings: Settings, store: ReservationStore) -> AsyncIterator[Recovery]:
    """Recovery, with connections of its own."""
    async with (
        redis_client(settings) as redis,
        postgres_pool(settings, POSTGRES_CONNECTIONS_MAX, server_settings=SERVER_SETTINGS) as pool,
    ):
        nurse = SettlementWorker(
            pool,
            redis,
            f"recovery-{socket.gethostname()}-{os.getpid()}",
            give_back=_nothing,
            trim=_nothing,
            pace=Pace(room_wait_ms=ROOM_WAIT_MS),
            reclaim_idle_ms=0,  # a sealed lane is drained by one, whoever was at it
        )

        async def drain(sale: str, lane: int) -> None:
            await (await nurse.lane(LaneToRead(sale, lane))).resettle()

        links = Links(redis, timeout_ms=settings.reservation.redis_timeout_ms)
        rebuilder = LaneRebuilder(ScriptRunner(links, load_scripts(shipped("lua"))))
        try:
            yield Recovery(pool, store, rebuilder, drain)
        finally:
            await links.close()


def recovery_keeper(recovering: Recovery) -> RecoveryKeeper:
    """Recovery as a process runs it: what it does is in the log."""

    def on_fault(fault: Fault) -> None:
        _LOG.error("sale_lost", sale=fault.sale, reason=fault.reason)

    def on_recovered(done: Recovered) -> None:
        _LOG.warning(
            "sale_recovered",
            sale=done.sale,
            epoch=done.epoch,
            orders=done.orders,
            entries_lost=done.entries_lost,
            took_ms=done.took_ms,
        )

    def on_trouble(line: str) -> None:
        _LOG.warning("recovery_trouble", error=line)

    return RecoveryKeeper(recovering, on_fault, on_recovered, on_trouble)


async def recover(settings: Settings, sale: str) -> Recovered:
    """Recover one sale, whether or not anything seems wrong with it.

    NotRecoverableError where it has no lanes, or somebody is recovering it.
    """
    async with reservation_store(settings) as store, recovery(settings, store) as recovering:
        done = await recovering.recover(sale, "asked for by hand")
    if done is None:
        raise NotRecoverableError(f"Sale {sale} is being recovered already: look again shortly.")
    return done
