"""Opening: brings a payment that is written down to Redis and the provider; never begins one.

Every step may be repeated, also by several processes at once: Redis answers ALREADY, the provider
knows the payment by its id. What a crash interrupts the outbox does again from the start.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime

from flashsale.domain.orders import OrderState
from flashsale.domain.outcomes import Status
from flashsale.orders.values import Refusal
from flashsale.payments import due, kinds, queries
from flashsale.payments.provider import (
    Asked,
    Checkout,
    MoneyKind,
    Provider,
    ProviderEvent,
    ProviderRefusedError,
    ProviderUnavailableError,
)
from flashsale.payments.queries_outbox import Wish, forget, wish
from flashsale.payments.recalling import Recalling
from flashsale.payments.records import OrderFacts, PaymentRecord
from flashsale.payments.stock import Stock
from flashsale.payments.values import NO_PROVIDER, PaymentState, Purpose, Taken
from flashsale.reservation.gather import Gather
from flashsale.reservation.replies import Moved
from flashsale.sales.values import milliseconds
from flashsale.settlement.queries import Connection, Pool

#: Units are kept this much longer than the checkout is open: a callback needs its time.
GRACE_MS = 10_000
_REFUSED_NOTE = "The payment provider refused the payment."
_KEPT = frozenset({Status.PAYING, Status.ALREADY})
_NOT_KEPT = {
    OrderState.EXPIRED: due.HOLD_EXPIRED,
    OrderState.PAID: due.NOTHING_DUE,
    OrderState.DEPOSIT_PAID: due.NOTHING_DUE,
}
#: A checkout that a lost disk has forgotten leaves the hold, which lasts as long as it does.
_WAITS_FOR_MONEY = frozenset({OrderState.RESERVED, OrderState.CONFIRMED, OrderState.PAYING})
_UNDER_WAY = frozenset({PaymentState.CREATED, PaymentState.OPEN})


class Opening:
    """The way of a payment to the page where it is paid, and its end if nobody pays.

    `take` is Intake.take: what costs nothing is captured without a provider. Methods raise
    ProviderUnavailableError, StoreError and Postgres' errors: then do it again.
    """

    def __init__(
        self,
        pool: Pool,
        stock: Stock,
        providers: Mapping[str, Provider],
        take: Callable[[str, ProviderEvent], Awaitable[Taken]],
        clock: Callable[[], datetime],
        *,
        batch_max: int = 128,
        waiting_max: int = 8192,
    ) -> None:
        self._pool = pool
        self._stock = stock
        self._providers = providers
        self._take = take
        self._clock = clock
        self.recalling = Recalling(pool, providers, take, clock)
        self._opened: Gather[tuple[str, Checkout], PaymentRecord] = Gather(
            self._write_opened, batch_max=batch_max, waiting_max=waiting_max
        )

    async def open(
        self, payment: PaymentRecord, order: OrderFacts, *, saved_ref: str | None = None
    ) -> PaymentRecord | Refusal:
        """Keep the units, then have the provider open the payment, or charge `saved_ref`."""
        if payment.state is not PaymentState.CREATED:
            return await self._still_kept(payment, order) or payment
        if payment.moves_stock:
            pay_ms = payment.expires_at_ms - milliseconds(self._clock()) + GRACE_MS
            refusal = _refusal(await self._stock.pay(order, max(1, pay_ms)))
            if refusal is not None:
                await self._void(payment, applied=True)
                return refusal
        if payment.provider == NO_PROVIDER:
            return await self._capture_nothing(payment)
        provider = self.provider(payment.provider)
        asked = _asked(payment, order)
        try:
            if saved_ref is None:
                checkout = await provider.open(asked)
            else:
                checkout = await provider.charge(asked, saved_ref)
        except ProviderRefusedError:
            await self._void(payment, applied=False, note=_REFUSED_NOTE)
            return due.UNAVAILABLE
        return await self._opened.submit((payment.id, checkout))

    async def _still_kept(self, payment: PaymentRecord, order: OrderFacts) -> Refusal | None:
        """Why a checkout that was begun before is over, although its order's row does not show it.

        The end of an order is decided in Redis, and Postgres hears of it later.
        """
        if payment.state not in _UNDER_WAY or not payment.moves_stock:
            return None
        hold = await self._stock.find(order)
        if hold is None or hold.state in _WAITS_FOR_MONEY:
            return None
        return _NOT_KEPT.get(hold.state, due.NOT_PAYABLE)

    def provider(self, name: str) -> Provider:
        """The provider of a payment; one that is not set up cannot be reached."""
        found = self._providers.get(name)
        if found is None:
            raise ProviderUnavailableError(f"no payment provider {name} is set up")
        return found

    async def carry_on(self, payment_id: str) -> None:
        """The outbox' open_payment: whatever of it a crash has left undone."""
        payment = await queries.find_payment(self._pool, payment_id)
        order = payment and await queries.find_order(self._pool, payment.order_id)
        if payment is not None and order is not None:
            await self.open(payment, order)

    async def charge(self, payment_id: str) -> None:
        """The outbox' charge_payment: by what was saved of the order's deposit."""
        payment = await queries.find_payment(self._pool, payment_id)
        order = payment and await queries.find_order(self._pool, payment.order_id)
        if payment is None or order is None:
            return
        others = (await queries.payments_of_orders(self._pool, [order.id]))[order.id]
        saved = (other.provider_ref for other in others if other.saved and other.counts)
        await self.open(payment, order, saved_ref=next(saved, None))

    async def void(self, payment_id: str) -> None:
        """The outbox' void_payment: nobody can pay it any more; the order hears of it next."""
        payment = await queries.find_payment(self._pool, payment_id)
        if payment is None or payment.state is PaymentState.CAPTURED:
            return
        if payment.provider_ref is not None:
            try:
                await self.provider(payment.provider).expire(payment.provider_ref)
            except ProviderRefusedError:
                # It was completed there, and the callback that says so may be lost for good.
                payment = await self.recalling.book(payment)
                if payment.state in _UNDER_WAY:
                    raise
        if payment.state in _UNDER_WAY:
            await self._void(payment, applied=False)

    async def _void(
        self, payment: PaymentRecord, *, applied: bool, note: str | None = None
    ) -> None:
        async def write(connection: Connection) -> None:
            voided = await queries.void_payments(
                connection, [payment.id], applied=applied, note=note
            )
            if voided and applied:
                # The provider may know of it: by a process that was here and is no more.
                await wish(connection, [Wish(kinds.VOID_PAYMENT, payment.id)])
            elif voided:
                await wish(connection, [Wish(kinds.APPLY_PAYMENT, payment.id)])
            for kind in (kinds.OPEN_PAYMENT, kinds.CHARGE_PAYMENT):
                await forget(connection, kind, [payment.id])

        await queries.transact(self._pool, write)

    async def _capture_nothing(self, payment: PaymentRecord) -> PaymentRecord:
        now_ms = milliseconds(self._clock())
        event = ProviderEvent(
            id=payment.id,
            kind=MoneyKind.CAPTURED,
            type="nothing.due",
            payment_id=payment.id,
            refund_id=None,
            ref=None,
            amount=0,
            currency=payment.currency,
            fee=0,
            occurred_at_ms=now_ms,
            payload={},
        )
        await self._take(NO_PROVIDER, event)
        found = await queries.find_payment(self._pool, payment.id)
        assert found is not None
        return found

    async def _write_opened(
        self, opened: Sequence[tuple[str, Checkout]]
    ) -> Sequence[PaymentRecord]:
        ids = [payment_id for payment_id, _ in opened]
        rows = {name: (name, checkout.ref, checkout.url) for name, checkout in opened}

        async def write(connection: Connection) -> Mapping[str, PaymentRecord]:
            await queries.lock_payments(connection, ids)
            await queries.open_payments(connection, list(rows.values()))
            for kind in (kinds.OPEN_PAYMENT, kinds.CHARGE_PAYMENT):
                await forget(connection, kind, ids)
            found = await queries.read_payments(connection, ids)
            # Closed while the provider opened it: there it has to be closed, too.
            shut = [each.id for each in found.values() if each.state is PaymentState.VOID]
            await wish(connection, [Wish(kinds.VOID_PAYMENT, name) for name in shut])
            return found

        found = await queries.transact(self._pool, write)
        return [found[name] for name in ids]

    async def stop(self) -> None:
        """End the work; whoever waits is cancelled."""
        await self._opened.stop()


def _refusal(moved: Moved) -> Refusal | None:
    if moved.status in _KEPT:
        return None
    if moved.status is Status.OVERDUE:
        return due.HOLD_EXPIRED
    return _NOT_KEPT.get(moved.hold.state, due.NOT_PAYABLE) if moved.hold else due.NOT_PAYABLE


def _asked(payment: PaymentRecord, order: OrderFacts) -> Asked:
    return Asked(
        payment_id=payment.id,
        order_id=order.id,
        amount=payment.amount,
        currency=payment.currency,
        description=f"{order.quantity} × {order.name}",  # noqa: RUF001 - a sign that buyers read
        expires_at_ms=payment.expires_at_ms,
        save=payment.purpose is Purpose.DEPOSIT,
    )
