"""The merchant's reads of what was sold: the report, and orders as pages and as CSV."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Iterable, Sequence

from aiohttp import web

from flashsale.sales.report import report
from flashsale.settlement.ledger import BesideOrder
from flashsale.web import render_merchant as render
from flashsale.web.auth import API_KEY
from flashsale.web.deps import DEPS
from flashsale.web.inputs import order_cursor, page_query, sale_in_path
from flashsale.web.render import json_response, page

#: A reader that takes no more for this long is let go.
WRITE_SECONDS_MAX = 30.0
_NOTHING = BesideOrder()


async def list_sale_orders(request: web.Request) -> web.Response:
    """A sale's settled orders."""
    deps, query = request.app[DEPS], page_query(request)
    cursor = order_cursor(query)
    sale = await deps.sales.get(request[API_KEY].merchant_id, sale_in_path(request))
    listed = await deps.ledger.orders_of_sale(sale.id, cursor, query.limit)
    return json_response(page(listed, lambda row: render.order(sale, row)))


async def read_report(request: web.Request) -> web.Response:
    """What a sale has come to, item by item."""
    deps = request.app[DEPS]
    sale = await deps.sales.get(request[API_KEY].merchant_id, sale_in_path(request))
    return json_response(render.report(await report(deps.ledger.pool, sale, deps.now_ms())))


async def export_orders(request: web.Request) -> web.StreamResponse:
    """All settled orders of a sale, as CSV."""
    deps = request.app[DEPS]
    sale = await deps.sales.get(request[API_KEY].merchant_id, sale_in_path(request))
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/csv; charset=utf-8; header=present",
            "Content-Disposition": f'attachment; filename="orders-{sale.id}.csv"',
        }
    )
    await response.prepare(request)
    await _write(response, [render.CSV_COLUMNS])
    async for rows in deps.ledger.export(sale.id):
        beside = await deps.ledger.beside([row.id for row in rows])
        cells = (render.order_cells(sale, row, beside.get(row.id, _NOTHING)) for row in rows)
        await _write(response, cells)
    await response.write_eof()
    return response


async def _write(response: web.StreamResponse, lines: Iterable[Sequence[str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(lines)
    async with asyncio.timeout(WRITE_SECONDS_MAX):
        await response.write(text.getvalue().encode())
