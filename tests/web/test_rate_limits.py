"""Rate limits over HTTP: who is counted, before what, and what the refused are told."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from flashsale.limits.addresses import Addresses, networks
from flashsale.limits.limiter import Limiter
from flashsale.limits.pot import Pot
from flashsale.reservation.links import Links
from flashsale.reservation.scripts import ScriptRunner, load_scripts
from flashsale.shipped import shipped
from flashsale.web.app import build_app
from flashsale.web.hot import HotRoutes
from flashsale.web.limiting import Throttle
from flashsale.web.quick import QuickRoutes
from flashsale.web.server import serving
from tests.web.house import House, callback
from tests.web.reply import Reply

SCRIPTS = load_scripts(shipped("lua") / "limits")
#: Five at once and one a second: a share of one, and a common pot of four.
QUOTA = 5
TERMS = {"per_second": 1, "burst_seconds": QUOTA, "share_percent": 20, "subjects_max": 1000}
LOOPBACK = networks("127.0.0.0/8")
COUNTED = Addresses()
Limited = Callable[..., AbstractAsyncContextManager[House]]


@pytest.fixture(params=["quick", "hot", "routed"])
async def limited(request, house: House) -> Limited:
    """`async with limited("buyer")`: the house behind those limits, in each of the three ways."""

    @contextlib.asynccontextmanager
    async def begin(*names: str, addresses: Addresses = COUNTED) -> AsyncIterator[House]:
        await house.shop.redis.flushdb()
        links = Links(house.shop.redis)
        pot = Pot(ScriptRunner(links, SCRIPTS).run)
        limits = {name: Limiter(name, pot, **TERMS) for name in names}
        throttle = Throttle(**limits, addresses=addresses)
        access = dataclasses.replace(house.deps.access, throttle=throttle)
        deps = dataclasses.replace(house.deps, access=access)
        hot = HotRoutes(access, deps.desk, deps.faults.problem_of)
        way = request.param
        async with serving(
            app := build_app(deps),
            host="127.0.0.1",
            port=0,
            front=None if way == "routed" else hot.front,
            quick=QuickRoutes(deps, hot) if way == "quick" else None,
        ) as (host, port):
            yield dataclasses.replace(house, url=f"http://{host}:{port}", deps=deps, app=app)
        await pot.stop()
        await links.close()

    return begin


async def storm(call: Callable[[], object], times: int = 25) -> tuple[list[Reply], list[Reply]]:
    """Those who passed and those who were limited, held to what the limit allows."""
    begun = time.monotonic()
    # One after the other at first, so that an answer from memory is among them.
    replies = [await call() for _ in range(QUOTA + 5)]
    replies += await asyncio.gather(*(call() for _ in range(times)))
    seconds = time.monotonic() - begun
    refused = [reply for reply in replies if reply.status == 429]
    passed = [reply for reply in replies if reply.status != 429]
    assert QUOTA <= len(passed) <= QUOTA + seconds
    for reply in refused:
        assert reply.code == "rate_limited"
        assert 1 <= int(reply.headers["Retry-After"]) <= QUOTA
    return passed, refused


def policy(reply: Reply) -> tuple[str, str]:
    """The limit's name as both fields give it, and the policy as it is sent."""
    field, sent = reply.headers["RateLimit"], reply.headers["RateLimit-Policy"]
    told = re.fullmatch(r'"(\w+)";r=0;t=(\d+)', field)
    assert told is not None
    assert told[2] == reply.headers["Retry-After"]
    return told[1], sent


async def test_a_buyer_is_limited_and_repetitions_count(limited: Limited, house: House):
    async with limited("buyer") as door:
        sale = await house.sale()
        passed, refused = await storm(lambda: door.order(sale, "ann", key="one"))
        assert {reply.status for reply in passed} == {201}
        assert len({reply.json["id"] for reply in passed}) == 1
        assert {policy(reply) for reply in refused} == {("buyer", '"buyer";q=5;w=5')}
        # The others, and the same name at another merchant's, are other buyers.
        assert (await door.order(sale, "bob")).status == 201
        stranger = house.token("ann", merchant=house.other)
        assert (await door.order(sale, bearer=stranger)).code == "wrong_sale"


async def test_every_call_of_a_buyer_counts_towards_one_limit(limited: Limited, house: House):
    async with limited("buyer") as door:
        sale, bearer = await house.sale(), house.token("ann")
        await storm(lambda: door.call("GET", "/v1/orders", bearer=bearer))
        assert (await door.order(sale, "ann")).status in {429, 201}
        _, refused = await storm_again(lambda: door.order(sale, "ann", key="one"))
        assert refused


async def storm_again(call: Callable[[], object]) -> tuple[list[Reply], list[Reply]]:
    """A storm after the quota is spent: what comes back with time is all that passes."""
    begun = time.monotonic()
    replies = await asyncio.gather(*(call() for _ in range(25)))
    passed = [reply for reply in replies if reply.status != 429]
    assert len(passed) <= time.monotonic() - begun + QUOTA
    return passed, [reply for reply in replies if reply.status == 429]


async def test_an_address_is_limited_before_its_token_is_read(limited: Limited, house: House):
    async with limited("address") as door:
        sale = await house.sale()
        passed, refused = await storm(lambda: door.order(sale, bearer="made up"))
        assert {reply.code for reply in passed} == {"token_invalid"}
        assert {policy(reply)[0] for reply in refused} == {"address"}


async def test_public_reads_count_towards_the_address(limited: Limited, house: House):
    async with limited("address") as door:
        sale = await house.sale()
        passed, refused = await storm(lambda: door.call("GET", f"/v1/sales/{sale}"))
        assert {reply.status for reply in passed} == {200}
        assert refused
        assert (await door.call("GET", "/v1/sales/nothing")).status in {429, 404}


async def test_merchants_count_towards_their_address_and_are_no_buyers(
    limited: Limited, house: House
):
    async with limited("address") as door:
        passed, refused = await storm(lambda: door.manage("GET", "/sales"))
        assert {reply.status for reply in passed} == {200}
        assert refused
    async with limited("buyer") as door:
        replies = [await door.manage("GET", "/sales") for _ in range(QUOTA * 3)]
        assert {reply.status for reply in replies} == {200}


async def test_money_and_watchmen_are_not_limited(limited: Limited, house: House):
    async with limited("address") as door:
        await storm(lambda: door.call("GET", "/v1/time"))
        event = callback("captured", {"id": "nobody's", "amount": {"amount": 1, "currency": "CNY"}})
        replies = [await door.tell(event) for _ in range(QUOTA * 2)]
        replies += [await door.call("GET", "/healthz") for _ in range(QUOTA * 2)]
        assert 429 not in {reply.status for reply in replies}


async def test_a_sale_is_limited_over_all_its_buyers(limited: Limited, house: House):
    async with limited("sale") as door:
        sale = await house.sale(per_buyer_limit=1)
        passed, refused = await storm(lambda: door.order(sale))
        assert {reply.status for reply in passed} <= {201, 409}
        assert {policy(reply)[0] for reply in refused} == {"sale"}
        assert (await door.order(await house.sale())).status == 201
        # Reads of the limited one go on, and what is no sale is not counted as one.
        assert (await door.call("GET", f"/v1/sales/{sale}")).status == 200
        replies = [await door.order("abcdefghijkl") for _ in range(QUOTA * 2)]
        assert {reply.code for reply in replies} == {"unknown_sale"}


async def test_exempt_addresses_are_not_counted(limited: Limited, house: House):
    async with limited("address", addresses=Addresses(exempt=LOOPBACK)) as door:
        replies = [await door.call("GET", "/v1/time") for _ in range(QUOTA * 3)]
        assert {reply.status for reply in replies} == {200}


async def test_behind_a_proxy_of_ours_each_client_has_its_own_limit(limited: Limited, house: House):
    def read(door: House, sale: str, client: str) -> Callable[[], object]:
        headers = {"X-Forwarded-For": f"192.0.2.99, {client}"}
        return lambda: door.call("GET", f"/v1/sales/{sale}", headers=headers)

    async with limited("address", addresses=Addresses(trusted=LOOPBACK)) as door:
        sale = await house.sale()
        await storm(read(door, sale, "203.0.113.1"))
        assert (await read(door, sale, "203.0.113.2")()).status == 200
    async with limited("address") as door:
        # Nobody is trusted: the header is no way to another limit.
        sale = await house.sale()
        await storm(read(door, sale, "203.0.113.3"))
        _, refused = await storm_again(read(door, sale, "203.0.113.4"))
        assert refused


async def test_refusals_are_counted_where_all_refusals_are(limited: Limited, house: House):
    async with limited("buyer") as door:
        sale = await house.sale()
        bearer = house.token("ann")
        _, refused = await storm(lambda: door.call("GET", "/v1/orders", bearer=bearer))
        _, more = await storm_again(lambda: door.call("GET", "/v1/orders", bearer=bearer))
        text = door.deps.metrics.render().decode()
        counted = re.search(r'flashsale_refusals_total\{code="rate_limited"\} ([\d.]+)', text)
        assert counted is not None
        assert float(counted[1]) >= len(refused) + len(more)
        assert (await door.order(sale, "bob")).status == 201
