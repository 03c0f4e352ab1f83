"""Just before a sale opens: may what it promises be kept? It opens nothing itself.

Scripts open a sale by Redis' clock, whoever is alive. A strict sale whose servers could forget its
orders is therefore paused before its instant, with the reason written down; who mends the servers
resumes it. What is only tried out is not kept from opening, but told of loudly.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

from flashsale.reservation.store import ReservationStore
from flashsale.sales.effects import bring_in_line
from flashsale.sales.queries import Pool
from flashsale.sales.values import instant
from flashsale.sentences import told
from flashsale.timekeeper import queries

LEAD = timedelta(seconds=30)
LOOK_SECONDS = 1.0


def _ignore(*_: object) -> None:
    pass


@dataclass(slots=True)
class OpeningGuard:
    """Looks every second at what opens within LEAD, while `may_look` says so.

    `fault_of` says in one line what to set, None where all is well; it may raise where a server
    does not answer, and is asked again. `stops`: sales are paused, not only told of. `on_fault`
    is told once a sale (its id, the line, whether it was paused), `on_trouble` one line.
    """

    pool: Pool
    store: ReservationStore
    fault_of: Callable[[], Awaitable[str | None]]
    stops: bool
    may_look: Callable[[], bool] = lambda: True
    on_fault: Callable[[str, str, bool], None] = _ignore
    on_trouble: Callable[[str], None] = _ignore
    stopped: int = 0
    failures: int = 0
    _told: set[str] = field(default_factory=set)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        while not stop.is_set():
            if self.may_look():
                try:
                    await self.look()
                except Exception as error:  # noqa: BLE001 - servers come back; looked at again
                    self.failures += 1
                    self.on_trouble(f"No opening was checked: {told(error)}")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK_SECONDS)

    async def look(self) -> None:
        """Check for every strict sale that is about to open. Raises what the servers raise."""
        now = instant(await self.store.now_ms())
        due = await queries.about_to_open(self.pool, now + LEAD)
        self._told &= set(due)
        fault = await self.fault_of() if due else None
        if fault is None:
            self._told.clear()
            return
        for sale in due:
            paused = self.stops and await queries.pause_unsafe(self.pool, sale, fault)
            if paused:
                self.stopped += 1
                # Should this fail, the timekeeper tells Redis with its next repairs.
                await bring_in_line(self.pool, self.store, sale)
            if sale not in self._told:
                self._told.add(sale)
                self.on_fault(sale, fault, paused)
