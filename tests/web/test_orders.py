"""Placing, reading and cancelling orders over HTTP, by the hot route and by the routed one."""

from __future__ import annotations

import asyncio
import gzip
import json
from datetime import timedelta

import pytest

from tests.sales.shop import item, now, rfc3339
from tests.web.house import House

NOWHERE = "aaaaaaaaaaaa"
ORDER = b'{"sku":"mi3-16","quantity":1}'


async def test_an_order_is_placed_read_and_cancelled(either_house: House) -> None:
    house = either_house
    sale, buyer = await house.sale(), house.buyer()
    token = house.token(buyer)
    placed = await house.order(sale, buyer, key="k", quantity=2)
    assert placed.status == 201, placed.text
    order = placed.json
    assert order == {
        "id": order["id"],
        "sale_id": sale,
        "sku": "mi3-16",
        "quantity": 2,
        "state": "reserved",
        "hold_expires_at": order["hold_expires_at"],
        "amount_due": {"amount": 399800, "currency": "CNY"},
    }
    assert order["hold_expires_at"][19] == "."
    assert order["hold_expires_at"].endswith("Z")
    assert placed.headers["Location"] == f"/v1/orders/{order['id']}"
    assert "Idempotency-Replayed" not in placed.headers
    assert placed.headers["Cache-Control"] == "no-store"

    again = await house.order(sale, buyer, key="k", quantity=2)
    assert (again.status, again.json) == (201, order)
    assert again.headers["Idempotency-Replayed"] == "true"

    path = f"/v1/orders/{order['id']}"
    assert (await house.call("GET", path, bearer=token)).json == order
    await house.settle()
    assert (await house.call("GET", path, bearer=token)).json == {**order, "state": "confirmed"}
    listed = await house.call("GET", "/v1/orders", bearer=token)
    assert listed.json == {"items": [{**order, "state": "confirmed"}], "next_cursor": None}

    for _ in range(2):
        cancelled = await house.call("POST", f"{path}/cancel", bearer=token)
        assert (cancelled.status, cancelled.json["state"]) == (200, "cancelled")
    assert (await house.order(sale, quantity=2)).status == 201


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"{", 400, "body_malformed"),
        (b'{"sku":"mi3-16","sku":"mi3-16","quantity":1}', 400, "body_malformed"),
        (b'{"sku":"mi3-16","quantity":NaN}', 400, "body_malformed"),
        (b'{"sku":"mi3-16\\u0000","quantity":1}', 400, "body_malformed"),
        (b'{"sku":"\xff","quantity":1}', 400, "body_malformed"),
        (b'{"sku":' + b"[" * 33 + b"]" * 33 + b"}", 400, "body_malformed"),
        (b'{"sku":"mi3-16","quantity":1}' + b" " * 16_384, 413, "body_too_large"),
        (b'{"sku":"mi3-16","quantity":0}', 422, "validation_failed"),
        (b'{"sku":"mi3-16","quantity":-1}', 422, "validation_failed"),
        (b'{"sku":"mi3-16","quantity":1.5}', 422, "validation_failed"),
        (b'{"sku":"mi3-16","quantity":true}', 422, "validation_failed"),
        (b'{"sku":"mi3-16","quantity":"1"}', 422, "validation_failed"),
        (b'{"sku":"mi3-16","quantity":9007199254740993}', 422, "validation_failed"),
        (b'{"sku":"mi3-16","quantity":1,"price":1}', 422, "validation_failed"),
        (b'{"sku":"mi3-16","quantity":1,"colour":"vermilion"}', 422, "validation_failed"),
        (b'{"sku":"mi3-16","quantity":3}', 409, "limit_reached"),
        (b'{"sku":"mi3-16","quantity":1000000000}', 409, "limit_reached"),
        (b'{"sku":"nothing","quantity":1}', 404, "unknown_sku"),
        (b'{"sku":"mi3-16","quantity":1.0}', 201, None),
        (b'{"quantity":1,"sku":"mi3-16","priority_code":"p","admission_token":"t"}', 201, None),
    ],
)
async def test_bodies(either_house: House, raw: bytes, status: int, code: str | None) -> None:
    sale = await either_house.sale()
    token, headers = either_house.token("b"), {"Idempotency-Key": "k"}
    path = f"/v1/sales/{sale}/orders"
    reply = await either_house.call("POST", path, data=raw, bearer=token, headers=headers)
    assert (reply.status, code and reply.code) == (status, code)
    if code == "validation_failed":
        assert reply.pointers in (["/quantity"], ["/price"], ["/colour"])
    assert "vermilion" not in reply.text
    # Nothing is half done: the same key still takes a good body, unless it was used for one.
    if code is not None:
        good = await either_house.call("POST", path, data=ORDER, bearer=token, headers=headers)
        assert good.status == 201
        assert "Idempotency-Replayed" not in good.headers


@pytest.mark.parametrize(
    ("headers", "data", "status"),
    [
        ({"Content-Encoding": "gzip"}, gzip.compress(ORDER, mtime=0), 201),
        ({"Content-Encoding": "gzip"}, gzip.compress(ORDER + b" " * 17_000, mtime=0), 413),
        ({"Content-Encoding": "gzip"}, ORDER, 400),
        ({"Content-Encoding": "br"}, ORDER, 415),
        ({"Content-Type": "text/plain"}, ORDER, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"sku=mi3-16&quantity=1", 415),
        ({"Content-Type": "application/json; charset=utf-8"}, ORDER, 201),
    ],
)
async def test_encodings(either_house: House, headers, data: bytes, status: int) -> None:
    sale = await either_house.sale()
    reply = await either_house.call(
        "POST",
        f"/v1/sales/{sale}/orders",
        data=data,
        bearer=either_house.token("b"),
        headers={"Idempotency-Key": "k", **headers},
    )
    assert reply.status == status, reply.text


async def test_who_waits_for_a_continue_before_the_body_gets_it(either_house: House) -> None:
    headers = {
        "Authorization": f"Bearer {either_house.token('b')}",
        "Content-Type": "application/json",
        "Idempotency-Key": "k",
    }
    url = f"{either_house.url}/v1/sales/{await either_house.sale()}/orders"
    async with either_house.session.post(url, data=ORDER, headers=headers, expect100=True) as told:
        assert told.status == 201


@pytest.mark.parametrize(
    ("key", "code"),
    [
        (None, "idempotency_key_missing"),
        ("", "idempotency_key_missing"),
        ("k" * 256, "idempotency_key_malformed"),
        ("a\tb", "idempotency_key_malformed"),
        ("é", "idempotency_key_malformed"),
    ],
)
async def test_idempotency_keys(either_house: House, key: str | None, code: str) -> None:
    headers = {} if key is None else {"Idempotency-Key": key}
    path = f"/v1/sales/{await either_house.sale()}/orders"
    token = either_house.token("b")
    reply = await either_house.call("POST", path, data=ORDER, bearer=token, headers=headers)
    assert (reply.status, reply.code) == (400, code)


async def test_a_key_with_another_body_is_refused_without_effect(either_house: House) -> None:
    sale, buyer = await either_house.sale(), either_house.buyer()
    assert (await either_house.order(sale, buyer, key="k")).status == 201
    other = await either_house.order(sale, buyer, key="k", quantity=2)
    assert (other.status, other.code) == (422, "idempotency_key_reused")
    assert (await either_house.order(sale, buyer, key="l")).status == 201


async def test_twins_meet_one_order_and_keys_are_a_buyers_own(either_house: House) -> None:
    sale, buyer = await either_house.sale(), either_house.buyer()
    twins = await asyncio.gather(*(either_house.order(sale, buyer, key="k") for _ in range(8)))
    assert {twin.status for twin in twins} == {201}
    assert len({twin.json["id"] for twin in twins}) == 1
    stranger = await either_house.order(sale, either_house.buyer(), key="k")
    assert stranger.json["id"] != twins[0].json["id"]
    assert "Idempotency-Replayed" not in stranger.headers


async def test_sold_out_and_still_yes_to_the_winner(either_house: House) -> None:
    sale, winner = await either_house.sale(items=[item(supply=2)]), either_house.buyer()
    assert (await either_house.order(sale, winner, key="k", quantity=2)).status == 201
    lost = await either_house.order(sale)
    assert (lost.status, lost.code) == (409, "sold_out")
    again = await either_house.order(sale, winner, key="k", quantity=2)
    assert (again.status, again.headers["Idempotency-Replayed"]) == (201, "true")


async def test_where_and_when(either_house: House) -> None:
    house = either_house
    starts = now() + timedelta(minutes=5)
    later = await house.sale(starts_at=rfc3339(starts))
    early = await house.order(later)
    assert (early.status, early.code) == (409, "not_open")
    assert early.json["starts_at"].endswith("Z")
    assert 290 <= int(early.headers["Retry-After"]) <= 301

    sale = await house.sale()
    assert (await house.manage("POST", f"/sales/{sale}/pause")).status == 200
    paused = await house.order(sale)
    assert (paused.status, paused.code) == (503, "paused")
    assert int(paused.headers["Retry-After"]) > 0
    await house.manage("POST", f"/sales/{sale}/resume")
    assert (await house.order(sale, "late", key="k")).status == 201
    await house.manage("POST", f"/sales/{sale}/close")
    over = await house.order(sale)
    assert (over.status, over.code) == (410, "sale_over")
    assert (await house.order(sale, "late", key="k")).status == 201

    for nowhere in (NOWHERE, "short", "A" * 12, "%00" * 4, "a" * 300):
        unknown = await house.order(nowhere)
        assert (unknown.status, unknown.code) == (404, "unknown_sale")
    draft = (await house.draft()).json["id"]
    assert (await house.order(draft)).code == "unknown_sale"
    foreign = await house.order(sale, bearer=house.token("b", merchant=house.other))
    assert (foreign.status, foreign.code) == (403, "wrong_sale")


async def test_anothers_order_is_as_unknown_as_none(house: House) -> None:
    order = (await house.order(await house.sale(), "owner")).json["id"]
    stranger = house.token("stranger")
    bodies = set()
    guessed = order[:-1] + ("b" if order[-1] == "a" else "a")
    for name in (order, guessed, "x%00"):
        path = f"/v1/orders/{name}"
        for method, call in (("GET", path), ("POST", f"{path}/cancel")):
            reply = await house.call(method, call, bearer=stranger)
            assert (reply.status, reply.code) == (404, "unknown_order")
            bodies.add(reply.text)
    same_name = house.token("owner", merchant=house.other)
    assert (await house.call("GET", f"/v1/orders/{order}", bearer=same_name)).status == 404
    assert len(bodies) == 1


async def test_orders_are_paged(house: House) -> None:
    sale, buyer = await house.sale(per_buyer_limit=5), house.buyer()
    placed = {(await house.order(sale, buyer)).json["id"] for _ in range(3)}
    await house.settle()
    token = house.token(buyer)
    first = (await house.call("GET", "/v1/orders?limit=2", bearer=token)).json
    cursor = first["next_cursor"]
    rest = (await house.call("GET", f"/v1/orders?limit=2&cursor={cursor}", bearer=token)).json
    assert rest["next_cursor"] is None
    assert [len(first["items"]), len(rest["items"])] == [2, 1]
    assert {order["id"] for order in first["items"] + rest["items"]} == placed


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/limit"),
        ("limit=501", "/limit"),
        ("limit=-1", "/limit"),
        ("limit=1.5", "/limit"),
        ("limit=ten", "/limit"),
        ("limit=", "/limit"),
        ("limit=1&limit=2", "/limit"),
        ("cursor=", "/cursor"),
        ("cursor=nonsense", "/cursor"),
        ("cursor=%00", "/cursor"),
        ("colour=vermilion", ""),
    ],
)
@pytest.mark.parametrize(
    "path",
    ["/v1/sales", "/v1/orders", "/v1/merchant/sales", "/v1/merchant/api-keys", "sale/orders"],
)
async def test_pages_of_every_list(house: House, path: str, query: str, pointer: str) -> None:
    if path == "sale/orders":
        path = f"/v1/merchant/sales/{(await house.draft()).json['id']}/orders"
    merchants = path.startswith("/v1/merchant")
    bearer = house.merchant.api_key if merchants else house.token("b")
    reply = await house.call("GET", f"{path}?{query}", bearer=bearer)
    assert (reply.status, reply.code, reply.pointers) == (422, "validation_failed", [pointer])
    assert "vermilion" not in reply.text
    assert json.loads(reply.text)["title"] == "Invalid request"
