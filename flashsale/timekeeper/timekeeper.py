"""The timekeeper process: opens, closes, supplies, expires, repairs, retires. Several may run.

One at a time acts: the one whose session holds an advisory lock. That only saves work; should two
overlap for a moment, every step is idempotent. The window of a sale is not among its duties: the
scripts decide that by Redis' clock, to the millisecond, and the timekeeper writes it down.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from flashsale.domain.sales import RUNNING_STATES
from flashsale.reservation.errors import LaneLostError, StoreUnavailableError
from flashsale.reservation.store import ReservationStore
from flashsale.sales import queries as sales
from flashsale.sales.effects import bring_in_line, enact
from flashsale.sales.queries import Pool
from flashsale.sales.queries import Transaction as Session
from flashsale.sales.supply import carry_out
from flashsale.sales.values import SaleFacts, SupplyState, instant
from flashsale.sentences import told
from flashsale.timekeeper import queries
from flashsale.timekeeper.queries import TendedSale
from flashsale.timekeeper.tending import Tending

_Result = TypeVar("_Result")

SALES_MAX = 1_000  # tended between two readings; the next ones follow a second later
DUE_MAX = 200  # openings, closings and supplies a pass
REPAIR_SECONDS = 1.0
REPAIR_ROUNDS_FINISHED = 10  # sales that are over are looked at once in so many rounds
REPAIR_BATCH = 50
BACKOFF_SECONDS_MAX = 2.0
PASS_SECONDS_MAX = 1.0
#: A silent session loses the lead; longer than any pass, shorter than anyone's patience.
IDLE_SECONDS_MAX = 5.0
assert 2 * PASS_SECONDS_MAX < IDLE_SECONDS_MAX  # repairs and visits have so much each


@dataclass(slots=True)
class Progress:
    """Totals since the start, for metrics; `lateness_ms` is the last recorded opening's."""

    leading: bool = False
    passes: int = 0
    opened: int = 0
    closed: int = 0
    supplied: int = 0
    expired: int = 0
    cancelled: int = 0
    repaired: int = 0
    retired: int = 0
    lost_lanes: int = 0
    failures: int = 0
    lateness_ms: int = 0
    last_error: str | None = None


def _ignore(_: str) -> None:
    pass


class Timekeeper:
    """Acts every `tick_ms` while it leads. `on_trouble` is given one line for every failure."""

    def __init__(
        self,
        pool: Pool,
        store: ReservationStore,
        *,
        tick_ms: int = 200,
        expire_batch_max: int = 500,
        records_keep_minutes: int = 10,
        on_trouble: Callable[[str], None] = _ignore,
    ) -> None:
        self._pool = pool
        self._store = store
        self._tick_seconds = tick_ms / 1000
        self._keep = timedelta(minutes=records_keep_minutes)
        self._on_trouble = on_trouble
        self._tending = Tending(store, expire_batch_max)
        self._sales: list[TendedSale] = []
        self._queue: deque[TendedSale] = deque()
        self._repairs: deque[str] = deque()
        self._rounds = 0
        self._repaired_at = float("-inf")
        self._clock = (0.0, 0)  # our monotonic clock and Redis', read together
        self.progress = Progress()

    async def run(self, stop: asyncio.Event) -> None:
        """Keep time until `stop`. Servers that go away are waited for."""
        rest_seconds = self._tick_seconds
        while not stop.is_set():
            passes = self.progress.passes
            try:
                async with self._pool.acquire() as session:
                    await self._keep_time(session, stop)
            except Exception as error:  # noqa: BLE001 - time goes on; the next session tries again
                self._trouble(f"The timekeeper begins anew: {told(error)}")
            finally:
                self.progress.leading = False
            healthy = self.progress.passes > passes + 1
            rest_seconds = self._tick_seconds if healthy else rest_seconds * 2
            await self._rest(stop, min(rest_seconds, BACKOFF_SECONDS_MAX))

    async def _keep_time(self, session: Session, stop: asyncio.Event) -> None:
        await queries.lose_when_idle(session, int(IDLE_SECONDS_MAX * 1000))
        while not stop.is_set():
            if not self.progress.leading:
                self.progress.leading = await queries.take_lead(session)
                self._repaired_at = float("-inf")
            if not (self.progress.leading and await self.act(session)):
                await self._rest(stop, self._tick_seconds)

    async def _rest(self, stop: asyncio.Event, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stop.wait()

    async def act(self, session: Session) -> bool:
        """One pass over everything that is due, leading or not; whether more is due at once.

        Raises what the servers raise when they are away.
        """
        loop = asyncio.get_running_loop()
        ends = loop.time() + PASS_SECONDS_MAX
        self.progress.passes += 1
        repairing = loop.time() - self._repaired_at >= REPAIR_SECONDS
        if repairing:
            redis_ms = await self._store.now_ms()
            # Ours is read last: however slow the answer was, no sale may be closed before its time.
            self._clock = (loop.time(), redis_ms)
        now_ms = self._now_ms()
        # Every pass asks this session something first: one that lost it stops here.
        await self._record_openings(session, now_ms)
        await self._close(session, now_ms)
        await self._supply(session, now_ms, unfinished=repairing)
        if repairing:
            await self._read_sales(session, now_ms)
            await self._repair(session, ends)
            self._repaired_at = loop.time()
        return await self._tend(session, ends + PASS_SECONDS_MAX)

    def _now_ms(self) -> int:
        read_at, now_ms = self._clock
        return now_ms + int((asyncio.get_running_loop().time() - read_at) * 1000)

    async def _record_openings(self, session: Session, now_ms: int) -> None:
        opened = await queries.open_due(session, instant(now_ms), DUE_MAX)
        for starts_at_ms in opened.values():
            self.progress.opened += 1
            self.progress.lateness_ms = now_ms - starts_at_ms

    async def _close(self, session: Session, now_ms: int) -> None:
        for sale_id in await queries.close_due(session, instant(now_ms), DUE_MAX):
            self.progress.closed += 1
            for sale in await sales.find_sales(session, [sale_id]):
                await self._guarded(sale_id, self._enact(sale))

    async def _supply(self, session: Session, now_ms: int, *, unfinished: bool) -> None:
        due = await sales.due_supplies(session, instant(now_ms), DUE_MAX)
        if unfinished:
            due += await sales.half_refused_supplies(session, DUE_MAX)
        for supply_id in due:
            await self._guarded(supply_id, self._carry_out(supply_id))

    async def _carry_out(self, supply_id: str) -> None:
        supply = await carry_out(self._pool, self._store, supply_id)
        self.progress.supplied += supply.state is SupplyState.APPLIED

    async def _read_sales(self, session: Session, now_ms: int) -> None:
        """The next sales in turn; with no more than SALES_MAX that is all of them, every time."""
        full = len(self._sales) == SALES_MAX
        after = self._sales[-1].id if full else ""
        self._sales = await queries.tended(
            session, instant(now_ms), self._keep, after=after, limit=SALES_MAX
        )
        if not full:
            self._tending.forget_all_but({sale.id for sale in self._sales})
        self._queue.clear()

    async def _repair(self, session: Session, ends: float) -> None:
        """Finish what a crash between Postgres and Redis left half done."""
        if not self._repairs:
            self._rounds += 1
            whole = self._rounds % REPAIR_ROUNDS_FINISHED == 1
            self._repairs.extend(
                sale.id
                for sale in self._sales
                if whole or sale.state in RUNNING_STATES or not sale.armed
            )
        while self._repairs and asyncio.get_running_loop().time() < ends:
            batch = [self._repairs.popleft() for _ in range(min(REPAIR_BATCH, len(self._repairs)))]
            for sale in await sales.find_sales(session, batch):
                await self._guarded(sale.id, self._enact(sale))

    async def _enact(self, sale: SaleFacts) -> None:
        changed = await enact(self._pool, self._store, sale)
        if changed:
            # What was read may have been older than a merchant's command: look again.
            await bring_in_line(self._pool, self._store, sale.id)
        self.progress.repaired += changed

    async def _tend(self, session: Session, ends: float) -> bool:
        """Visit sales until all were visited or the pass has lasted long enough."""
        more = False
        self._queue = self._queue or deque(self._sales)
        while self._queue:
            if asyncio.get_running_loop().time() >= ends:
                return True
            sale = self._queue.popleft()
            more |= bool(await self._guarded(sale.id, self._visit(session, sale)))
        return more

    async def _visit(self, session: Session, sale: TendedSale) -> bool:
        did = await self._tending.visit(sale, self._now_ms())
        self.progress.expired += did.expired
        self.progress.cancelled += did.cancelled
        if did.retired:
            if did.missing and await queries.has_open_orders(session, sale.id):
                raise LaneLostError("lanes went before their orders ended")
            await queries.mark_retired(session, sale.id)
            self._sales = [other for other in self._sales if other.id != sale.id]
            self.progress.retired += 1
        return did.more

    async def _guarded(self, name: str, step: Awaitable[_Result]) -> _Result | None:
        """One sale's trouble is its own; a Redis that is away is everyone's."""
        try:
            return await step
        except StoreUnavailableError:
            raise
        except LaneLostError:
            self.progress.lost_lanes += 1  # recovery's business, which finds it by itself
        except Exception as error:  # noqa: BLE001 - told, and tried again in a later pass
            self._trouble(f"{name} is left for later: {told(error)}")
        return None

    def _trouble(self, line: str) -> None:
        self.progress.failures += 1
        self.progress.last_error = line
        self._on_trouble(line)
