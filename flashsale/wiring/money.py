"""Puts together what moves money, for web and dispatch processes. Holds no rule of its own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from flashsale.config import Settings
from flashsale.orders.service import OrderDesk
from flashsale.payments.applying import Applying
from flashsale.payments.cancel import Cancelling
from flashsale.payments.charges import Charges
from flashsale.payments.fulfilment import Fulfilment
from flashsale.payments.giving import Giving
from flashsale.payments.handlers import handlers
from flashsale.payments.intake import Intake
from flashsale.payments.opening import Opening
from flashsale.payments.outbox import Handler
from flashsale.payments.pace import Pace
from flashsale.payments.provider import Provider
from flashsale.payments.refunds import Refunds
from flashsale.payments.service import PaymentDesk
from flashsale.payments.stock import Stock
from flashsale.payments.sweep import Sweep
from flashsale.payments.values import MoneyCounters
from flashsale.preorders.balances import CHARGE
from flashsale.preorders.changes import CHANGE_ITEM, ItemChanges
from flashsale.preorders.service import PreorderService
from flashsale.reservation.store import ReservationStore
from flashsale.settlement.queries import Pool
from flashsale.web.deps import MoneyDesks
from flashsale.wiring.running import now_utc


@dataclass(frozen=True, slots=True)
class PaymentParts:
    """What carries payments, on one pool and one store. `providers` by name: one, or none."""

    pool: Pool
    store: ReservationStore
    providers: Mapping[str, Provider]
    counters: MoneyCounters
    checkout_ms: int
    stock: Stock
    intake: Intake
    opening: Opening
    applying: Applying
    giving: Giving
    refunds: Refunds

    def sweep(self) -> Sweep:
        """What looks for payments that nobody calls for."""
        return Sweep(self.pool, self.intake, self.refunds, now_utc)

    def handlers(self) -> Mapping[str, Handler]:
        """Every kind of wish in the outbox, with what carries it out."""
        charges = Charges(self.pool, now_utc, answer_ms=self.checkout_ms)

        async def charge_balance(order_id: str) -> None:
            # A refusal is an answer: the clock of pre-orders looks at the order again.
            await charges.charge_balance(order_id)

        return {
            **handlers(self.opening, self.applying, self.giving),
            CHARGE: charge_balance,
            CHANGE_ITEM: ItemChanges(self.pool, self.store).enact,
        }

    def desks(self, desk: OrderDesk) -> MoneyDesks:
        """What answers buyers, merchants and providers."""
        return MoneyDesks(
            desk=PaymentDesk(
                self.pool,
                self.store,
                self.opening,
                next(iter(self.providers), None),
                now_utc,
                checkout_ms=self.checkout_ms,
            ),
            intake=self.intake,
            refunds=self.refunds,
            cancelling=Cancelling(
                self.pool,
                desk,
                self.stock,
                self.giving,
                now_utc,
                free_cancel=PreorderService(self.pool, now_utc).may_cancel_freely,
            ),
            fulfilment=Fulfilment(self.pool),
            providers=self.providers,
            pace=Pace(desk.board.decided),
        )


@contextlib.asynccontextmanager
async def payment_parts(
    settings: Settings, pool: Pool, store: ReservationStore, provider: Provider | None
) -> AsyncIterator[PaymentParts]:
    """The parts of a process; what is still being gathered when it ends is ended, too."""
    providers = {} if provider is None else {provider.name: provider}
    counters = MoneyCounters()
    stock = Stock(pool, store)
    intake = Intake(pool, counters)
    parts = PaymentParts(
        pool=pool,
        store=store,
        providers=providers,
        counters=counters,
        checkout_ms=settings.payments.checkout_seconds_max * 1000,
        stock=stock,
        intake=intake,
        opening=Opening(pool, stock, providers, intake.take, now_utc),
        applying=Applying(pool, stock, counters),
        giving=Giving(pool, stock, providers, counters),
        refunds=Refunds(pool),
    )
    try:
        yield parts
    finally:
        await parts.opening.stop()
        await parts.applying.stop()
        await parts.giving.stop()
        await parts.intake.stop()
