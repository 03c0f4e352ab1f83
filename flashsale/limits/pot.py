"""The common pots in Redis: whoever asks during one call is in the next. Never refuses for a fault.

Group commit as in `reservation.gather`, but by subject: a thousand requests of one subject are one
line of a call, and get their answers from one grant.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain, islice
from typing import Any

import structlog

from flashsale.limits.gcra import take
from flashsale.limits.limiter import Limiter, Subject
from flashsale.limits.recent import Recent
from flashsale.reservation.errors import ScriptError, StoreBusyError, StoreError
from flashsale.reservation.keys import limit_key

#: Runs a script of `lua/limits` by name, with keys and arguments.
Run = Callable[[str, Sequence[str], Sequence[str | int]], Awaitable[list[Any]]]
#: Units granted, and microseconds until the next one.
Grant = tuple[int, int]

SUBJECTS_A_CALL_MAX = 256
WAITING_MAX = 20_000
#: After a call that failed, Redis is left alone for so long.
REST_SECONDS = 1.0

_LOG = structlog.get_logger(__name__)


class Pot:
    """Asks Redis for all limiters of a process; a pot of its own stands in while that is away."""

    def __init__(
        self, run: Run, *, subjects_max: int = 10_000, waiting_max: int = WAITING_MAX
    ) -> None:
        self._run = run
        self._waiting: dict[tuple[Limiter, Subject], list[asyncio.Future[float]]] = {}
        self._count = 0
        self._waiting_max = waiting_max
        self._worker: asyncio.Task[None] | None = None
        self._own: Recent[tuple[str, Subject], int] = Recent(subjects_max)
        self._rest_until = 0.0
        #: Calls of Redis and subjects asked about so far.
        self.calls = 0
        self.subjects = 0

    async def ask(self, limiter: Limiter, subject: Subject) -> float:
        """Seconds to wait; 0.0 where the subject is admitted. StoreBusyError where too many ask."""
        if self._count >= self._waiting_max:
            raise StoreBusyError(f"{self._waiting_max} requests wait for their limits")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[float] = loop.create_future()
        self._waiting.setdefault((limiter, subject), []).append(answer)
        self._count += 1
        if self._worker is None:
            self._worker = loop.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        try:
            while self._waiting:
                asks = list(islice(self._waiting, SUBJECTS_A_CALL_MAX))
                answers = [self._waiting.pop(ask) for ask in asks]
                self._count -= sum(map(len, answers))
                await self._exchange(asks, answers)
        finally:
            self._worker = None

    async def _exchange(
        self, asks: list[tuple[Limiter, Subject]], answers: list[list[asyncio.Future[float]]]
    ) -> None:
        asked = [
            max(limiter.lease, min(len(waiting), limiter.pot.burst))
            for (limiter, _), waiting in zip(asks, answers, strict=True)
        ]
        try:
            grants = await self._grants(asks, asked)
        except asyncio.CancelledError:
            for answer in chain.from_iterable(answers):
                answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, each caller must hear of it
            for answer in chain.from_iterable(answers):
                if not answer.done():
                    answer.set_exception(error)
            return
        now = time.monotonic()
        for (limiter, subject), waiting, (granted, wait_us) in zip(
            asks, answers, grants, strict=True
        ):
            live = [answer for answer in waiting if not answer.done()]
            for number, answer in enumerate(live):
                answer.set_result(0.0 if number < granted else max(wait_us, 1) / 1e6)
            unused = max(0, granted - len(live))
            # A short lease is one to be used, not a reason to shut anybody out.
            wait = 0.0 if unused else wait_us / 1e6
            limiter.learn(subject, unused=unused, wait=wait, now=now)

    async def _grants(
        self, asks: Sequence[tuple[Limiter, Subject]], asked: Sequence[int]
    ) -> list[Grant]:
        if time.monotonic() < self._rest_until:
            return self._own_grants(asks, asked)
        keys = [limit_key(limiter.name, _plain(subject)) for limiter, subject in asks]
        terms = [(*limiter.pot, units) for (limiter, _), units in zip(asks, asked, strict=True)]
        self.calls += 1
        self.subjects += len(asks)
        try:
            reply = await self._run("take", keys, [number for each in terms for number in each])
            if reply[0] != "DONE":
                raise ScriptError(f"take.lua answers {reply[0]}")
        except StoreError as error:
            _LOG.warning("limits_alone", error=str(error))
            self._rest_until = time.monotonic() + REST_SECONDS
            return self._own_grants(asks, asked)
        return list(zip(reply[1::2], reply[2::2], strict=True))

    def _own_grants(
        self, asks: Sequence[tuple[Limiter, Subject]], asked: Sequence[int]
    ) -> list[Grant]:
        now_us = time.monotonic_ns() // 1000
        grants = []
        for (limiter, subject), units in zip(asks, asked, strict=True):
            name = limiter.name, subject
            taken = take(self._own.get(name) or 0, now_us, units, limiter.pot)
            self._own.put(name, taken.tat_us)
            grants.append((taken.granted, taken.wait_us))
        return grants

    async def stop(self) -> None:
        """End the work; whoever still waits is cancelled."""
        for answer in chain.from_iterable(self._waiting.values()):
            answer.cancel()
        self._waiting.clear()
        self._count = 0
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)


def _plain(subject: Subject) -> str:
    """A subject as part of a key; merchant ids have no colon, so two never meet."""
    return subject if isinstance(subject, str) else ":".join(subject)
