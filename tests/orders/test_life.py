"""An order's life as its buyer sees it over HTTP: whatever settles when, it never goes back."""

from __future__ import annotations

import asyncio
from itertools import product

import pytest

from flashsale.reservation.keys import lane_keys
from tests.sales.shop import item
from tests.web.house import House, Reply

AGES = ["reserved", "confirmed", "cancelled"]


async def read(house: House, buyer: str, order: str) -> Reply:
    return await house.call("GET", f"/v1/orders/{order}", bearer=house.token(buyer))


async def cancel(house: House, buyer: str, order: str) -> Reply:
    return await house.call("POST", f"/v1/orders/{order}/cancel", bearer=house.token(buyer))


async def listed(house: House, buyer: str) -> dict[str, str]:
    """State by order."""
    reply = await house.call("GET", "/v1/orders", bearer=house.token(buyer))
    return {order["id"]: order["state"] for order in reply.json["items"]}


@pytest.mark.parametrize("settled", list(product([False, True], repeat=3)))
async def test_a_state_never_goes_back_whenever_it_is_settled(house: House, settled):
    sale, buyer = await house.sale(), house.buyer()
    order = (await house.order(sale, buyer, key="k")).json["id"]
    seen: list[str] = []

    async def look() -> None:
        seen.append((await read(house, buyer, order)).json["state"])
        seen.extend((await listed(house, buyer)).values())

    for act, is_settled in zip((None, None, cancel), settled, strict=True):
        if act is not None:
            assert (await act(house, buyer, order)).json["state"] == "cancelled"
        await look()
        if is_settled:
            await house.settle()
        await look()
        replayed = await house.order(sale, buyer, key="k")
        assert (replayed.status, replayed.headers["Idempotency-Replayed"]) == (201, "true")
        assert replayed.json["state"] == ("reserved" if act is None else "cancelled")
    ages = [AGES.index(state) for state in seen]
    assert ages == sorted(ages), seen
    assert seen[-1] == "cancelled"
    await house.settle()
    assert await listed(house, buyer) == {order: "cancelled"}


async def test_a_retry_gets_the_same_bytes(house: House):
    sale, buyer = await house.sale(items=[item(supply=1)], per_buyer_limit=1), house.buyer()
    first = await house.order(sale, buyer, key="k")
    assert (await house.order(sale)).code == "sold_out"
    await house.settle()
    for close in (False, True):
        if close:
            await house.manage("POST", f"/sales/{sale}/close")
            assert (await house.order(sale)).code == "sale_over"
        again = await house.order(sale, buyer, key="k")
        assert (again.status, again.text) == (201, first.text)
        assert again.headers["Location"] == first.headers["Location"]


async def test_what_ended_before_cannot_be_cancelled(house: House):
    sale, buyer = await house.sale(hold_seconds=1), house.buyer()
    order = (await house.order(sale, buyer, key="k")).json["id"]
    async with asyncio.timeout(15):
        while not (await house.shop.store.expire_due(sale, 0, 1, 10)).count:
            await asyncio.sleep(0.05)
    for settle in (False, True):
        if settle:
            await house.settle()
        ended = await cancel(house, buyer, order)
        assert (ended.status, ended.code) == (410, "hold_expired")
        assert (await read(house, buyer, order)).json["state"] == "expired"
    again = await house.order(sale, buyer, key="k")
    assert (again.status, again.json["state"]) == (201, "expired")
    assert (await house.order(sale, buyer)).status == 201, "the units came back"


async def test_cancelling_twice_at_once_gives_back_once(house: House):
    sale, buyer = await house.sale(items=[item(supply=2)]), house.buyer()
    order = (await house.order(sale, buyer, quantity=2)).json["id"]
    answers = await asyncio.gather(*(cancel(house, buyer, order) for _ in range(10)))
    assert {(each.status, each.json["state"]) for each in answers} == {(200, "cancelled")}
    assert (await house.order(sale, quantity=2)).status == 201
    assert (await house.order(sale)).code == "sold_out"


@pytest.mark.parametrize("told", [True, False], ids=["told", "not told"])
async def test_postgres_answers_for_a_sale_that_redis_no_longer_holds(house: House, told: bool):
    sale, buyer = await house.sale(), house.buyer()
    order = (await house.order(sale, buyer, key="k")).json
    await cancel(house, buyer, order["id"])
    await house.manage("POST", f"/sales/{sale}/close")
    await house.settle()
    await house.order(sale, buyer, key="k")  # the facts are of this moment
    await house.shop.store.trim_events(sale, 0)
    await house.shop.store.retire(sale, 0, 1)
    assert not await house.shop.redis.exists(*lane_keys(sale, 0))
    await house.shop.pool.execute("UPDATE sales SET retired_at = now() WHERE id = $1", sale)
    if told:
        house.deps.desk.board.forget(sale)
    again = await house.order(sale, buyer, key="k")
    ended = {**order, "state": "cancelled", "amount_due": {"amount": 0, "currency": "CNY"}}
    assert (again.status, again.json) == (201, ended)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (await read(house, buyer, order["id"])).json["state"] == "cancelled"
    for changes in ({"quantity": 2}, {"sku": "other"}):
        other = await house.order(sale, buyer, key="k", **changes)
        assert (other.status, other.code) == (422, "idempotency_key_reused")
    late = await house.order(sale, buyer, key="l")
    assert (late.status, late.code) == (410, "sale_over")


async def test_a_sale_whose_lanes_are_still_to_be_armed_is_not_over(house: House):
    """Between Postgres' commit and Redis' word, or after a crash there."""
    sale = await house.sale()
    await house.shop.pool.execute("UPDATE sales SET armed_at = NULL WHERE id = $1", sale)
    house.deps.desk.board.forget(sale)
    early = await house.order(sale, "ann", key="k")
    assert (early.status, early.code) == (503, "recovering")
    assert int(early.headers["Retry-After"]) > 0
    await house.shop.pool.execute("UPDATE sales SET armed_at = now() WHERE id = $1", sale)
    assert (await house.order(sale, "ann", key="k")).status == 201


async def test_a_lane_that_was_rebuilt_takes_orders_at_once(house: House):
    """Recovery's last word is a new epoch; this process has not heard of it."""
    sale = await house.sale(items=[item(supply=3)])
    assert (await house.order(sale)).status == 201
    facts = (await house.deps.desk.board.listing(sale)).facts
    await house.shop.redis.delete(*lane_keys(sale, 0))
    lost = await house.order(sale)
    assert (lost.status, lost.code) == (503, "recovering")
    await house.shop.pool.execute("UPDATE sales SET epoch = 2 WHERE id = $1", sale)
    await house.shop.store.open_sale(sale, 0, 2, facts.terms, [2])
    answers = await asyncio.gather(*(house.order(sale) for _ in range(6)))
    assert sorted(each.status for each in answers) == [201, 201, 409, 409, 409, 409]


async def test_a_buyers_list_holds_no_order_of_another_merchants_buyer(house: House):
    sale, buyer = await house.sale(), house.buyer()
    order = (await house.order(sale, buyer)).json["id"]
    assert await listed(house, buyer) == {}, "an order is listed once it is settled"
    await house.settle()
    assert await listed(house, buyer) == {order: "confirmed"}
    stranger = house.token(buyer, merchant=house.other)
    reply = await house.call("GET", "/v1/orders", bearer=stranger)
    assert reply.json == {"items": [], "next_cursor": None}
