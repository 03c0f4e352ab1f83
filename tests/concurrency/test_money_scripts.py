"""Two who decide about one order at once: one of them does, and the units are counted once.

Beside each race a naive shop, which reads first and then writes: there both do.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from flashsale.domain.events import EventKind
from flashsale.domain.outcomes import Status
from flashsale.domain.sales import Terms
from flashsale.domain.stock import Stock
from flashsale.reservation.replies import Expired, Moved, Request
from flashsale.reservation.store import ReservationStore
from tests.concurrency.conftest import SALE, TERMS
from tests.concurrency.test_last_units import naively

LANE = (SALE, 0, 1)
ORDERS, UNITS = 60, 100
Act = Callable[[ReservationStore, str, str], Awaitable[Moved]]


def act(method: str, *rest: EventKind | int) -> Act:
    """A call of the store about one order."""

    async def call(store: ReservationStore, order: str, buyer: str) -> Moved:
        moved: Moved = await getattr(store, method)(*LANE, order, buyer, *rest)
        return moved

    return call


PAY = act("pay", 3_600_000)
CAPTURE = act("capture", EventKind.PAID)
CANCEL = act("release", EventKind.CANCELLED)
REFUND = act("return_units", EventKind.REFUNDED)
EFFECTS = {Status.CAPTURED, Status.RELEASED, Status.RETURNED, Status.DECLINED, Status.PAYING}


async def opened(stores: list[ReservationStore], *before: Act, terms: Terms = TERMS) -> list[str]:
    """Orders of one unit each, a buyer each, brought as far as `before` says."""
    await stores[0].open_sale(*LANE, terms, [UNITS])
    for one in (CAPTURE, CANCEL, REFUND):  # a script that is not known yet would always come second
        assert (await one(stores[0], "nobody's", "nobody")).status is Status.UNKNOWN_ORDER
    assert (await stores[0].expire_due(*LANE, 1)).count == 0
    orders = [f"order-{number}" for number in range(ORDERS)]
    await stores[0].reserve(*LANE, [Request(order, f"of {order}", 0, 1) for order in orders])
    for step in before:
        for order in orders:
            assert (await step(stores[0], order, f"of {order}")).status in EFFECTS
    return orders


async def race(
    stores: list[ReservationStore], orders: list[str], *acts: Act
) -> dict[str, Counter[Status]]:
    """Every act on every order through every process, all at once; what each order was told."""
    calls = [(order, one, store) for order in orders for one in acts for store in stores]
    random.Random(2014).shuffle(calls)
    answers = await asyncio.gather(
        *(one(store, order, f"of {order}") for order, one, store in calls)
    )
    told: dict[str, Counter[Status]] = {order: Counter() for order in orders}
    for (order, _, _), moved in zip(calls, answers, strict=True):
        told[order][moved.status] += 1
    return told


async def counted(store: ReservationStore) -> Stock:
    """The SKU's counters, which balance."""
    (stock,) = (await store.snapshot(SALE, 0)).stock
    assert stock.balances()
    return stock


async def both_do(client: Redis, ways: int) -> int:
    """The control: one order that `ways` tasks read as open and then close, each its own way."""
    await client.set("naive order", "open")

    async def is_open() -> bool:
        return await client.get("naive order") == "open"

    return await naively(ways, is_open, lambda: client.set("naive order", "closed"))


async def test_two_captures_at_once_sell_once(client: Redis, stores: list[ReservationStore]):
    orders = await opened(stores, PAY)
    told = await race(stores, orders, CAPTURE)
    for statuses in told.values():
        assert statuses == {Status.CAPTURED: 1, Status.ALREADY: len(stores) - 1}
    assert await counted(stores[0]) == Stock(UNITS, UNITS - ORDERS, sold=ORDERS)
    assert await both_do(client, 2) == 2, "the control must sell twice, or nothing was raced"


async def test_a_capture_and_a_cancel_at_once_are_one_of_them(
    client: Redis, stores: list[ReservationStore]
):
    orders = await opened(stores, PAY)
    told = await race(stores, orders, CAPTURE, CANCEL)
    sold = [order for order in orders if told[order][Status.CAPTURED]]
    for order, statuses in told.items():
        assert statuses[Status.CAPTURED] + statuses[Status.RELEASED] == 1, order
        assert statuses[Status.ALREADY] == len(stores) - 1
        assert statuses[Status.ILLEGAL] == len(stores)
    assert 0 < len(sold) < ORDERS, "both must have won somewhere, or nothing was raced"
    assert await counted(stores[0]) == Stock(UNITS, UNITS - len(sold), sold=len(sold))
    assert await both_do(client, 2) == 2, "the control must do both, or nothing was raced"


@pytest.mark.parametrize(
    ("before", "end", "status"),
    [((PAY,), CANCEL, Status.RELEASED), ((CAPTURE,), REFUND, Status.RETURNED)],
    ids=["cancel", "refund"],
)
async def test_giving_back_twice_at_once_gives_back_once(
    client: Redis, stores: list[ReservationStore], before: tuple[Act, ...], end: Act, status: Status
):
    orders = await opened(stores, *before)
    told = await race(stores, orders, end)
    for statuses in told.values():
        assert statuses == {status: 1, Status.ALREADY: len(stores) - 1}
    assert await counted(stores[0]) == Stock(UNITS, UNITS)

    async def is_sold() -> bool:
        return await client.get("sold") != "0"

    await client.set("sold", 1)
    await naively(2, is_sold, lambda: client.decr("sold"))
    assert int(await client.get("sold")) < 0, "the control must give back what is not there"


async def test_a_payment_and_the_clock_at_once_agree_on_the_units(
    client: Redis, stores: list[ReservationStore]
):
    """Holds run out while their money comes in: each unit is sold or on sale, and never both."""
    orders = await opened(stores, terms=replace(TERMS, hold_ms=1))
    deadline = (await stores[0].snapshot(SALE, 0)).now_ms
    while (await stores[0].snapshot(SALE, 0)).now_ms <= deadline:
        pass
    calls: list[Awaitable[Moved | Expired]] = [
        CAPTURE(store, order, f"of {order}") for store in stores for order in orders
    ]
    calls += [store.expire_due(*LANE, 1) for store in stores for _ in range(8)]
    random.Random(2015).shuffle(calls)
    replies = await asyncio.gather(*calls)
    answers = [reply for reply in replies if isinstance(reply, Moved)]
    expired = sum(reply.count for reply in replies if isinstance(reply, Expired))
    assert 0 < expired < ORDERS, "both must have come first somewhere, or nothing was raced"
    statuses = Counter(moved.status for moved in answers)
    # Nobody else wants the units, so that late money finds them: everything is sold once.
    assert statuses == {
        Status.CAPTURED: ORDERS,
        Status.ALREADY: ORDERS * (len(stores) - 1),
    }
    assert await counted(stores[0]) == Stock(UNITS, UNITS - ORDERS, sold=ORDERS)
    holds = await stores[0].find_holds(SALE, 0, orders)
    versions = Counter(hold.version for hold in holds if hold is not None)
    assert versions == {2: ORDERS - expired, 3: expired}
    assert await both_do(client, 2) == 2, "the control must sell what has run out"


async def test_late_money_and_new_buyers_at_once_never_sell_a_unit_twice(
    client: Redis, stores: list[ReservationStore]
):
    """Every unit was held, ran out, and is wanted by its old buyer's money and by somebody new."""
    short = replace(TERMS, hold_ms=1)
    await stores[0].open_sale(*LANE, short, [ORDERS])
    orders = [f"order-{number}" for number in range(ORDERS)]
    await stores[0].reserve(*LANE, [Request(order, f"of {order}", 0, 1) for order in orders])
    left = ORDERS
    while left:
        left -= (await stores[0].expire_due(*LANE, ORDERS)).count
    await stores[0].open_sale(*LANE, TERMS, [ORDERS])

    async def reserve(store: ReservationStore, number: int) -> Status:
        request = Request(f"new-{number}", f"new buyer {number}", 0, 1)
        return (await store.reserve(*LANE, [request]))[0].status

    wishes = [
        wish
        for number, order in enumerate(orders)
        for wish in (
            CAPTURE(stores[number % 4], order, f"of {order}"),
            reserve(stores[(number + 1) % 4], number),
        )
    ]
    answers = await asyncio.gather(*wishes)
    late = Counter(answer.status for answer in answers if isinstance(answer, Moved))
    new = Counter(answer for answer in answers if not isinstance(answer, Moved))
    assert late.keys() <= {Status.CAPTURED, Status.SOLD_OUT}
    assert late[Status.CAPTURED] + new[Status.RESERVED] == ORDERS
    assert late[Status.CAPTURED] * new[Status.RESERVED], "both must have had some"
    assert await counted(stores[0]) == Stock(
        ORDERS, 0, held=new[Status.RESERVED], sold=late[Status.CAPTURED]
    )

    async def one_is_left() -> bool:
        return int(await client.get("left")) > 0

    await client.set("left", 1)
    await naively(2, one_is_left, lambda: client.decr("left"))
    assert int(await client.get("left")) < 0, "the control must sell one unit twice"
