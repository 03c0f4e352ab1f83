"""The buyer's calls: place, list, read and cancel orders."""

from __future__ import annotations

from aiohttp import web

from flashsale.orders.values import OrderView, Refusal
from flashsale.web import render
from flashsale.web.auth import BUYER
from flashsale.web.deps import DEPS
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
    view = await request.app[DEPS].desk.read(request[BUYER], request.match_info["order"])
    if view is None:
        raise refuse("unknown_order")
    return json_response(render.order(view))


async def cancel_order(request: web.Request) -> web.Response:
    """Give the units of an order back."""
    deps = request.app[DEPS]
    answer: OrderView | Refusal = await deps.desk.cancel(
        request[BUYER], request.match_info["order"]
    )
    if isinstance(answer, Refusal):
        raise ProblemError(render.refusal(answer, deps.now_ms()))
    return json_response(render.order(answer))
