"""What buyers are told of orders, as values."""

from __future__ import annotations

from typing import NamedTuple

from flashsale.domain.money import Money
from flashsale.domain.orders import OrderState
from flashsale.sales.values import ItemFacts, SaleFacts

#: States in which the first payment, of the whole price or of a deposit, is still to come.
UNPAID = frozenset({OrderState.RESERVED, OrderState.CONFIRMED, OrderState.PAYING})


def amount_due(item: ItemFacts, state: OrderState, quantity: int) -> Money:
    """The first payment while it is to come; what is due later is told by `balanced`."""
    if state in UNPAID:
        return item.due_now.times(quantity)
    return Money(0, item.price.currency)


class OrderView(NamedTuple):
    """An order as its buyer sees it; `hold_expires_at_ms` is Unix milliseconds."""

    id: str
    sale_id: str
    sku: str
    quantity: int
    state: OrderState
    hold_expires_at_ms: int
    amount_due: Money


def balanced(view: OrderView, facts: SaleFacts, paid: int | None) -> OrderView:
    """An order with the balance it owes, `paid` (minor units) having come in towards its price."""
    item = facts.item_of(view.sku)
    if paid is None or item is None:
        return view
    price = item.price.times(view.quantity)
    return view._replace(amount_due=Money(max(0, price.amount - paid), price.currency))


class Placed(NamedTuple):
    """An order that exists: now, or since an earlier request with the same key (`replayed`)."""

    order: OrderView
    replayed: bool


class Refusal(NamedTuple):
    """Why there is no order: a stable `code` of the contract; `starts_at_ms` with `not_open`."""

    code: str
    starts_at_ms: int = 0
