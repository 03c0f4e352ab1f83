"""Charges: a balance is taken by what was saved of the deposit, without the buyer.

Written down with a wish; the provider is asked by the outbox and answers by a callback.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from flashsale.orders.values import Refusal
from flashsale.payments import due, kinds, queries
from flashsale.payments.queries_outbox import Wish, wish
from flashsale.payments.records import PaymentRecord
from flashsale.payments.service import new_payment, row_of
from flashsale.payments.values import NO_PROVIDER, PaymentView, Purpose
from flashsale.sales.values import milliseconds
from flashsale.settlement.queries import Connection, Pool

NOTHING_SAVED = Refusal("nothing_saved")


class Charges:
    """`answer_ms`: how long a provider is given to tell how a charge ended."""

    def __init__(
        self, pool: Pool, clock: Callable[[], datetime], *, answer_ms: int = 900_000
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._answer_ms = answer_ms

    async def charge_balance(self, order_id: str) -> PaymentView | Refusal:
        """Charge what the price leaves; a charge that is under way is answered as it stands.

        Refusals: unknown_order, nothing_due (also: no balance is due yet), nothing_saved, and all
        of PaymentDesk.begin; payment_in_progress where the buyer is paying by hand.
        """

        async def decide(connection: Connection) -> PaymentView | Refusal:
            return await self.charge_in(connection, order_id)

        return await queries.transact(self._pool, decide)

    async def charge_in(self, connection: Connection, order_id: str) -> PaymentView | Refusal:
        """The same in the caller's transaction; locks the order."""
        order = (await queries.lock_orders(connection, [order_id])).get(order_id)
        if order is None:
            return due.UNKNOWN_ORDER
        payments = (await queries.payments_of_orders(connection, [order_id]))[order_id]
        now_ms = milliseconds(self._clock())
        owed = due.due(order, payments, now_ms)
        if isinstance(owed, Refusal):
            return owed
        if isinstance(owed, PaymentRecord):
            return owed.view() if owed.automatic else due.IN_PROGRESS
        if owed.purpose is not Purpose.BALANCE:
            return due.NOTHING_DUE
        saved = [each for each in payments if each.saved and each.counts and each.provider_ref]
        if owed.amount and not saved:
            return NOTHING_SAVED
        provider = saved[0].provider if owed.amount else NO_PROVIDER
        until_ms = now_ms + self._answer_ms
        payment = new_payment(order, owed, provider, now_ms, until_ms, automatic=True)
        await queries.insert_payments(connection, [row_of(payment)])
        await wish(connection, [Wish(kinds.CHARGE_PAYMENT, payment.id)])
        return payment.view()
