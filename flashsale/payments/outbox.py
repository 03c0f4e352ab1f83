"""The outbox' worker: carries out, at least once, what was committed as still to be done.

It claims due wishes for a lease, which it renews while it is at work, runs their handlers side by
side with no transaction open, and deletes what is finished. It gives nothing up: what fails is
tried again, ever more rarely, and told to a person once it has failed often.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from flashsale.payments import queries_outbox as queries
from flashsale.payments.queries_outbox import Claimed, PutOff
from flashsale.payments.values import MoneyCounters
from flashsale.reservation.gather import Gather
from flashsale.settlement.queries import Pool

_LOG = structlog.get_logger(__name__)

#: Carries out the wish about one subject; raises whatever keeps it from being done.
Handler = Callable[[str], Awaitable[None]]

_NOT_YET_MS = 100
_OUTAGE_SECONDS_MAX = 2.0


class NotYetError(Exception):
    """Something else has to happen first: no failure. It is looked at again after `delay_ms`."""

    def __init__(self, message: str, delay_ms: int = _NOT_YET_MS) -> None:
        super().__init__(message)
        self.delay_ms = delay_ms


@dataclass(frozen=True, slots=True)
class Bounds:
    """At most `concurrency` handlers at once; a wish is anybody's `lease_ms` after we have died.

    After failure n it is tried again in `first_ms` * 2^n, at most `most_ms`, times the jitter.
    """

    concurrency: int = 256
    lease_ms: int = 5_000
    poll_ms: int = 50
    first_ms: int = 200
    most_ms: int = 60_000
    stuck_after: int = 8


class Outbox:
    """Works through the outbox; several may, in several processes. `jitter` gives 0.0 to 1.0."""

    def __init__(
        self,
        pool: Pool,
        handlers: Mapping[str, Handler],
        counters: MoneyCounters,
        *,
        bounds: Bounds | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._pool = pool
        self._handlers = handlers
        self._counters = counters
        self._bounds = bounds or Bounds()
        self._jitter = jitter
        self._working: set[asyncio.Task[None]] = set()
        self._held: set[Claimed] = set()
        most = self._bounds.concurrency
        self._ending: Gather[Claimed | PutOff, None] = Gather(
            self._end_all, batch_max=most, waiting_max=most * 2
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`, then finish what was begun. Servers that go away are waited for."""
        renewing = asyncio.create_task(self._renew())
        try:
            await self._work(stop)
            await self._finish()
        finally:
            renewing.cancel()
        await self._ending.stop()

    async def _work(self, stop: asyncio.Event) -> None:
        failures = 0
        while not stop.is_set():
            rest_seconds = self._bounds.poll_ms / 1000
            try:
                room = self._bounds.concurrency - len(self._working)
                # What comes in meanwhile is claimed together: a claim, and a transaction of each
                # step behind it, costs as much for one wish as for fifty.
                if await self._begin() >= room:
                    rest_seconds = 0.0
                failures = 0
            except Exception as error:  # noqa: BLE001 - the next round may succeed
                failures += 1
                rest_seconds = min(_OUTAGE_SECONDS_MAX, rest_seconds * 2**failures)
                _LOG.warning("outbox_unreadable", error=f"{type(error).__name__}: {error}")
            await self._rest(stop, rest_seconds)

    async def _renew(self) -> None:
        """For ever: steps may take long, and whoever waits for a dead process shall not."""
        while True:
            await asyncio.sleep(self._bounds.lease_ms / 3000)
            try:
                await queries.renew(self._pool, list(self._held), self._bounds.lease_ms)
            except Exception as error:  # noqa: BLE001 - what is done twice has one effect
                _LOG.warning("outbox_unwritable", error=f"{type(error).__name__}: {error}")

    async def tick(self) -> int:
        """Carry out everything that is due now, and what becomes due by it; how much it was."""
        total = 0
        while begun := await self._begin():
            total += begun
            await self._finish()
        return total

    async def _begin(self) -> int:
        """Claim what there is room for and set to work on it; how much was claimed."""
        room = self._bounds.concurrency - len(self._working)
        if room <= 0:
            await asyncio.wait(self._working, return_when=asyncio.FIRST_COMPLETED)
            return 1
        claimed = await queries.claim(self._pool, list(self._handlers), room, self._bounds.lease_ms)
        for wish in claimed:
            task = asyncio.create_task(self._carry_out(wish))
            self._working.add(task)
            task.add_done_callback(self._working.discard)
        return len(claimed)

    async def _finish(self) -> None:
        while self._working:
            await asyncio.wait(self._working)

    async def _carry_out(self, wish: Claimed) -> None:
        self._held.add(wish)
        try:
            await self._handlers[wish.kind](wish.subject)
        except NotYetError as error:
            end: Claimed | PutOff = PutOff(wish.id, wish.wishes, error.delay_ms, str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again
            end = self._failed(wish, error)
        else:
            self._counters.outbox_done += 1
            end = wish
        self._held.discard(wish)
        try:
            await self._ending.submit(end)
        except Exception as error:  # noqa: BLE001 - the lease ends by itself, and it is done again
            _LOG.warning("outbox_unwritable", error=f"{type(error).__name__}: {error}")

    def _failed(self, wish: Claimed, error: Exception) -> PutOff:
        bounds = self._bounds
        text = f"{type(error).__name__}: {error}"
        self._counters.outbox_failures += 1
        if wish.attempts >= bounds.stuck_after:
            self._counters.outbox_stuck += 1
            _LOG.error("outbox_stuck", kind=wish.kind, subject=wish.subject, error=text)
        whole = min(bounds.most_ms, bounds.first_ms << min(wish.attempts - 1, 16))
        return PutOff(wish.id, wish.wishes, int(whole * (0.5 + self._jitter() / 2)), text)

    async def _end_all(self, ends: Sequence[Claimed | PutOff]) -> Sequence[None]:
        finished = [end for end in ends if isinstance(end, Claimed)]
        failed = [end for end in ends if isinstance(end, PutOff)]
        if finished:
            await queries.done(self._pool, finished)
        if failed:
            await queries.put_off(self._pool, failed)
        return [None] * len(ends)

    async def _rest(self, stop: asyncio.Event, seconds: float) -> None:
        if seconds == 0:
            await asyncio.sleep(0)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stop.wait()
