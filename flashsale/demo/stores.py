"""Both stores, to look at: the demo and the load tests read them beside the API. Never writes."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import NamedTuple

import asyncpg

from flashsale.clients import reservation_store
from flashsale.config import load_settings
from flashsale.reservation.store import ReservationStore
from flashsale.sql import load_queries

SQL = load_queries(Path(__file__).with_name("queries.sql"))
READINGS_KEPT_MAX = 4096


@dataclass(frozen=True, slots=True)
class Stores:
    """A client of each store."""

    reservations: ReservationStore
    postgres: asyncpg.Connection[asyncpg.Record]

    async def redis_bytes(self) -> int:
        """Memory that Redis uses now."""
        return (await self.reservations.server()).memory_used_bytes

    async def settlement_lag(self, sale: str) -> tuple[float, float, float]:
        """Median, 99th percentile and maximum of decided-to-settled over all orders, seconds."""
        found = await self.postgres.fetchval(SQL["settlement_lag"], sale)
        return tuple(found) if found else (0.0, 0.0, 0.0)


@contextlib.asynccontextmanager
async def open_stores(redis_url: str, postgres_dsn: str) -> AsyncIterator[Stores]:
    """Connect to both. Raises StartError where Redis does not answer."""
    named = {"FLASHSALE_REDIS_URL": redis_url, "FLASHSALE_POSTGRES_DSN": postgres_dsn}
    async with reservation_store(load_settings({**os.environ, **named})) as reservations:
        postgres = await asyncpg.connect(postgres_dsn)
        try:
            yield Stores(reservations, postgres)
        finally:
            await postgres.close()


class Reading(NamedTuple):
    """A sale at one instant: `at` in seconds since its opening, units, and how far Postgres is."""

    at: float
    sold: int
    settled: int
    lag_seconds: float


class LagMeter:
    """How old the oldest unit is that has been sold but not settled.

    Both counts only grow in a sale without releases; the unit that settles next is the one that
    was sold when `sold` passed today's `settled`.
    """

    def __init__(self) -> None:
        self._sold: deque[tuple[float, int]] = deque(maxlen=READINGS_KEPT_MAX)

    def lag(self, at: float, sold: int, settled: int) -> float:
        """Take in a reading; seconds, 0 where everything is settled."""
        self._sold.append((at, sold))
        while self._sold and self._sold[0][1] <= settled:
            self._sold.popleft()
        return at - self._sold[0][0] if self._sold else 0.0


class Watch:
    """Reads a sale with one lane or more, again and again."""

    def __init__(self, stores: Stores, sale: str, starts_at_ms: int, lanes: int = 1) -> None:
        self._stores = stores
        self._sale, self._lanes = sale, lanes
        self._starts_at = starts_at_ms / 1000
        self._meter = LagMeter()

    async def read(self) -> Reading:
        """Ask both stores; Redis first, so that nothing is ever settled before it is sold."""
        sold = 0
        for lane in range(self._lanes):
            snapshot = await self._stores.reservations.snapshot(self._sale, lane)
            sold += sum(stock.capacity - stock.available for stock in snapshot.stock)
        at = time() - self._starts_at
        settled = await self._stores.postgres.fetchval(SQL["settled_units"], self._sale)
        settled = min(settled, sold)
        return Reading(at, sold, settled, self._meter.lag(at, sold, settled))
