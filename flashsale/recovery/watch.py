"""Notices that Redis no longer holds a sale as Postgres knows it. It mends nothing itself.

A lane is at fault where it is missing, of another epoch, or behind what was ever seen of it: a
server that came back with an older disk has fewer entries than somebody has settled or counted.
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

_FORGOT = "a lane has forgotten an order that was answered: Redis went back"


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
    for sale in await queries.watched(pool, sales):
        reason = await _fault(store, sale, seen)
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
    """Redis was restarted and does not hold a sale as Postgres knows it: recovery is at work."""


class Gate:
    """Asked before a Redis that has forgotten our scripts, and so was restarted, is used again.

    Whoever asks while one look is under way shares it. `heard` is what buyers were answered: a
    server that has fewer entries lost them, even where nobody has settled or counted any. Others
    may have appended as many again before we look, so that only what is in them can tell: `won`
    are orders that were answered last, and a server that has one has all that went before it.
    """

    def __init__(self, pool: Pool, store: ReservationStore) -> None:
        """`store` must not be one that asks this gate."""
        self.heard: Mapping[tuple[str, int], int] = {}
        self.won: Mapping[tuple[str, int], tuple[int, str]] = {}
        self._pool = pool
        self._store = store
        self._looking: asyncio.Task[list[Fault]] | None = None

    async def __call__(self) -> None:
        """Return where every sale is in Redis as it was left; NotAsLeftError otherwise."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            found = await asyncio.shield(self._looking)
        except Exception as error:
            # Postgres is away, perhaps: without it nobody can tell what Redis should hold.
            raise NotAsLeftError(f"nobody can tell: {type(error).__name__}: {error}") from error
        if found:
            raise NotAsLeftError(f"sale {found[0].sale}: {found[0].reason}")

    async def _look(self) -> list[Fault]:
        # Written down, so that whoever recovers the sale knows what was lost.
        await queries.note_seen(self._pool, dict(self.heard))
        if found := await faults(self._pool, self._store):
            return found
        for (sale, lane), (epoch, order) in list(self.won.items()):
            if await self._forgot(sale, lane, epoch, order):
                # The lane may have gone on for long: nothing but a recovery puts it right.
                await queries.begin_after_loss(self._pool, sale, epoch, _FORGOT)
        return await faults(self._pool, self._store)

    async def _forgot(self, sale: str, lane: int, epoch: int, order: str) -> bool:
        try:
            there = (await self._store.snapshot(sale, lane)).epoch == epoch
        except LaneLostError:
            return False  # whoever looks at the lanes finds this by itself
        return there and (await self._store.find_holds(sale, lane, [order]))[0] is None
