"""P3: rows a second through settlement, beside COPY of the same rows into a table like it."""

from __future__ import annotations

import time
from typing import NamedTuple

import asyncpg

from flashsale.clients import redis_client, reservation_store
from flashsale.domain.identity import order_hash
from flashsale.reservation.replies import Request
from flashsale.reservation.store import ReservationStore
from flashsale.settlement.worker import SettlementWorker
from flashsale.wiring.running import quiet_collector
from loadtest.bench.stage import Stage, median

#: As many orders in an entry as a busy web process gathers.
ENTRY_ORDERS = 32


class Rates(NamedTuple):
    """Rows a second."""

    settled: float
    copied: float


async def measure(stage: Stage, rounds: int, orders: int) -> Rates:
    """Medians over `rounds`, each with `orders` of a sale of its own."""
    settled, copied = [], []
    async with (
        reservation_store(stage.settings) as store,
        redis_client(stage.settings, block_ms=1000) as redis,
        asyncpg.create_pool(stage.servers.postgres_dsn, min_size=4, max_size=8) as pool,
    ):

        async def nothing(*_: object) -> None:
            """Nothing is rejected here, and trimming is not what is measured."""

        worker = SettlementWorker(pool, redis, "bench", give_back=nothing, trim=nothing)
        await worker.settle_available()
        quiet_collector()  # as every settlement process does at its start
        for number in range(rounds + 1):
            sale = await stage.sale(orders)
            await _fill(store, sale, orders)
            begun = time.perf_counter()
            rows = await worker.settle_available()
            took = time.perf_counter() - begun
            if rows != orders:
                raise RuntimeError(f"{rows} of {orders} orders were settled")
            rate = await _copy(pool, sale, orders)
            if number:
                settled.append(orders / took)
                copied.append(rate)
    return Rates(median(settled), median(copied))


async def _fill(store: ReservationStore, sale: str, orders: int) -> None:
    for first in range(0, orders, ENTRY_ORDERS):
        numbers = range(first, min(first + ENTRY_ORDERS, orders))
        requests = [
            Request(order_hash(b"b" * 32, sale, f"buyer-{n:08d}", "key"), f"buyer-{n:08d}", 0, 1)
            for n in numbers
        ]
        await store.reserve(sale, 0, 1, requests)


async def _copy(pool: asyncpg.Pool[asyncpg.Record], sale: str, orders: int) -> float:
    """COPY the settled rows of a sale into an empty table with the same columns and indexes."""
    async with pool.acquire() as connection:
        rows = [
            tuple(row)
            for row in await connection.fetch("SELECT * FROM orders WHERE sale_id = $1", sale)
        ]
        await connection.execute("CREATE TABLE bench_copy (LIKE orders INCLUDING ALL)")
        try:
            begun = time.perf_counter()
            await connection.copy_records_to_table("bench_copy", records=rows)
            return orders / (time.perf_counter() - begun)
        finally:
            await connection.execute("DROP TABLE bench_copy")
