"""Cancelling: a buyer gives an order back, unpaid at once, paid by what the sale has promised.

Money that still comes for a cancelled order goes back by itself (applying); nothing here waits
for a provider.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime

from flashsale.access.tokens import Buyer
from flashsale.domain.orders import OrderState
from flashsale.domain.outcomes import Status
from flashsale.orders.service import OrderDesk
from flashsale.orders.values import OrderView, Refusal
from flashsale.payments import due, kinds, queries
from flashsale.payments.giving import Giving
from flashsale.payments.queries_outbox import Wish, wish
from flashsale.payments.records import refund_id
from flashsale.payments.scenes import Scene, ask_back, close, parts_of, scene_of
from flashsale.payments.stock import Stock
from flashsale.payments.values import Cause
from flashsale.reservation.errors import StoreError
from flashsale.sales.values import milliseconds
from flashsale.settlement.queries import Connection, Pool

NOT_CANCELLABLE = Refusal("order_not_cancellable")
_MINUTE_MS = 60_000
_LOOKS_MAX = 3
#: How long a payment that Redis has just taken is given to be settled, before the buyer is told
#: to try again.
_SETTLING_SECONDS, _SETTLING_LOOKS = 0.05, 20

_S = OrderState
_RELEASABLE = frozenset({_S.CONFIRMED, _S.PAYING})
_PAID = frozenset({_S.PAID, _S.DEPOSIT_PAID, _S.ALLOCATED, _S.BALANCE_DUE})
_ALLOCATED = frozenset({_S.ALLOCATED, _S.BALANCE_DUE})
_GIVEN_BACK = frozenset({_S.CANCELLED, _S.REFUNDED})

#: Asked under the order's lock: whether this order may be cancelled whatever the sale says.
FreeCancel = Callable[[Connection, str], Awaitable[bool]]


async def _never(_: Connection, __: str) -> bool:
    return False


class Cancelling:
    """Raises StoreError or Postgres' errors where a store does not answer; repeating is safe."""

    def __init__(
        self,
        pool: Pool,
        desk: OrderDesk,
        stock: Stock,
        giving: Giving,
        clock: Callable[[], datetime],
        *,
        free_cancel: FreeCancel = _never,
    ) -> None:
        self._pool = pool
        self._desk = desk
        self._stock = stock
        self._giving = giving
        self._clock = clock
        self._free_cancel = free_cancel

    async def cancel(self, buyer: Buyer, order_id: str) -> OrderView | Refusal:
        """Give the units back, and the money where the sale's policy says so; twice is once.

        Refusals: unknown_order, hold_expired, order_not_cancellable, payment_in_progress (paid a
        moment ago: again in a moment), order_closing.
        """
        answer: OrderView | Refusal = due.IN_PROGRESS
        for _ in range(_LOOKS_MAX):
            view = await self._desk.read(buyer, order_id)
            if view is None:
                return due.UNKNOWN_ORDER
            if view.state in _GIVEN_BACK:
                return view
            if view.state in {*_RELEASABLE, OrderState.RESERVED}:
                await self._release(buyer, view)  # the next look says what became of it
            elif view.state in _PAID:
                answer = await self._give_back(buyer, view)
                break
            else:
                expired = view.state is OrderState.EXPIRED
                return due.HOLD_EXPIRED if expired else NOT_CANCELLABLE
        view = await self._desk.read(buyer, order_id)
        return view if view is not None and view.state in _GIVEN_BACK else answer

    async def _release(self, buyer: Buyer, view: OrderView) -> None:
        """End an unpaid order, unless it is something else meanwhile."""
        order = await queries.find_order(self._pool, view.id)
        if order is None:
            await self._desk.cancel(buyer, view.id)
            return
        moved = await self._stock.release(order)
        if moved.status in {Status.RELEASED, Status.ALREADY}:
            running = await queries.unapplied_payments(self._pool, order.id)
            await wish(self._pool, [Wish(kinds.VOID_PAYMENT, name) for name in running])

    async def _give_back(self, buyer: Buyer, view: OrderView) -> OrderView | Refusal:
        for _ in range(_SETTLING_LOOKS):
            decided = await queries.transact(self._pool, lambda link: self._decide(link, view.id))
            if decided is not due.IN_PROGRESS:
                break
            await asyncio.sleep(_SETTLING_SECONDS)
        if isinstance(decided, Refusal):
            return decided
        # The wish is committed: where Redis is away, the units come back as soon as it answers.
        with suppress(StoreError):
            await self._giving.return_units(view.id)
        return await self._desk.read(buyer, view.id) or due.UNKNOWN_ORDER

    async def _decide(self, connection: Connection, order_id: str) -> Refusal | None:
        """Under the order's lock: None where it is closing now."""
        scene = await scene_of(connection, order_id)
        if scene is None:
            return due.UNKNOWN_ORDER
        order = scene.order
        if order.closing == "refunded":
            return None
        if order.closing is not None:
            return due.CLOSING
        if order.state not in _PAID:
            unsettled = order.state in {*_RELEASABLE, OrderState.EXPIRED}
            return due.IN_PROGRESS if unsettled else NOT_CANCELLABLE
        free = await self._free_cancel(connection, order_id)
        if not (free or self._promised(scene)):
            return NOT_CANCELLABLE
        parts = parts_of(
            scene,
            scene.left,
            lambda payment: refund_id(payment.id, Cause.CANCELLED),
            Cause.CANCELLED,
            "",
        )
        await ask_back(connection, parts)
        await close(connection, [scene], "refunded")
        return None

    def _promised(self, scene: Scene) -> bool:
        """Whether the sale lets a paid order go; what was allocated is the buyer's to pay for."""
        policy = scene.order.cancellation
        if policy.get("paid") != "refund" or scene.order.state in _ALLOCATED:
            return False
        minutes = policy.get("within_minutes")
        if minutes is None:
            return True
        paid_ms = min((each.captured_at_ms or 0 for each in scene.counting), default=0)
        within: bool = milliseconds(self._clock()) <= paid_ms + minutes * _MINUTE_MS
        return within
