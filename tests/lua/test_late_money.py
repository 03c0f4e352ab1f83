"""Holds, checkouts and money against the clock: who is late finds what is left, and no more."""

from __future__ import annotations

import asyncio

import pytest

from tests.lua.lane import Lane
from tests.lua.test_money_transitions import CAPTURE, DECLINE, PAY, line, stands
from tests.lua.test_transitions import CANCEL, CLOSE, Call


async def until(lane: Lane, instant_ms: int) -> None:
    while (await lane.call("snapshot"))[3] <= instant_ms:
        await asyncio.sleep(0.001)


async def overdue(lane: Lane, *before: Call, terms: tuple[int, int] = (1, 10)) -> int:
    """A lane of `terms` (hold_ms, capacity) with ann's hold of two; its deadline, passed."""
    hold_ms, capacity = terms
    await lane.open(capacity, hold_ms=hold_ms)
    deadline_ms = (await lane.reserve(("a", "ann", 0, 2)))[4]
    for script, *arguments in before:
        await lane.call(script, *arguments)
    await until(lane, deadline_ms)
    return deadline_ms


async def test_a_hold_whose_time_is_up_is_not_paid(lane: Lane):
    await overdue(lane)
    known = await lane.dump()
    record = await lane.redis.hget(lane.keys.holds, "a")
    assert await lane.call(*PAY) == ["OVERDUE", record]
    assert await lane.dump() == known


async def test_a_checkout_outlives_the_hold(lane: Lane):
    await lane.open(10, hold_ms=300)
    hold_ends_ms = (await lane.reserve(("a", "ann", 0, 2)))[4]
    assert (await lane.call(*PAY))[0] == "PAYING"
    (score,) = await lane.redis.zmscore(lane.keys.deadlines, ["a"])
    assert score > hold_ends_ms
    await until(lane, hold_ends_ms)
    assert await lane.call("expire_due", 1, 9) == ["DONE", 0, int(score)]
    assert (await lane.call(*DECLINE))[0] == "DECLINED"
    (score,) = await lane.redis.zmscore(lane.keys.deadlines, ["a"])
    assert score == hold_ends_ms, "what is left of its time is none"
    assert await lane.call("expire_due", 1, 9) == ["DONE", 1, 0]
    assert (await lane.view()).holds["a"].startswith("X:4:")


async def test_a_checkout_that_takes_too_long_gives_the_hold_its_time_back(lane: Lane):
    await lane.open(10)
    deadline_ms = (await lane.reserve(("a", "ann", 0, 2)))[4]
    await lane.call("pay", 1, "a", "ann", 1)
    (score,) = await lane.redis.zmscore(lane.keys.deadlines, ["a"])
    await until(lane, int(score))
    last = await lane.last_id()
    assert await lane.call("expire_due", 1, 9) == ["DONE", 1, deadline_ms]
    assert await lane.view() == stands("R", 3, 4, live=True)
    assert await lane.event_lines(last) == line("D", 3)


async def test_an_overdue_checkout_of_an_overdue_hold_ends_both(lane: Lane):
    await lane.open(10, hold_ms=200)
    deadline_ms = (await lane.reserve(("a", "ann", 0, 2)))[4]
    assert (await lane.call("pay", 1, "a", "ann", 1))[0] == "PAYING"
    await until(lane, deadline_ms)
    assert await lane.call("expire_due", 1, 9) == ["DONE", 1, 0]
    assert await lane.view() == stands("X", 3, 4)


EXPIRE = ("expire_due", 1, 9)


async def test_money_that_comes_late_finds_units_that_are_left(lane: Lane):
    await overdue(lane)
    await lane.call(*EXPIRE)
    last = await lane.last_id()
    reply = await lane.call(*CAPTURE)
    assert reply[0] == "CAPTURED"
    assert await lane.view() == stands("S", 3, 4)
    assert await lane.event_lines(last) == line("S", 3)


@pytest.mark.parametrize(
    ("meanwhile", "status"),
    [
        ((("reserve", 1, 1, "b", "bob", 0, 2),), "SOLD_OUT"),
        ((("reserve", 1, 1, "b", "ann", 0, 1),), "LIMIT_REACHED"),
        ((CANCEL,), "ILLEGAL"),
    ],
)
async def test_money_that_comes_too_late_changes_no_byte(lane: Lane, meanwhile, status):
    await overdue(lane, terms=(1, 3))
    for script, *arguments in [EXPIRE, *meanwhile]:
        await lane.call(script, *arguments)
    known = await lane.dump()
    record = await lane.redis.hget(lane.keys.holds, "a")
    assert await lane.call(*CAPTURE) == [status, record]
    assert await lane.dump() == known


async def test_money_after_the_close_finds_its_hold_too(lane: Lane):
    await overdue(lane, EXPIRE, CLOSE)
    await lane.call(*EXPIRE)
    assert (await lane.call(*CAPTURE))[0] == "CAPTURED"


async def test_what_is_sold_keeps_no_lane_and_what_is_being_paid_does(lane: Lane):
    await lane.open(10)
    await lane.reserve(("a", "ann", 0, 1), ("b", "bob", 0, 1), ("c", "cid", 0, 1))
    await lane.call(*PAY)
    await lane.call("capture", 1, "b", "bob", "S")
    await lane.call("capture", 1, "c", "cid", "E")
    await lane.call(*CLOSE)
    await lane.redis.xtrim(lane.keys.events, maxlen=0)
    assert await lane.call("retire", 1) == ["BUSY_LANE"]
    await lane.call(*CAPTURE)
    await lane.redis.xtrim(lane.keys.events, maxlen=0)
    assert await lane.call("retire", 1) == ["DONE"]
