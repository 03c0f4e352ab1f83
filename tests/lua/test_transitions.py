"""What each script does: before, call, reply, everything after, event."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import pytest

from tests.lua.header import PATHS, header
from tests.lua.lane import FUTURE, HOUR_MS, PAST, Lane, T, View, without_instants

#: A call: the script's name and its arguments.
Call = tuple[Any, ...]
OPEN = ("open_sale", 1, PAST, FUTURE, 2, HOUR_MS, 1, 10)
OPEN_TWO = ("open_sale", 1, PAST, FUTURE, 2, HOUR_MS, 2, 10, 1)
ANN = ("reserve", 1, 1, "a", "ann", 0, 2)
CLOSE, CANCEL = ("close_sale", 1, "closed"), ("close_sale", 1, "cancelled")
PAUSE, RESUME = ("pause", 1, "paused", 2), ("pause", 1, "open", 3)
LATE_RESUME = ("pause", 1, "open", 1)
RELEASE, REJECT = ("release", 1, "a", "ann", "C"), ("release", 1, "a", "ann", "J")
FULL, ONE_HOLD = (10, 10, 0, 0, 0), (10, 8, 2, 0, 0)
HELD = {"a": "R:1:0:2:T:ann"}
EMPTY = View(stock=(FULL,), holds={}, live=set(), buyers={}, state="open", seq=1)
ANN_HOLDS = View((ONE_HOLD,), HELD, {"a"}, {"ann": "2"}, "open", 2)

BATCH = (
    *("reserve", 1, 7),
    *("a", "ann", 0, 2),  # granted
    *("a", "ann", 0, 2),  # the same again, before the first is written
    *("a", "ann", 1, 2),  # its key with another body
    *("b", "ann", 1, 1),  # ann has her two
    *("c", "bob", 1, 1),  # the last unit of item 1
    *("d", "cid", 1, 1),  # too late by one place
    *("e", "dee", -1, 1),  # no such SKU
)
BATCH_ANSWERS = (
    *("RESERVED", T),
    *("REPLAYED", "R:1:0:2:T:ann"),
    *("KEY_REUSED", 0),
    *("LIMIT_REACHED", 0),
    *("RESERVED", T),
    *("SOLD_OUT", 0),
    *("UNKNOWN_SKU", 0),
)


class Case(NamedTuple):
    """One row. Instants read T; `events` are the lines of the entries that the call appended."""

    name: str
    before: list[Call]
    call: Call
    reply: list[Any]
    after: View
    events: list[list[str]]


CASES = [
    Case("arming sets stock and terms", [], OPEN, ["OPENED"], EMPTY, [[f"open\t{PAST}-{FUTURE}"]]),
    Case(
        "new terms leave the stock alone",
        [OPEN, ANN],
        ("open_sale", 1, PAST, FUTURE + 5, 3, HOUR_MS, 1, 99),
        ["UPDATED"],
        ANN_HOLDS._replace(seq=3),
        [[f"open\t{PAST}-{FUTURE + 5}"]],
    ),
    Case(
        "a reservation moves units and remembers all of it",
        [OPEN],
        ANN,
        ["DONE", T, 2, "RESERVED", T],
        ANN_HOLDS,
        [["R\t1\ta\t0\t2\tT\tann"]],
    ),
    Case(
        "a batch is decided in order, as one entry",
        [OPEN_TWO],
        BATCH,
        ["DONE", T, 2, *BATCH_ANSWERS],
        View(
            (ONE_HOLD, (1, 0, 1, 0, 0)),
            {**HELD, "c": "R:1:1:1:T:bob"},
            {"a", "c"},
            {"ann": "2", "bob": "1"},
            "open",
            2,
        ),
        [["R\t1\ta\t0\t2\tT\tann", "R\t1\tc\t1\t1\tT\tbob"]],
    ),
    Case(
        "a batch of refusals appends nothing",
        [OPEN, ANN],
        ("reserve", 1, 2, "a", "ann", 0, 2, "b", "bob", 0, 11),
        ["DONE", T, 2, "REPLAYED", "R:1:0:2:T:ann", "LIMIT_REACHED", 0],
        ANN_HOLDS,
        [],
    ),
    Case(
        "names may contain the characters that part a record",
        [OPEN],
        ("reserve", 1, 1, "a", "a:n\tn:", 0, 1),
        ["DONE", T, 2, "RESERVED", T],
        View(((10, 9, 1, 0, 0),), {"a": "R:1:0:1:T:a:n\tn:"}, {"a"}, {"a:n\tn:": "1"}, "open", 2),
        [["R\t1\ta\t0\t1\tT\ta:n\tn:"]],
    ),
    Case(
        "a release gives units and limit back and keeps the record",
        [OPEN, ANN],
        RELEASE,
        ["RELEASED", "C:2:0:2:T:ann"],
        View((FULL,), {"a": "C:2:0:2:T:ann"}, set(), {"ann": "0"}, "open", 3),
        [["C\t2\ta\t0\t2\tT\tann"]],
    ),
    Case(
        "a rejection is a release of another name",
        [OPEN, ANN],
        REJECT,
        ["RELEASED", "J:2:0:2:T:ann"],
        View((FULL,), {"a": "J:2:0:2:T:ann"}, set(), {"ann": "0"}, "open", 3),
        [["J\t2\ta\t0\t2\tT\tann"]],
    ),
    Case(
        "a second release gives nothing back",
        [OPEN, ANN, RELEASE],
        RELEASE,
        ["ALREADY", "C:2:0:2:T:ann"],
        View((FULL,), {"a": "C:2:0:2:T:ann"}, set(), {"ann": "0"}, "open", 3),
        [],
    ),
    Case(
        "a hold ends once",
        [OPEN, ANN, RELEASE],
        REJECT,
        ["ILLEGAL", "C:2:0:2:T:ann"],
        View((FULL,), {"a": "C:2:0:2:T:ann"}, set(), {"ann": "0"}, "open", 3),
        [],
    ),
    Case(
        "an ended order is replayed as it ended, even to a retry that would fit",
        [OPEN, ANN, RELEASE],
        ANN,
        ["DONE", T, 3, "REPLAYED", "C:2:0:2:T:ann"],
        View((FULL,), {"a": "C:2:0:2:T:ann"}, set(), {"ann": "0"}, "open", 3),
        [],
    ),
    Case("what is not due stays", [OPEN, ANN], ("expire_due", 1, 9), ["DONE", 0, T], ANN_HOLDS, []),
    Case("no hold, no deadline", [OPEN], ("expire_due", 1, 9), ["DONE", 0, 0], EMPTY, []),
    Case(
        "a wave adds to capacity and available",
        [OPEN],
        ("add_supply", 1, "s1", 0, 5),
        ["DONE", 15],
        EMPTY._replace(stock=((15, 15, 0, 0, 0),), seq=2),
        [["supply\ts1 0 5"]],
    ),
    Case(
        "a wave comes once",
        [OPEN, ("add_supply", 1, "s1", 0, 5)],
        ("add_supply", 1, "s1", 0, 5),
        ["ALREADY"],
        EMPTY._replace(stock=((15, 15, 0, 0, 0),), seq=2),
        [],
    ),
    Case(
        "unsold units can all be taken back",
        [OPEN, ANN],
        ("add_supply", 1, "s1", 0, -8),
        ["DONE", 0],
        ANN_HOLDS._replace(stock=((2, 0, 2, 0, 0),), seq=3),
        [["supply\ts1 0 -8"]],
    ),
    Case("pausing", [OPEN], PAUSE, ["DONE"], EMPTY._replace(state="paused", seq=2), [["pause\t"]]),
    Case("resuming", [OPEN, PAUSE], RESUME, ["DONE"], EMPTY._replace(seq=3), [["resume\t"]]),
    Case(
        "resuming by who read the sale before it was paused",
        *([OPEN, PAUSE], LATE_RESUME, ["ALREADY"], EMPTY._replace(state="paused", seq=2), []),
    ),
    Case(
        "closing leaves holds their time",
        [OPEN, ANN],
        CLOSE,
        ["DONE"],
        ANN_HOLDS._replace(state="closed", seq=3),
        [["close\tclosed"]],
    ),
    Case(
        "a cancelled sale gives its holds back",
        [OPEN, ANN, CANCEL],
        ("cancel_holds", 1, 9),
        ["DONE", 1],
        View((FULL,), {"a": "C:2:0:2:T:ann"}, set(), {"ann": "0"}, "cancelled", 4),
        [["C\t2\ta\t0\t2\tT\tann"]],
    ),
]
#: After the end nothing moves: (how it ended, call, reply).
AFTER_THE_END = [
    (CLOSE, CLOSE, ["ALREADY"]),
    (CANCEL, CANCEL, ["ALREADY"]),
    (CANCEL, CLOSE, ["ILLEGAL"]),
    (CLOSE, CANCEL, ["ILLEGAL"]),
    (CLOSE, PAUSE, ["ILLEGAL"]),
    (CANCEL, RESUME, ["ILLEGAL"]),
    (CLOSE, OPEN, ["ILLEGAL"]),
    (CLOSE, ("retire", 1), ["BUSY_LANE"]),
    (CANCEL, ("cancel_holds", 1, 9), ["DONE", 0]),
]
CASES += [
    Case(
        f"{call[0]} after {ending[2]}",
        [OPEN, ending],
        call,
        reply,
        EMPTY._replace(state=ending[2], seq=2),
        [],
    )
    for ending, call, reply in AFTER_THE_END
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_call_does_this_and_nothing_else(lane: Lane, case: Case):
    await check(lane, case)


async def check(lane: Lane, case: Case) -> None:
    """Play a case out."""
    for script, *arguments in case.before:
        await lane.call(script, *arguments)
    known, last = await lane.dump(), await lane.last_id()
    script, *arguments = case.call
    reply = await lane.call(script, *arguments)
    assert without_instants(reply) == case.reply
    assert await lane.view() == case.after
    assert await lane.event_lines(last) == case.events
    if not case.events:
        assert await lane.dump() == known
    for entry in await lane.entries(last):
        assert (entry.seq, entry.epoch) == (case.after.seq, 1)
        assert entry.available == tuple(item[1] for item in case.after.stock)


async def test_a_deadline_is_the_decision_plus_the_hold(lane: Lane):
    await lane.open(10, hold_ms=12_345)
    reply = await lane.reserve(("a", "ann", 0, 1))
    assert reply[4] == reply[1] + 12_345
    (entry,) = (await lane.entries())[1:]
    assert (entry.at_ms, entry.orders[0].deadline_ms) == (reply[1], reply[4])


async def test_overdue_holds_end_oldest_first_and_so_many_a_call(lane: Lane):
    await lane.open(10, hold_ms=1)
    deadlines = {}
    for order in ("c", "a", "b"):
        deadlines[order] = (await lane.reserve((order, f"buyer-{order}", 0, 1)))[4]
        await asyncio.sleep(0.002)
    await lane.open(10, hold_ms=HOUR_MS)
    later = (await lane.reserve(("d", "dee", 0, 1)))[4]
    last = await lane.last_id()
    assert await lane.call("expire_due", 1, 2) == ["DONE", 2, deadlines["b"]]
    assert await lane.call("expire_due", 1, 2) == ["DONE", 1, later]
    assert await lane.call("expire_due", 1, 2) == ["DONE", 0, later]
    expired = [[event.order for event in entry.orders] for entry in await lane.entries(last)]
    assert expired == [["c", "a"], ["b"]]
    view = await lane.view()
    assert view.live == {"d"}
    assert view.stock == ((10, 9, 1, 0, 0),)


async def test_a_cancelled_sale_gives_its_holds_back_so_many_a_call(lane: Lane):
    await lane.open(10)
    await lane.reserve(*[(order, f"buyer-{order}", 0, 2) for order in "abc"])
    await lane.call("close_sale", 1, "cancelled")
    replies = [await lane.call("cancel_holds", 1, 2) for _ in range(3)]
    assert replies == [["DONE", 2], ["DONE", 1], ["DONE", 0]]
    view = await lane.view()
    assert (view.stock, view.live) == ((FULL,), set())
    assert {record[:2] for record in view.holds.values()} == {"C:"}


async def test_the_largest_supply_is_counted_exactly(lane: Lane):
    """Text of a large number must not become 1e+09, nor lose its last digit."""
    await lane.open(1_000_000_000, limit=1_000_000_000)
    await lane.reserve(("a", "ann", 0, 999_999_999))
    assert (await lane.view()).stock == ((1_000_000_000, 1, 999_999_999, 0, 0),)
    await lane.call("release", 1, "a", "ann", "C")
    assert (await lane.view()).stock == ((1_000_000_000, 1_000_000_000, 0, 0, 0),)
    assert (await lane.view()).buyers == {"ann": "0"}


async def test_keys_have_the_types_that_the_headers_say(lane: Lane):
    await lane.open(10)
    await lane.reserve(("a", "ann", 0, 1))
    await lane.call("add_supply", 1, "s1", 0, 1)
    named = {key for name in PATHS for key in header(name).keys}
    assert {
        (name, await lane.redis.type(key)) for name, key in lane.keys._asdict().items()
    } == named
