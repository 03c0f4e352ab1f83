"""What the bench of payments says of what it saw, and payers against servers that refuse."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from flashsale.access.buyer_keys import generate_buyer_key
from loadtest.bench.payers import Payers, each_of
from loadtest.bench.payments import steady_rate
from loadtest.bench.processes import cpu_seconds


def test_the_steady_rate_leaves_out_the_first_and_the_last_payments():
    seen = [(1.0, 0), (2.0, 10), (3.0, 50), (4.0, 90), (14.0, 100)]
    assert steady_rate(seen, 100) == 40
    assert steady_rate([(2.0, 100)], 100) == 50  # nobody looked in between


def test_processor_time_counts_children():
    found = cpu_seconds({"init": 1, "we": os.getpid(), "nobody": 2**30})
    assert found["we"] > 0
    assert found["nobody"] == 0


@pytest.fixture
async def place() -> AsyncIterator[tuple[str, list[str]]]:
    """An engine and a provider in one, which say "again" once and then take the money."""
    heard: list[str] = []

    async def begin(request: web.Request) -> web.Response:
        heard.append(request.match_info["order"])
        if len(heard) == 1:
            return web.json_response({"code": "order_not_confirmed"}, status=409)
        if heard[-1] == "gone":
            return web.json_response({"code": "hold_expired"}, status=409)
        return web.json_response({"checkout_url": f"http://{request.host}/checkout/1"}, status=201)

    async def pay(request: web.Request) -> web.Response:
        heard.append((await request.post())["action"])
        return web.Response(status=303)

    app = web.Application()
    app.router.add_post("/v1/orders/{order}/payments", begin)
    app.router.add_post("/checkout/1", pay)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", heard
    await runner.cleanup()


async def _orders(*names: str) -> AsyncIterator[tuple[str, str]]:
    for name in names:
        yield name, "a-buyer"


async def test_a_payer_asks_again_where_told_and_pays_on_the_page(place):
    url, heard = place
    payers = Payers(url, url, generate_buyer_key("mer_bench"))
    await payers.pay(each_of(_orders("first", "second")), count=1)
    assert heard == ["first", "first", "pay", "second", "pay"]
    assert (payers.paid, dict(payers.asked_again)) == (2, {"order_not_confirmed": 1})


async def test_any_other_refusal_ends_the_run(place):
    url, heard = place
    heard.append("somebody before")
    payers = Payers(url, url, generate_buyer_key("mer_bench"))
    with pytest.raises(ExceptionGroup, match="unhandled"):
        await payers.pay(each_of(_orders("gone")), count=1)
    assert payers.paid == 0
