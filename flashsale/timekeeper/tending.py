"""One sale's lanes by the clock: overdue holds, cancelled holds, retirement. Never the window.

What is here may be done by several processes at once and in any order; each call is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flashsale.domain.outcomes import Status
from flashsale.domain.sales import LANE_STATES, RUNNING_STATES, SaleState
from flashsale.reservation.errors import LaneLostError
from flashsale.reservation.store import ReservationStore
from flashsale.timekeeper.queries import TendedSale

#: New holds may appear in a running sale at any time, in a finished one only through recovery.
_LOOK_AGAIN_MS = 1_000
_LOOK_AGAIN_FINISHED_MS = 5_000
_AT_ONCE = 0


@dataclass(slots=True)
class Tended:
    """What one visit to a sale did; `more`: there is more to do at once.

    `retired`: none of its lanes is left; `missing`: some were gone before this visit.
    """

    expired: int = 0
    cancelled: int = 0
    retired: bool = False
    missing: bool = False
    more: bool = False


@dataclass(slots=True)
class Tending:
    """Visits lanes when something in them can be due, and no earlier."""

    store: ReservationStore
    batch_max: int
    _due_ms: dict[tuple[str, int], int] = field(default_factory=dict)

    def forget_all_but(self, sale_ids: set[str]) -> None:
        """Drop what is remembered of sales that are no longer tended."""
        self._due_ms = {key: due for key, due in self._due_ms.items() if key[0] in sale_ids}

    async def visit(self, sale: TendedSale, now_ms: int) -> Tended:
        """Do what is due in each lane, at most one batch of holds a lane."""
        did = Tended()
        lanes = [lane for lane in range(sale.lanes) if self._is_due(sale.id, lane, now_ms)]
        if lanes and sale.outlived:
            left = await self._retire(sale, did)
            lanes = [lane for lane in lanes if lane in left]
        for lane in lanes:
            await self._visit_lane(sale, lane, now_ms, did)
        return did

    def _is_due(self, sale_id: str, lane: int, now_ms: int) -> bool:
        due_ms = self._due_ms.get((sale_id, lane), 0)
        # Further ahead than we ever set it: Redis' clock was put back.
        return due_ms <= now_ms or due_ms > now_ms + _LOOK_AGAIN_FINISHED_MS

    async def _visit_lane(self, sale: TendedSale, lane: int, now_ms: int, did: Tended) -> None:
        place = (sale.id, lane, sale.epoch)
        running = sale.state in RUNNING_STATES
        due = now_ms + (_LOOK_AGAIN_MS if running else _LOOK_AGAIN_FINISHED_MS)
        if sale.state is SaleState.CANCELLED:
            ended = await self.store.cancel_holds(*place, self.batch_max)
            did.cancelled += ended
        else:
            expired = await self.store.expire_due(*place, self.batch_max)
            ended = expired.count
            did.expired += ended
            due = min(due, expired.next_deadline_ms or due)
        more = ended == self.batch_max
        did.more |= more
        # What is left over is due whatever a clock says that is read anew between two visits.
        self._due_ms[sale.id, lane] = _AT_ONCE if more else due

    async def _retire(self, sale: TendedSale, did: Tended) -> set[int]:
        """Remove the lanes once nothing hangs on any of them; those that stay are returned.

        All or none, because an audit asks for every lane until the sale is retired. Some may have
        gone in an earlier visit that a crash kept from its end.
        """
        left, ready = set(), True
        for lane in range(sale.lanes):
            try:
                snapshot = await self.store.snapshot(sale.id, lane)
            except LaneLostError:
                did.missing = True
            else:
                left.add(lane)
                over = snapshot.state == LANE_STATES[sale.state]  # else it is still to be told
                ready &= over and not (snapshot.live_holds or snapshot.stream_length)
        for lane in sorted(left) if ready else ():
            status = await self.store.retire(sale.id, lane, sale.epoch)
            if status is Status.FOREIGN_EPOCH:
                raise LaneLostError(status.value)
            if status in {Status.DONE, Status.MISSING_LANE}:
                left.discard(lane)
        did.retired = not left
        return left
