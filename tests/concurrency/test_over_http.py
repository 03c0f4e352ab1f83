"""Crowds over real HTTP, through several processes: nothing is oversold, nobody is forgotten."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack

import aiohttp
import pytest

from flashsale.domain.stock import Stock
from flashsale.reservation.keys import lane_keys
from flashsale.reservation.replies import parse_hold
from tests.concurrency.doors import another_process, naive_shop
from tests.sales.shop import item
from tests.web.house import House, Reply, open_house

BUYERS, UNITS = 400, 200


@pytest.fixture(scope="module")
async def doors(schema, new_database, redis_url) -> AsyncIterator[list[House]]:
    """Two processes, one of which never takes the quick way; a connection for each buyer."""
    async with AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(new_database(template=schema))
        house = await stack.enter_async_context(open_house(dsn, redis_url))
        house.session.connector._limit = 0
        processes = [another_process(house, quick=quick) for quick in (True, False)]
        yield [await stack.enter_async_context(process) for process in processes]


async def stock(house: House, sale: str) -> Stock:
    return (await house.shop.store.snapshot(sale, 0)).stock[0]


async def orders_in_postgres(house: House, sale: str) -> Counter[str]:
    await house.settle()
    rows = await house.shop.pool.fetch("SELECT state FROM orders WHERE sale_id = $1", sale)
    return Counter(row["state"] for row in rows)


def outcomes(answers: list[Reply]) -> Counter[str]:
    return Counter("reserved" if each.status == 201 else each.code for each in answers)


async def test_400_buyers_for_200_units(doors: list[House]):
    sale = await doors[0].sale(items=[item(supply=UNITS)])
    answers = await asyncio.gather(*(doors[n % 2].order(sale) for n in range(BUYERS)))
    assert outcomes(answers) == {"reserved": UNITS, "sold_out": BUYERS - UNITS}
    assert {each.json["state"] for each in answers if each.status == 201} == {"reserved"}
    assert len({each.json["id"] for each in answers if each.status == 201}) == UNITS
    assert await stock(doors[0], sale) == Stock(UNITS, 0, held=UNITS)
    assert await orders_in_postgres(doors[0], sale) == {"confirmed": UNITS}

    async with naive_shop(UNITS, BUYERS) as url:

        async def buy() -> int:
            async with doors[0].session.post(url) as response:
                return response.status

        sold = Counter(await asyncio.gather(*(buy() for _ in range(BUYERS))))
    assert sold[201] > UNITS, "the control must oversell, or nothing was raced"


async def lose_the_answer(house: House, sale: str, buyer: str, *, sent: bool) -> None:
    """Send an order whole and go away, at once or when the answer has been `sent`; read nothing."""
    host, port = house.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = b'{"sku":"mi3-16","quantity":1}'
    head = (
        f"POST /v1/sales/{sale}/orders HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\n"
        f"Authorization: Bearer {house.token(buyer)}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    if sent:
        await reader.read(1)
    writer.close()
    await writer.wait_closed()


async def holders(house: House, sale: str) -> set[str]:
    """Who has a unit, by Redis' records."""
    records = await house.shop.redis.hvals(lane_keys(sale, 0).holds)
    return {parse_hold(record).buyer for record in records}


async def test_whose_connection_broke_reads_the_outcome_elsewhere(doors: list[House]):
    """Some answers are lost; everybody retries at the other door, long after the units are gone."""
    sale = await doors[0].sale(items=[item(supply=50)])
    buyers = [doors[0].buyer() for _ in range(200)]
    first = [lose_the_answer(doors[n % 2], sale, buyers[n], sent=True) for n in range(25)]
    await asyncio.gather(*first)
    unaware = await holders(doors[0], sale)
    assert unaware == set(buyers[:25])

    def ask(number: int) -> Awaitable[Reply | None]:
        if number % 4:
            return doors[number % 2].order(sale, buyers[number], key="k")
        return lose_the_answer(doors[number // 4 % 2], sale, buyers[number], sent=False)

    told = await asyncio.gather(*(ask(number) for number in range(25, 200)))
    answers = [reply for reply in told if reply is not None]
    assert set(outcomes(answers)) <= {"reserved", "sold_out"}
    async with asyncio.timeout(10):
        while (await stock(doors[0], sale)).available:
            await asyncio.sleep(0.01)
    winners = await holders(doors[0], sale)
    assert len(winners) == 50
    assert outcomes(answers)["reserved"] <= len(winners - unaware)

    retries = [doors[(n + 1) % 2].order(sale, buyer, key="k") for n, buyer in enumerate(buyers)]
    answers = await asyncio.gather(*retries)
    for buyer, reply in zip(buyers, answers, strict=True):
        if buyer in winners:
            assert (reply.status, reply.json["state"]) == (201, "reserved")
            assert reply.headers["Idempotency-Replayed"] == "true"
        else:
            assert (reply.status, reply.code) == (409, "sold_out")
    assert await orders_in_postgres(doors[0], sale) == {"confirmed": 50}


async def test_twins_hear_the_same_and_take_effect_once(doors: list[House]):
    """Each buyer sends the same request eight times at once, through both doors; few can win."""
    sale = await doors[0].sale(items=[item(supply=20)])
    buyers = [doors[0].buyer() for _ in range(40)]
    requests = [
        (buyer, doors[twin % 2].order(sale, buyer, key="k"))
        for buyer in buyers
        for twin in range(8)
    ]
    random.Random(2013).shuffle(requests)
    answers = await asyncio.gather(*(request for _, request in requests))
    heard: dict[str, set[str]] = {}
    for (buyer, _), reply in zip(requests, answers, strict=True):
        outcome = reply.json["id"] if reply.status == 201 else reply.code
        heard.setdefault(buyer, set()).add(outcome)
    assert {len(each) for each in heard.values()} == {1}, "twins heard different things"
    assert sum(each != {"sold_out"} for each in heard.values()) == 20
    fresh = [each for each in answers if "Idempotency-Replayed" not in each.headers]
    assert outcomes(fresh)["reserved"] == 20, "one of the twins was the first"
    assert await stock(doors[0], sale) == Stock(20, 0, held=20)


async def test_one_key_with_two_bodies_at_once_is_one_order(doors: list[House]):
    sale = await doors[0].sale(items=[item(supply=UNITS)])
    for _ in range(20):
        buyer = doors[0].buyer()
        answers = await asyncio.gather(
            *(doors[n % 2].order(sale, buyer, key="k", quantity=1 + n // 2 % 2) for n in range(8))
        )
        assert outcomes(answers) == {"reserved": 4, "idempotency_key_reused": 4}
        assert {each.status for each in answers} == {201, 422}
        assert len({each.json["id"] for each in answers if each.status == 201}) == 1
    assert len(await holders(doors[0], sale)) == 20


async def shown(house: House, sale: str, availability: str) -> None:
    """Liveness only: a second is what is meant, and noise is allowed for."""
    async with asyncio.timeout(5):
        while True:
            reply = await house.call("GET", f"/v1/sales/{sale}")
            if reply.json["items"][0]["availability"] == availability:
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("comes_back", ["wave", "cancelled", "resumed"])
async def test_what_comes_back_is_sold_and_shown_at_every_door(doors: list[House], comes_back: str):
    """A process that refuses by itself hears of it from the lane, whoever caused it."""
    here, there = doors
    sale, winner = await here.sale(items=[item(supply=2)]), here.buyer()
    order = await here.order(sale, winner, quantity=2)
    for _ in range(3):
        assert {(await door.order(sale)).code for door in doors} == {"sold_out"}
    await shown(there, sale, "sold_out")
    if comes_back == "resumed":
        await here.manage("POST", f"/sales/{sale}/pause")
        assert {(await door.order(sale)).code for door in doors} == {"paused"}
    if comes_back == "cancelled":
        path = f"/v1/orders/{order.json['id']}/cancel"
        await here.call("POST", path, bearer=here.token(winner))
    else:
        wave = {"sku": "mi3-16", "quantity": 2, "reason": "wave"}
        await here.manage("POST", f"/sales/{sale}/supply", wave)
    if comes_back == "resumed":
        await here.manage("POST", f"/sales/{sale}/resume")
    await shown(there, sale, "available")
    assert [(await door.order(sale)).status for door in (there, here)] == [201, 201]
    await shown(here, sale, "sold_out")


async def test_buyers_who_leave_take_nobody_with_them(doors: list[House]):
    """Everybody is in the same batch with somebody who has gone."""
    sale = await doors[0].sale(items=[item(supply=UNITS)])
    leaving = [asyncio.create_task(doors[0].order(sale, f"leaver-{n}", key="k")) for n in range(60)]
    staying = [asyncio.create_task(doors[0].order(sale)) for _ in range(60)]
    for number, task in enumerate(leaving):
        asyncio.get_running_loop().call_later(number / 3000, task.cancel)
    assert outcomes(await asyncio.gather(*staying)) == {"reserved": 60}
    left = await asyncio.gather(*leaving, return_exceptions=True)
    assert any(isinstance(each, asyncio.CancelledError) for each in left)
    assert not [each for each in left if isinstance(each, aiohttp.ClientError)]
    again = await asyncio.gather(
        *(doors[0].order(sale, f"leaver-{n}", key="k") for n in range(len(leaving)))
    )
    assert outcomes(again) == {"reserved": 60}
    assert (await stock(doors[0], sale)).held == 120
