"""The calls of pre-orders: their part of the URL map."""

from __future__ import annotations

from flashsale.preorders.forms import ItemChangeForm, LotForm, ShipDateForm
from flashsale.web import schemas as s
from flashsale.web import schemas_preorder as p
from flashsale.web.api import preorders
from flashsale.web.openapi import Auth, Route

_BUYER, _READ, _MANAGE = Auth.BUYER, Auth.READ, Auth.MANAGE
_MINE, _ORDER = "/v1/merchant/sales/{sale}", "/v1/orders/{order}"
_KEY, _PAGE = "Idempotency-Key", s.PageQuery

_READS = ("unknown_sale", "not_a_preorder")
_COMMANDS = (
    *("idempotency_key_missing", "idempotency_key_malformed", "idempotency_key_reused"),
    *(*_READS, "unknown_sku", "illegal_transition"),
)
_CHANGE = (
    *("unknown_order", "reservation_lost", "unknown_sku", "order_not_changeable", "order_closing"),
    *("price_below_paid", "sold_out"),
)

# fmt: off
PREORDER_ROUTES = (
    Route("POST", _MINE + "/lots", preorders.add_lot, _MANAGE, p.LotView, _COMMANDS,
          status=201, body=LotForm, required_header=_KEY),
    Route("GET", _MINE + "/lots", preorders.list_lots, _READ, p.LotPage, _READS, query=_PAGE),
    Route("POST", _MINE + "/ship-dates", preorders.move_ship_date, _MANAGE, p.ShipDateView,
          (*_COMMANDS, "unknown_wave"), status=201, body=ShipDateForm, required_header=_KEY),
    Route("GET", _MINE + "/ship-dates", preorders.list_ship_dates, _READ, p.ShipDatePage, _READS,
          query=_PAGE),
    Route("POST", _ORDER + "/item", preorders.change_item, _BUYER, s.OrderView, _CHANGE,
          body=ItemChangeForm),
)
# fmt: on
