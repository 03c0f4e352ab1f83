"""Stock: tells Redis of an order's money, or Postgres where the sale's lanes are retired.

No transaction is open while Redis is asked. Decides nothing: the scripts do, or settlement.direct.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from flashsale.domain.events import EventKind
from flashsale.domain.lanes import lane_of
from flashsale.domain.orders import OrderAction
from flashsale.domain.outcomes import Hold, Status
from flashsale.payments import queries
from flashsale.payments.records import OrderFacts
from flashsale.reservation.errors import LaneLostError
from flashsale.reservation.replies import Moved
from flashsale.reservation.store import ReservationStore
from flashsale.settlement import direct
from flashsale.settlement.queries import Connection, Pool

_LOST = frozenset({Status.MISSING_LANE, Status.FOREIGN_EPOCH})
_ACTIONS = {
    EventKind.PAID: OrderAction.CAPTURE,
    EventKind.DEPOSIT_PAID: OrderAction.CAPTURE_DEPOSIT,
    EventKind.REFUNDED: OrderAction.REFUND,
    EventKind.FORFEITED: OrderAction.FORFEIT,
}
_LOOKS_MAX = 3


class Stock:
    """Every method raises StoreError or Postgres' errors where a store does not answer."""

    def __init__(self, pool: Pool, store: ReservationStore) -> None:
        self._pool = pool
        self._store = store

    async def pay(self, order: OrderFacts, pay_ms: int) -> Moved:
        """Keep the units while the buyer pays: PAYING, ALREADY, OVERDUE, ILLEGAL."""
        return await self._tell(order, OrderAction.PAY, partial(self._store.pay, pay_ms=pay_ms))

    async def decline(self, order: OrderFacts, version: int | None = None) -> Moved:
        """The buyer did not pay: DECLINED, ALREADY, ILLEGAL.

        `version` is that of the record which the payment made: a newer checkout is left alone.
        """
        script = partial(self._store.decline, version=version)
        return await self._tell(order, OrderAction.DECLINE, script)

    async def capture(self, order: OrderFacts, kind: EventKind) -> Moved:
        """The money is there: CAPTURED, ALREADY, ILLEGAL, LIMIT_REACHED, SOLD_OUT."""
        return await self._tell(order, _ACTIONS[kind], partial(self._store.capture, kind=kind))

    async def return_units(self, order: OrderFacts, kind: EventKind) -> Moved:
        """The money goes back, or is forfeited: RETURNED, ALREADY, ILLEGAL."""
        return await self._tell(order, _ACTIONS[kind], partial(self._store.return_units, kind=kind))

    async def release(self, order: OrderFacts) -> Moved:
        """The buyer gives an unpaid order back: RELEASED, ALREADY, ILLEGAL."""
        return await self._tell(order, OrderAction.CANCEL, self._release)

    async def find(self, order: OrderFacts) -> Hold | None:
        """The order's newest record; None where it is not, or is no longer, in Redis."""
        if order.retired:
            return None
        lane = lane_of(order.buyer_id, order.lanes)
        return await self._store.find_hold(order.sale_id, lane, order.hash)

    async def _release(self, sale: str, lane: int, epoch: int, order: str, buyer: str) -> Moved:
        release = await self._store.release(sale, lane, epoch, order, buyer, EventKind.CANCELLED)
        return Moved(release.status, release.hold)

    async def _tell(
        self,
        order: OrderFacts,
        action: OrderAction,
        script: Callable[[str, int, int, str, str], Awaitable[Moved]],
    ) -> Moved:
        """A lane that is not as expected was retired or rebuilt meanwhile, or it is lost."""
        for _ in range(_LOOKS_MAX):
            moved = await self._told(order, action, script)
            if moved.status not in _LOST:
                break
            fresh = await queries.find_order(self._pool, order.id)
            if fresh is None or (fresh.epoch, fresh.retired) == (order.epoch, order.retired):
                raise LaneLostError(moved.status.value)
            order = fresh
        if moved.status in {*_LOST, Status.UNKNOWN_ORDER}:
            raise LaneLostError(f"a settled order is answered {moved.status.value}")
        return moved

    async def _told(
        self,
        order: OrderFacts,
        action: OrderAction,
        script: Callable[[str, int, int, str, str], Awaitable[Moved]],
    ) -> Moved:
        if not order.retired:
            lane = lane_of(order.buyer_id, order.lanes)
            return await script(order.sale_id, lane, order.epoch, order.hash, order.buyer_id)

        async def decide(connection: Connection) -> direct.DirectResult:
            return await direct.apply(connection, order.id, action)

        status, state, version = await queries.transact(self._pool, decide)
        if state is None:
            return Moved(status, None)
        deadline_ms = order.hold_expires_at_ms
        hold = Hold(state, version, order.item, order.quantity, deadline_ms, order.buyer_id)
        return Moved(status, hold)
