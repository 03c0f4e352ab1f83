"""Values of outbound webhooks: endpoints, deliveries, types of events. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

#: What an endpoint may ask for. Those of orders and sales are written by triggers
#: (migrations/0006_webhooks.sql), the others by `announce`.
EVENT_TYPES = (
    *("order.confirmed", "order.deposit_paid", "order.allocated", "order.balance_due"),
    *("order.paid", "order.fulfilled", "order.changed", "order.balance_reminder"),
    *("order.ship_date_moved", "order.expired", "order.cancelled", "order.rejected"),
    *("order.refunded", "order.forfeited", "payment.late_refunded", "payment.duplicate_refunded"),
    *("sale.scheduled", "sale.opened", "sale.paused", "sale.resumed", "sale.sold_out"),
    *("sale.closed", "sale.cancelled", "sale.sku_shut", "sale.sku_reopened"),
)
#: Sent when its merchant asks for it, whatever the endpoint's filter.
TEST_TYPE = "webhook.test"


class EndpointState(StrEnum):
    """Whether an endpoint is sent to. A disabled one keeps what is pending."""

    ACTIVE = "active"
    DISABLED = "disabled"


class DeliveryState(StrEnum):
    """Where a delivery stands; only a replay leads out of `delivered` and `dead`."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a merchant is told things. `secrets` are newest first; no `types` means every type.

    The older secret signs as well until `previous_until`.
    """

    id: str
    merchant_id: str
    url: str
    secrets: Sequence[str] = field(repr=False)
    previous_until: datetime | None
    types: Sequence[str]
    state: EndpointState
    note: str | None
    created_at: datetime

    def signing_secrets(self, now: datetime) -> tuple[str, ...]:
        """The secrets that sign at `now`."""
        both = self.previous_until is not None and now < self.previous_until
        return tuple(self.secrets[: 2 if both else 1])


class Delivery(NamedTuple):
    """One event on its way to one endpoint; `log` is {at, status, error, took_ms}, oldest first."""

    event_id: int
    type: str
    sale_id: str | None
    order_id: str | None
    state: DeliveryState
    attempts: int
    created_at: datetime
    next_at: datetime
    done_at: datetime | None
    answer: str | None
    log: Sequence[dict[str, Any]]


class Claim(NamedTuple):
    """A delivery that is ours to try until its lease ends. `data` is JSON text, sent as it is.

    `attempt` counts from 1; `fence` tells this claim from any later one.
    """

    event_id: int
    fence: int
    attempt: int
    give_up_at: datetime
    type: str
    at: datetime
    data: str


class Outcome(NamedTuple):
    """What became of a claim. `state` PENDING with `tried` False gives the attempt back."""

    event_id: int
    fence: int
    state: DeliveryState
    next_at: datetime
    tried: bool
    at: datetime
    status: int | None = None
    error: str | None = None
    took_ms: int = 0
    answer: str | None = None
