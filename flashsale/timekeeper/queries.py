"""The timekeeper's statements, all on the session that holds its lead. Decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from flashsale.domain.sales import SaleState
from flashsale.sales.queries import Database
from flashsale.sales.queries import Transaction as Session
from flashsale.sql import load_queries

_SQL = load_queries(Path(__file__).with_name("queries.sql"))
#: Any number that nothing else of ours locks.
_LEAD_KEY = 0x666C_6173_6874


@dataclass(frozen=True, slots=True)
class TendedSale:
    """A sale whose lanes exist, or should; `outlived`: its records have been kept long enough."""

    id: str
    state: SaleState
    lanes: int
    epoch: int
    armed: bool
    outlived: bool


async def lose_when_idle(session: Session, idle_ms: int) -> None:
    """Have Postgres end this session once it has been silent for so long."""
    await session.execute(_SQL["lose_when_idle"], str(idle_ms))


async def take_lead(session: Session) -> bool:
    """Whether this session is now the one that acts."""
    return bool(await session.fetchval(_SQL["take_lead"], _LEAD_KEY))


async def open_due(session: Session, now: datetime, limit: int) -> dict[str, int]:
    """Record openings whose instant has come; sale ids with `starts_at` in Unix milliseconds."""
    rows = await session.fetch(_SQL["open_due"], now, limit)
    return {row["id"]: row["starts_at_ms"] for row in rows}


async def close_due(session: Session, now: datetime, limit: int) -> list[str]:
    """Record the end of sales whose end has come."""
    return [row["id"] for row in await session.fetch(_SQL["close_due"], now, limit)]


async def tended(
    session: Session, now: datetime, keep: timedelta, *, after: str, limit: int
) -> list[TendedSale]:
    """Sales to look after, in the order of their ids, behind `after`."""
    rows = await session.fetch(_SQL["tended"], now, keep, after, limit)
    return [TendedSale(**{**row, "state": SaleState(row["state"])}) for row in rows]


async def has_open_orders(session: Session, sale_id: str) -> bool:
    """Whether orders are live that only a lane can end."""
    return bool(await session.fetchval(_SQL["has_open_orders"], sale_id))


async def about_to_open(database: Database, until: datetime) -> list[str]:
    """Strict sales that are announced, armed and begin by `until`."""
    return [row["id"] for row in await database.fetch(_SQL["about_to_open"], until)]


async def pause_unsafe(database: Database, sale_id: str, reason: str) -> bool:
    """Pause a sale that is not open yet, for a reason of ours; False where it is no longer so."""
    return await database.fetchval(_SQL["pause_unsafe"], sale_id, reason) is not None


async def mark_retired(session: Session, sale_id: str) -> None:
    """Record that a sale's lanes are gone."""
    await session.execute(_SQL["mark_retired"], sale_id)
