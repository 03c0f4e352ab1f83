"""A sale on real servers, its settlement, and an auditor."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from flashsale.access.queries import create_merchant
from flashsale.domain.events import EventKind
from flashsale.domain.identity import order_hash
from flashsale.domain.lanes import lane_of
from flashsale.domain.outcomes import Status
from flashsale.reconciliation.audit import audit
from flashsale.reconciliation.report import AuditReport
from flashsale.reservation.inspector import LaneInspector
from flashsale.reservation.keys import LaneKeys, lane_keys
from flashsale.reservation.replies import Request
from flashsale.reservation.scripts import load_scripts
from flashsale.reservation.store import ReservationStore
from flashsale.sales.forms import SaleForm, SupplyForm, parse_form
from flashsale.sales.service import SaleService
from flashsale.sales.values import SaleFacts
from flashsale.settlement.worker import SettlementWorker
from flashsale.shipped import shipped
from tests.sales.shop import body, item, now

SCRIPTS = load_scripts(shipped("lua"))
_numbers = itertools.count()


@dataclass
class Scene:
    """One sale and everything around it."""

    pool: asyncpg.Pool
    redis: Redis
    store: ReservationStore
    service: SaleService
    worker: SettlementWorker
    inspector: LaneInspector
    merchant: str
    sale: SaleFacts

    @property
    def keys(self) -> LaneKeys:
        return lane_keys(self.sale.id, 0)

    async def reserve(self, buyer: str, quantity: int = 1, at: int = 0) -> str:
        """A hold; its order hash."""
        order = order_hash(b"s" * 32, self.sale.id, buyer, str(next(_numbers)))
        lane = lane_of(buyer, self.sale.lanes)
        request = Request(order, buyer, at, quantity)
        (decision,) = await self.store.reserve(self.sale.id, lane, self.sale.epoch, [request])
        assert decision.status is Status.RESERVED
        return order

    async def cancel(self, order: str, buyer: str) -> None:
        lane = lane_of(buyer, self.sale.lanes)
        place = (self.sale.id, lane, self.sale.epoch)
        released = await self.store.release(*place, order, buyer, EventKind.CANCELLED)
        assert released.status is Status.RELEASED

    async def supply(self, quantity: int) -> None:
        sku = self.sale.items[0].sku
        form = parse_form(SupplyForm, {"sku": sku, "quantity": quantity, "reason": "wave"})
        await self.service.add_supply(self.merchant, self.sale.id, form)

    async def settle(self) -> None:
        await self.worker.settle_available()

    async def audit(self, **options) -> AuditReport:
        (report,) = await audit(self.pool, self.inspector, self.sale.id, **options)
        return report

    async def broken(self) -> set[str]:
        """The invariants that do not hold."""
        report = await self.audit()
        assert report.holds == (not report.broken)
        return {check.invariant for check in report.broken}


@contextlib.asynccontextmanager
async def open_scene(
    dsn: str, redis_url: str, *, supply: int = 10, **changes
) -> AsyncIterator[Scene]:
    """A scheduled sale of two items, two units a buyer; `changes` replace fields of the form."""
    redis = Redis.from_url(
        redis_url, protocol=3, decode_responses=True, retry=Retry(NoBackoff(), 0)
    )
    async with redis, asyncpg.create_pool(dsn, min_size=2, max_size=12) as pool:
        merchant = (await create_merchant(pool, "Mi", now=now())).merchant_id
        store = ReservationStore(redis, SCRIPTS)
        service = SaleService(pool, store, now)

        async def give_back(sale: str, lane: int, order: str, buyer: str) -> object:
            return await store.release(sale, lane, 1, order, buyer, EventKind.REJECTED)

        worker = SettlementWorker(pool, redis, "tester", give_back, store.trim_events)
        form = body(items=[item(supply=supply), item("mi3-64")], **changes)
        draft = await service.create(merchant, parse_form(SaleForm, form))
        sale = await service.schedule(merchant, draft.id)
        inspector = LaneInspector(redis)
        yield Scene(pool, redis, store, service, worker, inspector, merchant, sale)
        await store.close()
