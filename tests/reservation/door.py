"""One lane before which strangers and a winner stand, and a store that can be broken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from flashsale.domain.outcomes import Decision, Status
from flashsale.domain.sales import Terms
from flashsale.reservation.desk import LaneDesk
from flashsale.reservation.errors import StoreUnavailableError
from flashsale.reservation.follower import Follower
from flashsale.reservation.gather import Gather
from flashsale.reservation.replies import Request, Tail
from flashsale.reservation.store import ReservationStore

SALE = "sale2222aaaa"
LANE = (SALE, 0, 1)
PAST, FUTURE = 1_000, 9_000_000_000_000
TERMS = Terms(PAST, FUTURE, buyer_limit=2, hold_ms=3_600_000)
WINNER = Request("order-w", "winner", 0, 2)
STRANGER = Request("order-s", "stranger", 0, 1)


class Breakable(ReservationStore):
    """The real store, until `broken` names a call: that one fails as if Redis were gone."""

    broken: frozenset[str] = frozenset()

    async def tail(self, *place) -> Tail:
        return await self._unless_broken("tail", super().tail(*place))

    async def buyers(self, *place) -> set[str]:
        return await self._unless_broken("buyers", super().buyers(*place))

    async def reserve(self, *place) -> list[Decision]:
        return await self._unless_broken("reserve", super().reserve(*place))

    async def _unless_broken(self, name: str, call: Awaitable):
        answer = await call
        if name in self.broken:
            raise StoreUnavailableError("the answer was lost")
        return answer


def replace_follower(desk: LaneDesk, follower: Follower) -> None:
    desk.follower = follower
    desk.refusing = Gather(follower.judge, batch_max=64, waiting_max=64)


async def until(holds: Callable[[], bool]) -> None:
    """Only liveness is bounded, and generously."""
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.005)


async def sell_out(store: ReservationStore, desk: LaneDesk) -> None:
    """The winner takes both units elsewhere; afterwards this process refuses by itself."""
    assert await store.open_sale(*LANE, TERMS, [2]) is Status.OPENED
    assert (await store.reserve(*LANE, [WINNER]))[0].status is Status.RESERVED
    await shut(desk)


async def shut(desk: LaneDesk, stranger: Request = STRANGER) -> None:
    assert (await desk.reserve(stranger)).status is not Status.RESERVED
    await until(lambda: desk.follower.shut(stranger))


async def refused_here(desk: LaneDesk, request: Request) -> Decision:
    """The answer, which must not have come from Redis' scripts."""
    asked = desk.reserving.commands
    decision = await desk.reserve(request)
    assert desk.reserving.commands == asked
    return decision
