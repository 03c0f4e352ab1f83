"""The settlement process: one task for each lane that exists; it decides nothing about orders."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from flashsale.sentences import told
from flashsale.settlement import queries
from flashsale.settlement.faults import backoff_seconds
from flashsale.settlement.lane import BatchReport, Effects, LaneSettlement, Pace
from flashsale.settlement.queries import LaneToRead, Pool
from flashsale.settlement.settler import Settler
from flashsale.stream.reader import Client, LaneReader

_REFRESH_SECONDS = 1.0
_CHANNEL = "sale_changed"


@dataclass(slots=True)
class Progress:
    """Totals since the start, for metrics; `lag_ms` is the last batch's."""

    rows: int = 0
    batches: int = 0
    rejected: int = 0
    illegal: int = 0
    dead_letters: int = 0
    lag_ms: int = 0
    lanes: int = 0
    failures: int = 0
    last_error: str | None = None

    def add(self, batch: BatchReport) -> None:
        """Count a batch."""
        self.rows += batch.settled.rows
        self.batches += 1
        self.rejected += len(batch.settled.rejected)
        self.illegal += len(batch.settled.illegal)
        self.dead_letters += len(batch.settled.dead_letters)
        self.lag_ms = batch.lag_ms


def _ignore(_: object) -> None:
    pass


@dataclass(slots=True)
class SettlementWorker:
    """Settles every lane there is, as `consumer`; each living worker needs a name of its own.

    A worker that comes back under its old name takes up its unfinished entries at once; under a new
    one they wait for `reclaim_idle_ms`. The Redis client must neither retry by itself nor time out
    within `pace.block_ms`, and needs `waiting_reads_max` connections and a few more. `on_batch` is
    called after every batch (metrics, alerts for what is rejected or dead), `on_trouble` with one
    line for every failure.
    """

    pool: Pool
    redis: Client
    consumer: str
    give_back: Callable[[str, int, str, str], Awaitable[object]]
    trim: Callable[[str, int], Awaitable[object]]
    pace: Pace = field(default_factory=Pace)
    reclaim_idle_ms: int = 30_000
    deliveries_max: int = 5
    waiting_reads_max: int = 64
    on_batch: Callable[[BatchReport], None] = _ignore
    on_trouble: Callable[[str], None] = _ignore
    progress: Progress = field(default_factory=Progress)

    async def run(self, stop: asyncio.Event) -> None:
        """Settle until `stop`, then finish what is in flight."""
        lanes = _Lanes(self)
        failures = 0
        try:
            while not stop.is_set():
                try:
                    await self._watch(lanes, stop)
                except Exception as error:  # noqa: BLE001 - lanes go on; only new ones wait
                    self._trouble(f"Settlement cannot list sales: {told(error)}")
                    await _wait(stop, backoff_seconds(failures))
                    failures += 1
                else:
                    failures = 0
        finally:
            await lanes.stop_all()

    async def settle_available(self) -> int:
        """Settle what every stream holds now, and return the number of orders changed."""
        before = self.progress.rows
        async with self.pool.acquire() as connection:
            found = await queries.lanes_to_read(connection)
        for lane in found:
            await (await self.lane(lane)).drain()
        return self.progress.rows - before

    async def lane(
        self, lane: LaneToRead, places: asyncio.Semaphore | None = None
    ) -> LaneSettlement:
        """The settlement of one lane; asyncpg's errors where its prices cannot be read."""
        async with self.pool.acquire() as connection:
            catalogue = await queries.read_catalogue(connection, lane.sale)
        reader = LaneReader(
            self.redis,
            lane.sale,
            lane.lane,
            self.consumer,
            reclaim_idle_ms=self.reclaim_idle_ms,
            deliveries_max=self.deliveries_max,
        )
        return LaneSettlement(
            reader,
            Settler(self.pool),
            catalogue,
            lane.lane,
            Effects(self.give_back, self.trim, self._report, self._trouble),
            self.pace,
            places or asyncio.Semaphore(1),
        )

    async def _watch(self, lanes: _Lanes, stop: asyncio.Event) -> None:
        """Keep a task for each lane, looking when a sale changes and every second."""
        changed = asyncio.Event()

        def on_change(*_: object) -> None:
            changed.set()

        async with self.pool.acquire() as connection:
            await connection.add_listener(_CHANNEL, on_change)
            try:
                while not stop.is_set():
                    changed.clear()
                    await lanes.become(await queries.lanes_to_read(connection))
                    self.progress.lanes = len(lanes.running)
                    await _first_of(stop, changed, _REFRESH_SECONDS)
            finally:
                with contextlib.suppress(Exception):
                    await connection.remove_listener(_CHANNEL, on_change)

    def _report(self, batch: BatchReport) -> None:
        self.progress.add(batch)
        self.on_batch(batch)

    def _trouble(self, line: str) -> None:
        self.progress.failures += 1
        self.progress.last_error = line
        self.on_trouble(line)


class _Lanes:
    """The tasks of a worker, by lane."""

    def __init__(self, worker: SettlementWorker) -> None:
        self.running: dict[tuple[str, int], tuple[asyncio.Task[None], asyncio.Event]] = {}
        self._worker = worker
        self._places = asyncio.Semaphore(worker.waiting_reads_max)

    async def become(self, wanted: list[LaneToRead]) -> None:
        """Start what is missing or has ended, stop what is gone."""
        for lane in wanted:
            key = (lane.sale, lane.lane)
            if key not in self.running or self.running[key][0].done():
                settlement = await self._worker.lane(lane, self._places)
                stop = asyncio.Event()
                self.running[key] = asyncio.create_task(settlement.run(stop)), stop
        keep = {(lane.sale, lane.lane) for lane in wanted}
        await self._stop([key for key in self.running if key not in keep])

    async def stop_all(self) -> None:
        """Let every lane finish what it has in flight."""
        await self._stop(list(self.running))

    async def _stop(self, keys: list[tuple[str, int]]) -> None:
        ending = [self.running.pop(key) for key in keys]
        for _, stop in ending:
            stop.set()
        await asyncio.gather(*(task for task, _ in ending), return_exceptions=True)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)


async def _first_of(stop: asyncio.Event, changed: asyncio.Event, seconds: float) -> None:
    waits = [asyncio.create_task(event.wait()) for event in (stop, changed)]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
