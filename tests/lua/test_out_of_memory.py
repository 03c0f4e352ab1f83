"""With Redis' memory full nothing more is sold, and everything can still be given back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from flashsale.reservation.errors import StoreUnavailableError
from tests.lua.header import PATHS
from tests.lua.lane import FUTURE, PAST, Lane
from tests.lua.private_server import private_redis
from tests.lua.test_headers import READERS, RELEASES

HOLDERS = {"b": "bob", "c": "cid", "d": "dee", "e": "eve"}


@pytest.fixture
async def full() -> AsyncIterator[Lane]:
    """A lane with five holds, one overdue and two being paid, on a server that takes no more."""
    async with private_redis(maxmemory_policy="noeviction") as client:
        lane = Lane(client)
        await lane.open(10, hold_ms=1)
        overdue = await lane.reserve(("a", "ann", 0, 1))
        await lane.open(10)
        await lane.reserve(*((order, buyer, 0, 1) for order, buyer in HOLDERS.items()))
        for order in "de":
            await lane.call("pay", 1, order, HOLDERS[order], 10**9)
        while (await lane.call("snapshot"))[3] <= overdue[4]:
            await asyncio.sleep(0.001)
        for script in PATHS:  # a script must be known: loading one takes memory too
            await client.script_load(lane.runner._scripts[script].source)
        await client.config_set("maxmemory", 1)
        yield lane
        await lane.close()


@pytest.mark.parametrize(
    "call",
    [
        ("reserve", 1, 1, "d", "dee", 0, 1),
        ("open_sale", 1, PAST, FUTURE, 3, 1000, 1, 10),
        ("add_supply", 1, "s1", 0, 5),
        ("pause", 1, "paused", 1),
        ("pay", 1, "b", "bob", 1000),
        ("change_item", 1, "b", "bob", 1),
        ("add_item", 1, 1, 5),
        ("rebuild_lane", 2, "open", PAST, FUTURE, 2, 1000, 9, 10),
        ("rebuild_orders", 2, 1, "o", "R", 1, 0, 1, FUTURE, FUTURE, "ann"),
        ("reopen_lane", 2, 0, "0-0"),
    ],
    ids=lambda call: call[0],
)
async def test_what_needs_memory_is_refused_before_any_write(full: Lane, call):
    before = await full.dump()
    script, *arguments = call
    with pytest.raises(StoreUnavailableError, match="takes no writes"):
        await full.call(script, *arguments)
    assert await full.dump() == before


async def test_what_gives_back_still_works(full: Lane):
    assert (await full.call("release", 1, "b", "bob", "C"))[0] == "RELEASED"
    assert (await full.call("expire_due", 1, 10))[:2] == ["DONE", 1]
    assert (await full.call("decline", 1, "e", "eve"))[0] == "DECLINED"
    assert (await full.call("capture", 1, "d", "dee", "S"))[0] == "CAPTURED"
    assert (await full.call("return_units", 1, "d", "dee", "F"))[0] == "RETURNED"
    assert await full.call("close_sale", 1, "cancelled") == ["DONE"]
    assert await full.call("cancel_holds", 1, 10) == ["DONE", 2]
    view = await full.view()
    assert (view.stock, view.live) == (((10, 10, 0, 0, 0),), set())
    assert [entry.seq for entry in await full.entries()] == list(range(1, view.seq + 1))
    await full.redis.delete(full.keys.events)
    assert await full.call("trim_events") == ["DONE", 0]
    assert await full.call("retire", 1) == ["DONE"]
    assert await full.dump() == {}


async def test_reading_works(full: Lane):
    assert (await full.call("snapshot"))[0] == "DONE"
    assert (await full.call("tail", 1, "0-0", 10))[0] == "DONE"


def test_every_script_is_on_one_side():
    refused = {"reserve", "open_sale", "add_supply", "pause", "pay", "change_item", "add_item"}
    refused |= {"rebuild_lane", "rebuild_orders", "reopen_lane"}
    assert PATHS.keys() == refused | RELEASES | READERS
