"""What every answer tells a browser: on each way that an answer can take out of the house."""

from __future__ import annotations

import asyncio
import re

import aiohttp
import pytest

from flashsale.web.app import build_app
from flashsale.web.headers import COMMON_HEADERS, PAGE_HEADERS
from flashsale.web.server import Limits, serving
from tests.web.house import House


async def raw(url: str, request: bytes) -> dict[str, str]:
    host, port = re.fullmatch(r"http://([^:]+):(\d+)", url).groups()
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    writer.close()
    lines = [line.split(": ", 1) for line in head.split("\r\n")[1:] if line]
    return {name.lower(): value for name, value in lines}


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("/v1/sales", False),
        ("/v1/sales/{sale}", False),
        ("/v1/sales/aaaaaaaaaaaa", False),
        ("/v1/orders", False),
        ("/v1/merchant/sales", False),
        ("/v1/time", False),
        ("/healthz", False),
        ("/metrics", False),
        ("/openapi.json", False),
        ("/static/docs.css", False),
        ("/nowhere", False),
        ("/docs", True),
        ("/docs/problems", True),
    ],
)
async def test_every_read(either_house: House, path: str, page: bool) -> None:
    sale = await either_house.sale() if "{sale}" in path else ""
    reply = await either_house.call("GET", path.format(sale=sale))
    hold(reply.headers, page=page)


async def test_orders_placed_refused_and_repeated(either_house: House) -> None:
    house = either_house
    sale, buyer = await house.sale(), house.buyer()
    for _ in range(2):
        reply = await house.order(sale, buyer, key="again")
        assert reply.status == 201
        hold(reply.headers)
    for refused in (
        await house.order(sale, buyer, key="again", quantity=2),
        await house.order(sale, quantity=1000),
        await house.order(sale, bearer="nonsense"),
    ):
        assert refused.status >= 400
        hold(refused.headers)
        assert refused.headers["Cache-Control"] == "no-store"


async def test_what_is_a_buyers_own_is_kept_by_nobody_between(either_house: House) -> None:
    house = either_house
    sale, buyer = await house.sale(), house.buyer()
    placed = await house.order(sale, buyer)
    token = house.token(buyer)
    for path in ("/v1/orders", f"/v1/orders/{placed.json['id']}"):
        reply = await house.call("GET", path, bearer=token)
        assert reply.headers["Cache-Control"] == "no-store"
    assert placed.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
    ],
)
async def test_malformed_requests(house: House, request_bytes: bytes) -> None:
    hold(await raw(house.url, request_bytes))


async def test_connections_that_are_turned_away(house: House) -> None:
    app = build_app(house.deps)
    limits = Limits(connections_max=0)
    async with serving(app, host="127.0.0.1", port=0, limits=limits) as (host, port):
        hold(await raw(f"http://{host}:{port}", b""))


async def test_only_who_serves_nothing_but_https_says_so(house: House) -> None:
    plain = await house.call("GET", "/v1/time")
    assert "Strict-Transport-Security" not in plain.headers
    app = build_app(house.deps, hsts_seconds=31_536_000)
    async with serving(app, host="127.0.0.1", port=0) as (host, port):
        for path in ("/v1/time", "/docs", "/nowhere"):
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://{host}:{port}{path}") as reply,
            ):
                assert reply.headers["Strict-Transport-Security"] == "max-age=31536000"
                hold(reply.headers, page=path == "/docs")


def hold(headers, *, page: bool = False) -> None:
    """An answer has every header it should, and tells no version of what runs here."""
    present = {name.lower(): value for name, value in headers.items()}
    wanted = {**COMMON_HEADERS, **(PAGE_HEADERS if page else {})}
    assert {name for name in wanted if name.lower() not in present} == set()
    assert present["x-content-type-options"] == "nosniff"
    policy = present["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"[0-9]|aiohttp|python", present.get("server", ""), re.IGNORECASE)
