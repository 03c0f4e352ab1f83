"""The shapes of requests and answers, as models: checked where they come in, published in OpenAPI.

Answers are rendered by `render`; a test holds what is rendered to these models.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from flashsale.domain.money import AMOUNT_MAX
from flashsale.domain.orders import OrderState
from flashsale.domain.sales import SaleKind, SaleState
from flashsale.domain.stock import SUPPLY_MAX, Availability
from flashsale.sales.forms import Form, Integer, Sku

PAGE_LIMIT_DEFAULT = 50
PAGE_LIMIT_MAX = 500


class View(BaseModel):
    """An answer. Readers should ignore members they do not know."""

    model_config = ConfigDict(frozen=True)


class Money(View):
    """Integer minor units with an ISO 4217 code."""

    amount: int = Field(ge=0, le=AMOUNT_MAX, examples=[149900])
    currency: str = Field(pattern="^[A-Z]{3}$", examples=["CNY"])


class OrderForm(Form):
    """What a buyer asks for. The two optional members matter to sales that ask for them."""

    sku: Sku
    quantity: Annotated[Integer, Field(ge=1, le=SUPPLY_MAX)]
    admission_token: str | None = Field(default=None, max_length=2048)
    priority_code: str | None = Field(default=None, max_length=64)


class OrderView(View):
    """An order; `hold_expires_at` is when unpaid units go back on sale."""

    id: str
    sale_id: str
    sku: str
    quantity: int
    state: OrderState
    hold_expires_at: datetime
    amount_due: Money


class OrderPage(View):
    """A page of orders."""

    items: list[OrderView]
    next_cursor: str | None


class PublicItem(View):
    """A SKU as the public sees it; `supply` only where the merchant publishes unit counts.

    `deposit` is what a unit costs at once, the rest of the price comes later.
    """

    sku: str
    name: str
    price: Money
    deposit: Money | None = None
    ships_at: datetime | None = None
    availability: Availability
    supply: int | None = Field(default=None, ge=0)


class Cancellation(View):
    """What a buyer who has paid may do; `within_minutes` of paying where that is said."""

    paid: Literal["refund", "refused"]
    within_minutes: int | None = None


class Balance(View):
    """When the rest of a pre-order is due: by a date for all, or so long after its allocation."""

    mode: Literal["on_allocation", "by_date"]
    opens_at: datetime | None = None
    due_at: datetime | None = None
    window_hours: float | None = None
    grace_hours: float
    retry_hours: float
    reminder_hours: float


class Preorder(View):
    """What becomes of a deposit whose balance is not paid, and when a buyer may cancel freely."""

    balance: Balance
    on_default: Literal["forfeit", "refund"]
    free_cancel_days: float


class PublicSale(View):
    """The public facts of a sale; `durability` only where it is relaxed."""

    id: str
    name: str
    kind: SaleKind
    state: SaleState
    starts_at: datetime
    ends_at: datetime
    server_time: datetime
    items: list[PublicItem]
    per_buyer_limit: int
    hold_seconds: int
    published_supply: bool
    cancellation: Cancellation
    preorder: Preorder | None = None
    durability: Literal["relaxed"] | None = None


class PublicSalePage(View):
    """A page of sales."""

    items: list[PublicSale]
    next_cursor: str | None


class TimeView(View):
    """For a countdown: when the request was received and when this answer was sent."""

    received_at: datetime
    sent_at: datetime


class Check(View):
    """One part of readiness; `detail` says what is wrong."""

    ok: bool
    detail: str


class Readiness(View):
    """Whether this process can serve, part by part."""

    ready: bool
    checks: dict[str, Check]


class Health(View):
    """The process is alive."""

    status: Literal["ok"]


class PageQuery(Form):
    """How lists are paged."""

    limit: Annotated[int, Field(ge=1, le=PAGE_LIMIT_MAX)] = PAGE_LIMIT_DEFAULT
    cursor: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class FieldError(View):
    """One field at fault, named by a JSON pointer (RFC 6901) into the body, or by its parameter."""

    pointer: str
    detail: str


class ProblemView(View):
    """A problem document (RFC 9457); `code` is stable, `title` and `detail` are for people."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: list[FieldError] | None = None
    state: SaleState | None = None
    starts_at: datetime | None = None
