"""Holds a provider's own statement against the money ledger, line by line. Mends nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from flashsale.reconciliation import money_queries
from flashsale.reconciliation.money_queries import LedgerRow
from flashsale.reconciliation.queries import Pool
from flashsale.reconciliation.report import Check

_PAGE = 1000
_NAMED_MAX = 3


class Line(Protocol):
    """One movement as the provider books it: money captured or refunded, in minor units."""

    @property
    def event_id(self) -> str:
        """The provider's id of it, the same as its callback's."""

    @property
    def kind(self) -> str:
        """`captured` or `refunded`."""

    @property
    def payment_id(self) -> str | None:
        """Our name of the payment, where the provider was told it."""

    @property
    def refund_id(self) -> str | None:
        """Our name of the refund; None for a capture."""

    @property
    def amount(self) -> int:
        """What moved."""

    @property
    def currency(self) -> str:
        """ISO 4217."""

    @property
    def fee(self) -> int:
        """What the provider kept of it."""

    @property
    def occurred_at_ms(self) -> int:
        """By the provider's clock, Unix milliseconds."""


class Statement(NamedTuple):
    """A provider's whole statement; reading it may raise NoStatementError."""

    provider: str
    lines: AsyncIterator[Line]


@dataclass(slots=True)
class _Found:
    """What the comparison has come to. `seen` holds an id a line, about 100 bytes each."""

    seen: set[str] = field(default_factory=set)
    lines: int = 0
    in_flight: int = 0
    matched: int = 0
    missing: list[str] = field(default_factory=list)
    amounts: list[tuple[str, int, int]] = field(default_factory=list)
    fees: list[tuple[str, int, int]] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)
    sums: list[int] = field(default_factory=lambda: [0, 0, 0, 0])

    def take(self, line: Line, row: LedgerRow | None, *, settled_before_ms: float) -> None:
        """Judge one line against its row, None where the ledger has none."""
        if row is None and line.occurred_at_ms > settled_before_ms:
            self.in_flight += 1
            return
        self.lines += 1
        repeated = line.event_id in self.seen
        self.seen.add(line.event_id)
        if row is None or repeated:
            self.missing.append(line.event_id)
            return
        self.matched += 1
        sides = (line.amount, row.amount, line.fee, row.fee)
        self.sums = [total + side for total, side in zip(self.sums, sides, strict=True)]
        if line.amount != row.amount:
            self.amounts.append((line.event_id, line.amount, row.amount))
        if line.fee != row.fee:
            self.fees.append((line.event_id, line.fee, row.fee))
        if _subject(line) != _subject(row):
            self.subjects.append(line.event_id)


def _subject(side: Line | LedgerRow) -> tuple[str, str, str | None, str | None]:
    return str(side.kind), side.currency, side.payment_id, side.refund_id


async def statement_checks(
    pool: Pool, statement: Statement, *, in_flight_seconds: int
) -> tuple[list[Check], dict[str, int]]:
    """The statement's equations and counts.

    A movement younger than `in_flight_seconds` may be in one of the books alone. Raises
    NoStatementError and asyncpg's errors.
    """
    found = _Found()
    settled_before_ms = (time.time() - in_flight_seconds) * 1000
    page: list[Line] = []
    async for line in statement.lines:
        page.append(line)
        if len(page) == _PAGE:
            await _compare(pool, statement.provider, page, found, settled_before_ms)
            page = []
    await _compare(pool, statement.provider, page, found, settled_before_ms)
    known, unknown = 0, []
    async for events in money_queries.movements(pool, statement.provider, in_flight_seconds):
        known += len(events)
        unknown += [event for event in events if event not in found.seen]
    counts = {
        "statement_lines": found.lines + found.in_flight,
        "statement_lines_in_flight": found.in_flight,
    }
    return _checks(statement.provider, found, known, unknown), counts


async def _compare(
    pool: Pool, provider: str, page: Sequence[Line], found: _Found, settled_before_ms: float
) -> None:
    rows = await money_queries.ledger_rows(pool, provider, [line.event_id for line in page])
    for line in page:
        found.take(line, rows.get(line.event_id), settled_before_ms=settled_before_ms)


def _checks(provider: str, found: _Found, known: int, unknown: Sequence[str]) -> list[Check]:
    captured, booked, fees, booked_fees = found.sums
    return [
        _counted(
            f"lines of the statement of {provider} = rows of the money ledger",
            (found.lines, found.matched),
            found.missing,
        ),
        _counted(
            f"rows of the money ledger = lines of the statement of {provider}",
            (known, known - len(unknown)),
            unknown,
        ),
        _summed(
            "amounts in the statement = amounts in the ledger", (captured, booked), found.amounts
        ),
        _summed("fees in the statement = fees in the ledger", (fees, booked_fees), found.fees),
        _counted(
            "lines of another kind, currency or payment than in the ledger = 0",
            (len(found.subjects), 0),
            found.subjects,
        ),
    ]


def _counted(equation: str, sides: tuple[int, int], wrong: Sequence[str]) -> Check:
    named = ", ".join(wrong[:_NAMED_MAX])
    return Check("INV-12", equation, not wrong, *sides, detail=_with_rest(named, len(wrong)))


def _summed(equation: str, sides: tuple[int, int], wrong: Sequence[tuple[str, int, int]]) -> Check:
    if not wrong:
        return Check("INV-12", equation, True, *sides)
    named = "; ".join(f"{name}: {left} and {right}" for name, left, right in wrong[:_NAMED_MAX])
    return Check("INV-12", equation, False, *wrong[0][1:], detail=_with_rest(named, len(wrong)))


def _with_rest(named: str, count: int) -> str:
    return named + (f" and {count - _NAMED_MAX} more" if count > _NAMED_MAX else "")
