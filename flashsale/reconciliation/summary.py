"""What a report says besides its verdicts: numbers, and what wants a person's eye. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from flashsale.domain.orders import OrderState
from flashsale.reconciliation.cut import Cut
from flashsale.reconciliation.evaluate import Ledger
from flashsale.reconciliation.queries import ShutItem
from flashsale.reconciliation.ranges import size
from flashsale.sentences import ended

_NAMED_MAX = 3


def alerts(cut: Cut, ledger: Ledger, shut: Sequence[ShutItem] = ()) -> list[str]:
    """What wants a person's eye although no equation is broken by it."""
    rejected = ledger.orders([OrderState.REJECTED])
    found = [
        f"Dead letter in lane {letter.lane}, entry {letter.entry_id}: {ended(letter.error)}"
        " Its units stay held until somebody settles it."
        for letter in cut.dead_letters[:_NAMED_MAX]
    ]
    if len(cut.dead_letters) > _NAMED_MAX:
        found.append(f"{len(cut.dead_letters) - _NAMED_MAX} more dead letters.")
    found += [
        f"SKU {item.sku!r} is shut since {item.shut_at:%Y-%m-%d %H:%M:%S} UTC:"
        f" {ended(item.shut_reason)} Nobody can reserve it until it is reopened."
        for item in shut
    ]
    if rejected:
        found.append(f"{rejected} orders were rejected: Postgres had no room for what Redis sold.")
    found += [
        f"Lane {lane.lane} has {lane.unreadable} entries in its stream that have no number."
        for lane in cut.lanes
        if lane.unreadable
    ]
    return found


def counts(cut: Cut, ledger: Ledger) -> dict[str, int]:
    """Numbers worth a look, by stable names."""
    states = [lane.state for lane in cut.lanes if lane.state is not None]
    return {
        "orders": ledger.orders(OrderState),
        "live_units": sum(ledger.live_units(item.item) for item in ledger.items),
        "capacity": sum(item.capacity for item in ledger.items),
        "available": sum(stock.available for state in states for stock in state.stock),
        "hold_records": sum(state.hold_records for state in states),
        "live_holds": sum(state.live_holds for state in states),
        "entries": sum(state.seq for state in states),
        "settled_entries": sum(size(lane.ledger.settled) for lane in cut.lanes),
        "stream_entries": sum(state.stream_length for state in states),
        "unapplied_entries": sum(lane.waiting + len(lane.dead) for lane in cut.lanes),
        "unapplied_events": cut.unapplied_events,
        "pending_entries": sum(state.pending for state in states),
        "backlog_age_ms": max((lane.oldest_ms for lane in cut.lanes), default=0),
        "dead_letters": len(cut.dead_letters),
    }
