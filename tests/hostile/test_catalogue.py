"""Bad input and its answer, line by line of the catalogue: bodies, headers, places and tokens.

What a row here does not send is held elsewhere, and named in `ELSEWHERE`. Nothing is said of what
the engine does not have yet; `NOT_YET` lists it, so that nobody takes silence for a promise.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from flashsale.web.routes import ROUTES
from tests.hostile import catalogue as c
from tests.hostile.catalogue import Row, Scene
from tests.web.house import House

#: Lines of the catalogue with nothing to call yet, and the word in a path that would end that.
NOT_YET = {
    "Tokens: other sale's or buyer's admission -> 403; replayed -> 409": "queue",
    "Merchant: priority codes": "codes",
    "Merchant: missing CSRF token, cross-site POST -> 403 (there is no cookie)": "session",
}

MALFORMED = {
    "half of it": b'{"sku":',
    "duplicate keys": b'{"sku":"mi3-16","sku":"mi3-16","quantity":1}',
    "duplicate keys, escaped": b'{"sku":"mi3-16","\\u0073ku":"x","quantity":1}',
    "NaN": b'{"sku":"mi3-16","quantity":NaN}',
    "Infinity": b'{"sku":"mi3-16","quantity":-Infinity}',
    "depth 33": b'{"sku":' + b"[" * 33 + b"]" * 33 + b',"quantity":1}',
    "depth 100,000": b"[" * 8000 + b"]" * 8000,
    "NUL": b'{"sku":"mi3\x00","quantity":1}',
    "NUL escaped": b'{"sku":"mi3\\u0000","quantity":1}',
    "bad UTF-8": b'{"sku":"mi3\xff","quantity":1}',
    "a lone surrogate": b'{"sku":"\\ud800","quantity":1}',
    "nothing": b"",
}
QUANTITIES = {
    "0": 0,
    "-1": -1,
    "1.5": 1.5,
    "true": True,
    "text": "1",
    "2**53 + 1": 2**53 + 1,
    "2**64": 2**64,
    "null": None,
    "a list": [1],
}
BODY = {
    **{name: Row(c.raw(data), 400, "body_malformed") for name, data in MALFORMED.items()},
    **{
        f"quantity {name}": Row(c.order(quantity=value), 422, "validation_failed", ("/quantity",))
        for name, value in QUANTITIES.items()
    },
    "XML": Row(c.raw(b"<a/>", Content_Type="application/xml"), 415, "unsupported_media_type"),
    "no type": Row(c.raw(b"{}", Content_Type=""), 415, "unsupported_media_type"),
    "Brotli": Row(c.raw(b"{}", Content_Encoding="br"), 415, "unsupported_media_type"),
    "16 KiB and a byte": Row(c.raw(b" " * 16385), 413, "body_too_large"),
    "a bomb": Row(c.packed(b"\0" * 10_000_000), 413, "body_too_large"),
    "not packed": Row(c.raw(b"{}", Content_Encoding="gzip"), 400, "body_malformed"),
    "packed": Row(c.packed(json.dumps(c.ORDER).encode()), 201),
    "unknown field": Row(c.order(colour="red"), 422, "validation_failed", ("/colour",)),
    "a price": Row(c.order(price=1), 422, "validation_failed", ("/price",)),
    "a script for a field": Row(c.raw(b'{"<script>":1}'), 422, "validation_failed"),
    "above the limit": Row(c.order(quantity=3), 409, "limit_reached"),
    "no object": Row(c.raw(b"[]"), 422, "validation_failed", ("",)),
}
KEYS = "idempotency_key_"
HEADERS = {
    "key missing": Row(c.keyed(None), 400, f"{KEYS}missing"),
    "key empty": Row(c.keyed(""), 400, f"{KEYS}missing"),
    "key of 256": Row(c.keyed("k" * 256), 400, f"{KEYS}malformed"),
    "key not ASCII": Row(c.keyed("é"), 400, f"{KEYS}malformed"),
    "key with a tab": Row(c.keyed("a\tb"), 400, f"{KEYS}malformed"),
    "key with another body": Row(c.keyed("used", quantity=2), 422, f"{KEYS}reused"),
    "key again": Row(c.keyed("used"), 201),
    "another's key": Row(c.at(lambda s: f"/v1/sales/{s.sale}/orders"), 201),
}
PLACES = {
    "unknown sale": Row(c.at(lambda _: f"/v1/sales/{'z' * 12}/orders"), 404, "unknown_sale"),
    "no id of a sale": Row(c.at(lambda _: "/v1/sales/%00%ff/orders"), 404, "unknown_sale"),
    "a draft": Row(c.orders_of("draft"), 404, "unknown_sale"),
    "before": Row(c.orders_of("later"), 409, "not_open"),
    "after": Row(c.orders_of("over"), 410, "sale_over"),
    "unknown SKU": Row(c.order(sku="nothing"), 404, "unknown_sku"),
    "another's order": Row(c.at(lambda s: f"/v1/orders/{s.order}", "GET"), 404, "unknown_order"),
    "no order": Row(c.at(lambda s: f"/v1/orders/{s.sale}{'A' * 20}", "GET"), 404, "unknown_order"),
    "no id of an order": Row(c.at(lambda _: "/v1/orders/%00", "GET"), 404, "unknown_order"),
    "another's payment": Row(
        c.at(lambda s: f"/v1/orders/{s.order}/payments"), 404, "unknown_order"
    ),
    "another's to cancel": Row(
        c.at(lambda s: f"/v1/orders/{s.order}/cancel"), 404, "unknown_order"
    ),
    "wrong method": Row(
        c.at(lambda s: f"/v1/sales/{s.sale}/orders", "PUT"), 405, "method_not_allowed"
    ),
    "nowhere": Row(c.at(lambda _: "/v1/nowhere", "GET"), 404, "not_found"),
    "limit 0": Row(c.at(lambda _: "/v1/orders?limit=0", "GET"), 422, None, ("/limit",)),
    "limit of zeros": Row(
        c.at(lambda _: f"/v1/orders?limit={'0' * 7}500000", "GET"), 422, None, ("/limit",)
    ),
    "cursor of ours with a NUL": Row(
        c.at(lambda _: "/v1/sales?cursor=MS5hAGI", "GET"), 422, None, ("/cursor",)
    ),
    "two cursors": Row(
        c.at(lambda _: "/v1/sales?cursor=a&cursor=b", "GET"), 422, None, ("/cursor",)
    ),
    "unknown parameter": Row(c.at(lambda _: "/v1/sales?page=2", "GET"), 422, "validation_failed"),
}
TOKENS = {
    "bad signature": Row(c.token(secret=b"x" * 32), 401, "token_invalid"),
    "alg none": Row(c.token(algorithm=None), 401, "token_invalid"),
    "wrong alg": Row(c.token(algorithm="HS512", secret=b"x" * 64), 401, "token_invalid"),
    "unknown kid": Row(c.token({"kid": "nobody's"}), 401, "token_invalid"),
    "expired": Row(c.token(iat=-3600, exp=c.PAST), 401, "token_expired"),
    "issued in the future": Row(c.token(iat=c.WITHIN, exp=3600), 401, "token_invalid"),
    "good": Row(c.token(), 201),
    "another merchant's": Row(c.token(iss="mer_none"), 401, "token_invalid"),
    "meant for another": Row(c.token(aud="bank"), 401, "token_invalid"),
    "critical": Row(c.token({"crit": ["exp"]}), 401, "token_invalid"),
    "2 KiB and a byte": Row(c.bearer("a" * 2049), 400, "token_too_long"),
    "no token": Row(c.bearer("a.b.c"), 401, "token_invalid"),
    "an API key": Row(c.bearer("fs_" + "a" * 40), 401, "token_invalid"),
}
LINES = {"body": BODY, "headers": HEADERS, "where and when": PLACES, "tokens": TOKENS}
ROWS = [
    pytest.param(row, id=f"{line}: {name}")
    for line, rows in LINES.items()
    for name, row in rows.items()
]

#: The catalogue's other words, and the tests that hold them.
ELSEWHERE = {
    "duplicate Host and Content-Length, CL+TE": "tests/hostile/test_smuggling.py::"
    "test_what_can_be_read_two_ways_is_refused_and_closed",
    "129 headers, 9 KB line": "tests/web/test_raw_http.py::"
    "test_dishonest_requests_are_refused_and_closed",
    "slow headers or body": "tests/hostile/test_floods.py::"
    "test_who_is_slow_is_closed_and_others_buy",
    "rate limit": "tests/web/test_rate_limits.py::",
    "retired key": "tests/web/test_tokens.py::"
    "test_a_new_key_is_known_at_once_and_a_retired_one_is_not",
    "expired by two seconds": "tests/web/test_tokens.py::test_expiry",
    "length before hashing": "tests/web/test_tokens.py::"
    "test_a_long_token_is_refused_before_anything_is_computed",
    "no Expect but 100-continue": "tests/hostile/test_smuggling.py::"
    "test_what_has_one_reading_ends_where_it_should",
    "each way of answering": "tests/web/test_orders.py::test_bodies",
}


@pytest.fixture(scope="module")
async def scene(house: House) -> Scene:
    return await c.set_scene(house)


@pytest.mark.parametrize("row", ROWS)
async def test_the_answer_is_the_one_of_the_catalogue(scene: Scene, row: Row) -> None:
    reply = await row.send(scene)
    assert reply.status == row.status, reply.text
    if reply.status >= 400:  # a problem document; `code` sees to that
        assert reply.code == (row.code or "validation_failed")
        assert "script" not in reply.text
    if row.pointers is not None:
        assert tuple(reply.pointers) == row.pointers


async def test_a_refusal_leaves_everything_as_it_was(scene: Scene) -> None:
    """Every refused row once more: neither store has a unit or an order more or less."""
    await scene.house.settle()
    before = await _standing(scene)
    for rows in LINES.values():
        for row in rows.values():
            if row.status >= 400:
                await row.send(scene)
    await scene.house.settle()
    assert await _standing(scene) == before
    assert (await c.keyed("used")(scene)).json["id"] == scene.order
    assert (await c.token()(scene)).status == 201  # the control: one that is taken is seen
    await scene.house.settle()
    assert await _standing(scene) != before


async def _standing(scene: Scene) -> tuple[object, ...]:
    stock = (await scene.house.shop.store.snapshot(scene.sale, 0)).stock
    orders = await scene.house.shop.pool.fetchval("SELECT count(*) FROM orders")
    return stock, orders


async def test_twins_at_once_are_one_order(scene: Scene) -> None:
    buyer = scene.house.buyer()
    asked = (scene.house.order(scene.sale, buyer, key="twin") for _ in range(12))
    twins = await asyncio.gather(*asked)
    assert {(twin.status, twin.json["id"]) for twin in twins} == {(201, twins[0].json["id"])}
    assert (await scene.house.order(scene.sale, buyer, key="other")).status == 201
    assert (await scene.house.order(scene.sale, buyer, key="third")).code == "limit_reached"


@pytest.mark.parametrize("named", ELSEWHERE.values(), ids=ELSEWHERE)
def test_what_is_held_elsewhere_is_there(named: str) -> None:
    path, _, function = named.partition("::")
    assert f"def {function or 'test_'}" in Path(__file__).parents[2].joinpath(path).read_text()


@pytest.mark.parametrize("word", NOT_YET.values(), ids=NOT_YET)
def test_what_has_no_rows_is_not_there(word: str) -> None:
    """Fails on the day that it comes: write its rows then."""
    assert [route.path for route in ROUTES if word in route.path] == []
