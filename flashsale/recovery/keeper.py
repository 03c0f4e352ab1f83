"""Recovers whatever must be recovered, for ever. Several may run: one at a time recovers a sale."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from flashsale.recovery.protocol import Recovered, Recovery
from flashsale.recovery.watch import Fault, faults
from flashsale.sentences import told

LOOK_SECONDS = 0.5
BACKOFF_SECONDS_MAX = 1.0  # buyers wait for what is looked at late


@dataclass(slots=True)
class Progress:
    """Totals since the start, for metrics; `faults` as of the last look."""

    faults: int = 0
    recovered: int = 0
    failures: int = 0


@dataclass(slots=True)
class RecoveryKeeper:
    """Looks twice a second; `on_recovered`, `on_trouble` (one line) and `on_fault` are told."""

    recovery: Recovery
    on_fault: Callable[[Fault], None]
    on_recovered: Callable[[Recovered], None]
    on_trouble: Callable[[str], None]
    progress: Progress = field(default_factory=Progress)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; what is under way then is left for whoever looks next."""
        rest_seconds = LOOK_SECONDS
        while not stop.is_set():
            try:
                await self.look()
                rest_seconds = LOOK_SECONDS
            except Exception as error:  # noqa: BLE001 - servers come back, and it is tried again
                self.progress.failures += 1
                self.on_trouble(f"Recovery waits: {told(error)}")
                rest_seconds = min(rest_seconds * 2, BACKOFF_SECONDS_MAX)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), rest_seconds)

    async def look(self) -> None:
        """Recover every sale that is at fault now; raises what keeps the first from that."""
        found = await faults(self.recovery.pool, self.recovery.store)
        self.progress.faults = len(found)
        failures = []
        for fault in found:
            self.on_fault(fault)
            try:
                await self._recover(fault)
            except Exception as error:  # noqa: BLE001 - the next sale is another matter
                failures.append(error)
        if failures:
            raise failures[0]

    async def _recover(self, fault: Fault) -> None:
        done = await self.recovery.recover(
            fault.sale, fault.reason, unless=partial(self._is_well, fault.sale)
        )
        if done is not None:
            self.progress.recovered += 1
            self.on_recovered(done)

    async def _is_well(self, sale: str) -> bool:
        return not await faults(self.recovery.pool, self.recovery.store, [sale])
