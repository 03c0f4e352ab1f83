"""Pre-orders: lots and promised dates for merchants, another SKU for buyers. Decides nothing."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from flashsale.preorders.forms import ItemChangeForm, LotForm, ShipDateForm
from flashsale.preorders.values import Lot, ShipDate
from flashsale.web import render
from flashsale.web.api.orders import absent, refused
from flashsale.web.auth import API_KEY, BUYER
from flashsale.web.body import read_model
from flashsale.web.deps import DEPS
from flashsale.web.errors import Problem, ProblemError
from flashsale.web.idempotency import idempotency_key
from flashsale.web.inputs import page_query, sale_in_path
from flashsale.web.render import json_response, rfc3339


async def add_lot(request: web.Request) -> web.Response:
    """Add incoming supply: whoever waits is given it, first come first served."""
    service, key = request.app[DEPS].preorders.service, _key(request)
    form = await read_model(request, LotForm)
    sale_id = sale_in_path(request)
    lot = await service.add_lot(request[API_KEY].merchant_id, sale_id, form, key)
    return json_response(_lot(lot), status=201)


async def list_lots(request: web.Request) -> web.Response:
    """Incoming supply of a sale, oldest first."""
    service, query = request.app[DEPS].preorders.service, page_query(request)
    listed = await service.list_lots(
        request[API_KEY].merchant_id, sale_in_path(request), query.cursor, query.limit
    )
    return json_response(render.page(listed, _lot))


async def move_ship_date(request: web.Request) -> web.Response:
    """Promise another date; those affected are told and may cancel freely for a while."""
    deps, key = request.app[DEPS], _key(request)
    form = await read_model(request, ShipDateForm)
    sale_id = sale_in_path(request)
    moved = await deps.preorders.service.move_ship_date(
        request[API_KEY].merchant_id, sale_id, form, key
    )
    deps.desk.board.forget(sale_id)
    return json_response(_ship_date(moved), status=201)


async def list_ship_dates(request: web.Request) -> web.Response:
    """Every promised date that was moved, oldest first."""
    service, query = request.app[DEPS].preorders.service, page_query(request)
    listed = await service.list_ship_dates(
        request[API_KEY].merchant_id, sale_in_path(request), query.cursor, query.limit
    )
    return json_response(render.page(listed, _ship_date))


async def change_item(request: web.Request) -> web.Response:
    """Change the SKU of an order whose deposit is paid, before a unit is allocated to it."""
    deps, order_id = request.app[DEPS], request.match_info["order"]
    form = await read_model(request, ItemChangeForm)
    refusal = await deps.preorders.changes.change(request[BUYER], order_id, form.sku)
    if refusal is not None:
        raise await refused(deps, request[BUYER], order_id, refusal)
    view = await deps.desk.read(request[BUYER], order_id)
    if view is None:
        raise await absent(deps, request[BUYER], order_id)
    return json_response(render.order(view))


def _key(request: web.Request) -> str:
    key = idempotency_key(request.headers)
    if isinstance(key, Problem):
        raise ProblemError(key)
    return key


def _lot(lot: Lot) -> dict[str, Any]:
    return {
        "id": lot.id,
        "sale_id": lot.sale_id,
        "sku": lot.sku,
        "quantity": lot.quantity,
        "allocated": lot.quantity - lot.free,
        "reason": lot.reason,
        "created_at": rfc3339(lot.created_at_ms),
    }


def _ship_date(moved: ShipDate) -> dict[str, Any]:
    return {
        "id": moved.id,
        "sale_id": moved.sale_id,
        "sku": moved.sku,
        "wave": moved.wave,
        "previous": None if moved.before_ms is None else rfc3339(moved.before_ms),
        "ships_at": rfc3339(moved.ships_at_ms),
        "reason": moved.reason,
        "free_cancel_until": rfc3339(moved.free_until_ms),
        "moved_at": rfc3339(moved.moved_at_ms),
    }
