"""What the web's handlers work with, handed in by the composition root. Builds nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from aiohttp import web

from flashsale.access.merchant_keys import ApiKeys, BuyerKeys
from flashsale.auditlog.log import AuditLog
from flashsale.orders.service import OrderDesk
from flashsale.payments.cancel import Cancelling
from flashsale.payments.fulfilment import Fulfilment
from flashsale.payments.intake import Intake
from flashsale.payments.pace import Pace
from flashsale.payments.provider import Provider
from flashsale.payments.refunds import Refunds
from flashsale.payments.service import PaymentDesk
from flashsale.preorders.changes import ItemChanges
from flashsale.preorders.service import PreorderService
from flashsale.reservation.store import ReservationStore
from flashsale.sales.service import SaleService
from flashsale.sales.values import milliseconds
from flashsale.settlement.ledger import Ledger
from flashsale.web.auth import Access
from flashsale.web.metrics import Metrics
from flashsale.web.middleware import Faults
from flashsale.webhooks.service import WebhookService

#: Answers with what is wrong in one sentence, or None; raising means that nothing answered.
Probe = Callable[[], Awaitable[str | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneyDesks:
    """What moves money; `providers` by the name that their callbacks' address carries.

    `pace` says when a buyer's payment may begin: without a source of its own, at once.
    """

    desk: PaymentDesk
    intake: Intake
    refunds: Refunds
    cancelling: Cancelling
    fulfilment: Fulfilment
    providers: Mapping[str, Provider]
    pace: Pace = field(default_factory=Pace)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreorderDesks:
    """What pre-orders ask for: the merchant's commands, and the buyer's change of SKU."""

    service: PreorderService
    changes: ItemChanges


@dataclass(frozen=True, slots=True, kw_only=True)
class WebDeps:
    """Everything a handler may use. `now` has a time zone; `probes` are what `/readyz` asks."""

    access: Access
    api_keys: ApiKeys
    buyer_keys: BuyerKeys
    audit_log: AuditLog
    desk: OrderDesk
    money: MoneyDesks
    preorders: PreorderDesks
    webhooks: WebhookService
    sales: SaleService
    ledger: Ledger
    store: ReservationStore
    probes: Mapping[str, Probe]
    metrics: Metrics
    faults: Faults
    now: Callable[[], datetime]

    def now_ms(self) -> int:
        """Now, in Unix milliseconds."""
        return milliseconds(self.now())


DEPS = web.AppKey("DEPS", WebDeps)
