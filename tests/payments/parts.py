"""One process' payments, on given stores: tests may put faults between."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from flashsale.orders.service import OrderDesk
from flashsale.payments.applying import Applying
from flashsale.payments.cancel import Cancelling
from flashsale.payments.charges import Charges
from flashsale.payments.fulfilment import Fulfilment
from flashsale.payments.giving import Giving
from flashsale.payments.handlers import handlers
from flashsale.payments.intake import Intake
from flashsale.payments.opening import Opening
from flashsale.payments.outbox import Bounds, Outbox
from flashsale.payments.refunds import Refunds
from flashsale.payments.service import PaymentDesk
from flashsale.payments.stock import Stock
from flashsale.payments.sweep import Sweep
from flashsale.payments.values import MoneyCounters


class Clock:
    """The wall clock, put forward by tests."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Parts:
    """Wired as the processes do it."""

    pool: Any
    store: Any
    provider: Any
    clock: Clock
    desk: OrderDesk
    counters: MoneyCounters = field(default_factory=MoneyCounters)

    def __post_init__(self) -> None:
        providers = {"sandbox": self.provider}
        self.stock = Stock(self.pool, self.store)
        self.intake = Intake(self.pool, self.counters)
        self.opening = Opening(self.pool, self.stock, providers, self.intake.take, self.clock)
        self.payments = PaymentDesk(
            self.pool, self.store, self.opening, "sandbox", self.clock, checkout_ms=900_000
        )
        self.applying = Applying(self.pool, self.stock, self.counters)
        self.refunds = Refunds(self.pool)
        self.giving = Giving(self.pool, self.stock, providers, self.counters, clock=self.clock)
        self.cancelling = Cancelling(self.pool, self.desk, self.stock, self.giving, self.clock)
        self.fulfilment = Fulfilment(self.pool)
        self.charges = Charges(self.pool, self.clock)
        self.handlers = handlers(self.opening, self.applying, self.giving)
        self.outbox = Outbox(
            self.pool, self.handlers, self.counters, bounds=Bounds(first_ms=1), jitter=lambda: 0.0
        )
        self.sweep = Sweep(self.pool, self.intake, self.refunds, self.clock)

    async def stop(self) -> None:
        for part in (self.payments, self.opening, self.intake, self.applying, self.giving):
            await part.stop()
