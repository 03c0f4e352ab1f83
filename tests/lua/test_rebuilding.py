"""The scripts of recovery: what each does to a lane, and what it refuses without touching it."""

from __future__ import annotations

import pytest

from tests.lua.lane import FUTURE, HOUR_MS, PAST, Lane

TERMS = ("open", PAST, FUTURE, 2, HOUR_MS)
ORDER = ("a", "R", 1, 0, 2, FUTURE, FUTURE, "ann")


async def _sealed(lane: Lane) -> None:
    await lane.open(10)
    await lane.reserve(("old", "bob", 0, 1))
    assert await lane.call("seal", 2) == ["DONE"]


async def _rebuilding(lane: Lane, *orders: tuple) -> None:
    await _sealed(lane)
    assert await lane.call("rebuild_lane", 2, *TERMS, 7, 10) == ["DONE"]
    if orders:
        flat = [part for order in orders for part in order]
        assert await lane.call("rebuild_orders", 2, len(orders), *flat) == ["DONE", len(orders)]


async def test_a_sealed_lane_takes_nothing_in_either_epoch(lane: Lane):
    await _sealed(lane)
    before = await lane.dump()
    for epoch in (1, 2):
        assert await lane.reserve(("b", "ann", 0, 1), epoch=epoch) == ["FOREIGN_EPOCH"]
        assert await lane.call("expire_due", epoch, 10) == ["FOREIGN_EPOCH"]
        assert await lane.call("retire", epoch) == ["FOREIGN_EPOCH"]
    assert await lane.call("seal", 2) == ["ALREADY"]
    assert await lane.dump() == before
    assert (await lane.call("snapshot"))[:2] == ["DONE", -2]


async def test_every_letter_stands_in_its_counter(lane: Lane):
    letters = "RPSEXCJFL"
    orders = [(letter, letter, 2, 0, 1, FUTURE, 0, f"buyer-{letter}") for letter in letters]
    await _rebuilding(lane, *orders)
    assert await lane.call("reopen_lane", 2, len(letters), "0-0") == ["DONE"]
    view = await lane.view()
    assert view.stock == ((10, 6, 1, 1, 2),)
    live = {f"buyer-{letter}": "1" for letter in "RPSE"}
    assert view.buyers == live | {f"buyer-{letter}": "0" for letter in "XCJFL"}
    assert (await lane.event_lines())[-1:] == [["recovered\t9"]]


async def test_an_order_put_back_twice_counts_once(lane: Lane):
    await _rebuilding(lane, ORDER)
    assert await lane.call("rebuild_orders", 2, 1, *ORDER) == ["DONE", 0]
    assert await lane.call("reopen_lane", 2, 1, "0-0") == ["DONE"]
    view = await lane.view()
    assert (view.stock, view.live, view.seq) == (((10, 8, 2, 0, 0),), {"a"}, 8)
    assert await lane.call("reopen_lane", 2, 1, "0-0") == ["OPENED"]
    assert await lane.call("seal", 2) == ["OPENED"]


async def test_the_stream_goes_on_behind_what_was_settled(lane: Lane):
    await _rebuilding(lane)
    await lane.redis.delete(lane.keys.events)
    assert await lane.call("reopen_lane", 2, 0, f"{FUTURE}-3") == ["DONE"]
    assert await lane.last_id() == f"{FUTURE}-4"


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (("seal", 1), ["BAD_ARGUMENT"]),
        (("seal", "x"), ["BAD_ARGUMENT"]),
        (("rebuild_lane", 3, *TERMS, 7, 10), ["FOREIGN_EPOCH"]),
        (("rebuild_lane", 2, "asleep", *TERMS[1:], 7, 10), ["BAD_ARGUMENT"]),
        (("rebuild_lane", 2, *TERMS, 7, -1), ["BAD_ARGUMENT"]),
        (("rebuild_lane", 2, *TERMS, "nan", 10), ["BAD_ARGUMENT"]),
        (("rebuild_lane", 2, *TERMS, 7), ["BAD_ARGUMENT"]),
        (("rebuild_orders", 3, 1, *ORDER), ["FOREIGN_EPOCH"]),
        (("rebuild_orders", 2, 2, *ORDER), ["BAD_ARGUMENT", 0]),
        (("rebuild_orders", 2, 1, "a", "Z", *ORDER[2:]), ["BAD_ARGUMENT", 1]),
        (("rebuild_orders", 2, 1, "a", "R", 1, 5, *ORDER[4:]), ["BAD_ARGUMENT", 1]),
        (("rebuild_orders", 2, 1, "a", "R", 1, 0, -2, *ORDER[5:]), ["BAD_ARGUMENT", 1]),
        (("reopen_lane", 3, 1, "0-0"), ["FOREIGN_EPOCH"]),
        (("reopen_lane", 2, "x", "0-0"), ["BAD_ARGUMENT"]),
        (("reopen_lane", 2, 1, "latest"), ["BAD_ARGUMENT"]),
        (("reopen_lane", 2, 5, "0-0"), ["BUSY_LANE"]),
    ],
)
async def test_a_refusal_changes_nothing(lane: Lane, call, answer):
    await _rebuilding(lane, ORDER)
    before = await lane.dump()
    assert await lane.call(*call) == answer
    assert await lane.dump() == before


async def test_more_units_than_there_are_never_open_a_lane(lane: Lane):
    await _rebuilding(lane, ("a", "S", 2, 0, 11, FUTURE, 0, "ann"))
    before = await lane.dump()
    assert await lane.call("reopen_lane", 2, 1, "0-0") == ["BELOW_LIVE", 0]
    assert await lane.dump() == before


async def test_a_later_recovery_keeps_an_earlier_one_out(lane: Lane):
    await _sealed(lane)
    assert await lane.call("seal", 3) == ["DONE"]
    assert await lane.call("seal", 2) == ["FOREIGN_EPOCH"]
    assert await lane.call("rebuild_lane", 2, *TERMS, 7, 10) == ["FOREIGN_EPOCH"]


async def test_nothing_is_left_to_seal_of_a_lane_that_is_not_there(lane: Lane):
    assert await lane.call("seal", 2) == ["MISSING_LANE"]
    assert await lane.call("rebuild_orders", 2, 1, *ORDER) == ["MISSING_LANE"]
    assert await lane.call("reopen_lane", 2, 1, "0-0") == ["MISSING_LANE"]
    assert await lane.call("rebuild_lane", 2, *TERMS, 0, 10) == ["DONE"]
