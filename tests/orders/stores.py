"""Both stores as a board asks them, with what may go wrong on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from flashsale.reservation.errors import StoreUnavailableError
from flashsale.reservation.store import ReservationStore
from flashsale.sales.queries import find_sale
from flashsale.sales.values import SaleFacts
from tests.sales.shop import SCRIPTS, Shop


class LookUps:
    """Postgres' answers, counted; `before` and `after` say what goes wrong on the way."""

    def __init__(self, shop: Shop) -> None:
        self.pool = shop.pool
        self.asked: list[str] = []
        self.before: Callable[[], Awaitable[object]] = nothing
        self.after: Callable[[], Awaitable[object]] = nothing

    async def __call__(self, sale: str) -> SaleFacts | None:
        self.asked.append(sale)
        await self.before()
        facts = await find_sale(self.pool, sale)
        await self.after()
        return facts


async def nothing() -> None:
    pass


class Gated(ReservationStore):
    """The real store, whose calls wait for the gate; `gone` lanes do not answer at all."""

    def __init__(self, shop: Shop) -> None:
        super().__init__(shop.redis, SCRIPTS)
        self.gate = asyncio.Event()
        self.gate.set()
        self.gone: set[int] = set()

    async def reserve(self, *place):
        await self.gate.wait()
        return await super().reserve(*place)

    async def tail(self, sale, lane, *position):
        if lane in self.gone:
            raise StoreUnavailableError("no answer")
        return await super().tail(sale, lane, *position)
