"""Payments begin in proportion while orders rush in, and at once otherwise."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace

import pytest

from flashsale.payments.pace import Bounds, Pace
from flashsale.reservation.errors import StoreBusyError

ONE_A_TICK = Bounds(
    rush_per_second=1000, orders_for_each=10_000, begins_min=1, tick_ms=1, waiting_max=5
)


class Orders:
    """Orders that come in a rush for `looks_max` looks, a second apart by their own clock."""

    def __init__(self, looks_max: float) -> None:
        self.looks, self._looks_max, self._count = 0, looks_max, 0
        self._seconds = itertools.count()

    def clock(self) -> float:
        """Seconds."""
        return float(next(self._seconds))

    def decided(self) -> int:
        """All orders so far."""
        self.looks += 1
        if self.looks <= self._looks_max:
            self._count += 10_000
        return self._count

    def pace(self) -> Pace:
        """A pace that looks at them."""
        pace = Pace(self.decided, bounds=ONE_A_TICK, clock=self.clock)
        self.looks = 0
        return pace


async def take_turns(pace: Pace, count: int) -> list[int]:
    """Have `count` payers ask one after the other; the order in which they were let in."""
    let_in: list[int] = []

    async def pay(number: int) -> None:
        await pace.turn()
        let_in.append(number)

    await asyncio.gather(*map(pay, range(count)))
    return let_in


async def test_in_a_rush_each_tick_lets_one_in_and_the_first_comes_first():
    orders = Orders(looks_max=float("inf"))
    assert await take_turns(orders.pace(), 5) == [0, 1, 2, 3, 4]
    assert orders.looks == 1 + 5  # one to see the rush, and a tick for each

    nothing_to_see = Orders(looks_max=0)  # the control: nobody is paced
    await take_turns(nothing_to_see.pace(), 5)
    assert nothing_to_see.looks == 5


async def test_the_more_orders_the_more_payments():
    orders = Orders(looks_max=float("inf"))
    two = replace(ONE_A_TICK, orders_for_each=5_000)
    pace = Pace(orders.decided, bounds=two, clock=orders.clock)
    orders.looks = 0
    await take_turns(pace, 5)
    assert orders.looks == 1 + 3  # two, two, and the last one


async def test_outside_a_rush_nobody_waits_at_all():
    turn = Orders(looks_max=0).pace().turn()
    with pytest.raises(StopIteration):
        turn.send(None)


async def test_when_the_rush_ends_everybody_goes():
    orders = Orders(looks_max=2)
    await take_turns(orders.pace(), 5)
    assert orders.looks == 3  # in a rush twice: one payer; then the four others together


async def test_what_waits_is_bounded():
    orders = Orders(looks_max=float("inf"))
    pace = orders.pace()
    waiting = [asyncio.create_task(pace.turn()) for _ in range(ONE_A_TICK.waiting_max)]
    await asyncio.sleep(0)
    with pytest.raises(StoreBusyError):
        await pace.turn()
    await asyncio.gather(*waiting)


async def test_who_has_gone_away_takes_nobodys_turn():
    orders = Orders(looks_max=float("inf"))
    pace = orders.pace()
    waiting = [asyncio.create_task(pace.turn()) for _ in range(4)]
    await asyncio.sleep(0)
    for gone in waiting[:3]:
        gone.cancel()
    await waiting[3]
    assert orders.looks == 2  # one to see the rush, one tick


async def test_a_count_that_begins_again_is_no_rush_backwards():
    """Metrics take the count once a second, and it starts from nothing."""
    counts, seconds = iter([50_000, 10]), itertools.count()
    pace = Pace(lambda: next(counts), bounds=ONE_A_TICK, clock=lambda: float(next(seconds)))
    turn = pace.turn()
    with pytest.raises(StopIteration):
        turn.send(None)
