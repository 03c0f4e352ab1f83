"""One lane, from its stream into Postgres and back: read ahead, settle, then acknowledge.

It never acknowledges what is not committed, and waits out an outage with the batch in its hands.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace

from flashsale.domain.events import Entry
from flashsale.sentences import told
from flashsale.settlement.faults import backoff_seconds
from flashsale.settlement.plan import Catalogue, UnknownItemError
from flashsale.settlement.settler import RoomMayComeError, Settled, Settler
from flashsale.stream.position import FIRST_ID
from flashsale.stream.reader import Delivery, LaneReader

_READ_ENTRIES_MIN = 16


@dataclass(frozen=True, slots=True)
class Pace:
    """How much at once, and how often."""

    #: Orders in one transaction.
    batch_rows_max: int = 4000
    #: Transactions of one lane at the same time: one copies, one commits and acknowledges (both
    #: wait for a disk), and Python plans the next.
    in_flight_max: int = 3
    #: After a small batch, how long the next one gathers: a transaction costs as much as 100 rows.
    gather_ms: int = 50
    #: How long one read waits for the first entry; a stop waits as long.
    block_ms: int = 1000
    #: How often to look for entries that a dead worker left.
    reclaim_every_ms: int = 5000
    #: How long to wait for earlier entries that may make room; a dead worker's take half of it.
    room_wait_ms: int = 60_000
    #: How often to trim what is settled.
    trim_every_ms: int = 1000


@dataclass(frozen=True, slots=True)
class BatchReport:
    """One batch, committed and acknowledged; `lag_ms` is the age of its oldest entry."""

    sale: str
    lane: int
    settled: Settled
    lag_ms: int


@dataclass(frozen=True, slots=True)
class Effects:
    """What settlement asks of others.

    `give_back(sale, lane, order hash, buyer)` releases a rejected order's units in Redis; it may be
    called twice. `trim(sale, lane)` drops acknowledged entries. `report` is told of every batch,
    `trouble` of every failure, as one line.
    """

    give_back: Callable[[str, int, str, str], Awaitable[object]]
    trim: Callable[[str, int], Awaitable[object]]
    report: Callable[[BatchReport], None]
    trouble: Callable[[str], None]


@dataclass(slots=True)
class LaneSettlement:
    """Settles one lane; any number of them, in any number of processes, may work on the same."""

    reader: LaneReader
    settler: Settler
    catalogue: Catalogue
    lane: int
    effects: Effects
    pace: Pace
    #: Reads that may wait for entries at the same time, each on a connection of its own.
    waiting_places: asyncio.Semaphore
    _rows_per_entry: float = 32.0
    _small: bool = False
    _trim_due: bool = False
    _trimmed_at: float = 0.0
    _reclaimed_at: float = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Settle until `stop`; what is in flight then is finished, unless a server is away."""
        failures = 0
        while not stop.is_set():
            try:
                await self._leftovers(stop)
                failures = 0
                await self._follow(stop, until_empty=False)
            except Exception as error:  # noqa: BLE001 - what is pending can be tried again
                self.effects.trouble(self._explain(error))
                await _sleep(stop, backoff_seconds(failures))
                failures += 1

    async def drain(self) -> None:
        """Settle all there is now and return; raises what kept it from doing so."""
        await self._leftovers(None)
        await self._follow(None, until_empty=True)
        await self._trim(time.monotonic())

    async def resettle(self) -> None:
        """Settle all that the stream still has, also what is acknowledged and what others hold.

        For a lane that nothing is appended to: a Postgres that went back knows less of it than was
        settled. What it does know is settled twice, which is settling it once.
        """
        await self.reader.rewind()
        await self.drain()
        while (await self.reader.pending()).entries:
            await self.drain()

    async def _leftovers(self, stop: asyncio.Event | None) -> None:
        """Entries given to this consumer before a crash or a lost reply, then those of the dead."""
        after = FIRST_ID
        while (delivery := await self.reader.read_own_pending(after, self._read_entries())).size:
            await self._keep(delivery, stop)
            after = delivery.last_id
        await self._reclaim(stop)

    async def _reclaim(self, stop: asyncio.Event | None) -> None:
        self._reclaimed_at = time.monotonic()
        # In an outage workers would take each other's entries in turn, until they looked poisonous.
        await self.settler.check()
        while (delivery := await self.reader.reclaim(self._read_entries())).size:
            await self._keep(delivery, stop)

    async def _follow(self, stop: asyncio.Event | None, *, until_empty: bool) -> None:
        """Settle new entries; some are read and planned while Postgres works on those before."""
        block_ms = None if until_empty else self.pace.block_ms
        flights: deque[asyncio.Task[None]] = deque()
        try:
            while stop is None or not stop.is_set():
                delivery = await self._read(block_ms)
                if delivery.size:
                    flights.append(asyncio.create_task(self._keep(delivery, stop)))
                elif until_empty:
                    break
                while flights and (flights[0].done() or len(flights) >= self.pace.in_flight_max):
                    await flights.popleft()
                await self._housekeeping(stop)
        finally:
            failures = await asyncio.gather(*flights, return_exceptions=True)
        for failure in failures:
            if failure is not None:
                raise failure

    async def _read(self, block_ms: int | None) -> Delivery:
        count = self._read_entries()
        if block_ms is None:
            return await self.reader.read_new(count)
        if self._small:
            await asyncio.sleep(self.pace.gather_ms / 1000)
        if not self.waiting_places.locked():
            async with self.waiting_places:
                return await self.reader.read_new(count, block_ms)
        delivery = await self.reader.read_new(count)
        if not delivery.size:
            await asyncio.sleep(block_ms / 1000)
        return delivery

    def _read_entries(self) -> int:
        """Entries that make about one transaction, by what the last ones held."""
        return max(_READ_ENTRIES_MIN, int(self.pace.batch_rows_max / self._rows_per_entry))

    async def _keep(self, delivery: Delivery, stop: asyncio.Event | None) -> None:
        if not delivery.size:
            return
        rows = sum(len(entry.orders) for entry in delivery.entries)
        self._rows_per_entry = max(1.0, rows / delivery.size)
        self._small = rows < self.pace.batch_rows_max / 2
        for part in _parts(delivery, self.pace.batch_rows_max):
            settled = await self._settle(part, stop)
            for event in settled.rejected:
                await self.effects.give_back(
                    self.catalogue.sale, self.lane, event.order, event.buyer
                )
            await self.reader.acknowledge(part.entry_ids)
            self._trim_due = True
            self._report(part, settled)

    async def _settle(self, part: Delivery, stop: asyncio.Event | None) -> Settled:
        """Settle, however long Postgres is away: reading again would count as another failure."""
        failures = 0
        begun = time.monotonic()
        unknown = current = False
        while True:
            patient = (time.monotonic() - begun) * 1000 < self.pace.room_wait_ms
            try:
                if unknown:  # an item may have joined the sale since its items were read
                    self.catalogue = await self.settler.catalogue(self.catalogue.sale)
                    unknown, current = False, True
                return await self.settler.settle(
                    self.catalogue, self.lane, part, patient=patient, current=current
                )
            except UnknownItemError:
                unknown = True
            except RoomMayComeError:
                if stop is not None and stop.is_set():
                    raise
                await asyncio.sleep(backoff_seconds(failures, first=0.01, most=0.5))
                failures += 1
                await self._reclaim_if_due(stop)  # what is missing may be a dead worker's
            except Exception as error:
                if stop is None or stop.is_set():
                    raise
                self.effects.trouble(self._explain(error))
                await _sleep(stop, backoff_seconds(failures))
                failures += 1

    async def _housekeeping(self, stop: asyncio.Event | None) -> None:
        await self._reclaim_if_due(stop)
        now = time.monotonic()
        if (now - self._trimmed_at) * 1000 >= self.pace.trim_every_ms:
            await self._trim(now)

    async def _reclaim_if_due(self, stop: asyncio.Event | None) -> None:
        if (time.monotonic() - self._reclaimed_at) * 1000 >= self.pace.reclaim_every_ms:
            await self._reclaim(stop)

    async def _trim(self, now: float) -> None:
        if self._trim_due:
            self._trim_due, self._trimmed_at = False, now
            await self.effects.trim(self.catalogue.sale, self.lane)

    def _report(self, part: Delivery, settled: Settled) -> None:
        now_ms = time.time_ns() // 1_000_000
        oldest_ms = part.entries[0].at_ms if part.entries else now_ms
        lag_ms = max(0, now_ms - oldest_ms)
        self.effects.report(BatchReport(self.catalogue.sale, self.lane, settled, lag_ms))

    def _explain(self, error: Exception) -> str:
        return (
            f"Settlement of sale {self.catalogue.sale}, lane {self.lane}, waits:"
            f" {told(error)} Nothing is lost; it goes on by itself."
        )


def _parts(delivery: Delivery, rows_max: int) -> Iterator[Delivery]:
    """A delivery in parts of at most `rows_max` orders; larger and worn entries stand alone."""
    part: list[Entry] = []
    rows = 0
    for entry in delivery.entries:
        alone = entry.entry_id in delivery.worn or (part and part[-1].entry_id in delivery.worn)
        if part and (alone or rows + len(entry.orders) > rows_max):
            yield replace(delivery, entries=part, poison=())
            part, rows = [], 0
        part.append(entry)
        rows += len(entry.orders)
    yield replace(delivery, entries=part)


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
