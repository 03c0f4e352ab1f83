"""Payments a second, from the buyer's click to `paid` in Postgres; and what they cost orders.

`python -m loadtest.bench.payments` prints both, and the processor time that a payment takes in each
process. The provider is the sandbox, a process on the same cores, and so are the buyers.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import asyncpg
import uvloop

from flashsale.access.buyer_keys import BuyerKey
from flashsale.access.queries import NewMerchant
from flashsale.clients import reservation_store
from flashsale.config import load_settings
from flashsale.domain.identity import order_hash
from flashsale.embedded.servers import Servers
from flashsale.reservation.replies import Request
from flashsale.settlement.queries import Pool
from flashsale.sql import load_queries
from flashsale.supervisor import Engine, engine
from loadtest.bench.http import Contender, one, order_shape
from loadtest.bench.payers import Payers, each_of
from loadtest.bench.processes import cpu_seconds
from loadtest.bench.stage import Stage, median

SQL = load_queries(Path(__file__).with_name("queries.sql"))
ENTRY_ORDERS = 32
WARM_UP = 500
LOOK_SECONDS = 0.05
WATCH_SECONDS = 0.25
REST_SECONDS_MAX = 60.0
#: Between these parts of all payments the rate is steady: no first and no last ones.
STEADY = (0.1, 0.9)
#: How many buyers pay at once where nothing else is measured; a launch has many more.
CROWD = 256
#: How many settled orders payers look up at once.
AHEAD = 500
#: Behind every order id of a sale.
END = "{"


class Paid(NamedTuple):
    """Payments a second, and microseconds of processor time for each payment by process."""

    steady: float
    whole: float
    cost: Mapping[str, float]


class Beside(NamedTuple):
    """Orders a second without and with payers beside them, and payments a second meanwhile."""

    alone: float
    with_payers: float
    ratio: float
    payments: float


class Till:
    """A running engine with its sandbox, and what measures payments on it."""

    def __init__(self, started: Engine, stage: Stage, pool: Pool) -> None:
        assert started.play_money is not None
        self._started, self._stage, self._pool = started, stage, pool
        self._urls = (started.credentials.base_url, started.play_money.url)
        self._port = int(started.credentials.base_url.rpartition(":")[2])

    async def pay_all(self, count: int) -> Paid:
        """Settle `count` orders, then pay every one of them as fast as that goes."""
        sale = await self._stage.sale(count)
        orders = await self._reserve(sale, count)
        await self._until(sale, "confirmed", count)
        payers = Payers(*self._urls, self._stage.merchant.buyer_key)

        async def all_of_them() -> AsyncIterator[tuple[str, str]]:
            for order in orders:
                yield order

        pids = dict(self._started.credentials.pids)
        before, begun = cpu_seconds(pids), time.perf_counter()
        seen: list[tuple[float, int]] = []
        watching = asyncio.create_task(self._watch(sale, count, begun, seen))
        try:
            await payers.pay(each_of(all_of_them()), CROWD)
            async with asyncio.timeout(REST_SECONDS_MAX):
                await watching
        finally:
            watching.cancel()
        after = cpu_seconds(pids)
        cost = {name: (after[name] - before[name]) / count * 1e6 for name in before}
        return Paid(steady_rate(seen, count), count / seen[-1][0], cost)

    async def beside(self, rounds: int, seconds: float) -> Beside:
        """Orders of new buyers, first alone, then while as many buyers pay; `rounds` times."""
        alone, with_payers, payments = [], [], []
        for number in range(rounds + 1):
            span = seconds if number else 1  # round 0 warms up
            rate = await self._orders(await self._stage.sale(100_000_000), f"a{number}", span)
            sale = await self._stage.sale(100_000_000)
            stop = asyncio.Event()
            payers = Payers(*self._urls, self._stage.merchant.buyer_key)
            paying = asyncio.create_task(payers.pay(each_of(self._every_other(sale, stop))))
            begun = time.perf_counter()
            try:
                beside = await self._orders(sale, f"b{number}", span)
                paid, took = payers.paid, time.perf_counter() - begun
            finally:
                stop.set()
                await paying
            await self._at_rest(sale)
            if number:
                alone.append(rate)
                with_payers.append(beside)
                payments.append(paid / took)
        ratio = median(b / a for a, b in zip(alone, with_payers, strict=True))
        return Beside(median(alone), median(with_payers), ratio, median(payments))

    async def _orders(self, sale: str, name: str, seconds: float) -> float:
        shape = order_shape(self._port, sale)
        fired = await one(self._stage, Contender("orders", self._port, shape), name, seconds)
        await self._until(sale, None, fired.answered)
        return fired.per_second

    async def _every_other(self, sale: str, stop: asyncio.Event) -> AsyncIterator[tuple[str, str]]:
        """Settled orders of every other buyer, until told to stop."""
        behind, taken = sale, set[str]()
        while not stop.is_set():
            rows = await self._pool.fetch(SQL["to_pay"], behind, sale + END, AHEAD)
            if not rows:
                behind = sale
                await asyncio.sleep(LOOK_SECONDS)
            for row in rows:
                behind = row["id"]
                if stop.is_set():
                    return
                # Until its first event is settled, an order that is being paid looks as before.
                if int(row["buyer_id"][-1]) % 2 == 0 and row["id"] not in taken:
                    taken.add(row["id"])
                    yield row["id"], row["buyer_id"]

    async def _reserve(self, sale: str, count: int) -> list[tuple[str, str]]:
        orders: list[tuple[str, str]] = []
        async with reservation_store(self._stage.settings) as store:
            for first in range(0, count, ENTRY_ORDERS):
                buyers = [f"payer-{n:08d}" for n in range(first, min(first + ENTRY_ORDERS, count))]
                hashes = [order_hash(b"b" * 32, sale, buyer, "key") for buyer in buyers]
                asked = [
                    Request(order, buyer, 0, 1) for order, buyer in zip(hashes, buyers, strict=True)
                ]
                await store.reserve(sale, 0, 1, asked)
                orders += [(sale + each.order, each.buyer) for each in asked]
        return orders

    async def _watch(
        self, sale: str, count: int, begun: float, seen: list[tuple[float, int]]
    ) -> None:
        while not seen or seen[-1][1] < count:
            await asyncio.sleep(WATCH_SECONDS)
            paid = await self._pool.fetchval(SQL["in_state"], sale, "paid")
            seen.append((time.perf_counter() - begun, paid))

    async def _until(self, sale: str, state: str | None, count: int) -> None:
        async def enough() -> bool:
            found: int = await self._pool.fetchval(SQL["in_state"], sale, state)
            return found >= count

        await _until(enough)

    async def _at_rest(self, sale: str) -> None:
        async def nothing_left() -> bool:
            return not await self._pool.fetchval(SQL["unfinished"], sale)

        await _until(nothing_left)


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(REST_SECONDS_MAX):
        while not await holds():  # noqa: ASYNC110 - only Postgres knows
            await asyncio.sleep(LOOK_SECONDS)


def steady_rate(seen: Sequence[tuple[float, int]], count: int) -> float:
    """Payments a second between the first and the last tenth of `count`; `seen` is (at, paid)."""
    inside = [(at, paid) for at, paid in seen if STEADY[0] <= paid / count <= STEADY[1]]
    # So few that nobody looked in between: then it is all of them.
    (first_at, first), *_, (last_at, last) = inside if len(inside) > 1 else [(0.0, 0), *seen]
    return (last - first) / (last_at - first_at)


@contextlib.asynccontextmanager
async def till(folder: Path) -> AsyncIterator[Till]:
    """An engine of its own in `folder`, with a sandbox, as `flashsale up` runs it."""
    async with (
        engine(folder, host="127.0.0.1", port=0) as started,
        asyncpg.create_pool(started.servers.postgres_dsn, min_size=1, max_size=2) as pool,
    ):
        credentials = started.credentials
        secret = credentials.buyer_signing_key.encode()
        kid = await pool.fetchval(SQL["kid"], credentials.merchant_id, secret)
        key = BuyerKey(kid, credentials.merchant_id, "HS256", secret)
        servers = Servers(credentials.redis_url, credentials.postgres_dsn, {})
        settings = load_settings(
            {
                "FLASHSALE_REDIS_URL": credentials.redis_url,
                "FLASHSALE_POSTGRES_DSN": credentials.postgres_dsn,
            }
        )
        merchant = NewMerchant(credentials.merchant_id, credentials.api_key, key)
        yield Till(started, Stage(folder, servers, settings, merchant), pool)


async def _show(count: int, rounds: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory(prefix="flashsale-payments-") as folder:
        async with till(Path(folder)) as measuring:
            await measuring.pay_all(WARM_UP)
            for _ in range(rounds if count else 0):
                paid = await measuring.pay_all(count)
                print(f"{paid.steady:,.0f} payments/s steady, {paid.whole:,.0f}/s in all")
                total = sum(paid.cost.values())
                parts = (f"{name} {us:,.0f}" for name, us in paid.cost.items())
                print(f"  {total:,.0f} us each: {', '.join(parts)}", flush=True)
            if seconds:
                orders = await measuring.beside(rounds, seconds)
                print(
                    f"{orders.alone:,.0f} orders/s alone, {orders.with_payers:,.0f}/s beside "
                    f"{orders.payments:,.0f} payments/s: {orders.ratio:.2f}"
                )


def main() -> int:
    """Print the figures of some rounds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--payments", type=int, default=5000, help="0 leaves them out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="0 leaves orders out")
    given = parser.parse_args()
    uvloop.run(_show(given.payments, given.rounds, given.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
