"""Puts a web process together. Holds no rule of its own."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import asyncpg
import structlog

from flashsale.access import queries as access_queries
from flashsale.access.keyring import Keyring
from flashsale.access.merchant_keys import ApiKeys, BuyerKeys
from flashsale.auditlog.log import AuditLog
from flashsale.clients import brief, postgres_pool
from flashsale.config import Settings
from flashsale.orders.board import Board
from flashsale.orders.service import OrderDesk
from flashsale.payments.service import PaymentDesk
from flashsale.preorders.changes import ItemChanges
from flashsale.preorders.service import PreorderService
from flashsale.reconciliation.diagnosis import DESCRIPTORS_BESIDE
from flashsale.recovery.watch import NotAsLeftError
from flashsale.reservation.errors import LaneLostError, StoreUnavailableError
from flashsale.reservation.store import ReservationStore
from flashsale.sales.queries import find_sale, running_sales
from flashsale.sales.service import SaleService
from flashsale.settlement.faults import Fault, fault_of
from flashsale.settlement.ledger import Ledger
from flashsale.settlement.migrate import schema_is_current
from flashsale.web.app import build_app
from flashsale.web.auth import Access
from flashsale.web.deps import MoneyDesks, PreorderDesks, WebDeps
from flashsale.web.hot import HotRoutes
from flashsale.web.limiting import Throttle
from flashsale.web.metrics import Metrics
from flashsale.web.middleware import Faults
from flashsale.web.quick import QuickRoutes
from flashsale.web.server import Limits, serving
from flashsale.webhooks.service import WebhookService
from flashsale.wiring.dispatch_metrics import Totals
from flashsale.wiring.limits import throttle, warn_of_proxies
from flashsale.wiring.money import payment_parts
from flashsale.wiring.provider import payment_provider
from flashsale.wiring.recovery import gated_store
from flashsale.wiring.running import (
    background,
    check_durability,
    every,
    now_utc,
    quiet_collector,
)

_LOG = structlog.get_logger(__name__)

KEYS_REFRESH_SECONDS = 5.0
METRICS_SECONDS = 1.0
GATE_SECONDS = 2.0
LISTEN_AGAIN_SECONDS = 1.0
POSTGRES_CONNECTIONS_MAX = 8
#: How many running sales readiness looks at; the timekeeper looks at all of them.
GATE_SALES_MAX = 20
CHANNEL = "sale_changed"


@contextlib.asynccontextmanager
async def web(
    settings: Settings, *, host: str, port: int, share_port: bool
) -> AsyncIterator[tuple[str, int]]:
    """A web process; yields the address it listens on."""
    async with (
        postgres_pool(settings, POSTGRES_CONNECTIONS_MAX) as pool,
        gated_store(settings, pool) as store,
        payment_provider(settings) as provider,
        payment_parts(settings, pool, store, provider) as parts,
        throttle(settings) as limits,
    ):
        await _look_around(settings, store, pool)
        keyring = Keyring(partial(access_queries.load_buyer_keys, pool))
        await keyring.refresh()
        board = Board(
            partial(find_sale, pool),
            store,
            batch_max=settings.reservation.batch_max,
            waiting_max=settings.reservation.waiting_max,
        )
        secret = await _order_id_secret(settings, pool)
        desk = OrderDesk(board, store, Ledger(pool), secret)
        deps = _deps(settings, store, pool, keyring, desk, parts.desks(desk), limits)
        hot = HotRoutes(deps.access, deps.desk, deps.faults.problem_of)

        totals = Totals({"money": parts.counters}, deps.metrics.registry)

        async def export() -> None:
            totals.count()
            hot.export(deps.metrics)
            deps.metrics.gathered(*board.take_gathered())

        async def watch_gate() -> None:
            deps.metrics.gate_open.set(await deps.probes["gate"]() is None)

        async with (
            background(
                every(KEYS_REFRESH_SECONDS, keyring.refresh),
                every(METRICS_SECONDS, export),
                every(GATE_SECONDS, watch_gate),
                _listen(pool, board),
                board.watch(settings.reservation.watch_ms),
            ),
            # What is in flight at a stop still wants its decision.
            _stopped_after(board, deps.money.desk),
            serving(
                build_app(deps, hsts_seconds=settings.web.hsts_seconds),
                host=host,
                port=port,
                limits=Limits(**settings.web.model_dump(exclude={"host", "port", "hsts_seconds"})),
                reuse_port=share_port,
                front=hot.front,
                quick=QuickRoutes(deps, hot),
            ) as address,
        ):
            quiet_collector()
            _LOG.info("started", process="web", host=address[0], port=address[1])
            yield address


async def _gate(store: ReservationStore, pool: asyncpg.Pool[asyncpg.Record]) -> str | None:
    """What keeps orders from being taken; None where nothing does."""
    sale = None
    try:
        await store.run_id()
        for facts in await running_sales(pool, GATE_SALES_MAX):
            sale = facts.id
            for lane in range(facts.lanes):
                await store.tail(sale, lane, facts.epoch, "-", 1)
    except LaneLostError:
        return f"Redis does not hold sale {sale} as Postgres knows it"
    except NotAsLeftError:
        return "Redis was restarted, and is being rebuilt"
    except StoreUnavailableError:
        return "Redis does not answer"
    return None


def _deps(
    settings: Settings,
    store: ReservationStore,
    pool: asyncpg.Pool[asyncpg.Record],
    keyring: Keyring,
    desk: OrderDesk,
    money: MoneyDesks,
    limits: Throttle,
) -> WebDeps:
    async def redis_answers() -> str | None:
        await store.ping()
        return None

    async def schema_answers() -> str | None:
        async with pool.acquire() as connection:
            return None if await schema_is_current(connection) else "run `flashsale migrate`"

    return WebDeps(
        access=Access(keyring, partial(access_queries.find_api_key, pool), now_utc, limits),
        api_keys=ApiKeys(pool),
        buyer_keys=BuyerKeys(pool),
        audit_log=AuditLog(pool),
        desk=desk,
        money=money,
        preorders=PreorderDesks(
            service=PreorderService(pool, now_utc), changes=ItemChanges(pool, store)
        ),
        sales=SaleService(
            pool,
            store,
            now_utc,
            hold_seconds_min=settings.merchant.hold_seconds_min,
            production=settings.mode == "production",
            relaxed=settings.durability == "relaxed",
            disk_free_min_bytes=settings.checks.disk_free_min_mb << 20,
        ),
        ledger=Ledger(pool),
        store=store,
        probes={
            "redis": redis_answers,
            "postgres": schema_answers,
            "gate": partial(_gate, store, pool),
        },
        metrics=Metrics(),
        faults=Faults(lambda error: fault_of(error) is Fault.OUTAGE),
        webhooks=WebhookService(
            pool,
            now_utc,
            allow_private=settings.mode == "development",
            endpoints_max=settings.webhooks.endpoints_max,
        ),
        now=now_utc,
    )


async def _look_around(
    settings: Settings, store: ReservationStore, pool: asyncpg.Pool[asyncpg.Record]
) -> None:
    """StartError where the servers may forget; what else is not as it should be is logged."""
    await check_durability(settings, store, pool)
    _allow_descriptors(settings.web.connections_max + DESCRIPTORS_BESIDE)
    warn_of_proxies(settings)


def _allow_descriptors(wanted: int) -> None:
    """Lift the soft limit, which is 1,024 almost everywhere; the hard one is the operator's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    granted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft < granted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    if max(soft, granted) < wanted:
        _LOG.warning("few_descriptors", allowed=hard, advice=f"raise the hard limit to {wanted}")


@contextlib.asynccontextmanager
async def _stopped_after(board: Board, payments: PaymentDesk) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await payments.stop()
        await board.stop()


async def _listen(pool: asyncpg.Pool[asyncpg.Record], board: Board) -> None:
    """Forget facts of sales that change, for ever; without a messenger, forget everything."""
    while True:
        try:
            await _listen_once(pool, board)
        except Exception as error:  # noqa: BLE001 - a connection that dies raises many things
            _LOG.warning("listener_lost", error=brief(error))
        board.forget()
        await asyncio.sleep(LISTEN_AGAIN_SECONDS)


async def _listen_once(pool: asyncpg.Pool[asyncpg.Record], board: Board) -> None:
    gone = asyncio.Event()

    def on_end(*_: object) -> None:
        gone.set()

    def on_change(*notice: Any) -> None:
        board.forget(notice[-1])

    async with pool.acquire() as connection:
        connection.add_termination_listener(on_end)
        await connection.add_listener(CHANNEL, on_change)
        try:
            board.forget()  # what changed while nobody listened
            await gone.wait()
        finally:
            connection.remove_termination_listener(on_end)
            await connection.remove_listener(CHANNEL, on_change)


async def _order_id_secret(settings: Settings, pool: asyncpg.Pool[asyncpg.Record]) -> bytes:
    if settings.order_id_secret is not None:
        return settings.order_id_secret.get_secret_value().encode()[:64]
    secret: bytes = await pool.fetchval("SELECT order_id_secret FROM engine")
    return secret
