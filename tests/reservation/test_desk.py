"""A desk refuses strangers itself, sends everyone else to Redis, and leaves nobody unanswered."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence

import pytest
from redis.asyncio import Redis

from flashsale.domain.events import EventKind
from flashsale.domain.orders import OrderState
from flashsale.domain.outcomes import Decision, Status
from flashsale.domain.sales import Terms
from flashsale.reservation.desk import LaneDesk
from flashsale.reservation.errors import LaneLostError, StoreUnavailableError
from flashsale.reservation.keys import lane_keys
from flashsale.reservation.replies import Request
from flashsale.reservation.store import ReservationStore
from tests.reservation.door import (
    FUTURE,
    LANE,
    PAST,
    SALE,
    STRANGER,
    TERMS,
    WINNER,
    Breakable,
    refused_here,
    sell_out,
    shut,
    until,
)


async def test_strangers_are_refused_here_and_the_winner_is_told_yes_again(
    store: ReservationStore, desk: LaneDesk
):
    await sell_out(store, desk)
    assert await refused_here(desk, STRANGER) == Decision(Status.SOLD_OUT)
    again = await desk.reserve(WINNER)
    assert (again.status, again.hold.state) == (Status.REPLAYED, OrderState.RESERVED)
    other_body = WINNER._replace(quantity=1)
    assert (await desk.reserve(other_body)).status is Status.KEY_REUSED
    assert (await desk.reserve(WINNER._replace(order="o"))).status is Status.LIMIT_REACHED
    await store.release(*LANE, WINNER.order, WINNER.buyer, EventKind.CANCELLED)
    assert (await desk.reserve(WINNER)).hold.state is OrderState.CANCELLED


async def test_a_quantity_above_what_is_left_is_refused_and_a_smaller_one_served(
    store: ReservationStore, desk: LaneDesk
):
    await store.open_sale(*LANE, TERMS, [3])
    await store.reserve(*LANE, [WINNER])
    await shut(desk, STRANGER._replace(quantity=2))
    pair = Request("order-p", "pair", 0, 2)
    assert (await refused_here(desk, pair)).status is Status.SOLD_OUT
    assert (await desk.reserve(STRANGER)).status is Status.RESERVED


async def released(store: ReservationStore) -> None:
    await store.release(*LANE, WINNER.order, WINNER.buyer, EventKind.CANCELLED)


async def expired(store: ReservationStore) -> None:
    async with asyncio.timeout(10):
        while not (await store.expire_due(*LANE, 10)).count:
            await asyncio.sleep(0.02)


async def supplied(store: ReservationStore) -> None:
    await store.add_supply(*LANE, "wave", 0, 1)


async def paused_and_resumed(store: ReservationStore) -> None:
    await store.add_supply(*LANE, "wave", 0, 1)
    await store.resume(*LANE, 1)


@pytest.mark.parametrize("reopen", [released, expired, supplied, paused_and_resumed])
async def test_what_comes_back_is_sold_to_the_next_who_asks(
    store: ReservationStore, desk: LaneDesk, reopen
):
    terms = Terms(PAST, FUTURE, 2, hold_ms=100 if reopen is expired else 3_600_000)
    await store.open_sale(*LANE, terms, [2])
    await store.reserve(*LANE, [WINNER])
    if reopen is paused_and_resumed:
        await store.pause(*LANE, 1)
    await shut(desk)
    await refused_here(desk, STRANGER)
    await reopen(store)
    assert (await desk.reserve(STRANGER)).status is Status.RESERVED


async def test_the_door_opens_to_the_millisecond(
    store: ReservationStore, desk: LaneDesk, client: Redis
):
    async def redis_ms() -> int:
        seconds, micros = await client.time()
        return int(seconds) * 1000 + int(micros) // 1000

    starts = await redis_ms() + 400
    await store.open_sale(*LANE, Terms(starts, FUTURE, 2, 1000), [2])
    await shut(desk)
    early = 0
    async with asyncio.timeout(10):
        while True:
            asked_at = await redis_ms()
            decision = await desk.reserve(STRANGER)
            if decision.status is Status.RESERVED:
                break
            assert decision == Decision(Status.NOT_OPEN, starts)
            assert asked_at < starts, "refused although the sale had begun"
            early += 1
    assert early > 1
    assert await redis_ms() >= starts


async def together(desk: LaneDesk, requests: Sequence[Request]) -> list[object]:
    answers = (desk.reserve(request) for request in requests)
    return await asyncio.gather(*answers, return_exceptions=True)


async def test_while_redis_is_gone_all_who_wait_hear_so_and_later_ones_are_served(
    store: ReservationStore, desk: LaneDesk, breakable: Breakable
):
    askers = [Request(f"order-{n}", f"buyer-{n}", 0, 1) for n in range(30)]
    await sell_out(store, desk)
    breakable.broken = frozenset({"tail", "reserve"})
    told = await together(desk, [*askers, WINNER])
    assert {type(answer) for answer in told} == {StoreUnavailableError}
    breakable.broken = frozenset()
    told = await together(desk, [*askers, WINNER])
    assert [answer.status for answer in told] == [Status.SOLD_OUT] * 30 + [Status.REPLAYED]


async def test_what_was_decided_is_answered_though_the_reading_after_it_fails(
    store: ReservationStore, desk: LaneDesk, breakable: Breakable
):
    await store.open_sale(*LANE, TERMS, [2])
    breakable.broken = frozenset({"tail"})
    told = await together(desk, [STRANGER._replace(quantity=2), WINNER])
    assert [answer.status for answer in told] == [Status.RESERVED, Status.SOLD_OUT]


async def test_a_lane_of_another_epoch_is_lost_to_those_refused_and_to_those_sent(
    store: ReservationStore, desk: LaneDesk, client: Redis
):
    await sell_out(store, desk)
    await client.delete(*lane_keys(SALE, 0))
    for expected in (Status.MISSING_LANE, Status.FOREIGN_EPOCH):
        for request in (STRANGER, WINNER):
            with pytest.raises(LaneLostError, match=expected):
                await desk.reserve(request)
        await store.open_sale(SALE, 0, 2, TERMS, [2])


@pytest.mark.parametrize("door", ["open", "shut"])
@pytest.mark.parametrize("broken", [set(), {"tail", "reserve"}])
async def test_who_leaves_before_the_answer_troubles_nobody(
    store: ReservationStore, desk: LaneDesk, breakable: Breakable, door: str, broken: set[str]
):
    await store.open_sale(*LANE, TERMS, [2])
    if door == "shut":
        await store.reserve(*LANE, [WINNER])
        await shut(desk)
    complaints: list[dict] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    try:
        breakable.broken = frozenset(broken)
        leaver = asyncio.create_task(desk.reserve(STRANGER))
        stayer = asyncio.create_task(desk.reserve(WINNER))
        await asyncio.sleep(0)
        leaver.cancel()
        told = (await asyncio.gather(stayer, return_exceptions=True))[0]
        assert isinstance(told, StoreUnavailableError if broken else Decision)
        await until(lambda: desk.reserving._pump is None and desk.refusing._pump is None)
        await asyncio.gather(leaver, return_exceptions=True)
        del leaver
        gc.collect()
    finally:
        loop.set_exception_handler(None)
    assert complaints == []
