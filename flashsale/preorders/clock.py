"""What happens to pre-orders by themselves, at a `now` that is handed in. Several may run.

Each round is one bounded transaction under row locks, so that a crash loses nothing and two
clocks do nothing twice. Nothing here waits for Redis or for a provider.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime

from flashsale.preorders import queries, queries_dates
from flashsale.preorders.balances import Closing, collect
from flashsale.preorders.queries import Pool
from flashsale.preorders.queues import KNOWN_AFTER, serve, take_up
from flashsale.preorders.values import Counts, QueueKey

#: Orders a transaction; several hundred cost little more than one, and hold locks for milliseconds.
ROUND_MAX = 200
#: Rounds of one kind a tick, so that no kind of work waits for another for long.
ROUNDS_MAX = 20
QUEUES_MAX = 100


def _ignore(_: str) -> None:
    pass


class PreorderClock:
    """Takes up deposits, serves lots, collects balances and tells of dates that were moved."""

    def __init__(
        self,
        pool: Pool,
        closing: Closing,
        *,
        round_max: int = ROUND_MAX,
        on_trouble: Callable[[str], None] = _ignore,
    ) -> None:
        self._pool = pool
        self._closing = closing
        self._round_max = round_max
        self._on_trouble = on_trouble
        self.counts = Counts()

    async def run(
        self, stop: asyncio.Event, now: Callable[[], datetime], rest_seconds: float = 0.5
    ) -> None:
        """Tick until `stop`; troubles are told, and tried again at the next tick."""
        while not stop.is_set():
            more = False
            try:
                more = await self.tick(now())
            except Exception as error:  # noqa: BLE001 - time goes on; the next tick tries again
                self.counts.failures += 1
                self._on_trouble(f"{type(error).__name__}: {error}")
            if not more:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(rest_seconds):
                        await stop.wait()

    async def tick(self, now: datetime) -> bool:
        """Do what is due, bounded; whether there is more. Raises what Postgres does when away."""
        more = await self._rounds(lambda: self._take_up(now))
        more |= await self._serve(now)
        more |= await self._rounds(lambda: self._collect(now))
        more |= await self._rounds(self._tell)
        return more

    @staticmethod
    async def _rounds(work: Callable[[], Awaitable[bool]]) -> bool:
        for _ in range(ROUNDS_MAX):
            if not await work():
                return False
        return True

    async def _take_up(self, now: datetime) -> bool:
        changes = await take_up(self._pool, now, self._round_max)
        if changes is None:
            return False
        self.counts.joined += len(changes.joining)
        self.counts.left += len(changes.leaving)
        return bool(changes.joining or changes.leaving)

    async def _serve(self, now: datetime) -> bool:
        more = False
        for queue in await queries.queues_to_serve(self._pool, now - KNOWN_AFTER, QUEUES_MAX):

            async def serve_once(queue: QueueKey = queue) -> bool:
                served = await serve(self._pool, queue, now, self._round_max)
                self.counts.allocated += len(served)
                self.counts.completed += sum(each.rest <= 0 for each in served)
                return len(served) == self._round_max

            more |= await self._rounds(serve_once)
        return more

    async def _collect(self, now: datetime) -> bool:
        did = await collect(self._pool, self._closing, now, self._round_max)
        self.counts.demanded += len(did.demanded)
        self.counts.reminded += len(did.reminded)
        self.counts.charged += len(did.charged)
        self.counts.ended += len(did.ended)
        return did.moved

    async def _tell(self) -> bool:
        for moved in await queries_dates.untold(self._pool, 1):
            async with self._pool.acquire() as connection, connection.transaction():
                move = await queries_dates.lock_untold(connection, moved)
                if move is None:
                    return False
                orders = await queries_dates.affected(connection, move, self._round_max)
                if orders:
                    await queries_dates.tell(connection, move, [each.order_id for each in orders])
                done = len(orders) < self._round_max
                step = move.step if done else orders[-1].joined_step
                await queries_dates.told(connection, move, step)
                self.counts.notified += len(orders)
                return True
        return False
