"""The end check: every order that was answered yes is in Postgres. Believes no counter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from flashsale.demo.stores import SQL

FETCH_ROWS = 5_000
NAMED_MAX = 10
#: An answer may be followed by a cancellation or a lost deadline, but never by this.
_BROKEN_STATES = frozenset({"rejected"})


@dataclass(frozen=True, slots=True)
class Proof:
    """Answered orders against stored ones; `lost` and `untold` name the first few.

    Lost: answered and not stored, or rejected afterwards. Untold: stored, though nobody was ever
    answered with it. `repeated`: one id answered to two visitors as new.
    """

    answered: int
    stored: int
    lost_count: int
    untold_count: int
    repeated_count: int
    lost: tuple[str, ...] = ()
    untold: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the two sides are the same orders."""
        return self.lost_count == self.untold_count == self.repeated_count == 0

    def sentence(self) -> str:
        """What was found, in one line."""
        if self.holds:
            return f"all {self.answered:,} orders answered are in Postgres, and no others"
        parts = [
            f"{count:,} {what}" + (f" (such as {examples[0]})" if examples else "")
            for count, what, examples in (
                (self.lost_count, "answered orders are lost", self.lost),
                (self.untold_count, "stored orders were never answered", self.untold),
                (self.repeated_count, "orders were answered to two buyers", ()),
            )
            if count
        ]
        return "; ".join(parts)


async def prove(
    connection: asyncpg.Connection[asyncpg.Record], sale: str, answers: Iterable[Path]
) -> Proof:
    """Compare the files of answered order ids, one id a line, with Postgres."""
    waiting: set[str] = set()
    answered = 0
    for path in answers:
        with path.open(encoding="ascii") as lines:
            for line in lines:
                waiting.add(line.strip())
                answered += 1
    distinct, stored = len(waiting), 0
    untold: list[str] = []
    untold_count = 0
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        async for row in connection.cursor(SQL["orders_of_sale"], sale, prefetch=FETCH_ROWS):
            stored += 1
            if row["id"] not in waiting:
                untold_count += 1
                untold[len(untold) :] = [row["id"]] if len(untold) < NAMED_MAX else []
            elif row["state"] not in _BROKEN_STATES:
                waiting.remove(row["id"])
    return Proof(
        answered=answered,
        stored=stored,
        lost_count=len(waiting),
        untold_count=untold_count,
        repeated_count=answered - distinct,
        lost=tuple(sorted(waiting)[:NAMED_MAX]),
        untold=tuple(untold),
    )
