"""An order with its payments under their locks, and how its money and units are asked back.

Only for use in a transaction; who decides that something goes back is somebody else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from flashsale.payments import kinds, queries
from flashsale.payments.queries_outbox import Wish, wish
from flashsale.payments.records import NewRefund, OrderFacts, PaymentRecord
from flashsale.payments.values import Cause
from flashsale.settlement.queries import Connection


class Scene(NamedTuple):
    """An order and its payments, locked."""

    order: OrderFacts
    payments: Sequence[PaymentRecord]

    @property
    def counting(self) -> list[PaymentRecord]:
        """The money that pays the order, the newest first."""
        return [each for each in reversed(self.payments) if each.counts]

    @property
    def left(self) -> int:
        """What the merchant still has of it."""
        return sum(each.left for each in self.counting)


async def scene_of(connection: Connection, order_id: str) -> Scene | None:
    """An order with its payments, locked; None where Postgres has no such order."""
    return next(iter(await scenes_of(connection, [order_id])), None)


async def scenes_of(connection: Connection, order_ids: Iterable[str]) -> list[Scene]:
    """Those of the orders that are in Postgres, with their payments, locked."""
    orders = await queries.lock_orders(connection, order_ids)
    payments = await queries.lock_payments_of_orders(connection, orders)
    return [Scene(order, payments[name]) for name, order in orders.items()]


def parts_of(
    scene: Scene,
    amount: int,
    name: Callable[[PaymentRecord], str],
    cause: Cause,
    reason: str,
) -> list[NewRefund]:
    """Share an amount among the payments: the newest gives first."""
    parts = []
    for payment in scene.counting:
        share = min(amount, payment.left)
        if share > 0:
            row = (name(payment), payment.id, payment.order_id, share, payment.currency)
            parts.append(NewRefund(*row, cause, reason))
            amount -= share
    return parts


async def ask_back(connection: Connection, parts: Sequence[NewRefund]) -> None:
    """Write refunds down, with wishes to send those that are new."""
    new = await queries.insert_refunds(connection, parts)
    await wish(connection, [Wish(kinds.SEND_REFUND, name) for name in new])


async def close(connection: Connection, scenes: Sequence[Scene], closing: str) -> None:
    """From here on nothing else is decided; a checkout that is open is closed, too."""
    ids = [scene.order.id for scene in scenes]
    payments = (payment for scene in scenes for payment in scene.payments)
    shut = [each.id for each in payments if not each.applied and not each.counts]
    await queries.close_orders(connection, ids, closing)
    await wish(
        connection,
        [
            *(Wish(kinds.RETURN_UNITS, name) for name in ids),
            *(Wish(kinds.VOID_PAYMENT, name) for name in shut),
        ],
    )
