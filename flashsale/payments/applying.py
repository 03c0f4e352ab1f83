"""Applying: the outcome of a payment reaches its order. Redis decides whether money finds a unit.

Three steps, each safe to repeat and safe beside itself: decide under the order's lock which money
counts; tell Redis, with no transaction open; write down what it answered. Money for which there is
nothing goes back, once, by a refund named after its payment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from flashsale.domain.events import EventKind
from flashsale.domain.orders import OrderState
from flashsale.domain.outcomes import Status
from flashsale.payments import kinds, queries
from flashsale.payments.outcomes import (
    HAS_MONEY,
    NOTES,
    Step,
    StepKind,
    step_of,
)
from flashsale.payments.queries_outbox import Wish, wish
from flashsale.payments.records import NewRefund, OrderFacts, PaymentRecord, refund_id
from flashsale.payments.stock import Stock
from flashsale.payments.values import Cause, MoneyCounters, PaymentState, Purpose
from flashsale.reservation.gather import Gather
from flashsale.reservation.replies import Moved
from flashsale.settlement.queries import Connection, Pool

_TAKEN = frozenset({Status.CAPTURED, Status.ALREADY})


class Told(NamedTuple):
    """What Redis answered about a payment's order; `applied`: its outcome was there before."""

    payment_id: str
    order_id: str
    captured: bool
    moved: Moved
    applied: bool = False


class Applying:
    """The outbox' apply_payment. Raises StoreError and Postgres' errors: then do it again."""

    def __init__(
        self,
        pool: Pool,
        stock: Stock,
        counters: MoneyCounters,
        *,
        batch_max: int = 128,
        waiting_max: int = 8192,
    ) -> None:
        self._pool = pool
        self._stock = stock
        self._counters = counters
        bounds = {"batch_max": batch_max, "waiting_max": waiting_max}
        self._judging: Gather[str, Step] = Gather(self._judge_all, **bounds)
        self._finishing: Gather[Told, None] = Gather(self._finish_all, **bounds)

    async def apply(self, payment_id: str) -> None:
        """Bring a payment's outcome to its order, from wherever that was left."""
        step = await self._judging.submit(payment_id)
        version = 0
        if step.kind is StepKind.DECLINE and step.order is not None:
            # While its outcome is still to be applied no other payment can begin: the checkout
            # that was found before that was sure is this one's, and no later one is ended.
            hold = await self._stock.find(step.order)
            version = 0 if hold is None else hold.version
            step = await self._judging.submit(payment_id)
        if step.order is None or step.payment is None:
            return
        captured = step.kind is StepKind.CAPTURE
        if captured:
            deposit = step.payment.purpose is Purpose.DEPOSIT
            letter = EventKind.DEPOSIT_PAID if deposit else EventKind.PAID
            moved = await self._stock.capture(step.order, letter)
        elif step.kind is StepKind.DECLINE:
            moved = await self._stock.decline(step.order, version)
        else:
            return
        told = Told(payment_id, step.order.id, captured, moved, step.payment.applied)
        await self._finishing.submit(told)

    async def _judge_all(self, payment_ids: Sequence[str]) -> Sequence[Step]:
        async def write(connection: Connection) -> tuple[list[Step], _Changes]:
            order_of = await queries.orders_of_payments(connection, payment_ids)
            changes = await _Changes.read(connection, set(order_of.values()))
            steps = [changes.judge(order_of.get(name), name) for name in payment_ids]
            await changes.write(connection)
            return steps, changes

        steps, changes = await queries.transact(self._pool, write)
        changes.count(self._counters)
        return steps

    async def _finish_all(self, told: Sequence[Told]) -> Sequence[None]:
        async def write(connection: Connection) -> _Changes:
            changes = await _Changes.read(connection, {each.order_id for each in told})
            for each in told:
                changes.finish(each)
            await changes.write(connection)
            return changes

        changes = await queries.transact(self._pool, write)
        changes.count(self._counters)
        return [None] * len(told)

    async def stop(self) -> None:
        """End the work; whoever waits is cancelled."""
        await self._judging.stop()
        await self._finishing.stop()


@dataclass(slots=True)
class _Changes:
    """What one transaction changes about some orders, which are locked with their payments."""

    orders: dict[str, OrderFacts]
    payments: dict[str, dict[str, PaymentRecord]]
    counted: list[str] = field(default_factory=list)
    applied: list[str] = field(default_factory=list)
    balanced: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    refunds: list[NewRefund] = field(default_factory=list)
    wishes: list[Wish] = field(default_factory=list)

    @staticmethod
    async def read(connection: Connection, order_ids: set[str]) -> _Changes:
        orders = await queries.lock_orders(connection, order_ids)
        payments = await queries.lock_payments_of_orders(connection, order_ids)
        by_id = {name: {row.id: row for row in rows} for name, rows in payments.items()}
        return _Changes(orders, by_id)

    def judge(self, order_id: str | None, payment_id: str) -> Step:
        """Decide about one payment; what that changes is seen by the next one."""
        order = self.orders.get(order_id or "")
        if order is None:
            return Step(StepKind.NOTHING)
        payments = self.payments[order.id]
        payment = payments[payment_id]
        step = step_of(payment, order, payments.values())
        if step.kind in {StepKind.CAPTURE, StepKind.BALANCE} and not payment.counts:
            self.counted.append(payment.id)
            payments[payment.id] = payment._replace(counts=True)
        if step.kind is StepKind.BALANCE:
            self.balanced.append(order.id)
            self.orders[order.id] = order._replace(state=OrderState.PAID)
        if step.kind in {StepKind.BALANCE, StepKind.SETTLED}:
            self.applied.append(payment.id)
        if step.cause is not None:
            self.refuse(payment, step.cause, step.note)
        return step._replace(order=order, payment=payment)

    def finish(self, told: Told) -> None:
        """Write down what Redis answered; a twin of ours may have been answered otherwise."""
        payment = self.payments[told.order_id][told.payment_id]
        status, hold = told.moved
        if not told.captured:
            if payment.state is not PaymentState.CAPTURED or payment.left == 0:
                self.applied.append(payment.id)
        elif status in _TAKEN and not payment.counts:
            # A twin was told before that there is no unit, and the money is on its way back.
            self.wishes.append(Wish(kinds.CLOSE_EMPTIED, told.order_id))
        elif status in _TAKEN or (hold is not None and hold.state in HAS_MONEY):
            self.applied.append(payment.id)
        elif payment.counts and payment.applied and not told.applied:
            # A twin has sold the unit since, or that is lost again: Redis is to say which.
            self.wishes.append(Wish(kinds.APPLY_PAYMENT, payment.id))
        elif payment.counts:  # also one that was applied: Redis lost it, and then had no unit left
            self.refuse(payment, Cause.LATE, NOTES.get(status, NOTES[Status.ILLEGAL]))
            if payment.applied:
                self.wishes.append(Wish(kinds.CLOSE_EMPTIED, told.order_id))

    def refuse(self, payment: PaymentRecord, cause: Cause, note: str) -> None:
        """Give back all that is left of a payment, and tell its buyer why."""
        self.refused[payment.id] = note
        changed = payment._replace(counts=False, applied=True, refunding=payment.captured)
        self.payments[payment.order_id][payment.id] = changed
        if payment.left > 0:
            name = refund_id(payment.id, cause)
            self.refunds.append(
                NewRefund(
                    name,
                    payment.id,
                    payment.order_id,
                    payment.left,
                    payment.currency,
                    cause,
                    note,
                )
            )
            self.wishes.append(Wish(kinds.SEND_REFUND, name))

    async def write(self, connection: Connection) -> None:
        await queries.count_payments(connection, self.counted)
        await queries.mark_orders(connection, self.balanced, OrderState.PAID)
        await queries.apply_payments(connection, self.applied)
        await queries.refuse_payments(connection, self.refused)
        await queries.insert_refunds(connection, self.refunds)
        await wish(connection, self.wishes)

    def count(self, counters: MoneyCounters) -> None:
        """After the commit."""
        counters.applied += len(self.applied)
        counters.late += sum(each.cause is Cause.LATE for each in self.refunds)
        counters.duplicates += sum(each.cause is Cause.DUPLICATE for each in self.refunds)
