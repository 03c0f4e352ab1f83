"""A refusal changes no byte of any key, and of two reasons the one that is checked first wins."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations

import pytest

from tests.lua.lane import FUTURE, PAST, Lane

#: What each script refuses on an armed lane with ten units and the hold `taken` of buyer `ann`.
REFUSED = [
    ("open_sale", (2, PAST, FUTURE, 2, 1000, 1, 10), ["FOREIGN_EPOCH"]),
    ("open_sale", (1, PAST, PAST, 2, 1000, 1, 10), ["BAD_ARGUMENT"]),
    ("open_sale", (1, PAST, FUTURE, 0, 1000, 1, 10), ["BAD_ARGUMENT"]),
    ("open_sale", (1, PAST, FUTURE, 2, "nan", 1, 10), ["BAD_ARGUMENT"]),
    ("open_sale", (1, PAST, FUTURE, 2, 1000, 2, 10), ["BAD_ARGUMENT"]),
    ("open_sale", (1, PAST, FUTURE, 2, 1000, 1, -1), ["BAD_ARGUMENT"]),
    ("open_sale", (1, PAST, FUTURE, 2, 1000, 2, 10, 10), ["ILLEGAL"]),
    ("open_sale", (1, PAST, FUTURE, 2, 3_600_000, 1, 99), ["ALREADY"]),
    ("pause", (2, "paused", 1), ["FOREIGN_EPOCH"]),
    ("pause", (1, "closed", 1), ["BAD_ARGUMENT"]),
    ("pause", (1, "paused", "1e3"), ["BAD_ARGUMENT"]),
    ("pause", (1, "paused"), ["BAD_ARGUMENT"]),
    ("pause", (1, "open", 1), ["ALREADY"]),
    ("close_sale", (2, "closed"), ["FOREIGN_EPOCH"]),
    ("close_sale", (1, "paused"), ["BAD_ARGUMENT"]),
    ("add_supply", (2, "s1", 0, 5), ["FOREIGN_EPOCH"]),
    ("add_supply", (1, "s1", 0, 0), ["BAD_ARGUMENT"]),
    ("add_supply", (1, "s1", 0, "1.5"), ["BAD_ARGUMENT"]),
    ("add_supply", (1, "s1", 0, "0x10"), ["BAD_ARGUMENT"]),
    ("add_supply", (1, "s1", 0, "inf"), ["BAD_ARGUMENT"]),
    ("add_supply", (1, "s1", -1, 5), ["BAD_ARGUMENT"]),
    ("add_supply", (1, "", 0, 5), ["BAD_ARGUMENT"]),
    ("add_supply", (1, "s1", 1, 5), ["UNKNOWN_SKU"]),
    ("add_supply", (1, "s1", 0, -10), ["BELOW_LIVE", 9]),
    ("add_supply", (1, "s1", 0, 999_999_991), ["BELOW_LIVE", 9]),
    ("reserve", (2, 1, "o", "bob", 0, 1), ["FOREIGN_EPOCH"]),
    ("reserve", (1, 0), ["BAD_ARGUMENT", 0]),
    ("reserve", (1, 2, "o", "bob", 0, 1), ["BAD_ARGUMENT", 0]),
    ("reserve", (1, 1, "o", "bob", 0, 0), ["BAD_ARGUMENT", 1]),
    ("reserve", (1, 1, "o", "bob", 0, "nan"), ["BAD_ARGUMENT", 1]),
    ("reserve", (1, 1, "o", "bob", 0, "1e0"), ["BAD_ARGUMENT", 1]),
    ("reserve", (1, 1, "o", "bob", "0x0", 1), ["BAD_ARGUMENT", 1]),
    ("reserve", (1, 2, "o", "bob", 0, 1, "p", "bob", 0, -1), ["BAD_ARGUMENT", 2]),
    ("release", (2, "taken", "ann", "C"), ["FOREIGN_EPOCH"]),
    ("release", (1, "taken", "ann", "X"), ["BAD_ARGUMENT"]),
    ("release", (1, "other", "ann", "C"), ["UNKNOWN_ORDER"]),
    ("release", (1, "taken", "bob", "C"), ["UNKNOWN_ORDER"]),
    ("pay", (2, "taken", "ann", 1000), ["FOREIGN_EPOCH"]),
    ("pay", (1, "taken", "ann", 0), ["BAD_ARGUMENT"]),
    ("pay", (1, "taken", "ann", "nan"), ["BAD_ARGUMENT"]),
    ("pay", (1, "other", "ann", 1000), ["UNKNOWN_ORDER"]),
    ("pay", (1, "taken", "bob", 1000), ["UNKNOWN_ORDER"]),
    ("decline", (2, "taken", "ann"), ["FOREIGN_EPOCH"]),
    ("decline", (1, "other", "ann"), ["UNKNOWN_ORDER"]),
    ("decline", (1, "taken", "bob"), ["UNKNOWN_ORDER"]),
    ("capture", (2, "taken", "ann", "S"), ["FOREIGN_EPOCH"]),
    ("capture", (1, "taken", "ann", "R"), ["BAD_ARGUMENT"]),
    ("capture", (1, "other", "ann", "S"), ["UNKNOWN_ORDER"]),
    ("capture", (1, "taken", "bob", "E"), ["UNKNOWN_ORDER"]),
    ("return_units", (2, "taken", "ann", "F"), ["FOREIGN_EPOCH"]),
    ("return_units", (1, "taken", "ann", "C"), ["BAD_ARGUMENT"]),
    ("return_units", (1, "other", "ann", "F"), ["UNKNOWN_ORDER"]),
    ("return_units", (1, "taken", "bob", "L"), ["UNKNOWN_ORDER"]),
    ("change_item", (2, "taken", "ann", 0), ["FOREIGN_EPOCH"]),
    ("change_item", (1, "taken", "ann", -1), ["BAD_ARGUMENT"]),
    ("change_item", (1, "other", "ann", 0), ["UNKNOWN_ORDER"]),
    ("change_item", (1, "taken", "bob", 0), ["UNKNOWN_ORDER"]),
    ("add_item", (2, 1, 5), ["FOREIGN_EPOCH"]),
    ("shut_item", (2, 0, "shut"), ["FOREIGN_EPOCH"]),
    ("shut_item", (1, -1, "shut"), ["BAD_ARGUMENT"]),
    ("shut_item", (1, 0, "ajar"), ["BAD_ARGUMENT"]),
    ("shut_item", (1, 1, "shut"), ["UNKNOWN_SKU"]),
    ("shut_item", (1, 0, "open"), ["ALREADY"]),
    ("add_item", (1, 100, 5), ["BAD_ARGUMENT"]),
    ("add_item", (1, 1, -5), ["BAD_ARGUMENT"]),
    ("add_item", (1, 1, 1_000_000_001), ["BAD_ARGUMENT"]),
    ("expire_due", (2, 10), ["FOREIGN_EPOCH"]),
    ("expire_due", (1, 0), ["BAD_ARGUMENT"]),
    ("cancel_holds", (2, 10), ["FOREIGN_EPOCH"]),
    ("cancel_holds", (1, "ten"), ["BAD_ARGUMENT"]),
    ("cancel_holds", (1, 10), ["ILLEGAL"]),
    ("retire", (2,), ["FOREIGN_EPOCH"]),
    ("retire", (1,), ["ILLEGAL"]),
    ("tail", (2, "-", 10), ["FOREIGN_EPOCH"]),
    ("tail", (1, "-", 0), ["BAD_ARGUMENT"]),
    ("tail", (1, "yesterday", 1), ["BAD_ARGUMENT"]),
]


@pytest.mark.parametrize(("script", "arguments", "reply"), REFUSED)
async def test_a_refusal_changes_no_byte(lane: Lane, script: str, arguments, reply):
    await lane.open(10)
    await lane.reserve(("taken", "ann", 0, 1))
    before = await lane.dump()
    assert await lane.call(script, *arguments) == reply
    assert await lane.dump() == before


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("add_item", (2, -1, -1)),
        ("add_supply", (2, "", 5, 0)),
        ("cancel_holds", (2, 0)),
        ("capture", (2, "o", "ann", "odd")),
        ("change_item", (2, "o", "ann", -1)),
        ("close_sale", (2, "odd")),
        ("decline", (2, "o", "ann")),
        ("expire_due", (2, 0)),
        ("pause", (2, "odd")),
        ("pay", (2, "o", "ann", 0)),
        ("release", (2, "o", "ann", "odd")),
        ("return_units", (2, "o", "ann", "odd")),
        ("reserve", (2, 0)),
        ("retire", (2,)),
        ("shut_item", (2, -1, "odd")),
        ("snapshot", ()),
        ("tail", (2, "odd", 0)),
    ],
)
async def test_a_lane_that_is_not_there_is_the_first_thing_said(lane: Lane, script, arguments):
    """The arguments would be refused too, and the epoch; nothing is written either way."""
    assert await lane.call(script, *arguments) == ["MISSING_LANE"]
    assert await lane.dump() == {}


@dataclass
class Attempt:
    """A reservation and the lane it meets: as it stands, it would be granted."""

    order: str = "new"
    buyer: str = "bob"
    item: int = 0
    quantity: int = 1
    epoch: int = 1
    count: int = 1
    lane: dict[str, int] = field(default_factory=dict)
    close: bool = False
    pause: bool = False
    shut: bool = False
    lose: bool = False


#: In the published order of the checks: how to deserve each refusal. `taken` holds one unit.
REASONS = {
    "MISSING_LANE": {"lose": True},
    "FOREIGN_EPOCH": {"epoch": 2},
    "BAD_ARGUMENT": {"count": 2},
    "KEY_REUSED": {"order": "taken", "quantity": 2},
    "SALE_OVER": {"close": True},
    "SALE_OVER by the clock": {"lane": {"ends": PAST + 1}},
    "NOT_OPEN": {"lane": {"starts": FUTURE - 1}},
    "PAUSED": {"pause": True},
    "PAUSED for this SKU": {"shut": True},
    "UNKNOWN_SKU": {"item": 1},
    "LIMIT_REACHED": {"buyer": "ann", "quantity": 2},
    "SOLD_OUT": {"quantity": 3, "lane": {"limit": 9}},
}
#: No request can deserve both: a state is one state, and a window is over or ahead.
EXCLUSIVE = [
    {"SALE_OVER", "SALE_OVER by the clock"},
    {"SALE_OVER by the clock", "NOT_OPEN"},
    {"SALE_OVER", "PAUSED"},
    {"PAUSED for this SKU", "UNKNOWN_SKU"},
]
DETAILS = {"BAD_ARGUMENT": 0, "NOT_OPEN": FUTURE - 1}
PAIRS = [pair for pair in combinations(REASONS, 2) if set(pair) not in EXCLUSIVE]


def _deserving(*reasons: str) -> Attempt:
    attempt = Attempt()
    for reason in reasons:
        for name, value in REASONS[reason].items():
            if name == "lane":
                attempt.lane.update(value)
            elif name == "quantity":
                attempt.quantity = max(attempt.quantity, value)
            else:
                setattr(attempt, name, value)
    if "LIMIT_REACHED" in reasons:  # the higher limit is there to reach the stock at all
        attempt.lane.pop("limit", None)
    return attempt


async def _try(lane: Lane, attempt: Attempt) -> list:
    await lane.open(3)
    await lane.reserve(("taken", "ann", 0, 1))
    if attempt.lane:
        assert await lane.open(3, **attempt.lane) == ["UPDATED"]
    if attempt.pause:
        assert await lane.call("pause", 1, "paused", 1) == ["DONE"]
    if attempt.shut:
        assert await lane.call("shut_item", 1, 0, "shut") == ["DONE"]
    if attempt.close:
        assert await lane.call("close_sale", 1, "closed") == ["DONE"]
    if attempt.lose:
        await lane.redis.delete(lane.keys.meta)
    before = await lane.dump()
    request = (attempt.order, attempt.buyer, attempt.item, attempt.quantity)
    reply = await lane.call("reserve", attempt.epoch, attempt.count, *request)
    granted = reply[3:4] == ["RESERVED"]
    assert (await lane.dump() == before) == (not granted)
    return reply


def _refusal(reply: list) -> list:
    return reply[3:] if reply[0] == "DONE" else reply


def _expected(reason: str) -> list:
    status = reason.partition(" ")[0]
    if status in {"MISSING_LANE", "FOREIGN_EPOCH"}:
        return [status]
    return [status, DETAILS.get(status, 0)]


async def test_without_a_reason_it_is_granted(lane: Lane):
    assert (await _try(lane, Attempt()))[3] == "RESERVED"


@pytest.mark.parametrize("reason", REASONS)
async def test_each_reason_refuses_by_itself(lane: Lane, reason: str):
    assert _refusal(await _try(lane, _deserving(reason))) == _expected(reason)


@pytest.mark.parametrize(("earlier", "later"), PAIRS)
async def test_the_earlier_check_wins(lane: Lane, earlier: str, later: str):
    assert _refusal(await _try(lane, _deserving(earlier, later))) == _expected(earlier)


@pytest.mark.parametrize("later", list(REASONS)[4:])
async def test_a_winner_who_asks_again_is_told_yes_whatever_came_later(lane: Lane, later: str):
    attempt = _deserving(later)
    attempt.order, attempt.buyer, attempt.item, attempt.quantity = "taken", "ann", 0, 1
    reply = await _try(lane, attempt)
    assert reply[3] == "REPLAYED"
    assert reply[4].startswith("R:1:0:1:")
