"""Notices that Redis no longer holds a sale as Postgres knows it. It mends nothing itself.

A sale is at fault where Redis was restarted since its lanes were written. A lane is at fault where
it is missing, of another epoch, or behind what was ever seen of it: somebody put back older data.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from flashsale.recovery import queries
from flashsale.recovery.queries import LaneKnown, WatchedSale
from flashsale.reservation.errors import LaneLostError, StoreUnavailableError
from flashsale.reservation.replies import LaneSnapshot
from flashsale.reservation.store import ReservationStore
from flashsale.settlement.queries import Pool
from flashsale.stream.position import position

_RESTARTED = "Redis was restarted, or is another one"


class Fault(NamedTuple):
    """A sale that must be recovered, and why, in words."""

    sale: str
    reason: str


def lane_fault(known: LaneKnown, epoch: int, lane: LaneSnapshot) -> str | None:
    """What is wrong with a lane that is there; None where nothing is."""
    if lane.epoch != epoch:
        return f"a lane is of epoch {lane.epoch} and the sale of epoch {epoch}"
    if lane.seq < known.seq:
        return f"a lane has {lane.seq} entries of {known.seq} that were seen: Redis went back"
    if position(lane.last_entry_id) < position(known.last_entry_id):
        return "a lane's stream ends before what was settled of it: Redis went back"
    return None


async def faults(
    pool: Pool, store: ReservationStore, sales: Sequence[str] | None = None
) -> list[Fault]:
    """Every sale that must be recovered, of all or of `sales`.

    Raises StoreUnavailableError, and asyncpg's errors: where nobody answers nothing is at fault.
    """
    found: list[Fault] = []
    seen: dict[tuple[str, int], int] = {}
    # Postgres first: what it knows by now, Redis must have by the time it is asked.
    watched = await queries.watched(pool, sales)
    run = await store.run_id()
    for sale in watched:
        reason = _RESTARTED if sale.run != run else await _fault(store, sale, seen)
        if reason is not None:
            found.append(Fault(sale.id, reason))
    await queries.note_seen(pool, seen)
    return found


async def _fault(
    store: ReservationStore, sale: WatchedSale, seen: dict[tuple[str, int], int]
) -> str | None:
    for number, known in enumerate(sale.known):
        try:
            lane = await store.snapshot(sale.id, number)
        except LaneLostError:
            return "a lane is not in Redis"
        reason = lane_fault(known, sale.epoch, lane)
        if reason is not None:
            return reason
        if sale.under_way:
            return "a recovery was interrupted"
        if lane.seq > known.seq:
            seen[sale.id, number] = lane.seq
    return None


class NotAsLeftError(StoreUnavailableError):
    """Redis was restarted, and what it holds is not rebuilt yet: recovery is at work."""


class Gate:
    """Keeps a process from a run of Redis in which sales were neither armed nor sealed.

    What came back after a restart may be older than what was answered and settled, and nobody can
    tell by looking, once somebody has written to it again. So every process asks, of every new
    connection. Whoever asks while one look is under way shares it.
    """

    def __init__(self, pool: Pool) -> None:
        #: The newest entry numbers that buyers of a (sale, lane) were answered with.
        self.heard: Mapping[tuple[str, int], int] = {}
        self._pool = pool
        self._run: str | None = None
        self._looking: dict[str, asyncio.Task[str | None]] = {}

    async def admit(self, run: str) -> None:
        """Return where every sale is of this run of Redis; NotAsLeftError otherwise."""
        if not run:
            raise NotAsLeftError("Redis does not say which run it is: INFO server has no run_id")
        if run == self._run:
            return
        if run not in self._looking:
            looking = self._looking[run] = asyncio.create_task(self._look(run))
            looking.add_done_callback(lambda _: self._looking.pop(run))
        try:
            stranger = await asyncio.shield(self._looking[run])
        except Exception as error:
            # Postgres is away, perhaps: without it nobody can tell what Redis should hold.
            raise NotAsLeftError(f"nobody can tell: {type(error).__name__}: {error}") from error
        if stranger is not None:
            raise NotAsLeftError(f"sale {stranger} is of another run of Redis")

    async def _look(self, run: str) -> str | None:
        stranger = await queries.of_another_run(self._pool, run)
        if stranger is not None:
            # Written down, so that whoever recovers the sale knows what was lost.
            await queries.note_seen(self._pool, dict(self.heard))
            return stranger
        # It may have been rebuilt before we came to tell what we had heard.
        await queries.tell_of_lost(self._pool, dict(self.heard), run)
        self._run = run
        return None
