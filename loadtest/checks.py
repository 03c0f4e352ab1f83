"""Checks after a run: nothing oversold, nobody forgotten, and the audit holds. Repairs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from flashsale.demo.proof import prove
from flashsale.demo.verdict import Verdict
from flashsale.sql import load_queries
from loadtest.history import Ending

SQL = load_queries(Path(__file__).with_name("queries.sql"))
BUYER_LIMIT = 1


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold, and what was found."""

    name: str
    holds: bool
    found: str


async def check_orders(
    connection: asyncpg.Connection[asyncpg.Record], sale: str, units: int, answers: Sequence[Path]
) -> list[Check]:
    """Hold Postgres' rows to the supply and to what the users were answered."""
    stored = await connection.fetchval(SQL["stored_units"], sale)
    greedy = await connection.fetchval(SQL["greedy_buyers"], sale, BUYER_LIMIT)
    proof = await prove(connection, sale, answers)
    return [
        Check("nothing oversold", stored <= units, f"{stored:,} live units of {units:,}"),
        Check("nobody above the limit", greedy == 0, f"{greedy:,} buyers hold too much"),
        Check(
            "no answered order lost",
            proof.lost_count == 0,
            f"{proof.lost_count:,} of {proof.answered:,} answered orders are missing"
            + (f", such as {proof.lost[0]}" if proof.lost else ""),
        ),
        Check(
            "no order answered to two buyers",
            proof.repeated_count == 0,
            f"{proof.repeated_count:,} order ids were given twice",
        ),
        # A run that is cut off may leave a few answers unread; orders nobody sent are a fault.
        Check(
            "every stored order was answered",
            proof.untold_count == 0,
            f"{proof.untold_count:,} stored orders were not answered to a user",
        ),
    ]


def check_settled(sold: int, settled: int) -> Check:
    """Hold Postgres to Redis: what is sold must have arrived."""
    return Check("everything settled", sold == settled, f"{settled:,} of {sold:,} units settled")


def check_audit(verdict: Verdict) -> Check:
    """What `flashsale audit` said."""
    return Check("every invariant", verdict.holds, verdict.sentence)


def check_failures(ending: Ending) -> Check:
    """Hold the run to locust's own record of failures."""
    count = sum(int(failure["count"]) for failure in ending.failures)
    found = f"{count:,} of {ending.requests:,} requests failed"
    if ending.failures:
        found += f", such as {ending.failures[0]['name']}: {ending.failures[0]['error']}"
    return Check("no request failed", ending.requests > 0 and count == 0, found)
