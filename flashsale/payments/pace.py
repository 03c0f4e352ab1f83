"""Pace: while orders rush in, payments begin in proportion. It refuses none for what it is.

Redis decides an order for some 50 microseconds of a web process; a payment takes twenty times that
here, and more again of everything behind it. Without a bound as many payers as buyers would halve
what is sold a second. What has been reserved is safe meanwhile: a rush lasts seconds, a hold
minutes. Everything behind a payment (the provider, its callback, the outbox) follows from its
beginning, so this is the one place that paces them all. A proportion fits slow machines and fast.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from flashsale.reservation.errors import StoreBusyError


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one process. From `rush_per_second` orders decided, one payment begins with so many.

    At least `begins_min` begin in each tick, whatever comes. Those of a tick share their
    transactions and with them the disk's time, for which orders wait, too: hence a tick as long as
    a buyer bears. Below a rush, which few launches ever see, a process can do both.
    """

    rush_per_second: int = 1000
    orders_for_each: int = 400
    begins_min: int = 4
    tick_ms: int = 250
    waiting_max: int = 256


def _none() -> int:
    return 0


class Pace:
    """`decided` counts the orders decided so far, and may begin again at 0."""

    def __init__(
        self,
        decided: Callable[[], int] = _none,
        *,
        bounds: Bounds | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._decided = decided
        self._bounds = bounds or Bounds()
        self._clock = clock
        self._seen, self._seen_at = decided(), clock()
        self._came, self._rush = 0, False
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._letting_in: asyncio.Task[None] | None = None

    async def turn(self) -> None:
        """Wait for one's turn to begin a payment: outside a rush that is now.

        First come, first served. StoreBusyError where too many wait: nothing was done.
        """
        if not self._waiting and not self._in_rush():
            return
        if len(self._waiting) >= self._bounds.waiting_max:
            raise StoreBusyError(f"{len(self._waiting)} payments wait for their turn")
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        if self._letting_in is None:
            self._letting_in = asyncio.create_task(self._let_in())
        await mine

    async def _let_in(self) -> None:
        tick_seconds = self._bounds.tick_ms / 1000
        try:
            while self._waiting:
                await asyncio.sleep(tick_seconds)
                room = len(self._waiting)
                if self._in_rush():
                    room = max(self._bounds.begins_min, self._came // self._bounds.orders_for_each)
                while room > 0 and self._waiting:
                    next_one = self._waiting.popleft()
                    if not next_one.done():  # who has gone away takes nobody's turn
                        next_one.set_result(None)
                        room -= 1
        finally:
            self._letting_in = None

    def _in_rush(self) -> bool:
        """Whether orders came that fast since the last look; looks at most once a tick."""
        now = self._clock()
        elapsed = now - self._seen_at
        if elapsed * 1000 >= self._bounds.tick_ms:
            decided = self._decided()
            self._came = decided - self._seen if decided >= self._seen else decided
            self._seen, self._seen_at = decided, now
            self._rush = self._came >= self._bounds.rush_per_second * elapsed
        return self._rush
