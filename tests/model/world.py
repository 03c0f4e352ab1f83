"""The real thing under the model: scripts in Redis, settlement, payments, a provider, recovery.

Nothing in it runs by itself: a rule says who does what next.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
from aiohttp import web
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from flashsale.access.queries import create_merchant
from flashsale.access.tokens import Buyer
from flashsale.domain.identity import order_hash
from flashsale.orders.board import Board
from flashsale.orders.service import OrderDesk
from flashsale.payments.provider import MoneyKind, ProviderEvent
from flashsale.payments.providers.sandbox import SandboxProvider
from flashsale.preorders.balances import CHARGE
from flashsale.preorders.changes import CHANGE_ITEM, ItemChanges
from flashsale.preorders.clock import PreorderClock
from flashsale.preorders.service import PreorderService
from flashsale.reservation.keys import lane_keys
from flashsale.reservation.rebuilding import LaneRebuilder
from flashsale.reservation.store import ReservationStore
from flashsale.sales.queries import find_sale
from flashsale.sales.service import SaleService
from flashsale.sandbox.app import serving
from flashsale.settlement.lane import Pace
from flashsale.settlement.ledger import Ledger
from flashsale.settlement.worker import SettlementWorker
from tests.model.reach import LANES_MAX, Store
from tests.payments.parts import Clock, Parts
from tests.sales.shop import now

_KEY = "sandbox-test-key-0123456789abcdef"
_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr"
_ORDER_SECRET = b"s" * 32
PATIENCE_SECONDS = 30  # of a run that would otherwise hang; nothing is judged by it
#: Payments that the provider was asked for without their buyer.
_CHARGED = """SELECT id FROM payments
    WHERE sale_id = $1 AND automatic AND provider_ref IS NOT NULL"""
_SENT = "SELECT id FROM refunds WHERE starts_with(id, $1) AND state = 'sent'"


@dataclass
class Mail:
    """What the provider has told: taken off its hands at once, and heard when a rule says so."""

    letters: dict[str, tuple[dict[str, str], bytes, ProviderEvent]] = field(default_factory=dict)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    provider: SandboxProvider | None = None

    async def take(self, request: web.Request) -> web.Response:
        assert self.provider is not None
        headers, body = dict(request.headers), await request.read()
        event = self.provider.verify(headers, body, time.time())
        self.letters[event.id] = headers, body, event
        self.came.set()
        return web.Response()

    async def until(self, name: str, *kinds: MoneyKind) -> None:
        """Until the provider has told one of these of a payment, or of a refund."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not any(
                event.kind in kinds and name in {event.payment_id, event.refund_id}
                for _, _, event in self.letters.values()
            ):
                self.came.clear()
                await self.came.wait()


@dataclass
class World:
    """Every part of the engine, on one Redis and one database."""

    pool: asyncpg.Pool
    redis: Redis
    store: Store
    service: SaleService
    parts: Parts
    board: Board
    changes: ItemChanges
    worker: SettlementWorker
    nurse: SettlementWorker
    rebuilder: LaneRebuilder
    browser: aiohttp.ClientSession
    mail: Mail
    provider_url: str
    merchant: str
    preorders: PreorderService
    preorder_clock: PreorderClock

    def buyer(self, name: str) -> Buyer:
        return Buyer(self.merchant, name)

    @staticmethod
    def order(sale: str, buyer: str, key: str) -> str:
        return order_hash(_ORDER_SECRET, sale, buyer, key)

    async def set_clock(self, sale: str, seconds: int) -> None:
        """Put all clocks forward, from when the example began."""
        self.parts.clock.ahead = timedelta(seconds=seconds)
        for lane in range(LANES_MAX):
            await self.redis.set(lane_keys(sale, lane).meta + ":ahead_ms", seconds * 1000)

    async def begin(self) -> None:
        """Forget what an example that failed has left undone."""
        self.store.way.calls_left = None
        self.parts.clock.ahead = timedelta()
        self.mail.letters.clear()
        await self.redis.flushdb()
        await self.pool.execute("DELETE FROM outbox")
        await self.pool.execute("UPDATE sales SET retired_at = now() WHERE retired_at IS NULL")

    async def switch(self, *, saved_pays: bool) -> None:
        """Whether the provider captures a charge without the buyer, or declines every one."""
        url, head = f"{self.provider_url}/v1/switches", {"Authorization": f"Bearer {_KEY}"}
        change = {"decline": 0.0 if saved_pays else 1.0}
        async with self.browser.put(url, json=change, headers=head) as answer:
            assert answer.status == 200, await answer.text()

    async def press(self, url: str, payment: str, action: str) -> bool:
        """A button of the provider's page; whether it could be pressed."""
        async with self.browser.post(url, data={"action": action}, allow_redirects=False) as answer:
            if answer.status == 409:
                return False
            assert answer.status == 303, await answer.text()
        kind = MoneyKind.CAPTURED if action == "pay" else MoneyKind.DECLINED
        await self.mail.until(payment, kind)
        return True

    async def hear(self, letter: str) -> None:
        """Take one callback, as the web does; as often as one likes."""
        headers, body, _ = self.mail.letters[letter]
        event = self.parts.provider.verify(headers, body, time.time())
        await self.parts.intake.take("sandbox", event)

    async def work(self, sale: str) -> int:
        """Carry out all that was wished, once; how much that was."""
        await self.pool.execute("UPDATE outbox SET due_at = now()")
        await self.pool.execute("UPDATE item_changes SET leased_until = NULL")
        done = await self.parts.outbox.tick()
        for refund in await self.pool.fetch(_SENT, sale):
            await self.mail.until(refund["id"], MoneyKind.REFUNDED)
        for charge in await self.pool.fetch(_CHARGED, sale):
            await self.mail.until(charge["id"], MoneyKind.CAPTURED, MoneyKind.DECLINED)
        return done

    async def money(self, order: str) -> int:
        """What the provider has kept of an order, by its own statement."""
        kept = 0
        async for line in self.parts.provider.statement(None):
            if (line.payment_id or "").startswith(order):
                kept += line.amount if line.kind is MoneyKind.CAPTURED else -line.amount
        return kept


@contextlib.asynccontextmanager
async def open_world(
    dsn: str, redis_url: str, scripts: Mapping[str, Any], folder: Path
) -> AsyncIterator[World]:
    """Everything, with the sandbox as the provider."""
    async with contextlib.AsyncExitStack() as stack:
        redis = Redis.from_url(
            redis_url, protocol=3, decode_responses=True, retry=Retry(NoBackoff(), 0)
        )
        await stack.enter_async_context(redis)
        pool = await stack.enter_async_context(asyncpg.create_pool(dsn, min_size=1, max_size=8))
        mail = Mail()
        url = await stack.enter_async_context(_receiver(mail))
        host, port = await stack.enter_async_context(
            serving(
                folder / "sandbox.db",
                host="127.0.0.1",
                port=0,
                key=_KEY,
                secrets=(_SECRET,),
                callback_url=url,
            )
        )
        browser = await stack.enter_async_context(aiohttp.ClientSession())
        provider = SandboxProvider(
            f"http://{host}:{port}", api_key=_KEY, webhook_secrets=(_SECRET,)
        )
        stack.push_async_callback(provider.close)
        mail.provider = provider
        url = f"http://{host}:{port}"
        yield await _world(stack, pool, redis, scripts, provider, browser, mail, url)


@contextlib.asynccontextmanager
async def _receiver(mail: Mail) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/callbacks", mail.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/callbacks"
    await runner.cleanup()


async def _world(
    stack: contextlib.AsyncExitStack,
    pool: asyncpg.Pool,
    redis: Redis,
    scripts: Mapping[str, Any],
    provider: SandboxProvider,
    browser: aiohttp.ClientSession,
    mail: Mail,
    provider_url: str,
) -> World:
    clock = Clock()
    store = Store(redis, scripts)
    store.clock = clock
    stack.push_async_callback(store.close)
    board = Board(partial(find_sale, pool), store, batch_max=16, waiting_max=64)
    stack.push_async_callback(board.stop)
    desk = OrderDesk(board, store, Ledger(pool), _ORDER_SECRET)
    parts = Parts(pool, store, provider, clock, desk)
    stack.push_async_callback(parts.stop)
    changes = ItemChanges(pool, store)

    async def charge_balance(order_id: str) -> None:
        await parts.charges.charge_balance(order_id)

    parts.handlers |= {CHANGE_ITEM: changes.enact, CHARGE: charge_balance}
    return World(
        pool=pool,
        redis=redis,
        store=store,
        service=SaleService(pool, store, clock),
        parts=parts,
        board=board,
        changes=changes,
        worker=_worker(pool, redis, store, "whole"),
        nurse=_worker(pool, redis, store, "recovery"),
        rebuilder=LaneRebuilder(store.way),
        browser=browser,
        mail=mail,
        provider_url=provider_url,
        preorders=PreorderService(pool, clock),
        preorder_clock=PreorderClock(pool, parts.refunds),
        merchant=(await create_merchant(pool, "Mi", now=now())).merchant_id,
    )


def _worker(
    pool: asyncpg.Pool, redis: Redis, store: ReservationStore, name: str
) -> SettlementWorker:
    pace, patient = Pace(room_wait_ms=1000), 0
    return SettlementWorker(
        pool, redis, name, _never, store.trim_events, pace=pace, reclaim_idle_ms=patient,
        deliveries_max=1000,
    )  # fmt: skip


async def _never(*refused: object) -> None:
    raise AssertionError(f"settlement has refused {refused}, which Redis had sold rightly")
