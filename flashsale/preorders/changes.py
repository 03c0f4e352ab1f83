"""A buyer's change of SKU before allocation: Postgres asks, Redis decides, its event is settled.

The wish is committed with `orders.closing` under the order's lock, so that neither an allocation
nor a cancellation comes between the question and the answer; a crash in between is finished by
the outbox. Never changes an order by itself while the sale's lanes exist.
"""

from __future__ import annotations

from flashsale.access.tokens import Buyer
from flashsale.domain.identity import SALE_ID_LENGTH, split_order_id
from flashsale.domain.lanes import lane_of
from flashsale.domain.orders import OrderAction, OrderState, transition
from flashsale.domain.outcomes import Status
from flashsale.domain.sales import SaleState
from flashsale.orders.values import Refusal
from flashsale.payments.outbox import NotYetError
from flashsale.payments.queries_outbox import Wish, forget, wish
from flashsale.preorders import queries_changes as queries
from flashsale.preorders.queries import Pool
from flashsale.reservation.errors import LaneLostError
from flashsale.reservation.store import ReservationStore
from flashsale.sales.queries import find_sale
from flashsale.sales.values import ItemFacts, SaleFacts
from flashsale.settlement import direct

#: The outbox' name for a change; its subject is the order.
CHANGE_ITEM = "change_item"
#: The request that wished it answers it; the outbox does where that one does not come back.
_LEFT_TO_THE_REQUEST_MS = 5_000
#: Longer than any call of Redis lasts: what was asked has been answered by then, or never will be.
_LEASE_MS = 15_000
assert _LEFT_TO_THE_REQUEST_MS < _LEASE_MS

_DONE = frozenset({Status.CHANGED, Status.ALREADY})
_LOST = frozenset({Status.MISSING_LANE, Status.FOREIGN_EPOCH, Status.UNKNOWN_ORDER})
_CODES = {
    Status.SOLD_OUT: "sold_out",
    Status.UNKNOWN_SKU: "unknown_sku",
    Status.ILLEGAL: "order_not_changeable",
}
_UNKNOWN = Refusal("unknown_order")
_CLOSING = Refusal("order_closing")


class ItemChanges:
    """Raises StoreError or Postgres' errors where a store does not answer; repeating is safe."""

    def __init__(self, pool: Pool, store: ReservationStore, *, lease_ms: int = _LEASE_MS) -> None:
        self._pool = pool
        self._store = store
        self._lease_ms = lease_ms

    async def change(self, buyer: Buyer, order_id: str, sku: str) -> Refusal | None:
        """Change the SKU of an order with a deposit; None: it has that SKU now.

        unknown_order, unknown_sku, order_not_changeable (not a deposit, or allocated already),
        order_closing, price_below_paid, sold_out.
        """
        sale = await self._sale_of(buyer, order_id)
        if sale is None:
            return _UNKNOWN
        item = sale.item_of(sku)
        if item is None:
            return Refusal("unknown_sku")
        async with self._pool.acquire() as connection, connection.transaction():
            locked = await queries.lock_order(connection, order_id)
            assert locked is not None, "orders are never deleted"
            paid = await queries.paid_towards(connection, order_id)
            refusal = refused(sale, item, locked, paid)
            if refusal is not None or locked.item == item.item:
                return refusal
            await queries.ask(connection, order_id, item.item)
            await wish(connection, [Wish(CHANGE_ITEM, order_id, _LEFT_TO_THE_REQUEST_MS)])
        try:
            await self.enact(order_id)
        except NotYetError:
            if await queries.is_asked(self._pool, order_id):
                return _CLOSING
        code = await queries.last_refusal(self._pool, order_id)
        return None if code is None else Refusal(code)

    async def _sale_of(self, buyer: Buyer, order_id: str) -> SaleFacts | None:
        """The sale of the buyer's own order; another's order is none."""
        parts = split_order_id(order_id)
        sale = await find_sale(self._pool, parts[0]) if parts else None
        mine = sale is not None and sale.merchant_id == buyer.merchant_id
        mine = mine and await queries.buyer_of(self._pool, order_id) == buyer.subject
        return sale if mine else None

    async def enact(self, order_id: str) -> None:
        """Carry a wish out, or find that it was; the outbox' handler of CHANGE_ITEM.

        Raises NotYetError while somebody else is at it, or where the answer came too late. No
        connection is kept while Redis is asked: that may itself have to look something up in
        Postgres.
        """
        # Read before the lease begins: what Redis takes by then, nobody else has the lease for.
        until_ms = await self._store.now_ms() + self._lease_ms
        asked = await queries.claim(self._pool, order_id, self._lease_ms)
        if asked is None:
            if await queries.is_asked(self._pool, order_id):
                raise NotYetError("somebody else asks Redis at this moment")
            return
        status, epoch = await self._tell(order_id, asked, until_ms)
        async with self._pool.acquire() as connection, connection.transaction():
            sale_id = order_id[:SALE_ID_LENGTH]
            in_time = status is not Status.OVERDUE
            in_time &= epoch is None or await queries.same_epoch(connection, sale_id, epoch)
            if not in_time:
                await queries.give_up(connection, order_id, asked.fence)
            elif status in _DONE:
                await queries.grant(connection, order_id, asked.fence)
            else:
                await queries.refuse(connection, order_id, asked.fence, _CODES[status])
            if in_time:
                await forget(connection, CHANGE_ITEM, [order_id])
        if not in_time:
            raise NotYetError("what Redis has answered is true no more")

    async def _tell(
        self, order_id: str, asked: queries.Asked, until_ms: int
    ) -> tuple[Status, int | None]:
        """The answer, and the epoch of the lanes that gave it; None: Postgres decided by itself."""
        parts = split_order_id(order_id)
        assert parts is not None
        sale = await find_sale(self._pool, parts[0])
        assert sale is not None
        if not sale.retired:
            lane = lane_of(asked.buyer_id, sale.lanes)
            moved = await self._store.change_item(
                sale.id, lane, sale.epoch, parts[1], asked.buyer_id, asked.item, until_ms
            )
            if moved.status not in _LOST:
                return moved.status, sale.epoch
            fresh = await find_sale(self._pool, sale.id)
            if fresh is None or not fresh.retired:
                raise LaneLostError(moved.status.value)
        async with self._pool.acquire() as connection, connection.transaction():
            result = await direct.apply(
                connection, order_id, OrderAction.CHANGE_SKU, item=asked.item
            )
            await queries.free(connection, order_id)
        return result.status, None


def refused(sale: SaleFacts, item: ItemFacts, order: queries.Locked, paid: int) -> Refusal | None:
    """Why a locked order may not have another item; `paid` is in minor units. Pure."""
    state = OrderState(order.state)
    if transition(state, OrderAction.CHANGE_SKU) is None or sale.state is SaleState.CANCELLED:
        return Refusal("order_not_changeable")
    if order.closing is not None:
        return _CLOSING
    if item.price.currency != sale.items[order.item].price.currency:
        return Refusal("order_not_changeable")
    if item.price.amount * order.quantity < paid:
        # Money would have to go back, and a deposit is no longer one.
        return Refusal("price_below_paid")
    return None
