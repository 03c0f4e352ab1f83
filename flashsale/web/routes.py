"""The URL map, whole: every call with who may make it, what goes in and what can come out."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from flashsale.sales.forms import ItemForm, SaleForm, SalePatch, SupplyForm
from flashsale.web import schemas as s
from flashsale.web import schemas_merchant as w
from flashsale.web import schemas_money as c
from flashsale.web import schemas_security as x
from flashsale.web.api import api_keys as keys
from flashsale.web.api import audit_log as log
from flashsale.web.api import buyer_keys as signers
from flashsale.web.api import documents as docs
from flashsale.web.api import merchant_money as cash
from flashsale.web.api import merchant_orders as sold
from flashsale.web.api import merchant_sales as m
from flashsale.web.api import operations as ops
from flashsale.web.api import orders, payments, public
from flashsale.web.api import provider_webhooks as providers
from flashsale.web.audited import admitting
from flashsale.web.auth import Access
from flashsale.web.errors import Problem
from flashsale.web.openapi import Auth, Route
from flashsale.web.routes_preorder import PREORDER_ROUTES
from flashsale.web.routes_webhooks import WEBHOOK_ROUTES

_ANYONE, _BUYER = Auth.NONE, Auth.BUYER
_READ, _MANAGE, _ADMIN = Auth.READ, Auth.MANAGE, Auth.ADMIN
_SALE, _MINE = "/v1/sales/{sale}", "/v1/merchant/sales/{sale}"
_SOLD = "/v1/merchant/orders/{order}"
_ORDER, _KEYS = "/v1/orders/{order}", "/v1/merchant/api-keys"
_KEY, _PAGE = "Idempotency-Key", s.PageQuery
_SIGNERS = "/v1/merchant/buyer-keys"

# Refusals particular to a call; those of who calls, of bodies and of pages are added by `Route`.
_UNKNOWN = ("unknown_sale",)
_KEY_CODES = ("idempotency_key_malformed", "idempotency_key_reused")
_PLACE = (
    "idempotency_key_missing",
    *_KEY_CODES,
    *("unknown_sale", "wrong_sale", "not_open", "sale_over", "paused", "unknown_sku"),
    *("limit_reached", "sold_out", "busy"),
)
_MINE_ONLY = ("unknown_order", "reservation_lost")
_CANCEL = (
    *(*_MINE_ONLY, "hold_expired", "order_not_cancellable"),
    *("payment_in_progress", "order_closing"),
)
_PAY = (
    *(*_MINE_ONLY, "order_not_confirmed", "hold_expired", "order_not_payable", "nothing_due"),
    *("payment_in_progress", "order_closing", "provider_unavailable", "busy"),
)
_REFUND = (
    *("idempotency_key_missing", *_KEY_CODES, "unknown_order", "order_not_refundable"),
    *("refund_above_captured", "order_closing"),
)
_SHIP = ("unknown_order", "order_not_shippable", "already_shipped", "order_closing")
_CALLBACK = ("unknown_provider", "signature_invalid", "stamp_refused", "callback_malformed")
_EDIT = ("unknown_sale", "precondition_required", "stale_edit", "edit_unsafe")
_ACT = ("unknown_sale", "illegal_transition")
_SCHEDULE = (*_ACT, "durability_unsafe", "validation_failed")
_RESUME = (*_ACT, "durability_unsafe")
_SUPPLY = (*_ACT, "unknown_sku", "supply_below_live", "idempotency_key_missing", *_KEY_CODES)
_TAG = ("ETag",)
_CACHED: Any = {"optional_header": "If-None-Match", "sends": ("ETag", "Cache-Control")}

# fmt: off
ROUTES = (
    Route("GET", "/v1/sales", public.list_sales, _ANYONE, s.PublicSalePage, query=_PAGE,
          **_CACHED),
    Route("GET", _SALE, public.read_sale, _ANYONE, s.PublicSale, _UNKNOWN, **_CACHED),
    Route("GET", "/v1/time", public.read_time, _ANYONE, s.TimeView),
    Route("POST", _SALE + "/orders", orders.place_order, _BUYER, s.OrderView, _PLACE,
          status=201, body=s.OrderForm, required_header=_KEY,
          sends=("Location", "Idempotency-Replayed")),
    Route("GET", "/v1/orders", orders.list_orders, _BUYER, s.OrderPage, query=_PAGE),
    Route("GET", _ORDER, orders.read_order, _BUYER, c.OrderDetail, _MINE_ONLY),
    Route("POST", _ORDER + "/cancel", orders.cancel_order, _BUYER, s.OrderView, _CANCEL),
    Route("POST", _ORDER + "/payments", payments.begin_payment, _BUYER, c.PaymentView, _PAY,
          status=201, sends=("Idempotency-Replayed",)),
    Route("GET", _ORDER + "/payments", payments.list_payments, _BUYER, c.PaymentPage,
          _MINE_ONLY),
    Route("POST", "/v1/providers/{provider}/webhooks", providers.take_callback, _ANYONE,
          c.CallbackTaken, _CALLBACK, takes="application/json", others={202: c.CallbackTaken}),

    Route("POST", "/v1/merchant/sales", m.create_sale, _MANAGE, w.MerchantSale,
          status=201, body=SaleForm, sends=("Location", *_TAG)),
    Route("GET", "/v1/merchant/sales", m.list_my_sales, _READ, w.MerchantSalePage, query=_PAGE),
    Route("GET", _MINE, m.read_my_sale, _READ, w.MerchantSale, _UNKNOWN, sends=_TAG),
    Route("PATCH", _MINE, m.edit_sale, _MANAGE, w.MerchantSale, _EDIT,
          body=SalePatch, required_header="If-Match", sends=_TAG),
    Route("POST", _MINE + "/schedule", m.schedule_sale, _MANAGE, w.MerchantSale, _SCHEDULE,
          sends=_TAG),
    Route("POST", _MINE + "/pause", m.pause_sale, _MANAGE, w.MerchantSale, _ACT, sends=_TAG),
    Route("POST", _MINE + "/resume", m.resume_sale, _MANAGE, w.MerchantSale, _RESUME, sends=_TAG),
    Route("POST", _MINE + "/close", m.close_sale, _MANAGE, w.MerchantSale, _ACT, sends=_TAG),
    Route("POST", _MINE + "/cancel", m.cancel_sale, _MANAGE, w.MerchantSale, _ACT, sends=_TAG),
    Route("POST", _MINE + "/supply", m.add_supply, _MANAGE, w.SupplyView, _SUPPLY,
          status=201, body=SupplyForm, optional_header=_KEY),
    Route("POST", _MINE + "/items", m.add_item, _MANAGE, w.MerchantSale, _ACT,
          status=201, body=ItemForm, sends=_TAG),
    Route("GET", _MINE + "/supply", m.list_supplies, _READ, w.SupplyPage, _UNKNOWN, query=_PAGE),
    Route("GET", _MINE + "/report", sold.read_report, _READ, w.SaleReport, _UNKNOWN),
    Route("GET", _MINE + "/orders", sold.list_sale_orders, _READ, w.MerchantOrderPage, _UNKNOWN,
          query=_PAGE),
    Route("GET", _MINE + "/orders.csv", sold.export_orders, _READ, None, _UNKNOWN,
          media_type="text/csv"),
    Route("POST", _MINE + "/shipments.csv", cash.import_shipments, _MANAGE, c.ShipmentsImported,
          ("unknown_sale", "validation_failed", "shipments_refused"), takes="text/csv"),
    Route("GET", _SOLD, cash.read_merchant_order, _READ, c.MerchantOrderDetail,
          ("unknown_order",)),
    Route("POST", _SOLD + "/refunds", cash.refund_order, _MANAGE, c.RefundAnswer, _REFUND,
          status=201, body=c.RefundForm, required_header=_KEY, sends=("Idempotency-Replayed",)),
    Route("POST", _SOLD + "/shipment", cash.ship_order, _MANAGE, c.ShipmentView, _SHIP,
          status=201, body=c.ShipmentForm, sends=("Idempotency-Replayed",)),
    # Calls of pre-orders and of outbound webhooks stand here, in tables of their own.
    *PREORDER_ROUTES,
    *WEBHOOK_ROUTES,

    Route("POST", _KEYS, keys.create_api_key, _ADMIN, w.NewApiKey,
          status=201, body=w.ApiKeyForm),
    Route("GET", _KEYS, keys.list_api_keys, _ADMIN, w.ApiKeyPage, query=_PAGE),
    Route("DELETE", _KEYS + "/{key}", keys.revoke_api_key, _ADMIN, None,
          ("own_api_key", "unknown_api_key"), status=204),
    Route("POST", _SIGNERS, signers.create_buyer_key, _ADMIN, x.NewBuyerKey,
          ("too_many_buyer_keys",), status=201, body=x.BuyerKeyForm),
    Route("GET", _SIGNERS, signers.list_buyer_keys, _ADMIN, x.BuyerKeyPage),
    Route("POST", _SIGNERS + "/{kid}/retire", signers.retire_buyer_key, _ADMIN, x.BuyerKeyView,
          ("last_buyer_key", "unknown_buyer_key"), body=x.RetirementForm),
    Route("DELETE", _SIGNERS + "/{kid}", signers.delete_buyer_key, _ADMIN, None,
          ("last_buyer_key", "unknown_buyer_key"), status=204),
    Route("GET", "/v1/merchant/audit-log", log.read_audit_log, _ADMIN, x.AuditPage, query=_PAGE),
    Route("GET", _MINE + "/audit-log", log.read_sale_audit_log, _READ, x.AuditPage, _UNKNOWN,
          query=_PAGE),

    Route("GET", "/healthz", ops.healthz, _ANYONE, s.Health),
    Route("GET", "/readyz", ops.readyz, _ANYONE, s.Readiness, others={503: s.Readiness}),
    Route("GET", "/metrics", ops.metrics, _ANYONE, None, media_type="text/plain"),
)
# fmt: on

#: Pages about the API; they are not part of the document.
PAGES = (
    ("/", docs.front_door),
    ("/console", docs.front_door),
    ("/openapi.json", docs.openapi_document),
    ("/docs", docs.docs),
    ("/docs/problems", docs.problems),
    ("/static/{path:.+}", docs.static_file),
)


def install(app: web.Application, access: Access) -> None:
    """Add every route to the router, each behind the check of who calls."""
    for route in ROUTES:
        handler = admitting(route, access)
        if route.method == "GET":
            app.router.add_get(route.path, handler, expect_handler=_expect)
        else:
            app.router.add_route(route.method, route.path, handler, expect_handler=_expect)
    for path, handler in PAGES:
        app.router.add_get(path, handler, expect_handler=_expect)


async def _expect(request: web.Request) -> web.StreamResponse | None:
    """Say `100 Continue` to whoever waits for it before sending a body; refuse other wishes."""
    if request.headers["Expect"].lower() != "100-continue":
        return Problem("expectation_failed").response()
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    # What counts as the begun answer starts after this.
    request.writer.output_size = 0
    return None
