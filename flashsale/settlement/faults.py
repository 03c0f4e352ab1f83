"""Faults: what an error while settling means. It never decides from a message's text.

AGAIN    another worker was faster or in the way: the same batch, at once
OUTAGE   a server is away, full or refuses us: the same batch, later, as often as it takes
POISON   the data itself cannot be settled: look for the entry and put it aside
"""

from __future__ import annotations

import asyncio
import random
from enum import Enum, auto

import asyncpg

from flashsale.reservation.errors import StoreError
from flashsale.stream.reader import OUTAGES

_DATA_CLASSES = frozenset({"22", "23"})  # data exception, integrity constraint violation
_ROLLBACK_CLASS = "40"
_OUTAGES = (
    *OUTAGES,
    StoreError,
    OSError,
    asyncio.IncompleteReadError,
    asyncpg.InternalClientError,  # raised on a connection that Postgres ended a moment ago
)


class Fault(Enum):
    """What to do about an error."""

    AGAIN = auto()
    OUTAGE = auto()
    POISON = auto()


def fault_of(error: Exception) -> Fault:
    """The kind of an error raised while a batch was read, settled or acknowledged."""
    if isinstance(error, asyncpg.UniqueViolationError):
        return Fault.AGAIN
    if isinstance(error, asyncpg.PostgresError):
        sql_class = (error.sqlstate or "")[:2]
        if sql_class == _ROLLBACK_CLASS:
            return Fault.AGAIN
        return Fault.POISON if sql_class in _DATA_CLASSES else Fault.OUTAGE
    if isinstance(error, asyncpg.InterfaceError) and not isinstance(error, ValueError):
        return Fault.OUTAGE
    return Fault.OUTAGE if isinstance(error, _OUTAGES) else Fault.POISON


def backoff_seconds(failures: int, *, first: float = 0.05, most: float = 2.0) -> float:
    """How long to wait after so many failures in a row: doubling, bounded, never in step."""
    return min(most, first * (1 << min(failures, 16))) * random.uniform(0.5, 1.0)  # noqa: S311
