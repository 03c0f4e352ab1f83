"""The whole worker with the real scripts: sales come and go, several workers share them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from flashsale.domain.events import EventKind
from flashsale.domain.outcomes import Status
from flashsale.domain.sales import Terms
from flashsale.reservation.keys import lane_keys
from flashsale.reservation.replies import Request
from flashsale.reservation.scripts import load_scripts
from flashsale.reservation.store import ReservationStore
from flashsale.settlement.lane import BatchReport, Pace
from flashsale.settlement.worker import SettlementWorker
from flashsale.shipped import shipped
from flashsale.stream.reader import LaneReader

if TYPE_CHECKING:
    import asyncpg
    from redis.asyncio import Redis

    from tests.settlement.conftest import Lane

SCRIPTS = load_scripts(shipped("lua"))
FAR_MS = 4_000_000_000_000
PACE = Pace(gather_ms=1, block_ms=20, reclaim_every_ms=50, trim_every_ms=1)
CAPACITY = 40


class Shop:
    """The store over one sale of two lanes, and any number of workers."""

    def __init__(self, redis: Redis, pool: asyncpg.Pool, sale: str) -> None:
        self.redis, self.pool, self.sale = redis, pool, sale
        self.store = ReservationStore(redis, SCRIPTS)
        self.batches: list[BatchReport] = []

    async def open(self, epoch: int = 1, hold_ms: int = 600_000) -> None:
        await self.pool.execute("UPDATE sales SET lanes = 2, armed_at = now()")
        for lane in range(2):
            terms = Terms(1, FAR_MS, 5, hold_ms)
            await self.store.open_sale(self.sale, lane, epoch, terms, [CAPACITY, CAPACITY])

    def worker(self, consumer: str = "one") -> SettlementWorker:
        async def give_back(sale: str, lane: int, order: str, buyer: str) -> None:
            await self.store.release(sale, lane, 1, order, buyer, EventKind.REJECTED)

        return SettlementWorker(
            self.pool,
            self.redis,
            consumer,
            give_back,
            self.store.trim_events,
            pace=PACE,
            reclaim_idle_ms=50,
            on_batch=self.batches.append,
        )

    async def reserve(self, lane: int, numbers: range) -> list[Status]:
        decisions = await self.store.reserve(
            self.sale, lane, 1, [request(lane, number) for number in numbers]
        )
        return [decision.status for decision in decisions]

    async def quiescent(self) -> bool:
        """INV-4: nothing pending, and both stores count the same live units."""
        redis_live = [0, 0]
        for lane in range(2):
            snapshot = await self.store.snapshot(self.sale, lane)
            pending = await LaneReader(self.redis, self.sale, lane, "any").pending()
            settled = await self.pool.fetchval(
                "SELECT settled = int8multirange(int8range(1, $2 + 1)) FROM lanes WHERE lane = $1",
                lane, snapshot.seq,
            )  # fmt: skip
            if pending.entries or not settled:
                return False
            for item, stock in enumerate(snapshot.stock):
                redis_live[item] += stock.held + stock.paying + stock.sold
        rows = await self.pool.fetch("SELECT live FROM sale_items ORDER BY item")
        return [row["live"] for row in rows] == redis_live


def request(lane: int, number: int) -> Request:
    order = f"order{lane}{number:018d}".replace("0", "a").replace("1", "b")
    return Request(order, f"buyer-{lane}-{number}", number % 2, 1)


@pytest.fixture
async def shop(lane: Lane, redis_url: str) -> Shop:
    from redis.asyncio import Redis

    redis = Redis.from_url(redis_url, decode_responses=True, socket_timeout=5)
    shop = Shop(redis, lane.pool, lane.sale)
    yield shop
    await shop.store.close()
    await redis.aclose()


async def until(condition: object) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.01)


async def test_several_workers_settle_what_the_scripts_decide(shop: Shop) -> None:
    await shop.open()
    stop = asyncio.Event()
    workers = [shop.worker("one"), shop.worker("two")]
    running = [asyncio.create_task(worker.run(stop)) for worker in workers]
    for start in range(0, 100, 10):
        for lane in range(2):
            await shop.reserve(lane, range(start, start + 10))
            cancelled = request(lane, start)
            await shop.store.release(
                shop.sale, lane, 1, cancelled.order, cancelled.buyer, EventKind.CANCELLED
            )
    await until(shop.quiescent)
    stop.set()
    await asyncio.gather(*running)
    orders = await shop.pool.fetch("SELECT state, count(*) FROM orders GROUP BY state")
    live = await shop.pool.fetchval("SELECT sum(live) FROM sale_items")
    assert {row["state"]: row["count"] for row in orders}["confirmed"] == live
    assert sum(worker.progress.rows for worker in workers) >= live
    assert workers[0].progress.dead_letters == workers[0].progress.rejected == 0


async def test_a_sale_is_settled_as_soon_as_it_is_armed_and_left_when_retired(shop: Shop) -> None:
    await shop.pool.execute("UPDATE sales SET armed_at = NULL")
    stop, worker = asyncio.Event(), shop.worker()
    running = asyncio.create_task(worker.run(stop))

    async def has_no_lane() -> bool:
        return worker.progress.lanes == 0

    await until(has_no_lane)
    await shop.open()
    await shop.reserve(0, range(3))
    await until(shop.quiescent)
    assert worker.progress.lanes == 2
    assert worker.progress.rows == 3
    await shop.pool.execute("UPDATE sales SET retired_at = now()")
    await until(has_no_lane)
    stop.set()
    await running


async def test_settle_available_takes_all_there_is_and_trims_it(shop: Shop) -> None:
    await shop.open()
    for lane in range(2):
        await shop.reserve(lane, range(20))
    assert await shop.worker().settle_available() == 40
    assert await shop.quiescent()
    assert await shop.redis.xlen(lane_keys(shop.sale, 0).events) == 0
    assert await shop.worker().settle_available() == 0


async def test_units_that_postgres_refuses_come_back_to_redis(shop: Shop) -> None:
    await shop.open()
    await shop.pool.execute("UPDATE sale_items SET capacity = 3")
    for lane in range(2):
        await shop.reserve(lane, range(10))
    worker = shop.worker()
    await worker.settle_available()
    await worker.settle_available()
    assert await shop.quiescent()
    assert worker.progress.rejected == 14
    states = await shop.pool.fetch("SELECT state, count(*) FROM orders GROUP BY 1 ORDER BY 1")
    assert [tuple(row) for row in states] == [("confirmed", 6), ("rejected", 14)]
    snapshot = await shop.store.snapshot(shop.sale, 0)
    assert all(stock.balances() for stock in snapshot.stock)


async def test_holds_that_expire_are_settled_as_expired(shop: Shop) -> None:
    await shop.open(hold_ms=1)
    await shop.reserve(0, range(5))
    worker = shop.worker()
    await worker.settle_available()
    await asyncio.sleep(0.01)
    assert (await shop.store.expire_due(shop.sale, 0, 1, 100)).count == 5
    await worker.settle_available()
    assert await shop.pool.fetchval("SELECT count(*) FROM orders WHERE state = 'expired'") == 5
    assert await shop.pool.fetchval("SELECT sum(live) FROM sale_items") == 0
    assert [batch.lag_ms >= 0 for batch in shop.batches]


async def test_lanes_go_on_when_the_list_of_sales_cannot_be_read(shop: Shop) -> None:
    await shop.open()
    stop, worker = asyncio.Event(), shop.worker()
    running = asyncio.create_task(worker.run(stop))
    await shop.reserve(0, range(1))
    await shop.reserve(1, range(1))
    await until(shop.quiescent)
    await shop.pool.execute("ALTER TABLE sales RENAME COLUMN retired_at TO elsewhere")

    async def complained() -> bool:
        return "cannot list sales" in (worker.progress.last_error or "")

    await until(complained)
    await shop.reserve(0, range(1, 9))
    await until(shop.quiescent)
    stop.set()
    await running
