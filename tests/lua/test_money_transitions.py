"""What each script of the way of money does: before, call, reply, everything after, event."""

from __future__ import annotations

import pytest

from tests.lua.lane import FUTURE, HOUR_MS, PAST, Lane, View
from tests.lua.test_transitions import (
    ANN,
    CANCEL,
    EMPTY,
    FULL,
    OPEN,
    OPEN_TWO,
    RELEASE,
    Call,
    Case,
    check,
)

PAY, DECLINE = ("pay", 1, "a", "ann", HOUR_MS), ("decline", 1, "a", "ann")
CAPTURE, DEPOSIT = ("capture", 1, "a", "ann", "S"), ("capture", 1, "a", "ann", "E")
REFUND, FORFEIT = ("return_units", 1, "a", "ann", "F"), ("return_units", 1, "a", "ann", "L")
CHANGE = ("change_item", 1, "a", "ann", 1)
OPEN_BOTH = (*OPEN_TWO[:-1], 5)
CANCEL_HOLDS = ("cancel_holds", 1, 9)


def stands(letter: str, version: int, seq: int, *, live: bool = False) -> View:
    """The lane of ten units in which ann's order of two has this letter."""
    counters = {"R": (10, 8, 2, 0, 0), "P": (10, 8, 0, 2, 0)}
    counters |= dict.fromkeys("SE", (10, 8, 0, 0, 2))
    return View(
        (counters.get(letter, FULL),),
        {"a": f"{letter}:{version}:0:2:T:ann"},
        {"a"} if live else set(),
        {"ann": "2" if letter in counters else "0"},
        "open",
        seq,
    )


def line(kind: str, version: int, item: int = 0) -> list[list[str]]:
    return [[f"{kind}\t{version}\ta\t{item}\t2\tT\tann"]]


CASES = [
    Case(
        "a checkout sets units aside and keeps the hold's own deadline",
        [OPEN, ANN],
        PAY,
        ["PAYING", "P:2:0:2:T:ann"],
        stands("P", 2, 3, live=True),
        line("P", 2),
    ),
    Case(
        "a declined one is held again",
        [OPEN, ANN, PAY],
        DECLINE,
        ["DECLINED", "R:3:0:2:T:ann"],
        stands("R", 3, 4, live=True),
        line("D", 3),
    ),
    Case(
        "and can be paid again",
        [OPEN, ANN, PAY, DECLINE],
        PAY,
        ["PAYING", "P:4:0:2:T:ann"],
        stands("P", 4, 5, live=True),
        line("P", 4),
    ),
    Case(
        "money sells the units",
        [OPEN, ANN, PAY],
        CAPTURE,
        ["CAPTURED", "S:3:0:2:T:ann"],
        stands("S", 3, 4),
        line("S", 3),
    ),
    Case(
        "a deposit sells them too",
        [OPEN, ANN, PAY],
        DEPOSIT,
        ["CAPTURED", "E:3:0:2:T:ann"],
        stands("E", 3, 4),
        line("E", 3),
    ),
    Case(
        "money that comes after the checkout finds the hold",
        [OPEN, ANN, PAY, DECLINE],
        CAPTURE,
        ["CAPTURED", "S:4:0:2:T:ann"],
        stands("S", 4, 5),
        line("S", 4),
    ),
    Case(
        "a checkout can be given up",
        [OPEN, ANN, PAY],
        RELEASE,
        ["RELEASED", "C:3:0:2:T:ann"],
        stands("C", 3, 4),
        line("C", 3),
    ),
    Case(
        "a cancelled sale ends checkouts",
        [OPEN, ANN, PAY, CANCEL],
        CANCEL_HOLDS,
        ["DONE", 1],
        stands("C", 3, 5)._replace(state="cancelled"),
        line("C", 3),
    ),
    Case(
        "and leaves what is sold",
        [OPEN, ANN, CAPTURE, CANCEL],
        CANCEL_HOLDS,
        ["DONE", 0],
        stands("S", 2, 4)._replace(state="cancelled"),
        [],
    ),
    Case(
        "a refund puts units back",
        [OPEN, ANN, PAY, CAPTURE],
        REFUND,
        ["RETURNED", "F:4:0:2:T:ann"],
        stands("F", 4, 5),
        line("F", 4),
    ),
    Case(
        "so does a forfeit",
        [OPEN, ANN, PAY, DEPOSIT],
        FORFEIT,
        ["RETURNED", "L:4:0:2:T:ann"],
        stands("L", 4, 5),
        line("L", 4),
    ),
    Case(
        "an order of another SKU is of the same buyer",
        [OPEN_BOTH, ANN, DEPOSIT],
        CHANGE,
        ["CHANGED", "E:3:1:2:T:ann"],
        View(
            (FULL, (5, 3, 0, 0, 2)),
            {"a": "E:3:1:2:T:ann"},
            set(),
            {"ann": "2"},
            "open",
            4,
        ),
        line("M", 3, 1),
    ),
    Case(
        "a new SKU is on sale at once",
        [OPEN],
        ("add_item", 1, 1, 7),
        ["DONE"],
        EMPTY._replace(stock=(FULL, (7, 7, 0, 0, 0)), seq=2),
        [["item\t1 7"]],
    ),
]

#: After the calls before it, a call that changes nothing: (name, before, call, status).
STILL: list[tuple[str, list[Call], Call, str]] = [
    ("a checkout is begun once", [PAY], PAY, "ALREADY"),
    ("what is paid is not paid again", [CAPTURE], PAY, "ILLEGAL"),
    ("what ended is not paid", [RELEASE], PAY, "ILLEGAL"),
    ("a hold is not declined", [], DECLINE, "ALREADY"),
    ("money that came is not declined", [PAY, CAPTURE], DECLINE, "ILLEGAL"),
    ("what ended is not declined", [PAY, RELEASE], DECLINE, "ILLEGAL"),
    ("money sells once", [PAY, CAPTURE], CAPTURE, "ALREADY"),
    ("and as one thing", [PAY, CAPTURE], DEPOSIT, "ILLEGAL"),
    ("a deposit is no sale", [PAY, DEPOSIT], CAPTURE, "ILLEGAL"),
    ("what was given up is not sold", [PAY, RELEASE], CAPTURE, "ILLEGAL"),
    ("what was refunded is not sold", [CAPTURE, REFUND], CAPTURE, "ILLEGAL"),
    ("what is sold is not released", [PAY, CAPTURE], RELEASE, "ILLEGAL"),
    ("nor a deposit", [PAY, DEPOSIT], RELEASE, "ILLEGAL"),
    ("the ledger rejects no checkout", [PAY], (*RELEASE[:-1], "J"), "ILLEGAL"),
    ("a hold has nothing to refund", [], REFUND, "ILLEGAL"),
    ("nor has a checkout", [PAY], REFUND, "ILLEGAL"),
    ("units come back once", [CAPTURE, REFUND], REFUND, "ALREADY"),
    ("and one way", [DEPOSIT, REFUND], FORFEIT, "ILLEGAL"),
    ("or the other", [DEPOSIT, FORFEIT], REFUND, "ILLEGAL"),
    ("what is paid is not forfeited", [CAPTURE], FORFEIT, "ILLEGAL"),
    ("an order is of the SKU it is of", [DEPOSIT], (*CHANGE[:-1], 0), "ALREADY"),
    ("a hold keeps its SKU", [], CHANGE, "ILLEGAL"),
    ("what is paid keeps its SKU", [CAPTURE], CHANGE, "ILLEGAL"),
    ("there is no such SKU", [DEPOSIT], (*CHANGE[:-1], 2), "UNKNOWN_SKU"),
    ("there is one unit for two", [DEPOSIT], CHANGE, "SOLD_OUT"),
    ("a cancelled sale changes no SKU", [DEPOSIT, CANCEL], CHANGE, "ILLEGAL"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_call_does_this_and_nothing_else(lane: Lane, case: Case):
    await check(lane, case)


@pytest.mark.parametrize(
    ("before", "call", "status"),
    [row[1:] for row in STILL],
    ids=[row[0] for row in STILL],
)
async def test_a_refusal_changes_no_byte_and_shows_the_record(lane: Lane, before, call, status):
    for script, *arguments in [OPEN_TWO, ANN, *before]:
        await lane.call(script, *arguments)
    known = await lane.dump()
    script, *arguments = call
    record = await lane.redis.hget(lane.keys.holds, "a")
    assert await lane.call(script, *arguments) == [status, record]
    assert await lane.dump() == known


@pytest.mark.parametrize(
    ("call", "status"),
    [(("add_item", 1, 0, 7), "ALREADY"), (("add_item", 1, 2, 7), "ILLEGAL")],
)
async def test_items_are_numbered_without_gaps(lane: Lane, call: Call, status: str):
    await lane.open(10)
    known = await lane.dump()
    assert await lane.call(*call) == [status]
    assert await lane.dump() == known


async def test_terms_of_the_sale_with_its_new_item_are_taken(lane: Lane):
    await lane.open(10)
    await lane.call("add_item", 1, 1, 7)
    assert await lane.call("open_sale", 1, PAST, FUTURE, 3, HOUR_MS, 2) == ["UPDATED"]
    assert await lane.call("add_supply", 1, "s1", 1, 1) == ["DONE", 8]
    assert (await lane.reserve(("a", "ann", 1, 2)))[3] == "RESERVED"
