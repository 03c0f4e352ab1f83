"""A campaign's books: the provider's statement, the ledger, the payments, the orders. No opinion.

Every figure is summed here from rows or lines; what two of them differ by is unexplained.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from flashsale.payments.provider import Provider
from flashsale.sql import load_queries

SQL = load_queries(Path(__file__).with_name("campaign.sql"))


@dataclass
class Books:
    """What came in minus what went back, as each book has it, in minor units."""

    statement: int
    ledger: int
    payments: int
    orders: int
    lines_apart: int
    states: Mapping[str, tuple[int, int]]
    declined: int
    quarantined: int
    captured: int
    refunded: int
    fees: int
    seconds: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    checks: list[tuple[str, bool]] = field(default_factory=list)

    @property
    def unexplained(self) -> int:
        """The largest difference between two books, and lines that only one of them has."""
        books = (self.statement, self.ledger, self.payments, self.orders)
        return max(books) - min(books) + self.lines_apart

    @property
    def holds(self) -> bool:
        """Whether nothing is unexplained and every check holds."""
        return self.unexplained == 0 and all(holds for _, holds in self.checks)

    def rows(self) -> list[tuple[str, str]]:
        """The table, for people."""
        money = [
            ("captured, fen", self.captured),
            ("refunded, fen", self.refunded),
            ("left by the provider's statement, fen", self.statement),
            ("left by the money ledger, fen", self.ledger),
            ("left by the payments, fen", self.payments),
            ("earned by the orders, fen", self.orders),
            ("lines that only one book has", self.lines_apart),
            ("the provider's fees, fen", self.fees),
            ("charges declined", self.declined),
            ("quarantined or unmatched", self.quarantined),
            ("unexplained, fen", self.unexplained),
        ]
        rows = [(f"orders {state}", f"{orders:,}") for state, (orders, _) in self.states.items()]
        rows += [(name, f"{count:,}") for name, count in self.counts.items()]
        rows += [(name, f"{amount:,}") for name, amount in money]
        rows += [(f"seconds: {name}", f"{seconds:.1f}") for name, seconds in self.seconds.items()]
        return rows + [(name, "holds" if holds else "BROKEN") for name, holds in self.checks]

    def to_markdown(self) -> str:
        """The table as a page."""
        lines = ["# Pre-order campaign", "", "`python -m loadtest.campaign`", ""]
        lines += ["| | |", "|---|---:|", *(f"| {what} | {much} |" for what, much in self.rows())]
        return "\n".join(lines) + "\n"

    def to_json(self) -> str:
        """The same for programs."""
        return json.dumps({"holds": self.holds, "rows": dict(self.rows())}, indent=2) + "\n"


async def read_books(pool: asyncpg.Pool[asyncpg.Record], provider: Provider, sale: str) -> Books:
    """Sum every book of a sale that has come to rest."""
    lines = {
        line.event_id: (line.kind.value, line.amount)
        async for line in provider.statement(None)
        if (line.payment_id or line.refund_id or "").startswith(sale)
    }
    rows = await pool.fetch(SQL["ledger"], sale)
    ledger = {row["event_id"]: (row["kind"], row["amount"]) for row in rows}
    states = await pool.fetch(SQL["orders_by_state"], sale)
    payments = await pool.fetchrow(SQL["payments"], sale)
    assert payments is not None
    return Books(
        statement=_net(lines),
        ledger=_net(ledger),
        payments=payments["captured"] - payments["refunded"],
        orders=sum(row["earned"] for row in states),
        lines_apart=len(lines.items() ^ ledger.items()),
        states={row["state"]: (row["orders"], row["earned"]) for row in states},
        declined=payments["declined"],
        quarantined=await pool.fetchval(SQL["quarantined"]),
        captured=sum(amount for kind, amount in lines.values() if kind == "captured"),
        refunded=sum(amount for kind, amount in lines.values() if kind == "refunded"),
        fees=sum(row["fee"] for row in rows),
    )


def _net(lines: Mapping[str, tuple[str, int]]) -> int:
    return sum(amount if kind == "captured" else -amount for kind, amount in lines.values())
