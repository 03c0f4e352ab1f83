"""The money ledger's statements as typed calls. Decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from flashsale.payments.provider import MoneyKind, ProviderEvent
from flashsale.payments.queries import SQL
from flashsale.payments.records import PaymentRecord
from flashsale.payments.values import RefundState, Taken, TakenAs
from flashsale.settlement.queries import Connection, Pool

EventKey = tuple[str, str]


class Arrival(NamedTuple):
    """An event of a provider: new, or one that is in the ledger and waits (`stored`)."""

    provider: str
    event: ProviderEvent
    stored: bool = False

    @property
    def key(self) -> EventKey:
        """The ledger's primary key."""
        return self.provider, self.event.id


class Entry(NamedTuple):
    """A ledger row to write: an event, what became of it, and the rows that it belongs to."""

    arrival: Arrival
    taken: Taken
    payment_id: str | None
    refund_id: str | None


async def known_entries(
    connection: Connection, arrivals: Sequence[Arrival]
) -> dict[EventKey, TakenAs]:
    """Which of the events are in the ledger."""
    providers, ids = [each.provider for each in arrivals], [each.event.id for each in arrivals]
    rows = await connection.fetch(SQL["known_entries"], providers, ids)
    return {(row["provider"], row["event_id"]): TakenAs(row["state"]) for row in rows}


async def payments_by_ref(
    connection: Connection, refs: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    """Payments by (provider, the provider's own name)."""
    if not refs:
        return {}
    rows = await connection.fetch(
        SQL["payments_by_ref"], [name for name, _ in refs], [ref for _, ref in refs]
    )
    return {(row["provider"], row["provider_ref"]): row["id"] for row in rows}


async def insert_entries(connection: Connection, entries: Sequence[Entry]) -> None:
    """Add rows; asyncpg.UniqueViolationError where one is there."""
    if not entries:
        return
    rows = [
        (
            *arrival.key,
            event.kind.value,
            event.type,
            event.ref,
            payment_id,
            refund_id,
            event.amount,
            event.currency,
            event.fee,
            event.occurred_at_ms,
            taken.outcome.value,
            taken.note,
            _payload(event),
        )
        for arrival, taken, payment_id, refund_id in entries
        for event in [arrival.event]
    ]
    columns = [list(column) for column in zip(*rows, strict=True)]
    await connection.execute(SQL["insert_entries"], *columns)


async def update_entries(connection: Connection, entries: Sequence[Entry]) -> None:
    """What became of events that waited."""
    if not entries:
        return
    rows = [
        (*entry.arrival.key, *_outcome(entry.taken), entry.payment_id, entry.refund_id)
        for entry in entries
    ]
    columns = [list(column) for column in zip(*rows, strict=True)]
    await connection.execute(SQL["update_entries"], *columns)


async def waiting_entries(pool: Pool, behind: int, limit: int) -> tuple[list[Arrival], int]:
    """Events that wait, the oldest first, and the place behind which the next are."""
    rows = await pool.fetch(SQL["waiting_entries"], behind, limit)
    place = rows[-1]["place"] if len(rows) == limit else 0
    return [_arrival(row) for row in rows], place


async def waiting_for_payments(connection: Connection, payment_ids: Sequence[str]) -> list[Arrival]:
    """Events of some payments that came too early."""
    rows = await connection.fetch(SQL["waiting_for_payments"], list(payment_ids))
    return [_arrival(row) for row in rows]


async def take_money(connection: Connection, payments: Sequence[PaymentRecord]) -> None:
    """Write what locked payments have become."""
    if not payments:
        return
    rows = [
        (
            each.id,
            each.state.value,
            each.captured,
            each.refunding,
            each.refunded,
            each.fee,
            each.provider_ref,
        )
        for each in payments
    ]
    columns = [list(column) for column in zip(*rows, strict=True)]
    await connection.execute(SQL["take_money"], *columns)


async def end_refunds(connection: Connection, states: Mapping[str, RefundState]) -> None:
    """Write what refunds have come to."""
    if states:
        names = [state.value for state in states.values()]
        await connection.execute(SQL["end_refunds"], list(states), names)


async def insert_foreign_refunds(
    connection: Connection, refunds: Sequence[tuple[str, str, int, str]]
) -> None:
    """(id, payment, amount, currency) of money given back at the provider without our asking."""
    if refunds:
        columns = [list(column) for column in zip(*refunds, strict=True)]
        await connection.execute(SQL["insert_foreign_refunds"], *columns)


def _outcome(taken: Taken) -> tuple[str, str | None]:
    return taken.outcome.value, taken.note


def _payload(event: ProviderEvent) -> str:
    """The event as it came, with the names that were read from it; NUL is not for Postgres."""
    whole = {
        "payment_id": event.payment_id,
        "refund_id": event.refund_id,
        "event": dict(event.payload),
    }
    return orjson.dumps(whole).decode().replace("\\u0000", "\\ufffd")


def _arrival(row: Any) -> Arrival:
    event = ProviderEvent(
        id=row["event_id"],
        kind=MoneyKind(row["kind"]),
        type=row["type"],
        payment_id=row["payment_id"],
        refund_id=row["refund_id"],
        ref=row["provider_ref"],
        amount=row["amount"],
        currency=row["currency"],
        fee=row["fee"],
        occurred_at_ms=row["occurred_at_ms"],
        payload={},
    )
    return Arrival(row["provider"], event, stored=True)
