"""What scripts append is read back exactly; anything else is poison, with a reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsale.domain.events import STATE_OF_KIND, Entry, EventKind, OrderEvent, SaleEvent
from flashsale.domain.stock import SUPPLY_MAX
from flashsale.stream.codec import PoisonEntryError, decode

FIELDS = {
    "seq": "7",
    "epoch": "2",
    "at_ms": "1700000000000",
    "available": "3,0",
    "events": "R\t1\torder\t1\t2\t1700000600000\tann\nclose\tclosed",
}
RESERVED = OrderEvent(EventKind.RESERVED, 1, "order", 1, 2, 1_700_000_600_000, "ann")


def test_an_entry_is_read_whole():
    assert decode("5-0", FIELDS) == Entry(
        entry_id="5-0",
        seq=7,
        epoch=2,
        at_ms=1_700_000_000_000,
        available=(3, 0),
        orders=(RESERVED,),
        sales=(SaleEvent(EventKind.CLOSED, "closed"),),
    )


@pytest.mark.parametrize("kind", EventKind)
def test_every_kind_is_read(kind: EventKind):
    if kind in STATE_OF_KIND:
        line = f"{kind}\t1\torder\t1\t2\t1700000600000\tann"
        assert decode("5-0", {**FIELDS, "events": line}).orders == (RESERVED._replace(kind=kind),)
    else:
        entry = decode("5-0", {**FIELDS, "events": f"{kind}\tsome detail"})
        assert (entry.orders, entry.sales) == ((), (SaleEvent(kind, "some detail"),))


order_events = st.builds(
    OrderEvent,
    st.sampled_from(sorted(STATE_OF_KIND)),
    st.integers(1, 10**9 - 1),
    st.text("abcxyz-_789", min_size=1, max_size=24),
    st.integers(0, 999),
    st.integers(1, SUPPLY_MAX),
    st.integers(0, 10**15 - 1),
    # A buyer's name may hold whatever parts an event; it stands last for that reason.
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\0"), max_size=20),
)


@given(st.lists(order_events, min_size=1, max_size=8))
def test_what_was_written_is_what_is_read(events: list[OrderEvent]):
    lines = ["\t".join(map(str, event)) for event in events]
    assert decode("5-0", {**FIELDS, "events": "\n".join(lines)}).orders == tuple(events)


GOOD_LINE = ["R", "1", "order", "1", "2", "1700000600000", "ann"]


def _line(position: int, text: str) -> str:
    return "\t".join([*GOOD_LINE[:position], text, *GOOD_LINE[position + 1 :]])


@pytest.mark.parametrize(
    "events",
    [
        "",
        "R",
        "Z\tdetail",
        "close",
        "close\tclosed\tmore",
        "\t".join(GOOD_LINE[:-1]),
        "\t".join(GOOD_LINE) + "\n",
        "\t".join(GOOD_LINE) + "\n\n" + "\t".join(GOOD_LINE),
        *(_line(1, text) for text in ("0", "-1", "", "x", "1.5", "01", str(10**9))),
        _line(2, ""),
        _line(2, "or\0der"),
        *(_line(3, text) for text in ("-1", "", "x", "1000")),
        *(_line(4, text) for text in ("0", "-2", "1e3", "1_000", str(SUPPLY_MAX + 1))),
        *(_line(5, text) for text in ("", "soon", "-1", str(10**16))),
        _line(6, "an\0n"),
    ],
)
def test_a_malformed_event_poisons_the_entry(events: str):
    with pytest.raises(PoisonEntryError):
        decode("5-0", {**FIELDS, "events": events})


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("text", [None, "", "x", "1.0", "1,", str(2**63)])
def test_a_field_that_is_missing_or_malformed_poisons_the_entry(name: str, text: str | None):
    fields = {key: value for key, value in FIELDS.items() if key != name}
    if text is not None:
        fields[name] = text
    with pytest.raises(PoisonEntryError, match=r".+: .+"):
        decode("5-0", fields)


@pytest.mark.parametrize(("name", "text"), [("seq", "0"), ("epoch", "0"), ("available", "-1")])
def test_a_number_that_no_script_writes_poisons_the_entry(name: str, text: str):
    with pytest.raises(PoisonEntryError):
        decode("5-0", {**FIELDS, name: text})


def test_fields_of_a_later_version_are_passed_over():
    assert decode("5-0", {**FIELDS, "trace": "x"}) == decode("5-0", FIELDS)
