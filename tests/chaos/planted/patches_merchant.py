"""Functions of the merchant's side replaced by ones with a bug, in this process only."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from flashsale.sales import queries
from flashsale.sales.service import SaleService
from flashsale.sales.values import SaleFacts

_EARLY = timedelta(seconds=5)


def pause_later() -> None:
    """A merchant is answered before the lanes have heard."""

    async def enact(self: SaleService, sale_id: str) -> SaleFacts:
        return await self.facts(sale_id)

    SaleService._enact = enact


def supply_early() -> None:
    """The clock's waves come seconds too soon."""
    original = queries.due_supplies

    async def due_supplies(session: Any, now: datetime, limit: int) -> Any:
        return await original(session, now + _EARLY, limit)

    queries.due_supplies = due_supplies
