"""Holds a provider's own statement against the money ledger, line by line. Mends nothing.

A line is its callback's row where both have one id, as the sandbox books. Where a provider numbers
its books apart from its callbacks, as Stripe does, the row is found by our names of the payment and
the refund; a refund made at the provider has none, and is found by payment and amount.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
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
        """The provider's id of it."""

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
    """A provider's whole statement, oldest first; reading it may raise NoStatementError."""

    provider: str
    lines: AsyncIterator[Line]


@dataclass(slots=True)
class Comparison:
    """What holding lines against rows has come to. `seen` holds an id a row, about 100 bytes each.

    `missing` are lines that the ledger does not have, or has for another line already; a line
    younger than `settled_before_ms` is in flight instead.
    """

    settled_before_ms: float
    seen: set[str] = field(default_factory=set)
    lines: int = 0
    in_flight: int = 0
    missing: list[str] = field(default_factory=list)
    amounts: list[tuple[str, int, int]] = field(default_factory=list)
    fees: list[tuple[str, int, int]] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)
    amount_sums: tuple[int, int] = (0, 0)
    fee_sums: tuple[int, int] = (0, 0)

    def take(self, lines: Iterable[Line], rows: Iterable[LedgerRow]) -> None:
        """Judge some lines against the rows that may be theirs."""
        by_event = {row.event_id: row for row in rows}
        by_payment = defaultdict(list)
        for row in by_event.values():
            by_payment[row.payment_id].append(row)
        for line in lines:
            found = by_event.get(line.event_id)
            if found is None:
                found = self._of_other_number(line, by_payment.get(line.payment_id, ()))
            self._judge(line, found)

    def _of_other_number(self, line: Line, rows: Sequence[LedgerRow]) -> LedgerRow | None:
        free = [row for row in rows if row.kind == line.kind and row.event_id not in self.seen]
        if line.kind == "captured":
            return free[0] if free and line.payment_id is not None else None
        if line.refund_id is not None:
            return next((row for row in free if row.refund_id == line.refund_id), None)
        return next((row for row in free if row.amount == line.amount), None)

    def _judge(self, line: Line, row: LedgerRow | None) -> None:
        if row is None and line.occurred_at_ms > self.settled_before_ms:
            self.in_flight += 1
            return
        self.lines += 1
        if row is None or row.event_id in self.seen:
            self.missing.append(line.event_id)
            return
        self.seen.add(row.event_id)
        self.amount_sums = _add(self.amount_sums, line.amount, row.amount)
        if line.amount != row.amount:
            self.amounts.append((line.event_id, line.amount, row.amount))
        if line.event_id == row.event_id:  # else the callback does not tell the fee
            self.fee_sums = _add(self.fee_sums, line.fee, row.fee)
            if line.fee != row.fee:
                self.fees.append((line.event_id, line.fee, row.fee))
        if _differ(line, row):
            self.subjects.append(line.event_id)

    def checks(self, provider: str, known: int, unknown: Sequence[str]) -> list[Check]:
        """The equations; `unknown` are those of the ledger's `known` rows that no line has."""
        return [
            _counted(
                f"lines in the statement of {provider} = rows of the money ledger",
                (self.lines, self.lines - len(self.missing)),
                self.missing,
            ),
            _counted(
                f"rows of the money ledger = lines in the statement of {provider}",
                (known, known - len(unknown)),
                unknown,
            ),
            _summed("amounts in the statement = in the ledger", self.amount_sums, self.amounts),
            _summed("fees in the statement = in the ledger", self.fee_sums, self.fees),
            _counted(
                "lines of another kind, currency or payment than in the ledger = 0",
                (len(self.subjects), 0),
                self.subjects,
            ),
        ]


def _add(sums: tuple[int, int], left: int, right: int) -> tuple[int, int]:
    return sums[0] + left, sums[1] + right


def _differ(line: Line, row: LedgerRow) -> bool:
    """What the provider was not told, it cannot contradict."""
    return (
        line.kind != row.kind
        or line.currency != row.currency
        or (line.payment_id is not None and line.payment_id != row.payment_id)
        or (line.refund_id is not None and line.refund_id != row.refund_id)
    )


async def statement_checks(
    pool: Pool, statement: Statement, *, in_flight_seconds: int
) -> tuple[list[Check], dict[str, int]]:
    """The statement's equations and counts.

    A movement younger than `in_flight_seconds` may be in one of the books alone. Raises
    NoStatementError and asyncpg's errors.
    """
    found = Comparison((time.time() - in_flight_seconds) * 1000)
    page: list[Line] = []
    async for line in statement.lines:
        page.append(line)
        if len(page) == _PAGE:
            await _compare(pool, statement.provider, page, found)
            page = []
    await _compare(pool, statement.provider, page, found)
    known, unknown = 0, []
    async for events in money_queries.movements(pool, statement.provider, in_flight_seconds):
        known += len(events)
        unknown += [event for event in events if event not in found.seen]
    counts = {
        "statement_lines": found.lines + found.in_flight,
        "statement_lines_in_flight": found.in_flight,
    }
    return found.checks(statement.provider, known, unknown), counts


async def _compare(pool: Pool, provider: str, page: Sequence[Line], found: Comparison) -> None:
    events = [line.event_id for line in page]
    payments = {line.payment_id for line in page if line.payment_id is not None}
    found.take(page, await money_queries.ledger_rows(pool, provider, events, payments))


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
