"""The shapes of requests and answers about money and shipments, beside `schemas`."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from flashsale.domain.money import AMOUNT_MAX
from flashsale.payments.values import Cause, PaymentState, Purpose, RefundState, TakenAs
from flashsale.sales.forms import Form, Integer, MoneyForm, Name, Reason
from flashsale.web.schemas import Money, OrderView, View
from flashsale.web.schemas_merchant import MerchantOrder

SHIPMENT_MAX_CHARACTERS = 100

ShipmentText = Annotated[Name, Field(max_length=SHIPMENT_MAX_CHARACTERS)]


class PaymentView(View):
    """A payment; `checkout_url` is where the buyer pays, `note` why money goes back."""

    id: str
    order_id: str
    purpose: Purpose
    state: PaymentState
    amount: Money
    captured: Money
    refunded: Money
    note: str | None
    checkout_url: str | None
    expires_at: datetime
    created_at: datetime


class PaymentPage(View):
    """All payments of an order, oldest first."""

    items: list[PaymentView]
    next_cursor: None


class ShipmentView(View):
    """How an order left the house."""

    order_id: str
    carrier: str
    tracking_number: str
    shipped_at: datetime


class OrderDetail(OrderView):
    """An order with what is known of its payments and its way; members with nothing are absent."""

    payments: list[PaymentView] | None = None
    shipment: ShipmentView | None = None
    ships_at: datetime | None = None
    balance_due_at: datetime | None = None


class MerchantPayment(PaymentView):
    """A payment as the merchant sees it: also who carries it, what it costs, if it counts."""

    provider: str
    refunding: Money
    fee: Money
    counts: bool


class RefundView(View):
    """Money on its way back; `done_at` is when the provider said that it was paid out."""

    id: str
    payment_id: str
    order_id: str
    amount: Money
    cause: Cause
    reason: str
    state: RefundState
    created_at: datetime
    done_at: datetime | None


class MerchantOrderDetail(MerchantOrder):
    """A settled order with its money and its shipment."""

    payments: list[MerchantPayment]
    refunds: list[RefundView]
    shipment: ShipmentView | None


class RefundMoney(MoneyForm):
    """What to give back, at least one minor unit."""

    amount: Annotated[Integer, Field(ge=1, le=AMOUNT_MAX)]


class RefundForm(Form):
    """What to give back, and why; all that came in where no `amount` is named."""

    amount: RefundMoney | None = None
    reason: Reason


class RefundAnswer(View):
    """What a request came to: a refund for each payment that gives something back."""

    order_id: str
    amount: Money
    refunds: list[RefundView]


class ShipmentForm(Form):
    """Who carries an order, and the number by which it is followed."""

    carrier: ShipmentText
    tracking_number: ShipmentText


class ShipmentsImported(View):
    """A list that was carried out as a whole; `already_shipped` lines changed nothing."""

    shipped: int
    already_shipped: int


class CallbackTaken(View):
    """What became of a provider's callback; `unmatched` ones are kept and looked at again."""

    outcome: TakenAs
