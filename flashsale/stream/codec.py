"""Decodes stream entries into domain values; never guesses: the rest is a PoisonEntryError."""

from __future__ import annotations

import re
from collections.abc import Mapping

from flashsale.domain.events import STATE_OF_KIND, Entry, EventKind, OrderEvent, SaleEvent
from flashsale.domain.stock import SUPPLY_MAX

_ORDER_KINDS = {kind.value: kind for kind in STATE_OF_KIND}
#: One order event. The bounds are those of Postgres' columns and of time itself: what passes here
#: must not fail there, where a whole batch would fail with it. No NUL: Postgres' text has none.
_ORDER_LINE = re.compile(
    r"^([RPDSEMXCJFL])\t([1-9]\d{0,8})\t([^\t\0\n]+)\t"
    r"(\d{1,3})\t([1-9]\d{0,9})\t(\d{1,15})\t([^\0\n]*)$",
    re.ASCII | re.MULTILINE,
)
_NUMBER = re.compile(r"\d{1,15}", re.ASCII)


class PoisonEntryError(ValueError):
    """An entry that no version of the codec wrote; it becomes a dead letter, units stay held."""


def _order_events(text: str) -> list[OrderEvent]:
    """The order events among the lines of `text`, in one pass: a line a call costs three times."""
    events = [
        OrderEvent(_ORDER_KINDS[kind], int(version), order, int(item), int(quantity), int(end), who)
        for kind, version, order, item, quantity, end, who in _ORDER_LINE.findall(text)
    ]
    if any(event.quantity > SUPPLY_MAX for event in events):
        raise ValueError("a quantity is out of its bounds")
    return events


def _sale_event(line: str) -> SaleEvent:
    if line[:1] in _ORDER_KINDS:
        raise ValueError("an order event is malformed")
    kind, detail = line.split("\t")
    return SaleEvent(EventKind(kind), detail)


def _number(name: str, text: str, least: int) -> int:
    if not _NUMBER.fullmatch(text) or int(text) < least:
        raise ValueError(f"{name} is malformed")
    return int(text)


def decode(entry_id: str, fields: Mapping[str, str]) -> Entry:
    """One stream entry as a value.

    Raises PoisonEntryError with the reason where a field is missing or malformed.
    """
    try:
        text = fields["events"]
        orders = _order_events(text)
        sales: list[SaleEvent] = []
        if len(orders) <= text.count("\n"):
            others = (line for line in text.split("\n") if not _ORDER_LINE.fullmatch(line))
            sales = [_sale_event(line) for line in others]
        return Entry(
            entry_id=entry_id,
            seq=_number("seq", fields["seq"], 1),
            epoch=_number("epoch", fields["epoch"], 1),
            at_ms=_number("at_ms", fields["at_ms"], 0),
            available=tuple(_number("available", n, 0) for n in fields["available"].split(",")),
            orders=tuple(orders),
            sales=tuple(sales),
        )
    except (KeyError, ValueError) as error:
        raise PoisonEntryError(f"{type(error).__name__}: {error}") from error
