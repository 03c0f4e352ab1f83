"""Group commit: what arrives while one call is in flight becomes the next."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from flashsale.reservation.errors import StoreBusyError
from flashsale.reservation.gather import Gather


class Counterpart:
    """Answers batches of numbers with their doubles, one at a time, when told to."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.arrived = asyncio.Semaphore(0)
        self.go = asyncio.Semaphore(0)
        self.in_flight = 0
        self.error: Exception | None = None
        self.answers_missing = 0

    async def send(self, commands: Sequence[int]) -> list[int]:
        assert self.in_flight == 0, "one batch at a time"
        self.in_flight += 1
        self.batches.append(list(commands))
        self.arrived.release()
        try:
            await self.go.acquire()
            if self.error is not None:
                error, self.error = self.error, None
                raise error
            return [command * 2 for command in commands][self.answers_missing :]
        finally:
            self.in_flight -= 1

    async def answer(self, *, error: Exception | None = None) -> None:
        """Let the batch that is in flight be answered, once it is there."""
        await self.arrived.acquire()
        self.error = error
        self.go.release()


@pytest.fixture
def counterpart() -> Counterpart:
    return Counterpart()


def gather_of(counterpart: Counterpart, batch_max: int = 100, waiting_max: int = 1000):
    return Gather(counterpart.send, batch_max=batch_max, waiting_max=waiting_max)


async def test_the_next_batch_is_everything_that_came_meanwhile(counterpart: Counterpart):
    gather = gather_of(counterpart)
    first = gather.submit(1)
    await counterpart.arrived.acquire()
    others = [gather.submit(number) for number in range(2, 30)]
    counterpart.go.release()
    assert await first == 2
    await counterpart.answer()
    assert await asyncio.gather(*others) == [number * 2 for number in range(2, 30)]
    assert counterpart.batches == [[1], list(range(2, 30))]
    assert (gather.batches, gather.commands) == (2, 29)


async def test_a_quiet_gather_starts_again(counterpart: Counterpart):
    gather = gather_of(counterpart)
    for number in (1, 2, 3):
        counterpart.go.release()
        assert await gather.submit(number) == number * 2
    assert counterpart.batches == [[1], [2], [3]]


async def test_batches_are_bounded_and_in_order(counterpart: Counterpart):
    gather = gather_of(counterpart, batch_max=3)
    answers = [gather.submit(number) for number in range(8)]
    for _ in range(3):
        await counterpart.answer()
    assert await asyncio.gather(*answers) == [number * 2 for number in range(8)]
    assert counterpart.batches == [[0, 1, 2], [3, 4, 5], [6, 7]]


async def test_past_the_bound_a_caller_is_told_busy_and_nothing_is_sent(counterpart: Counterpart):
    gather = gather_of(counterpart, batch_max=2, waiting_max=3)
    first = gather.submit(1)
    await counterpart.arrived.acquire()
    waiting = [gather.submit(number) for number in (2, 3, 4)]
    with pytest.raises(StoreBusyError, match="3 commands are waiting"):
        gather.submit(5)
    for _ in range(3):
        counterpart.go.release()
    assert await asyncio.gather(first, *waiting) == [2, 4, 6, 8]
    assert counterpart.batches == [[1], [2, 3], [4]]
    counterpart.go.release()
    assert await gather.submit(6) == 12


async def test_an_error_reaches_every_caller_of_its_batch_and_no_other(counterpart: Counterpart):
    gather = gather_of(counterpart, batch_max=2)
    answers = [gather.submit(number) for number in range(4)]
    failure = ConnectionError("gone")
    await counterpart.answer(error=failure)
    await counterpart.answer()
    results = await asyncio.gather(*answers, return_exceptions=True)
    assert results == [failure, failure, 4, 6]


async def test_a_batch_without_an_answer_for_each_is_an_error_for_each(counterpart: Counterpart):
    gather = gather_of(counterpart)
    counterpart.answers_missing = 1
    answers = [gather.submit(number) for number in range(3)]
    await counterpart.answer()
    results = await asyncio.gather(*answers, return_exceptions=True)
    assert [type(result) for result in results] == [ValueError] * 3
    counterpart.answers_missing = 0
    counterpart.go.release()
    assert await gather.submit(7) == 14


async def test_who_gives_up_before_the_send_is_not_sent(counterpart: Counterpart):
    gather = gather_of(counterpart)
    first = gather.submit(1)
    await counterpart.arrived.acquire()
    leaver, stayer = gather.submit(2), gather.submit(3)
    leaver.cancel()
    counterpart.go.release()
    await counterpart.answer()
    assert [await first, await stayer] == [2, 6]
    assert counterpart.batches == [[1], [3]]


async def test_who_gives_up_after_the_send_harms_nobody(counterpart: Counterpart):
    gather = gather_of(counterpart)

    async def ask(number: int) -> int:
        return await gather.submit(number)

    leaver, stayer = asyncio.create_task(ask(1)), asyncio.create_task(ask(2))
    await counterpart.arrived.acquire()
    leaver.cancel()
    await asyncio.wait([leaver])
    counterpart.go.release()
    assert await stayer == 4
    assert leaver.cancelled()
    assert counterpart.batches == [[1, 2]]


async def test_a_batch_that_everybody_left_is_not_sent(counterpart: Counterpart):
    gather = gather_of(counterpart)
    first = gather.submit(1)
    await counterpart.arrived.acquire()
    for answer in [gather.submit(number) for number in (2, 3)]:
        answer.cancel()
    counterpart.go.release()
    assert await first == 2
    counterpart.go.release()
    assert await gather.submit(4) == 8
    assert counterpart.batches == [[1], [4]]


async def test_stopping_cancels_whoever_waits(counterpart: Counterpart):
    gather = gather_of(counterpart, batch_max=1)
    answers = [gather.submit(number) for number in (1, 2)]
    await counterpart.arrived.acquire()
    await gather.stop()
    assert [answer.cancelled() for answer in answers] == [True, True]
    assert counterpart.batches == [[1]]
    counterpart.go.release()
    assert await gather.submit(3) == 6
