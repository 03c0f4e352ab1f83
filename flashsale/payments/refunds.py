"""Refunds: money goes back, whole or in part, and with the whole of it the units.

Decided in one transaction under the order's lock, with wishes for the provider and for Redis; no
money is asked back twice, because a refund is named after its payment and its cause or key.
"""

from __future__ import annotations

from collections.abc import Sequence

from flashsale.domain.money import Money
from flashsale.domain.orders import OrderAction, OrderState, transition
from flashsale.orders.values import Refusal
from flashsale.payments import due, queries
from flashsale.payments.records import OrderFacts, PaymentRecord, keyed_refund_id, refund_id
from flashsale.payments.scenes import Scene, ask_back, close, parts_of, scene_of, scenes_of
from flashsale.payments.values import Cause, Closed, RefundAnswer, RefundView
from flashsale.settlement.queries import Connection, Pool

NOT_REFUNDABLE = Refusal("order_not_refundable")
ABOVE_CAPTURED = Refusal("refund_above_captured")
KEY_REUSED = Refusal("idempotency_key_reused")


class Refunds:
    """Gives money back. Methods raise Postgres' errors; `_in` ones use the caller's transaction."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def ask(
        self, merchant_id: str, order_id: str, key: str, amount: int | None, reason: str
    ) -> RefundAnswer | Refusal:
        """A merchant's wish, once a key; `amount` in minor units, None: all that is left.

        All of it closes the order and gives the units back, except once it was shipped; then only
        a stated amount goes back. Refusals: unknown_order, order_closing, order_not_refundable,
        refund_above_captured, idempotency_key_reused.
        """

        async def decide(connection: Connection) -> RefundAnswer | Refusal:
            scene = await scene_of(connection, order_id)
            if scene is None or scene.order.merchant_id != merchant_id:
                return due.UNKNOWN_ORDER
            earlier = await self._asked_before(connection, scene, key, amount, reason)
            if earlier is not None:
                return earlier
            return await self._ask(connection, scene, key, amount, reason)

        return await queries.transact(self._pool, decide)

    async def _asked_before(
        self, connection: Connection, scene: Scene, key: str, amount: int | None, reason: str
    ) -> RefundAnswer | Refusal | None:
        names = [keyed_refund_id(payment.id, key) for payment in scene.payments]
        found = (await queries.read_refunds(connection, names)).values()
        if not found:
            return None
        whole = sum(each.amount for each in found)
        if amount not in {None, whole} or any(each.reason != reason for each in found):
            return KEY_REUSED
        return _answer(scene.order, [each.view() for each in found], replayed=True)

    async def _ask(
        self, connection: Connection, scene: Scene, key: str, amount: int | None, reason: str
    ) -> RefundAnswer | Refusal:
        order = scene.order
        if order.closing is not None:
            return due.CLOSING
        closable = transition(order.state, OrderAction.REFUND) is not None
        if not closable and (order.state is not OrderState.FULFILLED or amount is None):
            return NOT_REFUNDABLE
        wanted = scene.left if amount is None else amount
        if wanted > scene.left:
            return ABOVE_CAPTURED

        def name(payment: PaymentRecord) -> str:
            return keyed_refund_id(payment.id, key)

        parts = parts_of(scene, wanted, name, Cause.MERCHANT, reason)
        await ask_back(connection, parts)
        if closable and wanted == scene.left:
            await close(connection, [scene], "refunded")
        found = await queries.read_refunds(connection, [part.id for part in parts])
        return _answer(order, [each.view() for each in found.values()], replayed=False)

    async def close(self, order_id: str, cause: Cause, reason: str = "") -> Closed | Refusal:
        """Give all of an order's money back, and its units. Refusals as `ask`."""

        async def decide(connection: Connection) -> Closed | Refusal:
            return await self.close_in(connection, order_id, cause, reason)

        return await queries.transact(self._pool, decide)

    async def close_in(
        self, connection: Connection, order_id: str, cause: Cause, reason: str = ""
    ) -> Closed | Refusal:
        """The same in the caller's transaction; locks the order, then its payments."""
        scene = await scene_of(connection, order_id)
        if scene is None:
            return due.UNKNOWN_ORDER
        if scene.order.closing is not None:
            return due.CLOSING
        if not _closable(scene):
            return NOT_REFUNDABLE
        await _close(connection, [scene], cause, reason)
        return Closed(order_id, scene.left)

    async def close_all(self, order_ids: Sequence[str], cause: Cause) -> int:
        """Likewise of many orders in one transaction, leaving out what is refused; how many."""

        async def decide(connection: Connection) -> int:
            scenes = [each for each in await scenes_of(connection, order_ids) if _closable(each)]
            await _close(connection, scenes, cause, "")
            return len(scenes)

        return await queries.transact(self._pool, decide)

    async def forfeit_in(self, connection: Connection, order_id: str) -> Closed | Refusal:
        """Give the units back and keep the deposit, in the caller's transaction."""
        scene = await scene_of(connection, order_id)
        if scene is None:
            return due.UNKNOWN_ORDER
        if scene.order.closing is not None:
            return due.CLOSING
        if transition(scene.order.state, OrderAction.FORFEIT) is None:
            return NOT_REFUNDABLE
        await close(connection, [scene], "forfeited")
        return Closed(order_id, 0)

    async def of_order(self, order_id: str) -> Sequence[RefundView]:
        """Everything that goes back of an order, oldest first."""
        return [each.view() for each in await queries.refunds_of_order(self._pool, order_id)]


def _closable(scene: Scene) -> bool:
    order = scene.order
    return order.closing is None and transition(order.state, OrderAction.REFUND) is not None


async def _close(connection: Connection, scenes: list[Scene], cause: Cause, reason: str) -> None:
    def name(payment: PaymentRecord) -> str:
        return refund_id(payment.id, cause)

    shares = (parts_of(scene, scene.left, name, cause, reason) for scene in scenes)
    await ask_back(connection, [part for parts in shares for part in parts])
    await close(connection, scenes, "refunded")


def _answer(order: OrderFacts, refunds: Sequence[RefundView], *, replayed: bool) -> RefundAnswer:
    total = sum(each.amount.amount for each in refunds)
    return RefundAnswer(order.id, Money(total, order.currency), tuple(refunds), replayed)
