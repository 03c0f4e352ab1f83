"""On a Redis Cluster every script keeps to one slot: here one node owns all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from flashsale.domain.outcomes import Status
from flashsale.reservation.errors import ScriptError
from flashsale.reservation.keys import SETTLEMENT_GROUP
from tests.lua.header import PATHS, REFUSALS
from tests.lua.lane import FUTURE, HOUR_MS, PAST, Lane
from tests.lua.private_server import free_port, private_redis

SLOTS = 16384
EFFECTS = set(Status) - REFUSALS
FIRST_TO_LAST = [
    ("open_sale", 1, PAST, FUTURE, 2, HOUR_MS, 2, 10, 10),
    ("reserve", 1, 2, "a", "ann", 0, 2, "b", "bob", 1, 1),
    ("add_supply", 1, "s1", 0, 5),
    ("add_item", 1, 2, 5),
    ("pay", 1, "a", "ann", HOUR_MS),
    ("decline", 1, "a", "ann"),
    ("release", 1, "a", "ann", "C"),
    ("capture", 1, "b", "bob", "E"),
    ("change_item", 1, "b", "bob", 2),
    ("return_units", 1, "b", "bob", "F"),
    ("expire_due", 1, 10),
    ("pause", 1, "paused", 1),
    ("shut_item", 1, 1, "shut"),
    ("snapshot",),
    ("tail", 1, "0-0", 10),
    ("seal", 2),
    ("rebuild_lane", 2, "open", PAST, FUTURE, 2, HOUR_MS, 20, 10, 10),
    ("rebuild_orders", 2, 1, "c", "R", 1, 0, 1, FUTURE, FUTURE, "cid"),
    ("reopen_lane", 2, 1, "0-0"),
    ("close_sale", 2, "cancelled"),
    ("cancel_holds", 2, 10),
    ("trim_events",),
    ("retire", 2),
]


@pytest.fixture(scope="module")
async def cluster() -> AsyncIterator[Redis]:
    async with private_redis(cluster_enabled="yes", cluster_port=free_port()) as client:
        await client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
        while "cluster_state:ok" not in await client.execute_command("CLUSTER", "INFO"):
            await asyncio.sleep(0.05)
        yield client


@pytest.mark.parametrize("lanes", [1, 4])
async def test_every_script_runs_in_its_lanes_slot(cluster: Redis, lanes: int):
    await cluster.flushall()
    assert {call[0] for call in FIRST_TO_LAST} == PATHS.keys()
    slots = set()
    for number in range(lanes):
        lane = Lane(cluster, number)
        of_keys = {await cluster.execute_command("CLUSTER", "KEYSLOT", key) for key in lane.keys}
        assert len(of_keys) == 1, "a lane is one slot"
        slots |= of_keys
        for script, *arguments in FIRST_TO_LAST:
            if script == "trim_events":
                await read_all(lane)
            reply = await lane.call(script, *arguments)
            assert reply[0] in EFFECTS, (script, reply)
        await lane.close()
    assert len(slots) == lanes, "lanes spread"
    assert await cluster.dbsize() == 0


async def read_all(lane: Lane) -> None:
    """What settlement does, so that the lane can be trimmed and retired."""
    events = lane.keys.events
    await lane.redis.xgroup_create(events, SETTLEMENT_GROUP, id="0")
    read = await lane.redis.xreadgroup(SETTLEMENT_GROUP, "worker", {events: ">"})
    entries = read[events][0]
    await lane.redis.xack(events, SETTLEMENT_GROUP, *[entry_id for entry_id, _ in entries])


async def test_a_script_with_keys_of_two_lanes_is_refused(cluster: Redis):
    """The control: this server does notice."""
    one, other = Lane(cluster, 0), Lane(cluster, 1)
    keys = (one.keys.meta, other.keys.stock, one.keys.events)
    with pytest.raises(ScriptError, match="slot"):
        await one.runner.run("pause", keys, (1, "paused", 1))
    await one.close()


async def test_a_script_that_builds_a_key_is_refused(cluster: Redis):
    """The control for keys that are not declared: a header line makes Redis look."""
    one, other = Lane(cluster, 0), Lane(cluster, 1)
    source = "#!lua\nredis.call('SET', KEYS[1], 1)\nredis.call('SET', ARGV[1], 1)"
    with pytest.raises(ResponseError, match="slot"):
        await cluster.execute_command("EVAL", source, 1, one.keys.meta, other.keys.meta)
