"""The merchant's calls on sales: create, read, edit, life cycle, supply."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from flashsale.domain.stock import Stock
from flashsale.reservation.errors import StoreError
from flashsale.sales.forms import ItemForm, SaleForm, SalePatch, SupplyForm
from flashsale.sales.service import SaleService
from flashsale.sales.values import SaleFacts
from flashsale.web import render_merchant as render
from flashsale.web.auth import API_KEY
from flashsale.web.body import read_model
from flashsale.web.deps import DEPS, WebDeps
from flashsale.web.errors import Problem, ProblemError
from flashsale.web.idempotency import HEADER, idempotency_key
from flashsale.web.inputs import page_query, revision_in_if_match, sale_in_path
from flashsale.web.render import json_response, page


async def create_sale(request: web.Request) -> web.Response:
    """Draft a sale."""
    deps = request.app[DEPS]
    form = await read_model(request, SaleForm)
    sale = await deps.sales.create(request[API_KEY].merchant_id, form)
    response = await _answer(deps, sale, status=201)
    response.headers["Location"] = f"/v1/merchant/sales/{sale.id}"
    return response


async def list_my_sales(request: web.Request) -> web.Response:
    """My sales, newest first."""
    deps, query = request.app[DEPS], page_query(request)
    listed = await deps.sales.list(request[API_KEY].merchant_id, query.cursor, query.limit)
    now_ms = deps.now_ms()
    return json_response(page(listed, lambda sale: render.sale(sale, stock=None, now_ms=now_ms)))


async def read_my_sale(request: web.Request) -> web.Response:
    """One of my sales, with its stock as Redis counts it now."""
    deps = request.app[DEPS]
    sale = await deps.sales.get(request[API_KEY].merchant_id, sale_in_path(request))
    return await _answer(deps, sale)


async def edit_sale(request: web.Request) -> web.Response:
    """Edit a sale, unless it has changed since it was read."""
    deps, sale_id = request.app[DEPS], sale_in_path(request)
    merchant_id = request[API_KEY].merchant_id
    await deps.sales.get(merchant_id, sale_id)
    revision = revision_in_if_match(request)
    patch = await read_model(request, SalePatch)
    sale = await deps.sales.patch(merchant_id, sale_id, patch, revision)
    return await _changed(deps, sale)


Action = Callable[[SaleService, str, str], Awaitable[SaleFacts]]


async def _act(request: web.Request, action: Action) -> web.Response:
    deps = request.app[DEPS]
    sale = await action(deps.sales, request[API_KEY].merchant_id, sale_in_path(request))
    return await _changed(deps, sale)


async def schedule_sale(request: web.Request) -> web.Response:
    """Announce a draft: it opens by itself at starts_at."""
    return await _act(request, SaleService.schedule)


async def pause_sale(request: web.Request) -> web.Response:
    """Stop selling for a while."""
    return await _act(request, SaleService.pause)


async def resume_sale(request: web.Request) -> web.Response:
    """Sell again."""
    return await _act(request, SaleService.resume)


async def close_sale(request: web.Request) -> web.Response:
    """End a sale; live holds keep their time."""
    return await _act(request, SaleService.close)


async def cancel_sale(request: web.Request) -> web.Response:
    """Call a sale off and give all units back."""
    return await _act(request, SaleService.cancel)


async def add_item(request: web.Request) -> web.Response:
    """Sell one more SKU in a sale under way; the same item again changes nothing."""
    deps, sale_id = request.app[DEPS], sale_in_path(request)
    form = await read_model(request, ItemForm)
    sale = await deps.sales.add_item(request[API_KEY].merchant_id, sale_id, form)
    return await _changed(deps, sale, status=201)


async def add_supply(request: web.Request) -> web.Response:
    """Add units, now or later, or take unsold ones back."""
    deps, sale_id = request.app[DEPS], sale_in_path(request)
    key = idempotency_key(request.headers) if HEADER in request.headers else None
    if isinstance(key, Problem):
        raise ProblemError(key)
    form = await read_model(request, SupplyForm)
    supply = await deps.sales.add_supply(
        request[API_KEY].merchant_id, sale_id, form, idempotency_key=key
    )
    deps.desk.board.forget(sale_id)
    return json_response(render.supply(supply), status=201)


async def list_supplies(request: web.Request) -> web.Response:
    """What was added and taken back, oldest first."""
    deps, query, sale_id = request.app[DEPS], page_query(request), sale_in_path(request)
    listed = await deps.sales.list_supplies(
        request[API_KEY].merchant_id, sale_id, query.cursor, query.limit
    )
    return json_response(page(listed, render.supply))


async def _changed(deps: WebDeps, sale: SaleFacts, *, status: int = 200) -> web.Response:
    # Other processes hear of it from Postgres; here whoever asks next sees it at once.
    deps.desk.board.forget(sale.id)
    return await _answer(deps, sale, status=status)


async def _answer(deps: WebDeps, sale: SaleFacts, *, status: int = 200) -> web.Response:
    stock = await _stock(deps, sale)
    value = render.sale(sale, stock=stock, now_ms=deps.now_ms())
    return json_response(value, status=status, headers={"ETag": f'"{sale.revision}"'})


async def _stock(deps: WebDeps, sale: SaleFacts) -> list[Stock] | None:
    """Units as the lanes count them now; None where there are none, or nobody answers."""
    if not sale.armed or sale.retired:
        return None
    try:
        lanes = [(await deps.store.snapshot(sale.id, lane)).stock for lane in range(sale.lanes)]
    except StoreError:
        return None
    # An item that joined the sale is counted once every lane has heard of it.
    return [render.total(counts) for counts in zip(*lanes, strict=False)]
