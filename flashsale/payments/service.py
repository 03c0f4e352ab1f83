"""The buyer's payments: begin one, look at them. It decides what is due, never who has a unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from flashsale.access.tokens import Buyer
from flashsale.domain.identity import split_order_id
from flashsale.domain.lanes import lane_of
from flashsale.orders.values import Refusal
from flashsale.payments import due, kinds, queries
from flashsale.payments.due import Due
from flashsale.payments.opening import Opening
from flashsale.payments.provider import ProviderUnavailableError
from flashsale.payments.queries_outbox import Wish, wish
from flashsale.payments.records import NewPayment, OrderFacts, PaymentRecord, payment_id
from flashsale.payments.values import NO_PROVIDER, Begun, PaymentState, PaymentView, Purpose
from flashsale.reservation.gather import Gather
from flashsale.reservation.store import ReservationStore
from flashsale.sales.values import milliseconds
from flashsale.settlement.queries import Connection, Pool

#: While a request is at work on its payment, the outbox leaves it alone.
OPENING_MS = 15_000


class _Wanted(NamedTuple):
    buyer: Buyer
    order_id: str


class _Started(NamedTuple):
    order: OrderFacts
    payment: PaymentRecord
    replayed: bool


class PaymentDesk:
    """Serves buyers. `provider` names the provider of new payments; None: nothing can be paid.

    A checkout stays open for `checkout_ms`. Methods raise StoreError, StoreBusyError (nothing was
    done) or Postgres' errors where a store does not answer; repeating a call is always safe.
    """

    def __init__(
        self,
        pool: Pool,
        store: ReservationStore,
        opening: Opening,
        provider: str | None,
        clock: Callable[[], datetime],
        *,
        checkout_ms: int,
        batch_max: int = 128,
        waiting_max: int = 8192,
    ) -> None:
        self._pool = pool
        self._store = store
        self._opening = opening
        self._provider = provider
        self._clock = clock
        self._checkout_ms = checkout_ms
        self._beginning: Gather[_Wanted, _Started | Refusal] = Gather(
            self._begin_all, batch_max=batch_max, waiting_max=waiting_max
        )

    async def begin(self, buyer: Buyer, order_id: str) -> Begun | Refusal:
        """Begin paying what is due of an order; while that is under way it is the same payment.

        Refusals: unknown_order, order_not_confirmed (not settled yet: again in a moment),
        hold_expired, order_not_payable, nothing_due, payment_in_progress, order_closing,
        provider_unavailable (again in a moment: it is the same payment then).
        """
        if split_order_id(order_id) is None:
            return due.UNKNOWN_ORDER
        started = await self._beginning.submit(_Wanted(buyer, order_id))
        if started is due.NOT_CONFIRMED:
            return await self._unsettled(buyer, order_id)
        if isinstance(started, Refusal):
            return started
        if started.payment.automatic:
            return due.IN_PROGRESS
        try:
            opened = await self._opening.open(started.payment, started.order)
        except ProviderUnavailableError:
            return due.UNAVAILABLE
        return opened if isinstance(opened, Refusal) else Begun(opened.view(), started.replayed)

    async def list(self, buyer: Buyer, order_id: str) -> Sequence[PaymentView] | None:
        """An order's payments, oldest first; None where this buyer has no such settled order."""
        order = await queries.find_order(self._pool, order_id)
        if order is None or not _is_of(order, buyer):
            return None
        return await self.of_order(order_id)

    async def of_order(self, order_id: str) -> Sequence[PaymentView]:
        """An order's payments, oldest first; whose the order is has been looked at."""
        found = await queries.payments_of_orders(self._pool, [order_id])
        return [payment.view() for payment in found[order_id]]

    async def _unsettled(self, buyer: Buyer, order_id: str) -> Refusal:
        """An order that Postgres has not is on its way there, or there is none."""
        sale_id, order = order_id[:-20], order_id[-20:]
        place = await queries.find_place(self._pool, sale_id)
        if place is None or place.merchant_id != buyer.merchant_id:
            return due.UNKNOWN_ORDER
        if place.armed and not place.retired:
            lane = lane_of(buyer.subject, place.lanes)
            hold = await self._store.find_hold(sale_id, lane, order)
            if hold is not None and hold.buyer == buyer.subject:
                return due.NOT_CONFIRMED
        return due.UNKNOWN_ORDER

    async def _begin_all(self, wanted: Sequence[_Wanted]) -> Sequence[_Started | Refusal]:
        ids = {each.order_id for each in wanted}
        now_ms = milliseconds(self._clock())

        async def write(connection: Connection) -> list[_Started | Refusal]:
            orders = await queries.lock_orders(connection, ids)
            payments = await queries.payments_of_orders(connection, ids)
            begun: list[_Started | Refusal] = []
            new: list[NewPayment] = []
            for each in wanted:
                started = self._begin(each, orders, payments, now_ms)
                if isinstance(started, _Started) and not started.replayed:
                    payments[each.order_id].append(started.payment)
                    new.append(row_of(started.payment))
                begun.append(started)
            await queries.insert_payments(connection, new)
            wishes = [Wish(kinds.OPEN_PAYMENT, row.id, OPENING_MS) for row in new]
            await wish(connection, wishes)
            return begun

        return await queries.transact(self._pool, write)

    def _begin(
        self,
        wanted: _Wanted,
        orders: Mapping[str, OrderFacts],
        payments: Mapping[str, Sequence[PaymentRecord]],
        now_ms: int,
    ) -> _Started | Refusal:
        order = orders.get(wanted.order_id)
        if order is None:
            return due.NOT_CONFIRMED
        if not _is_of(order, wanted.buyer):
            return due.UNKNOWN_ORDER
        owed = due.due(order, payments[order.id], now_ms)
        if isinstance(owed, Refusal):
            return owed
        if isinstance(owed, PaymentRecord):
            return _Started(order, owed, replayed=True)
        provider = self._provider if owed.amount else NO_PROVIDER
        if provider is None:
            return due.UNAVAILABLE
        payment = new_payment(order, owed, provider, now_ms, now_ms + self._checkout_ms)
        return _Started(order, payment, replayed=False)

    async def stop(self) -> None:
        """End the work; whoever waits is cancelled."""
        await self._beginning.stop()


def new_payment(
    order: OrderFacts,
    owed: Due,
    provider: str,
    now_ms: int,
    expires_at_ms: int,
    *,
    automatic: bool = False,
) -> PaymentRecord:
    """A payment that is about to be written down."""
    return PaymentRecord(
        id=payment_id(order.id, owed.purpose, owed.attempt),
        order_id=order.id,
        sale_id=order.sale_id,
        merchant_id=order.merchant_id,
        purpose=owed.purpose,
        attempt=owed.attempt,
        provider=provider,
        provider_ref=None,
        checkout_url=None,
        saved=owed.purpose is Purpose.DEPOSIT and provider != NO_PROVIDER,
        automatic=automatic,
        amount=owed.amount,
        currency=order.currency,
        state=PaymentState.CREATED,
        captured=0,
        refunding=0,
        refunded=0,
        fee=0,
        counts=False,
        note=None,
        expires_at_ms=expires_at_ms,
        created_at_ms=now_ms,
        captured_at_ms=None,
        applied=False,
    )


def row_of(payment: PaymentRecord) -> NewPayment:
    """The row that a new payment is inserted as."""
    return NewPayment(*(getattr(payment, name) for name in NewPayment._fields))


def _is_of(order: OrderFacts, buyer: Buyer) -> bool:
    return (order.merchant_id, order.buyer_id) == buyer
