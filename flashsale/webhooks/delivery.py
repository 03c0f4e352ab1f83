"""Delivers webhooks: a lane for each endpoint that has something due. Several processes may run.

Every claim is a lease in Postgres, so whatever a process that ends was sending is sent by another:
at least once, and the events of one order one after another.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta

from flashsale.sentences import told
from flashsale.settlement.queries import Pool
from flashsale.webhooks import queries
from flashsale.webhooks.addresses import Lookup, system_lookup
from flashsale.webhooks.delivery_http import TIMEOUT_SECONDS, Sender
from flashsale.webhooks.delivery_lane import IN_FLIGHT_MAX, STOP_SECONDS, Lane, Means, Progress
from flashsale.webhooks.values import Endpoint

TICK_SECONDS = 0.2
BACKOFF_SECONDS_MAX = 5.0
#: Endpoints that are sent to at the same time; past it the next ones wait for one to end.
LANES_MAX = 500
SOLD_OUT_SECONDS = 1.0
SWEEP_SECONDS = 60.0
SWEEP_MAX = 5_000
KEEP_DAYS = 30
#: No transaction that began before an endpoint was deleted lasts so long.
_FORGET = timedelta(hours=1)


def _ignore(_: str) -> None:
    pass


class Deliveries:
    """Sends what is due while it runs. `on_trouble` is given one line for every failure.

    `now` has a time zone; `allow_private` is for development machines only; events older than
    `keep_days` are removed with their deliveries.
    """

    def __init__(
        self,
        pool: Pool,
        now: Callable[[], datetime],
        *,
        allow_private: bool = False,
        keep_days: int = KEEP_DAYS,
        in_flight_max: int = IN_FLIGHT_MAX,
        timeout_seconds: float = TIMEOUT_SECONDS,
        stop_seconds: float = STOP_SECONDS,
        lookup: Lookup = system_lookup,
        on_trouble: Callable[[str], None] = _ignore,
    ) -> None:
        self.progress = Progress()
        self._pool = pool
        self._now = now
        self._keep = timedelta(days=keep_days)
        self._on_trouble = on_trouble
        self._sender = Sender(
            allow_private=allow_private, lookup=lookup, timeout_seconds=timeout_seconds
        )
        self._means = Means(
            pool,
            self._sender,
            now,
            self.progress,
            in_flight_max=in_flight_max,
            stop_seconds=stop_seconds,
        )
        self._lanes: dict[str, tuple[Lane, asyncio.Task[None]]] = {}
        self._due: dict[Callable[[], object], float] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop`. A Postgres that goes away is waited for."""
        rest_seconds = TICK_SECONDS
        async with self._sender:
            while not stop.is_set():
                try:
                    await self._start_lanes()
                    await self._keep_house()
                    rest_seconds = TICK_SECONDS
                except Exception as error:  # noqa: BLE001 - told, and tried again
                    rest_seconds = min(rest_seconds * 2, BACKOFF_SECONDS_MAX)
                    self._trouble(f"Deliveries wait: {told(error)}")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(rest_seconds):
                        await stop.wait()
            await self._end_lanes()

    async def deliver_due(self) -> int:
        """Send everything that is due now, and what becomes due by it; how many attempts."""
        before = self.progress.attempts
        async with self._sender:
            busy = await queries.busy_endpoints(self._pool, self._now())
            await asyncio.gather(*(Lane(self._means, endpoint).run() for endpoint in busy))
        return self.progress.attempts - before

    async def announce_sold_out(self) -> int:
        """Tell of sales that have sold out since the last time; how many."""
        found = await queries.announce_sold_out(self._pool, self._now())
        self.progress.sold_out += found
        return found

    async def sweep(self) -> int:
        """Remove some of what is older than it is kept, and what deleted endpoints left."""
        now = self._now()
        gone = await queries.sweep(self._pool, now - self._keep, now - _FORGET, SWEEP_MAX)
        self.progress.swept += gone
        return gone

    async def backlog(self) -> tuple[int, int]:
        """Deliveries that are pending, and those that were given up; a count, so not for a tick."""
        return await queries.backlog(self._pool)

    async def _start_lanes(self) -> None:
        for endpoint in await queries.busy_endpoints(self._pool, self._now()):
            if endpoint.id in self._lanes:
                self._lanes[endpoint.id][0].kick(endpoint)
            elif len(self._lanes) < LANES_MAX:
                self._start(endpoint)

    def _start(self, endpoint: Endpoint) -> None:
        lane = Lane(self._means, endpoint)
        task = asyncio.ensure_future(lane.run())
        self._lanes[endpoint.id] = lane, task
        self.progress.lanes = len(self._lanes)

        def ended(_: asyncio.Task[None]) -> None:
            del self._lanes[endpoint.id]
            self.progress.lanes = len(self._lanes)
            if not task.cancelled() and (error := task.exception()) is not None:
                self._trouble(f"{endpoint.id} is left for later: {told(error)}")

        task.add_done_callback(ended)

    async def _keep_house(self) -> None:
        if self._is_due(self.announce_sold_out, SOLD_OUT_SECONDS):
            await self.announce_sold_out()
        if self._is_due(self.sweep, SWEEP_SECONDS):
            await self.sweep()

    def _is_due(self, duty: Callable[[], object], seconds: float) -> bool:
        now = asyncio.get_running_loop().time()
        if now < self._due.get(duty, 0.0):
            return False
        self._due[duty] = now + seconds
        return True

    async def _end_lanes(self) -> None:
        lanes = list(self._lanes.values())
        for lane, _ in lanes:
            lane.stop()
        if lanes:
            await asyncio.wait([task for _, task in lanes])

    def _trouble(self, line: str) -> None:
        self.progress.failures += 1
        self.progress.last_error = line
        self._on_trouble(line)
