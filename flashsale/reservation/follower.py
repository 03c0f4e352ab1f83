"""What this process knows of a lane, exactly; it refuses only those who cannot hold anything.

A bare "sold out" flag would tell a winner whose first answer was lost that they lost. A follower
therefore keeps everyone who ever held a unit of the lane (as 64-bit hashes) and the position in
the lane's stream up to which that is complete. Before it refuses anyone it reads to the stream's
end, once for all who are waiting: a refusal is as true as if Redis had been asked for each, and
costs one constant-time read for each batch of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from flashsale.domain.events import EventKind
from flashsale.domain.outcomes import Decision, Status
from flashsale.reservation.errors import StoreError
from flashsale.reservation.replies import Request, Tail
from flashsale.reservation.store import ReservationStore

ENTRIES_MAX = 1000
#: Refused answers by which Redis says that more askers would hear the same.
SHUT = frozenset({Status.SOLD_OUT, Status.SALE_OVER, Status.NOT_OPEN, Status.PAUSED})


class Position(NamedTuple):
    """The last stream entry taken in."""

    entry_id: str
    seq: int


class Follower:
    """Knows who holds something in one lane, and answers those who do not.

    `known` is the newest reading of the lane, None before the first one.
    """

    def __init__(self, store: ReservationStore, sale: str, lane: int, epoch: int) -> None:
        self._store = store
        self._place = (sale, lane, epoch)
        self._holders: set[int] = set()
        self._position: Position | None = None
        self._enrolling: asyncio.Task[None] | None = None
        self.known: Tail | None = None

    def shut(self, request: Request) -> bool:
        """Whether the last reading suggests that a stranger would be refused; only a hint."""
        known = self.known
        return (
            self._position is not None
            and known is not None
            and hash(request.buyer) not in self._holders
            and _refusal(known, request) is not None
        )

    async def judge(self, requests: Sequence[Request]) -> list[Decision | None]:
        """For each request a refusal that is true now, or None: Redis has to decide.

        Raises StoreUnavailableError and LaneLostError.
        """
        tail = await self.catch_up()
        if self._position is None:
            return [None] * len(requests)
        return [
            None if hash(request.buyer) in self._holders else _refusal(tail, request)
            for request in requests
        ]

    async def catch_up(self) -> Tail:
        """Read to the end of the stream; afterwards `known` and the holders are complete."""
        while True:
            position = self._position
            after = position.entry_id if position else "-"
            tail = await self._store.tail(*self._place, after, ENTRIES_MAX)
            # Another reader of this process may have moved on while this one waited.
            if self._position is position and position is not None:
                self._position = self._take_in(position, tail)
            if self.known is None or tail.seq >= self.known.seq:
                self.known = tail
            if self._position is None or self._position.seq >= tail.seq:
                return tail

    def _take_in(self, position: Position, tail: Tail) -> Position | None:
        for entry in tail.entries:
            if entry.seq != position.seq + 1:
                return None  # trimmed before it was read: enrol again
            for line in entry.events.split("\n"):
                if line.startswith(EventKind.RESERVED + "\t"):
                    self._holders.add(hash(line.split("\t", 6)[6]))
            position = Position(entry.entry_id, entry.seq)
        # Entries that were trimmed without a successor leave a gap that only the count shows.
        return position if tail.entries or position.seq == tail.seq else None

    def enrol(self) -> None:
        """Learn who holds something, in the background; until then every buyer is sent to Redis."""
        if self._position is None and self._enrolling is None:
            self._enrolling = asyncio.get_running_loop().create_task(self._enrol())

    async def _enrol(self) -> None:
        try:
            sale, lane, _ = self._place
            # Where Redis does not answer, the next refusal that it makes itself starts this anew.
            with suppress(StoreError):
                # The position first: who comes in during the scan is in the entries behind it.
                snapshot = await self._store.snapshot(sale, lane)
                holders = {hash(buyer) for buyer in await self._store.buyers(sale, lane)}
                self._holders = holders
                self._position = Position(snapshot.last_entry_id, snapshot.seq)
        finally:
            self._enrolling = None

    async def stop(self) -> None:
        """End the background work."""
        if self._enrolling is not None:
            self._enrolling.cancel()
            await asyncio.gather(self._enrolling, return_exceptions=True)


def _refusal(tail: Tail, request: Request) -> Decision | None:  # noqa: PLR0911 - a list of rules
    """The refusal a buyer without any record gets, in the published order of checks."""
    if tail.state in {"closed", "cancelled"} or tail.now_ms >= tail.ends_at_ms:
        return Decision(Status.SALE_OVER)
    if tail.now_ms < tail.starts_at_ms:
        return Decision(Status.NOT_OPEN, tail.starts_at_ms)
    if tail.state == "paused":
        return Decision(Status.PAUSED)
    if not 0 <= request.item < len(tail.available):
        return Decision(Status.UNKNOWN_SKU)
    if request.quantity > tail.buyer_limit:
        return Decision(Status.LIMIT_REACHED)
    if tail.available[request.item] < request.quantity:
        return Decision(Status.SOLD_OUT)
    return None
