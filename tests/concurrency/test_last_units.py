"""Many buyers, few units: exactly what exists is sold, and a naive sale beside it oversells."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from redis.asyncio import Redis

from flashsale.domain.events import EventKind
from flashsale.domain.outcomes import Decision, Status
from flashsale.domain.stock import Stock
from flashsale.reservation.gather import Gather
from flashsale.reservation.keys import lane_keys
from flashsale.reservation.replies import Request
from flashsale.reservation.store import ReservationStore
from flashsale.stream.codec import decode
from tests.concurrency.conftest import SALE, TERMS

BUYERS, UNITS = 400, 200


def desks(stores: list[ReservationStore]) -> list[Gather[Request, Decision]]:
    """What each process puts before its store."""

    def desk(store: ReservationStore) -> Gather[Request, Decision]:
        async def send(requests: Sequence[Request]) -> list[Decision]:
            return await store.reserve(SALE, 0, 1, requests)

        return Gather(send, batch_max=32, waiting_max=BUYERS)

    return [desk(store) for store in stores]


async def ask_all(stores: list[ReservationStore], requests: list[Request]) -> Counter[Status]:
    """Every request at once, dealt out to the processes in turn."""
    gathers = desks(stores)
    answers = [
        gathers[number % len(gathers)].submit(request) for number, request in enumerate(requests)
    ]
    decisions = await asyncio.gather(*answers)
    return Counter(decision.status for decision in decisions)


async def naively(
    people: int, check: Callable[[], Awaitable[bool]], act: Callable[[], Awaitable[object]]
) -> int:
    """Look first, then act: how many did. Between the two, everybody else has looked too."""
    everybody_has_looked = asyncio.Barrier(people)

    async def one() -> bool:
        allowed = await check()
        await everybody_has_looked.wait()
        if allowed:
            await act()
        return allowed

    return sum(await asyncio.gather(*(one() for _ in range(people))))


async def test_exactly_what_exists_is_sold(client: Redis, stores: list[ReservationStore]):
    await stores[0].open_sale(SALE, 0, 1, TERMS, [UNITS])
    requests = [Request(f"order-{n}", f"buyer-{n}", 0, 1) for n in range(BUYERS)]

    answers = await ask_all(stores, requests)
    assert answers == {Status.RESERVED: UNITS, Status.SOLD_OUT: BUYERS - UNITS}

    async def some_are_left() -> bool:
        return int(await client.get("units")) > 0

    await client.set("units", UNITS)
    sold = await naively(BUYERS, some_are_left, lambda: client.decr("units"))
    assert sold > UNITS, "the control must oversell, or nothing was raced"

    seen = await stores[0].snapshot(SALE, 0)
    assert seen.stock == (Stock(UNITS, 0, held=UNITS),)
    assert seen.live_holds == UNITS
    entries = [
        decode(entry_id, fields)
        for entry_id, fields in await client.xrange(lane_keys(SALE, 0).events)
    ]
    reserved = [event.order for entry in entries for event in entry.orders]
    assert len(reserved) == len(set(reserved)) == UNITS, "one event for each unit"
    assert [entry.seq for entry in entries] == list(range(1, seen.seq + 1))


async def test_quantities_never_split_or_overrun(stores: list[ReservationStore]):
    """Pairs and singles of an odd supply: the rest is sold to whom it fits, and no further."""
    await stores[0].open_sale(SALE, 0, 1, TERMS, [UNITS + 1])
    requests = [Request(f"order-{n}", f"buyer-{n}", 0, 1 + n % 2) for n in range(BUYERS)]
    answers = await ask_all(stores, requests)
    (stock,) = (await stores[0].snapshot(SALE, 0)).stock
    assert stock == Stock(UNITS + 1, 0, held=UNITS + 1)
    assert answers[Status.RESERVED] + answers[Status.SOLD_OUT] == BUYERS


async def test_one_buyer_cannot_pass_the_limit_through_many_doors(
    client: Redis, stores: list[ReservationStore]
):
    await stores[0].open_sale(SALE, 0, 1, TERMS, [UNITS])
    requests = [Request(f"order-{n}", "ann", 0, 1) for n in range(100)]
    answers = await ask_all(stores, requests)
    limit = TERMS.buyer_limit
    assert answers == {Status.RESERVED: limit, Status.LIMIT_REACHED: 100 - limit}

    async def may_buy() -> bool:
        return int(await client.get("count of ann") or 0) < limit

    bought = await naively(100, may_buy, lambda: client.incr("count of ann"))
    assert bought > limit, "the control must pass the limit, or nothing was raced"


async def test_one_key_sent_through_many_doors_is_one_order(
    client: Redis, stores: list[ReservationStore]
):
    await stores[0].open_sale(SALE, 0, 1, TERMS, [UNITS])
    answers = await ask_all(stores, [Request("order", "ann", 0, 1)] * 100)
    assert answers == {Status.RESERVED: 1, Status.REPLAYED: 99}
    (stock,) = (await stores[0].snapshot(SALE, 0)).stock
    assert stock.held == 1

    async def unknown() -> bool:
        return await client.get("order") is None

    made = await naively(100, unknown, lambda: client.set("order", "ann"))
    assert made > 1, "the control must order twice, or nothing was raced"


async def test_a_hold_that_ends_many_ways_at_once_ends_once(
    client: Redis, stores: list[ReservationStore]
):
    """Buyers give back through every process while the sale is cancelled under them."""
    await stores[0].open_sale(SALE, 0, 1, TERMS, [UNITS])
    held = [Request(f"order-{n}", f"buyer-{n}", 0, 1) for n in range(100)]
    await ask_all(stores, held)
    await stores[0].close_sale(SALE, 0, 1, cancelled=True)

    async def give_back(store: ReservationStore, request: Request) -> int:
        kind = EventKind.CANCELLED
        released = await store.release(SALE, 0, 1, request.order, request.buyer, kind)
        return int(released.status is Status.RELEASED)

    ends = [give_back(store, request) for store in stores for request in held]
    ends += [store.cancel_holds(SALE, 0, 1, 3) for store in stores for _ in range(10)]
    random.Random(2013).shuffle(ends)
    assert sum(await asyncio.gather(*ends)) == 100
    (stock,) = (await stores[0].snapshot(SALE, 0)).stock
    assert stock == Stock(UNITS, UNITS)

    async def is_held() -> bool:
        return await client.get("hold") == "held"

    await client.set("hold", "held")
    ended = await naively(100, is_held, lambda: client.set("hold", "ended"))
    assert ended > 1, "the control must give back twice, or nothing was raced"
