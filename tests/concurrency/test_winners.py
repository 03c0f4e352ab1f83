"""Winners whose answers were lost ask again elsewhere, in a storm: never told that they lost."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import pytest

from flashsale.domain.events import EventKind
from flashsale.domain.outcomes import Decision, Status
from flashsale.domain.stock import Stock
from flashsale.reservation.desk import LaneDesk
from flashsale.reservation.follower import Follower, _refusal
from flashsale.reservation.gather import Gather
from flashsale.reservation.replies import Request
from flashsale.reservation.store import ReservationStore
from tests.concurrency.conftest import SALE, TERMS

UNITS, BUYERS, ROUNDS = 20, 80, 20
LANE = (SALE, 0, 1)


class BareFlag(Follower):
    """The control: refuses everyone from what it last saw of the stock."""

    def shut(self, request: Request) -> bool:
        return self.known is not None and _refusal(self.known, request) is not None

    async def judge(self, requests: Sequence[Request]) -> list[Decision | None]:
        return [_refusal(self.known, request) for request in requests]


def open_desks(stores: list[ReservationStore], follower: type[Follower]) -> list[LaneDesk]:
    """What each process has of the lane."""
    desks = [LaneDesk(store, *LANE, batch_max=16, waiting_max=BUYERS * 2) for store in stores]
    for desk, store in zip(desks, stores, strict=True):
        desk.follower = follower(store, *LANE)
        desk.refusing = Gather(desk.follower.judge, batch_max=BUYERS, waiting_max=BUYERS * 2)
    return desks


async def watch(desks: list[LaneDesk]) -> None:
    """What the board does for a sale that is being read."""
    while True:
        await asyncio.gather(*(desk.follower.catch_up() for desk in desks))
        await asyncio.sleep(0.005)


async def storm(
    desks: list[LaneDesk], buy: Callable[[random.Random, int], Awaitable[None]]
) -> None:
    watching = asyncio.create_task(watch(desks))
    try:
        async with asyncio.timeout(60):
            await asyncio.gather(*(buy(random.Random(number), number) for number in range(BUYERS)))
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        for desk in desks:
            await desk.stop()


@pytest.mark.parametrize("follower", [Follower, BareFlag])
async def test_a_winner_is_told_yes_again_whatever_goes_on(
    stores: list[ReservationStore], follower: type[Follower]
):
    """Units change hands all the time, at the edge of being sold out, through four processes."""
    await stores[0].open_sale(*LANE, TERMS, [UNITS])
    desks = open_desks(stores, follower)
    told: Counter[Status] = Counter()
    refused: Counter[Status] = Counter()

    async def buy(chance: random.Random, number: int) -> None:
        for attempt in range(ROUNDS):
            request = Request(f"order-{number}-{attempt}", f"buyer-{number}-{attempt}", 0, 1)
            first = await chance.choice(desks).reserve(request)
            if first.status is not Status.RESERVED:
                refused[first.status] += 1
                await asyncio.sleep(chance.random() / 50)
                continue
            # The answer was lost: the same request, through whatever process takes it.
            for _ in range(3):
                told[(await chance.choice(desks).reserve(request)).status] += 1
                await asyncio.sleep(chance.random() / 100)
            kind = EventKind.CANCELLED
            await chance.choice(stores).release(*LANE, request.order, request.buyer, kind)

    await storm(desks, buy)
    assert refused[Status.SOLD_OUT] > BUYERS, "nearly nobody was refused: nothing was raced"
    assert sum(desk.refusing.commands for desk in desks) > BUYERS, "Redis refused nearly everybody"
    if follower is BareFlag:
        assert told[Status.SOLD_OUT] > 0, "the control must wrong a winner"
    else:
        assert set(told) == {Status.REPLAYED}
        assert told[Status.REPLAYED] > UNITS * 3
    (stock,) = (await stores[0].snapshot(SALE, 0)).stock
    assert stock == Stock(UNITS, UNITS)


async def test_processes_refuse_most_by_themselves_and_sell_what_comes_back(
    stores: list[ReservationStore],
):
    """Half of the buyers give back; each unit finds a new owner, though all doors were shut."""
    await stores[0].open_sale(*LANE, TERMS, [UNITS])
    desks = open_desks(stores, Follower)
    holders: asyncio.Queue[Request] = asyncio.Queue()
    asked = 0

    async def buy(chance: random.Random, number: int) -> None:
        nonlocal asked
        request = Request(f"order-{number}", f"buyer-{number}", 0, 1)
        while True:
            asked += 1
            decision = await chance.choice(desks).reserve(request)
            if decision.status is Status.RESERVED:
                break
            assert decision == Decision(Status.SOLD_OUT)
            await asyncio.sleep(chance.random() / 100)
        holders.put_nowait(request)
        if number % 2 or holders.qsize() >= UNITS:
            given = await holders.get()
            await chance.choice(stores).release(
                *LANE, given.order, given.buyer, EventKind.CANCELLED
            )

    await storm(desks, buy)
    (stock,) = (await stores[0].snapshot(SALE, 0)).stock
    assert stock.held == holders.qsize()
    assert stock.balances()
    sent = sum(desk.reserving.commands for desk in desks)
    assert sent < asked, "no buyer was refused here"
