"""What buyers are told of orders, as values."""

from __future__ import annotations

from typing import NamedTuple

from flashsale.domain.money import Money
from flashsale.domain.orders import OrderState


class OrderView(NamedTuple):
    """An order as its buyer sees it; `hold_expires_at_ms` is Unix milliseconds."""

    id: str
    sale_id: str
    sku: str
    quantity: int
    state: OrderState
    hold_expires_at_ms: int
    amount_due: Money


class Placed(NamedTuple):
    """An order that exists: now, or since an earlier request with the same key (`replayed`)."""

    order: OrderView
    replayed: bool


class Refusal(NamedTuple):
    """Why there is no order: a stable `code` of the contract; `starts_at_ms` with `not_open`."""

    code: str
    starts_at_ms: int = 0
