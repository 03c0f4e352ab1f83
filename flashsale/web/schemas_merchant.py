"""The shapes of the merchant's requests and answers, beside the forms of `flashsale.sales`."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from flashsale.domain.orders import OrderState
from flashsale.domain.sales import SaleKind, SaleState
from flashsale.sales.forms import Form, Instant, Name
from flashsale.web.schemas import Cancellation, Money, Preorder, View


class Stock(View):
    """Units of one SKU as Redis counts them now: the five always balance."""

    capacity: int
    available: int
    held: int
    paying: int
    sold: int


class MerchantItem(View):
    """A SKU; `supply` counts all units given so far, `stock` is null while no lane counts it.

    `shut_reason` says why the engine lets nobody reserve it; null where it does.
    """

    sku: str
    name: str
    price: Money
    supply: int
    deposit: Money | None
    ships_at: datetime | None
    stock: Stock | None
    shut_reason: str | None


class Admission(View):
    """How buyers are let in."""

    mode: Literal["open", "queue"]


class MerchantSale(View):
    """A sale as its merchant sees it; `revision` is the ETag that If-Match names.

    `paused_reason` says what to mend before it can be resumed, where the engine paused it.
    """

    id: str
    revision: int
    state: SaleState
    paused_reason: str | None
    name: str
    kind: SaleKind
    starts_at: datetime
    ends_at: datetime
    items: list[MerchantItem]
    per_buyer_limit: int
    hold_seconds: int
    admission: Admission
    registration: None
    cancellation: Cancellation
    preorder: Preorder | None
    published_supply: bool
    lanes: int
    durability: Literal["strict", "relaxed"]
    created_at: datetime


class MerchantSalePage(View):
    """A page of sales, newest first; `stock` is left out."""

    items: list[MerchantSale]
    next_cursor: str | None


class SupplyView(View):
    """A wave, or units taken back; `pending` until its instant."""

    id: str
    sale_id: str
    sku: str
    quantity: int
    at: datetime
    reason: str
    state: Literal["pending", "applied", "refused"]
    created_at: datetime
    ships_at: datetime | None


class SupplyPage(View):
    """A page of supplies, oldest first."""

    items: list[SupplyView]
    next_cursor: str | None


class MerchantOrder(View):
    """A settled order; `decided_at` is Redis' clock, `settled_at` is when Postgres had it."""

    id: str
    sale_id: str
    sku: str
    quantity: int
    state: OrderState
    buyer_id: str
    unit_price: Money
    decided_at: datetime
    settled_at: datetime
    hold_expires_at: datetime


class MerchantOrderPage(View):
    """A page of orders in the order of their ids."""

    items: list[MerchantOrder]
    next_cursor: str | None


class MoneyFlow(View):
    """Money in and out. `refunding` is on its way back, and in `net` until it is there.

    `fees` are the provider's, and part of nothing else here.
    """

    captured: Money
    refunding: Money
    refunded: Money
    net: Money
    fees: Money


class Takings(MoneyFlow):
    """What payments have come to; `due` is what orders that hold units have still to pay.

    Deposits and balances of pre-orders are part of the whole, and shown apart.
    """

    due: Money
    deposits: MoneyFlow
    balances: MoneyFlow


class Unexplained(View):
    """Events of the provider whose money is in no order; an operator looks at them."""

    quarantined: int
    unmatched: int


class StateReport(View):
    """Settled orders in one state."""

    state: OrderState
    orders: int
    units: int
    amount: Money
    money: Takings


class ItemReport(View):
    """One SKU: what was given, and what is set aside or sold of it."""

    sku: str
    name: str
    supply: int
    unsold: int
    live_orders: int
    live_units: int
    live_amount: Money
    sold_out_at: datetime | None
    states: list[StateReport]
    money: Takings


class SaleReport(View):
    """What Postgres has of a sale; orders of the last moments follow within a second."""

    sale_id: str
    name: str
    state: SaleState
    starts_at: datetime
    ends_at: datetime
    durability: Literal["strict", "relaxed"]
    items: list[ItemReport]
    supplies: list[SupplyView]
    sold_out_at: datetime | None
    first_order_at: datetime | None
    last_order_at: datetime | None
    settlement_lag_max_ms: int | None
    money: Takings
    unexplained: Unexplained


class ApiKeyForm(Form):
    """A new key; `read` looks, `manage` edits sales, `admin` makes keys too."""

    label: Annotated[Name, Field(max_length=100)]
    scope: Literal["read", "manage", "admin"]
    expires_at: Instant | None = None


class ApiKeyView(View):
    """What is kept of a key; `prefix` is how its text begins."""

    id: str
    label: str
    scope: Literal["read", "manage", "admin"]
    prefix: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class NewApiKey(ApiKeyView):
    """A key as made: `key` is shown this once."""

    key: str


class ApiKeyPage(View):
    """A page of keys, oldest first."""

    items: list[ApiKeyView]
    next_cursor: str | None
