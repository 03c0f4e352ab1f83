"""lua/README.md says what the scripts do: its tables are held to the headers."""

from __future__ import annotations

import re

import pytest

from flashsale.domain.events import STATE_OF_KIND, EventKind
from flashsale.domain.outcomes import HOLD_STATES
from tests.lua.header import LUA, PATHS, header
from tests.lua.lane import COUNTERS, Lane

TEXT = (LUA / "README.md").read_text()


def rows(section: str) -> list[list[str]]:
    """The cells of the first table under a heading."""
    _, body = re.split(rf"^#+ {section}\n", TEXT, flags=re.MULTILINE)
    table = re.search(r"(?:^\|.*\n)+", body, re.MULTILINE)[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def test_every_script_has_a_table_and_no_other_has():
    assert re.findall(r"^### (\w+)$", TEXT, re.MULTILINE) == list(PATHS)


@pytest.mark.parametrize("name", PATHS)
def test_statuses_stand_in_the_order_of_the_checks(name: str):
    listed = [status.strip("`") for status, _ in rows(name)]
    assert listed == list(header(name).statuses)
    assert all(when for _, when in rows(name))


def test_keys_have_the_types_of_the_headers():
    listed = {(key.strip("`"), kind) for key, kind, _ in rows("Keys")}
    assert listed == {key for name in PATHS for key in header(name).keys}


async def test_keys_hold_what_is_listed(lane: Lane):
    """The fields that a lane in use really has."""
    await lane.open(10)
    await lane.reserve(("order", "ann", 0, 1))
    await lane.call("shut_item", 1, 0, "shut")
    await lane.call("pause", 1, "paused", 1)
    listed = {
        key.strip("`"): set(re.findall(r"`(\w+(?::n)?)`", what)) for key, _, what in rows("Keys")
    }
    states = {"open", "paused", "closed", "cancelled"}
    assert set(await lane.redis.hgetall(lane.keys.meta)) == listed["meta"] - states
    assert listed["stock"] == {f"{counter}:n" for counter in COUNTERS}
    ((_, fields),) = await lane.redis.xrange(lane.keys.events, count=1)
    assert set(fields) == listed["events"]


def test_letters_and_kinds_are_all_named():
    (holds,) = [what for key, _, what in rows("Keys") if key == "`holds`"]
    assert re.findall(r"\b([A-Z]) (\w+)", holds) == [
        (letter, state.value) for letter, state in HOLD_STATES.items()
    ]
    kinds = re.search(r"\| kind \| fields \|\n\|.*\n((?:\|.*\n)+)", TEXT)[1]
    named = [
        kind for line in kinds.splitlines() for kind in re.findall(r"`(\w+)`", line.split("|")[1])
    ]
    assert named == [kind.value for kind in EventKind]
    assert set(named[: len(STATE_OF_KIND)]) == {*HOLD_STATES, "D", "M"}
