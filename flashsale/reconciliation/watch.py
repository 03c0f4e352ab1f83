"""Looks every few seconds whether the two stores agree, and shuts a SKU on which they do not.

It looks at sums at one point of the streams (`cut`), never at single orders: that is the audit's.
An equation that is broken at two looks running shuts its SKU: nobody can reserve it any more, what
is held and paid goes on. Counters are mended by nobody here; `reopen` is an operator's.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from flashsale.reconciliation import queries
from flashsale.reconciliation.cut import Watched, consistent_cut
from flashsale.reconciliation.errors import (
    NoCutError,
    NotShutError,
    StillDriftingError,
    UnknownSaleError,
)
from flashsale.reconciliation.queries import Pool
from flashsale.reconciliation.walk import rejected_and_held, unreturned
from flashsale.reconciliation.watch_drift import LIVE, Drift, drifts
from flashsale.reservation.errors import LaneLostError
from flashsale.reservation.inspector import LaneInspector
from flashsale.reservation.store import ReservationStore
from flashsale.sales.effects import bring_in_line
from flashsale.sentences import told

AGAIN_SECONDS = 1.0


@dataclass(slots=True)
class Progress:
    """Totals since the start, for metrics.

    `drifting` are equations broken at the last round's second look, `shut` are SKUs that are shut
    now, `looked_at` is when the last whole round ended, Unix seconds.
    """

    rounds: int = 0
    shut_by_us: int = 0
    failures: int = 0
    drifting: int = 0
    shut: int = 0
    looked_at: float = 0.0


def _ignore(*_: object) -> None:
    pass


@dataclass(slots=True)
class DriftWatch:
    """One round after another, `every_seconds` apart, while `may_look` says so.

    `on_drift` is told of every drift that was seen twice (sale, drift, whether its SKU was shut by
    it), `on_trouble` of what keeps a sale from being looked at. The pool needs two connections.
    """

    pool: Pool
    inspector: LaneInspector
    store: ReservationStore
    every_seconds: float
    again_seconds: float = AGAIN_SECONDS
    may_look: Callable[[], bool] = lambda: True
    on_drift: Callable[[str, Drift, bool], None] = _ignore
    on_trouble: Callable[[str], None] = _ignore
    progress: Progress = field(default_factory=Progress)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        while not stop.is_set():
            if self.may_look():
                try:
                    await self.round()
                except Exception as error:  # noqa: BLE001 - servers come back; looked at again
                    self._trouble("Nothing was reconciled", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self.every_seconds)

    async def round(self) -> None:
        """Look at every running sale once, and again where something is broken."""
        broken = {}
        whole = True
        for sale in await queries.sales_to_watch(self.pool):
            try:
                found = await self.look(sale)
            except (NoCutError, UnknownSaleError, LaneLostError) as error:
                whole = False
                self._trouble(f"Sale {sale} was not reconciled", error)
            else:
                if found:
                    broken[sale] = found
        drifting = 0
        if broken:
            await asyncio.sleep(self.again_seconds)
        for sale, first in broken.items():
            second = await self.look(sale)
            twice = [drift for drift in second if any(map(drift.same, first))]
            drifting += len(twice)
            for drift in twice:
                await self._tell(sale, drift)
        self.progress.drifting = drifting
        self.progress.shut = await queries.shut_items(self.pool)
        self.progress.rounds += 1
        if whole:
            self.progress.looked_at = time.time()

    async def look(self, sale: str) -> list[Drift]:
        """What does not hold now, of one cut. Raises NoCutError and what the servers raise."""
        return await _look(self.pool, self.inspector, sale)

    async def _tell(self, sale: str, drift: Drift) -> None:
        shut = drift.item is not None and await queries.shut_item(
            self.pool, sale, drift.item, drift.words
        )
        if shut:
            self.progress.shut_by_us += 1
            # Should this fail, the timekeeper tells Redis with its next repairs.
            await bring_in_line(self.pool, self.store, sale)
        self.on_drift(sale, drift, shut)

    def _trouble(self, what: str, error: Exception) -> None:
        self.progress.failures += 1
        self.on_trouble(f"{what}: {told(error)}")


async def _look(pool: Pool, inspector: LaneInspector, sale: str) -> list[Drift]:
    found = await _look_once(pool, inspector, sale, Watched())
    if any(drift.equation == LIVE for drift in found):
        # Rejected orders hold their units until settlement has told Redis: look for them by name.
        held = await rejected_and_held(pool, inspector, sale)
        if held:
            found = await _look_once(pool, inspector, sale, Watched(held))
    return found


async def _look_once(
    pool: Pool, inspector: LaneInspector, sale: str, watched: Watched
) -> list[Drift]:
    async with consistent_cut(pool, inspector, sale, watched=watched) as (connection, cut):
        items = await queries.items(connection, sale)
        return drifts(cut, items, await unreturned(connection, cut))


async def reopen(
    pool: Pool,
    inspector: LaneInspector,
    store: ReservationStore,
    sale: str,
    sku: str,
    because: str,
) -> None:
    """Let a SKU that was shut be reserved again, once its equations hold; `because` is logged.

    NotShutError, StillDriftingError with what is broken, UnknownSaleError, NoCutError, and what the
    servers raise: then Postgres has it open, and the timekeeper tells Redis.
    """
    item = await queries.shut_item_of(pool, sale, sku)
    if item is None:
        raise NotShutError(sale, sku)
    broken = [drift for drift in await _look(pool, inspector, sale) if drift.item in {item, None}]
    if broken:
        raise StillDriftingError(sale, sku, _lines(broken))
    await queries.reopen_item(pool, sale, item, because)
    await bring_in_line(pool, store, sale)


def _lines(broken: Sequence[Drift]) -> str:
    return "; ".join(drift.words for drift in broken)
