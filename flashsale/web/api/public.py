"""What anyone may read: sales and the time."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from flashsale.domain.sales import SaleState
from flashsale.orders.board import Board, Listing
from flashsale.sales.values import SaleFacts
from flashsale.web import render
from flashsale.web.deps import DEPS, WebDeps
from flashsale.web.errors import refuse
from flashsale.web.inputs import page_query, sale_in_path
from flashsale.web.render import json_response

_SELLING = frozenset({SaleState.OPEN, SaleState.PAUSED})


async def list_sales(request: web.Request) -> web.Response:
    """Sales, the latest start first."""
    deps, query = request.app[DEPS], page_query(request)
    listed = await deps.sales.list_public(query.cursor, query.limit)
    now_ms = deps.now_ms()
    items = [await _listed(deps, facts, now_ms) for facts in listed.items]
    value = {"items": items, "next_cursor": listed.next_cursor}
    return render.cacheable(request, value, [*map(render.lasting, items), listed.next_cursor])


async def _listed(deps: WebDeps, facts: SaleFacts, now_ms: int) -> dict[str, Any]:
    # Only what sells has a number of units that changes; the rest needs no look at its lanes.
    if facts.visible_state(now_ms) in _SELLING:
        listing = await deps.desk.board.listing(facts.id)
        if listing is not None:
            return await public_sale(deps.desk.board, listing, now_ms)
    return render.public_sale(facts, available=(), capacity=(), now_ms=now_ms)


async def read_sale(request: web.Request) -> web.Response:
    """The public facts of a sale."""
    deps = request.app[DEPS]
    listing = await deps.desk.board.listing(sale_in_path(request))
    if listing is None:
        raise refuse("unknown_sale")
    value = await public_sale(deps.desk.board, listing, deps.now_ms())
    return render.cacheable(request, value, render.lasting(value))


async def public_sale(board: Board, listing: Listing, now_ms: int) -> dict[str, Any]:
    """The public facts of a listed sale; its lanes are read where nobody did of late."""
    await board.freshen(listing)
    return render.public_sale(
        listing.facts, available=listing.available, capacity=listing.capacity, now_ms=now_ms
    )


async def read_time(request: web.Request) -> web.Response:
    """The server's clock, for countdowns."""
    deps = request.app[DEPS]
    received = render.rfc3339(deps.now_ms())
    return json_response({"received_at": received, "sent_at": render.rfc3339(deps.now_ms())})
