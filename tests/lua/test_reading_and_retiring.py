"""What a lane shows of itself, and how it goes: only what is settled is ever removed."""

from __future__ import annotations

from tests.lua.lane import FUTURE, HOUR_MS, PAST, Lane, T, without_instants

GROUP = "settlement"


async def sell_three(lane: Lane) -> list[str]:
    """Four entries: the opening and three reservations; their ids."""
    await lane.open(10, 1)
    for order in "abc":
        await lane.reserve((order, f"buyer-{order}", 0, 1))
    return [entry.entry_id for entry in await lane.entries()]


async def test_a_snapshot_shows_everything_countable(lane: Lane):
    ids = await sell_three(lane)
    await lane.call("release", 1, "a", "buyer-a", "C")
    await lane.redis.xdel(lane.keys.events, ids[0])
    last = await lane.last_id()
    counted = [3, 2, 4, last]  # records, live holds, entries in the stream, the newest one
    stock = [10, 8, 2, 0, 0, 1, 1, 0, 0, 0]
    assert without_instants(await lane.call("snapshot"))[:12] == without_instants(
        ["DONE", 1, 5, T, "open", PAST, FUTURE, 2, HOUR_MS, *counted[:3]]
    )
    assert (await lane.call("snapshot"))[12:] == [last, 2, "", *stock]


async def test_the_newest_entry_is_known_after_it_was_trimmed(lane: Lane):
    await sell_three(lane)
    last = await lane.last_id()
    await lane.redis.xtrim(lane.keys.events, maxlen=0)
    reply = await lane.call("snapshot")
    assert reply[11:13] == [0, last]


async def test_a_tail_gives_what_came_after_a_position(lane: Lane):
    ids = await sell_three(lane)
    stand = ["DONE", 4, T, "open", PAST, FUTURE, 2, 2, 10, 7, 1, 1]
    for after, limit, expected in [
        ("-", 10, []),
        ("0-0", 2, [0, 1]),
        (ids[1], 10, [2, 3]),
        (ids[3], 10, []),
    ]:
        reply = await lane.call("tail", 1, after, limit)
        assert without_instants(reply[:12]) == stand
        assert reply[12::3] == [ids[index] for index in expected]
        assert reply[13::3] == [index + 1 for index in expected]
        lines = [line for entry in await lane.event_lines() for line in entry]
        assert without_instants(reply[14::3]) == [lines[index] for index in expected]


async def test_only_what_every_group_has_acknowledged_is_trimmed(lane: Lane):
    assert await lane.call("trim_events") == ["DONE", 0], "no stream yet"
    ids = await sell_three(lane)
    events, redis = lane.keys.events, lane.redis

    async def left() -> list[str]:
        return [entry.entry_id for entry in await lane.entries()]

    assert await lane.call("trim_events") == ["DONE", 0], "nobody reads yet"
    await redis.xgroup_create(events, GROUP, id="0")
    assert await lane.call("trim_events") == ["DONE", 0], "nothing is delivered"
    await redis.xreadgroup(GROUP, "worker", {events: ">"}, count=3)
    await redis.xack(events, GROUP, ids[0], ids[2])
    assert await lane.call("trim_events") == ["DONE", 1], "an older entry is pending"
    assert await left() == ids[1:]
    await redis.xack(events, GROUP, ids[1])
    await redis.xgroup_create(events, "another", id="0")
    assert await lane.call("trim_events") == ["DONE", 0], "another group has read nothing"
    await redis.xgroup_destroy(events, "another")
    assert await lane.call("trim_events") == ["DONE", 2], "what is not delivered stays"
    assert await left() == ids[3:]


async def test_entries_of_one_millisecond_are_trimmed_one_by_one(lane: Lane):
    events, redis = lane.keys.events, lane.redis
    for entry_id in ("5-9", "5-10", "5-11"):
        await redis.xadd(events, {"seq": "1"}, id=entry_id)
    await redis.xgroup_create(events, GROUP, id="0")
    for left in (["5-10", "5-11"], ["5-11"], []):
        await redis.xreadgroup(GROUP, "worker", {events: ">"}, count=1)
        assert await lane.call("trim_events") == ["DONE", 0], "it is pending"
        (pending,) = await redis.xpending_range(events, GROUP, "-", "+", 10)
        await redis.xack(events, GROUP, pending["message_id"])
        assert await lane.call("trim_events") == ["DONE", 1]
        assert [entry_id for entry_id, _ in await redis.xrange(events)] == left


async def test_a_lane_is_retired_once_nothing_hangs_on_it(lane: Lane):
    await sell_three(lane)
    await lane.call("close_sale", 1, "closed")
    await lane.redis.xtrim(lane.keys.events, maxlen=0)
    assert await lane.call("retire", 1) == ["BUSY_LANE"], "holds are live"
    for order in "abc":
        await lane.call("release", 1, order, f"buyer-{order}", "C")
    before = await lane.dump()
    assert await lane.call("retire", 1) == ["BUSY_LANE"], "their ends are not settled"
    assert await lane.dump() == before
    await lane.redis.xtrim(lane.keys.events, maxlen=0)
    await lane.redis.hset(lane.keys.stock, "paying:1", 1)
    assert await lane.call("retire", 1) == ["BUSY_LANE"], "someone is paying"
    await lane.redis.hset(lane.keys.stock, "paying:1", 0)
    assert await lane.call("retire", 1) == ["DONE"]
    assert await lane.dump() == {}
