"""Sweep: what nobody calls for is looked for every few seconds. It only wishes; others act.

Checkouts past their time, refunds of which nothing is heard, events that waited for their payment,
sales called off with paid orders.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from flashsale.domain.orders import TRANSITIONS, OrderAction
from flashsale.payments import kinds, queries
from flashsale.payments.intake import Intake
from flashsale.payments.opening import GRACE_MS
from flashsale.payments.queries_outbox import Wish, due_wishes, remind
from flashsale.payments.refunds import Refunds
from flashsale.payments.values import Cause, PaymentState
from flashsale.settlement.queries import Pool

_LOG = structlog.get_logger(__name__)

_UNDER_WAY = frozenset({PaymentState.CREATED, PaymentState.OPEN})
_REFUNDABLE = sorted(state for state, action in TRANSITIONS if action is OrderAction.REFUND)
#: A callback of the last moment is on its way still; Redis keeps the units that long.
_GRACE = timedelta(milliseconds=GRACE_MS / 2)
#: A provider tells within seconds that it has paid a refund out; who hears nothing asks.
_UNHEARD = timedelta(minutes=30)
#: Of a sale that was called off: orders looked at in a round, and closed in a transaction.
_LOOKED_MAX, _TOGETHER = 5_000, 100
_MORE_SECONDS = 0.05


class Sweep:
    """Several may run. `clock` is now in UTC; at most `limit` rows of each kind a round."""

    def __init__(
        self,
        pool: Pool,
        intake: Intake,
        refunds: Refunds,
        clock: Callable[[], datetime],
        *,
        every_ms: int = 2_000,
        limit: int = 500,
    ) -> None:
        self._pool = pool
        self._intake = intake
        self._refunds = refunds
        self._clock = clock
        self._every_seconds = every_ms / 1000
        self._limit = limit
        self._place = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Sweep until `stop`; servers that go away are waited for."""
        while not stop.is_set():
            rest_seconds = self._every_seconds
            try:
                if await self.tick() >= self._limit:
                    rest_seconds = _MORE_SECONDS
            except Exception as error:  # noqa: BLE001 - the next round may succeed
                _LOG.warning("sweep_failed", error=f"{type(error).__name__}: {error}")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest_seconds):
                    await stop.wait()

    async def tick(self) -> int:
        """One round over everything; how much was found."""
        return (
            await self._close_overdue()
            + await self._recall_refunds()
            + await self._intake.retry(self._limit)
            + await self._give_back_cancelled()
        )

    async def _close_overdue(self) -> int:
        until = self._clock() - _GRACE
        overdue = await queries.overdue_payments(self._pool, until, self._limit)
        await remind(
            self._pool,
            [
                Wish(kinds.VOID_PAYMENT if state in _UNDER_WAY else kinds.APPLY_PAYMENT, name)
                for name, state in overdue
            ],
        )
        return len(overdue)

    async def _recall_refunds(self) -> int:
        found = await queries.unheard_refunds(self._pool, self._clock() - _UNHEARD, self._limit)
        await remind(self._pool, [Wish(kinds.RECALL_PAYMENT, name) for name in found])
        return len(found)

    async def _give_back_cancelled(self) -> int:
        """Go round the orders of sales that were called off, some of them each time.

        What is given back goes to the outbox, behind which nobody else's money is to wait.
        """
        looked = await queries.orders_called_off(self._pool, self._place, _REFUNDABLE, _LOOKED_MAX)
        owed = [order_id for order_id, is_owed in looked if is_owed][: self._limit]
        if owed and await due_wishes(self._pool, self._limit) >= self._limit:
            return self._limit
        for first in range(0, len(owed), _TOGETHER):
            await self._refunds.close_all(owed[first : first + _TOGETHER], Cause.SALE_CANCELLED)
        if len(owed) == self._limit:
            self._place = owed[-1]
        else:
            self._place = looked[-1][0] if len(looked) == _LOOKED_MAX else ""
        return len(owed)
