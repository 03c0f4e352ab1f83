"""The buyer's calls: place, list, read and cancel orders."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from flashsale.access.tokens import Buyer
from flashsale.domain.orders import OrderState
from flashsale.domain.sales import SaleKind
from flashsale.orders.values import OrderView, Refusal
from flashsale.web import render, render_money
from flashsale.web.auth import BUYER
from flashsale.web.deps import DEPS, WebDeps
from flashsale.web.errors import ProblemError, refuse
from flashsale.web.inputs import order_cursor, order_request, page_query, sale_in_path
from flashsale.web.render import json_response


async def place_order(request: web.Request) -> web.Response:
    """Place an order; a retry with the same key and body meets the same order."""
    # The hot route answers the same, by the same functions, for everyone who names a likely id.
    deps = request.app[DEPS]
    key, body = await order_request(request)
    listing = await deps.desk.board.listing(sale_in_path(request))
    if listing is None:
        raise refuse("unknown_sale")
    await deps.access.throttle.by_sale(listing.facts.id)
    placed = await deps.desk.place(listing, request[BUYER], key, body.sku, body.quantity)
    if isinstance(placed, Refusal):
        raise ProblemError(render.refusal(placed, deps.now_ms()))
    replayed = {"Idempotency-Replayed": "true"} if placed.replayed else {}
    headers = {"Location": f"/v1/orders/{placed.order.id}", **replayed}
    return json_response(render.order(placed.order), status=201, headers=headers)


async def list_orders(request: web.Request) -> web.Response:
    """My orders. One placed this moment joins the list within a second, once it is settled."""
    query = page_query(request)
    desk = request.app[DEPS].desk
    listed = await desk.list(request[BUYER], order_cursor(query), query.limit)
    return json_response(render.page(listed, render.order))


async def read_order(request: web.Request) -> web.Response:
    """One of my orders, in its newest state."""
    deps = request.app[DEPS]
    view = await deps.desk.read(request[BUYER], request.match_info["order"])
    if view is None:
        raise await absent(deps, request[BUYER], request.match_info["order"])
    return json_response(await _detail(deps, view))


async def absent(deps: WebDeps, buyer: Buyer, order_id: str) -> ProblemError:
    """The refusal of an order that is nowhere; raises what keeps us from being sure of that."""
    told = await deps.desk.absent(buyer, order_id)
    return ProblemError(render.refusal(told, deps.now_ms()))


async def refused(deps: WebDeps, buyer: Buyer, order_id: str, refusal: Refusal) -> ProblemError:
    """A refusal that concerns an order of the caller's."""
    if refusal.code == "unknown_order":
        return await absent(deps, buyer, order_id)
    return ProblemError(render.refusal(refusal, deps.now_ms()))


async def _detail(deps: WebDeps, view: OrderView) -> dict[str, Any]:
    """The order with its money and its way; one that is not settled has neither."""
    listing = await deps.desk.board.listing(view.sale_id)
    item = listing.items.get(view.sku) if listing else None
    ships_at_ms = None if item is None else item.ships_at_ms
    settled = view.state is not OrderState.RESERVED
    payments = await deps.money.desk.of_order(view.id) if settled else []
    sent = promise = None
    if view.state is OrderState.FULFILLED:
        sent = await deps.money.fulfilment.shipment_of(view.id)
    if payments and listing and listing.facts.kind is SaleKind.PREORDER:
        promise = await deps.preorders.service.promise_of(view.id)
    return render_money.order_detail(
        view,
        payments,
        sent,
        ships_at_ms=ships_at_ms if promise is None else promise.ships_at_ms,
        balance_due_at_ms=promise and promise.balance_due_at_ms,
    )


async def cancel_order(request: web.Request) -> web.Response:
    """Give an order's units back; where it is paid and the sale allows it, its money too."""
    deps = request.app[DEPS]
    order_id = request.match_info["order"]
    answer = await deps.money.cancelling.cancel(request[BUYER], order_id)
    if isinstance(answer, Refusal):
        raise await refused(deps, request[BUYER], order_id, answer)
    return json_response(render.order(answer))
