"""Group commit: whatever arrives while one call is in flight becomes the next call.

There is no timer: an idle lane answers at once, a busy one fills its batches by itself. What waits
is bounded; past the bound a caller is told `busy` before memory grows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from flashsale.reservation.errors import StoreBusyError

Command = TypeVar("Command")
Answer = TypeVar("Answer")


class Gather(Generic[Command, Answer]):
    """Turns single commands into batches for `send`, one batch in flight at a time.

    `send` gets at most `batch_max` commands and answers each, in order; if it raises, every caller
    of that batch gets that error and the next batch goes on. A caller that is cancelled before its
    batch leaves is dropped from it; afterwards only its own answer is.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Command]], Awaitable[Sequence[Answer]]],
        *,
        batch_max: int,
        waiting_max: int,
    ) -> None:
        assert 0 < batch_max <= waiting_max
        self._send = send
        self._batch_max = batch_max
        self._waiting_max = waiting_max
        self._waiting: deque[tuple[Command, asyncio.Future[Answer]]] = deque()
        self._pump: asyncio.Task[None] | None = None
        #: Batches and commands sent so far, for metrics.
        self.batches = 0
        self.commands = 0

    def submit(self, command: Command) -> asyncio.Future[Answer]:
        """The answer to come. Raises StoreBusyError where too much is waiting already."""
        if len(self._waiting) >= self._waiting_max:
            raise StoreBusyError(f"{self._waiting_max} commands are waiting")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((command, answer))
        if self._pump is None:
            self._pump = loop.create_task(self._run())
        return answer

    def _next_batch(self) -> list[tuple[Command, asyncio.Future[Answer]]]:
        batch: list[tuple[Command, asyncio.Future[Answer]]] = []
        while self._waiting and len(batch) < self._batch_max:
            command, answer = self._waiting.popleft()
            if not answer.done():
                batch.append((command, answer))
        return batch

    async def _run(self) -> None:
        try:
            while batch := self._next_batch():
                await self._exchange(batch)
        finally:
            self._pump = None

    async def _exchange(self, batch: list[tuple[Command, asyncio.Future[Answer]]]) -> None:
        self.batches += 1
        self.commands += len(batch)
        try:
            answers = await self._send([command for command, _ in batch])
            answered = list(zip(batch, answers, strict=True))
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, each caller must hear of it
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in answered:
            if not future.done():
                future.set_result(answer)

    async def stop(self) -> None:
        """End the work; whoever is still waiting is cancelled."""
        for _, answer in self._waiting:
            answer.cancel()
        self._waiting.clear()
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
