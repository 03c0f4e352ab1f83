"""One lane as a web process sees it: decisions gathered into script calls, refusals made here."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from flashsale.domain.outcomes import Decision
from flashsale.reservation.errors import StoreBusyError, StoreError
from flashsale.reservation.follower import SHUT, Follower
from flashsale.reservation.gather import Gather
from flashsale.reservation.replies import Request
from flashsale.reservation.store import ReservationStore


class LaneDesk:
    """Answers the buyers of one lane.

    Bounds: `batch_max` requests a call, `waiting_max` waiting. Every answer raises
    StoreUnavailableError (effect unknown), StoreBusyError (nothing sent) or LaneLostError.
    """

    def __init__(
        self,
        store: ReservationStore,
        sale: str,
        lane: int,
        epoch: int,
        *,
        batch_max: int,
        waiting_max: int,
    ) -> None:
        self._store = store
        self._place = (sale, lane, epoch)
        self.follower = Follower(store, sale, lane, epoch)
        self.reserving: Gather[Request, Decision] = Gather(
            self._reserve, batch_max=batch_max, waiting_max=waiting_max
        )
        self.refusing: Gather[Request, Decision | None] = Gather(
            self.follower.judge, batch_max=waiting_max, waiting_max=waiting_max
        )

    async def reserve(self, request: Request) -> Decision:
        """Decide one request: here where that is exact, else in Redis."""
        return await self.submit(request)

    def submit(self, request: Request) -> asyncio.Future[Decision]:
        """`reserve`, for who cannot wait: StoreBusyError at once, the future raises the rest."""
        if not self.follower.shut(request):
            return self.reserving.submit(request)
        answer: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        judged = self.refusing.submit(request)
        judged.add_done_callback(partial(self._judged, request, answer))
        return answer

    def _judged(
        self,
        request: Request,
        answer: asyncio.Future[Decision],
        judged: asyncio.Future[Decision | None],
    ) -> None:
        if answer.done() or judged.cancelled() or judged.exception() or judged.result():
            _hand_on(answer, judged)
            return
        try:
            self.reserving.submit(request).add_done_callback(partial(_hand_on, answer))
        except StoreBusyError as busy:
            answer.set_exception(busy)

    async def _reserve(self, requests: Sequence[Request]) -> list[Decision]:
        decisions = await self._store.reserve(*self._place, requests)
        if any(decision.status in SHUT for decision in decisions):
            self.follower.enrol()
            # Until the next reading, `known` may still say that the door is open. Should it fail,
            # what was decided still stands: these buyers are owed their answers.
            with suppress(StoreError):
                await self.follower.catch_up()
        return decisions

    async def stop(self) -> None:
        """End the background work; what is waiting is cancelled."""
        await asyncio.gather(self.follower.stop(), self.reserving.stop(), self.refusing.stop())


def _hand_on(answer: asyncio.Future[Decision], found: asyncio.Future[Any]) -> None:
    # Looked at even where the buyer has gone: an error that nobody looks at is taken for a bug.
    error = None if found.cancelled() else found.exception()
    if answer.done():
        return
    if found.cancelled():
        answer.cancel()
    elif error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(found.result())
