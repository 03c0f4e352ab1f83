"""Every script's header is held to its body, and the bodies to the rules that keep them safe."""

from __future__ import annotations

import re

import pytest

from flashsale.domain.outcomes import Status
from flashsale.reservation.keys import LaneKeys
from tests.lua.header import (
    FIELDS,
    LUA,
    PATHS,
    READS,
    REFUSALS,
    WRITES,
    answered,
    body,
    commands,
    header,
    script,
)

INVARIANTS = 18
LINES_MAX = 120
INCLUDES = sorted((LUA / "includes").glob("*.lua"))
READERS = {"snapshot", "tail"}
#: These give back, end what was begun, or free memory: they must work when Redis' memory is full.
RELEASES = {
    *("release", "expire_due", "cancel_holds", "close_sale", "retire", "trim_events"),
    *("decline", "capture", "return_units", "seal", "shut_item"),
}

every_script = pytest.mark.parametrize("name", PATHS)
every_include = pytest.mark.parametrize("path", INCLUDES, ids=lambda path: path.stem)


@every_script
def test_the_header_has_every_field_in_order(name: str):
    assert tuple(header(name).fields) == FIELDS


@every_script
def test_invariants_are_named_by_their_numbers(name: str):
    touched = [int(number) for number in re.findall(r"INV-(\d+)", header(name).fields["Touches"])]
    assert touched
    assert touched == sorted(set(touched))
    assert touched[-1] <= INVARIANTS


@every_script
def test_keys_are_unpacked_under_the_names_of_the_header(name: str):
    names = [key for key, _ in header(name).keys]
    unpacked = body(name).splitlines()[0]
    assert unpacked in {f"local {', '.join(names)} = unpack(KEYS)", f"local {names[0]} = KEYS[1]"}
    assert ("unpack" in unpacked) == (len(names) > 1)
    for key in names:
        assert len(re.findall(rf"\b{key}\b", body(name))) > 1, f"{key} is declared and not used"
    assert names == [key for key in LaneKeys._fields if key in names], "keys stand in one order"


@every_script
def test_arguments_are_unpacked_under_the_names_of_the_header(name: str):
    opening = body(name).split("\n\n", 1)[0].splitlines()[1:]
    unpacked = [
        local
        for line in opening
        if line.startswith("local ") and "ARGV" in line
        for local in line.removeprefix("local ").partition(" = ")[0].split(", ")
    ]
    assert unpacked == [argument for argument, _ in header(name).arguments]


@every_script
def test_integers_are_validated(name: str):
    source = body(name)
    for number, (argument, kind) in enumerate(header(name).arguments, start=1):
        assert kind in {"integer", "string"}
        if kind == "integer" and argument != "epoch":  # an epoch is compared, never counted with
            assert f"integer(ARGV[{number}]," in source or f"integer({argument}," in source


def test_a_key_has_one_type_everywhere():
    kinds = {key for name in PATHS for key in header(name).keys}
    assert len(kinds) == len(LaneKeys._fields)
    assert {kind for _, kind in kinds} <= {"hash", "set", "zset", "stream"}


@every_script
def test_the_header_returns_what_the_body_answers(name: str):
    assert set(header(name).statuses) == answered(name)
    assert answered(name) <= set(Status)


def test_every_status_is_answered_by_some_script():
    assert set(Status) == {status for name in PATHS for status in answered(name)}


@every_script
def test_refusals_stand_in_the_order_of_the_checks(name: str):
    """The text of a body is its order, once the shared checks stand where they are called."""
    text = body(name).replace("guard(", "'MISSING_LANE' 'FOREIGN_EPOCH' guard(")
    text = text.replace("status, detail = closed,", "'SALE_OVER' 'NOT_OPEN' 'PAUSED'")
    found = [word for word in re.findall(r"'([A-Z_]+)'", text) if word in REFUSALS]
    assert list(dict.fromkeys(found)) == [
        status for status in header(name).statuses if status in REFUSALS
    ]


def test_the_refusals_of_a_reservation_stand_in_that_order_in_the_enum():
    refused = [status for status in header("reserve").statuses if status in REFUSALS]
    refused.remove(Status.BAD_ARGUMENT)
    listed = list(Status)
    start = listed.index(Status.MISSING_LANE)
    assert listed[start : start + len(refused)] == refused


@every_script
def test_flags_say_what_a_script_may_do(name: str):
    flags = "no-writes" if name in READERS else "allow-oom" if name in RELEASES else ""
    expected = f"#!lua flags={flags}" if flags else "#!lua"
    assert PATHS[name].read_text().splitlines()[0] == expected
    used = commands(script(name).source)
    assert set(used) <= {*READS, *WRITES}
    assert any(command in WRITES for command in used) == (name not in READERS)


@every_script
def test_an_entry_is_appended_exactly_where_the_header_says_so(name: str):
    emits = header(name).fields["Emits"]
    appended = commands(script(name).source).count("XADD")
    assert appended == (0 if emits == "nothing" else 1)
    assert emits == "nothing" or emits.startswith("one entry with ")


@every_script
def test_nothing_can_be_refused_after_the_first_write(name: str):
    """Redis has no rollback: what follows the first write must not check, refuse or fail."""
    source = body(name)
    first = re.search(rf"redis\.call\('(?:{'|'.join(WRITES)})'|append_entry\(|move_holds\(", source)
    assert (first is None) == (name in READERS)
    after = source[first.start() :] if first else ""
    assert not REFUSALS & set(re.findall(r"'([A-Z_]+)'", after))
    assert not re.search(r"\b(?:integer|guard|window|parse_hold|pcall)\(|string\.match", after)


@every_script
def test_no_script_reaches_for_what_could_surprise(name: str):
    """No errors half-way, no input in errors, no other clock, no chance, no built commands."""
    source = script(name).source
    assert not re.search(r"\b(?:error|pcall|error_reply|loadstring|setresp)\b", source)
    assert not re.search(r"\b(?:math\.random|os\.|redis\.log)", source)
    assert source.count("redis.call(") == len(commands(source))
    assert commands(source).count("TIME") <= 1
    assert len(re.findall(r"\bclock\(\)", body(name))) <= 1


@every_script
def test_a_script_is_short(name: str):
    assert len(PATHS[name].read_text().splitlines()) <= LINES_MAX


@every_include
def test_an_include_is_one_function_under_its_own_name(path):
    source = path.read_text()
    assert re.findall(r"^(?:local )?function (\w+)", source, re.MULTILINE) == [path.stem]
    assert source.startswith("--- ")


def test_every_include_is_included():
    sources = "".join(path.read_text() for path in [*PATHS.values(), *INCLUDES])
    assert set(re.findall(r'@include "(\w+)"', sources)) == {path.stem for path in INCLUDES}
