"""The merchant's calls on one order: look at it, give money back, send it; and lists of those."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from flashsale.domain.identity import SALE_ID_LENGTH
from flashsale.orders.values import Refusal
from flashsale.payments.values import Imported, LineRefusal
from flashsale.sales.errors import UnknownSaleError, ValidationFailedError
from flashsale.sales.values import SaleFacts
from flashsale.settlement.ledger import OrderRow
from flashsale.web import render, render_merchant, render_money
from flashsale.web.auth import API_KEY
from flashsale.web.body import read_bytes, read_model
from flashsale.web.deps import DEPS
from flashsale.web.errors import KINDS, Problem, ProblemError, invalid, problem_of_sale, refuse
from flashsale.web.idempotency import idempotency_key
from flashsale.web.inputs import order_in_path, sale_in_path
from flashsale.web.render import json_response
from flashsale.web.schemas_money import RefundForm, ShipmentForm
from flashsale.web.shipments_csv import CSV_MAX_BYTES, ERRORS_MAX, parse_shipments

_REPLAYED = {"Idempotency-Replayed": "true"}


async def read_merchant_order(request: web.Request) -> web.Response:
    """A settled order with its payments, refunds and shipment."""
    deps = request.app[DEPS]
    sale, row = await _own_order(request)
    sent = await deps.money.fulfilment.shipment_of(row.id)
    payments = await deps.money.desk.of_order(row.id)
    refunds = await deps.money.refunds.of_order(row.id)
    answer = render_merchant.order(sale, row) | {
        "payments": [render_money.merchant_payment(each) for each in payments],
        "refunds": [render_money.refund(each) for each in refunds],
        "shipment": None if sent is None else render_money.shipment(sent),
    }
    return json_response(answer)


async def refund_order(request: web.Request) -> web.Response:
    """Give a buyer's money back, in part or whole; the whole gives the units back too."""
    deps = request.app[DEPS]
    key = idempotency_key(request.headers)
    if isinstance(key, Problem):
        raise ProblemError(key)
    form = await read_model(request, RefundForm)
    sale, row = await _own_order(request)
    amount = form.amount
    if amount is not None and amount.currency != sale.items[row.item].price.currency:
        raise invalid("/amount/currency", "Must be the currency that the order was paid in.")
    answer = await deps.money.refunds.ask(
        sale.merchant_id, row.id, key, None if amount is None else amount.amount, form.reason
    )
    if isinstance(answer, Refusal):
        raise ProblemError(render.refusal(answer, deps.now_ms()))
    headers = _REPLAYED if answer.replayed else {}
    return json_response(render_money.refund_answer(answer), status=201, headers=headers)


async def ship_order(request: web.Request) -> web.Response:
    """Say that a paid order was sent; saying the same again changes nothing."""
    deps = request.app[DEPS]
    form = await read_model(request, ShipmentForm)
    sale, row = await _own_order(request)
    answer = await deps.money.fulfilment.ship(
        sale.merchant_id, row.id, form.carrier, form.tracking_number
    )
    if isinstance(answer, Refusal):
        raise ProblemError(render.refusal(answer, deps.now_ms()))
    headers = _REPLAYED if answer.replayed else {}
    return json_response(render_money.shipment(answer.shipment), status=201, headers=headers)


async def import_shipments(request: web.Request) -> web.Response:
    """Say of many orders that they were sent, as CSV: all lines are carried out, or none.

    Columns `order_id` or `id`, `carrier`, `tracking_number`; others are left alone. `orders.csv`
    filled in for what was sent is such a list: lines without carrier and number are left alone too.
    """
    deps = request.app[DEPS]
    if request.content_type != "text/csv":
        raise refuse("unsupported_media_type", "Send text/csv.")
    sale = await deps.sales.get(request[API_KEY].merchant_id, sale_in_path(request))
    raw = await read_bytes(request, CSV_MAX_BYTES)
    try:
        lines = parse_shipments(raw, sale.id)
    except ValidationFailedError as error:
        raise ProblemError(problem_of_sale(error)) from None
    answer = await deps.money.fulfilment.ship_all(sale.merchant_id, sale.id, lines)
    if not isinstance(answer, Imported):
        raise _lines_refused(answer)
    return json_response({"shipped": answer.shipped, "already_shipped": answer.replayed})


def _lines_refused(refusals: Sequence[LineRefusal]) -> ProblemError:
    errors = [
        {"pointer": f"/lines/{refused.number}", "detail": KINDS[refused.code].detail}
        for refused in refusals[:ERRORS_MAX]
    ]
    return ProblemError(Problem("shipments_refused", extra={"errors": errors}))


async def _own_order(request: web.Request) -> tuple[SaleFacts, OrderRow]:
    """The order of the path with its sale, where both are the merchant's."""
    deps, order_id = request.app[DEPS], order_in_path(request)
    try:
        sale_id = order_id[:SALE_ID_LENGTH]
        sale = await deps.sales.get(request[API_KEY].merchant_id, sale_id)
    except UnknownSaleError:
        raise refuse("unknown_order") from None
    row = await deps.ledger.find_order(order_id)
    if row is None:
        raise refuse("unknown_order")
    return sale, row
