"""Decodes stream entries into domain values; never guesses: the rest is a PoisonEntryError."""

from __future__ import annotations

from collections.abc import Mapping

from flashsale.domain.events import STATE_OF_KIND, Entry, EventKind, OrderEvent, SaleEvent
from flashsale.domain.stock import SUPPLY_MAX

_ORDER_KINDS = {kind.value: kind for kind in STATE_OF_KIND}
_ORDER_FIELDS = 7


class PoisonEntryError(ValueError):
    """An entry that no version of the codec wrote; it becomes a dead letter, units stay held."""


def _order_event(fields: list[str]) -> OrderEvent:
    kind, version, order, item, quantity, deadline_ms, buyer = fields
    event = OrderEvent(
        _ORDER_KINDS[kind], int(version), order, int(item), int(quantity), int(deadline_ms), buyer
    )
    if event.version < 1 or event.item < 0 or not 0 < event.quantity <= SUPPLY_MAX or not order:
        raise ValueError("a number is out of its bounds")
    return event


def decode(entry_id: str, fields: Mapping[str, str]) -> Entry:
    """One stream entry as a value.

    Raises PoisonEntryError with the reason where a field is missing or malformed.
    """
    try:
        orders: list[OrderEvent] = []
        sales: list[SaleEvent] = []
        for line in fields["events"].split("\n"):
            parts = line.split("\t", _ORDER_FIELDS - 1)
            if parts[0] in _ORDER_KINDS:
                orders.append(_order_event(parts))
            else:
                kind, detail = parts
                sales.append(SaleEvent(EventKind(kind), detail))
        return Entry(
            entry_id=entry_id,
            seq=int(fields["seq"]),
            epoch=int(fields["epoch"]),
            at_ms=int(fields["at_ms"]),
            available=tuple(map(int, fields["available"].split(","))),
            orders=tuple(orders),
            sales=tuple(sales),
        )
    except (KeyError, ValueError) as error:
        raise PoisonEntryError(f"{type(error).__name__}: {error}") from error
