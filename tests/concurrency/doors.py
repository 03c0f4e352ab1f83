"""Several web processes before the same stores, and a naive shop beside them to compare with."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from functools import partial

from aiohttp import web

from flashsale.orders.board import Board
from flashsale.orders.service import OrderDesk
from flashsale.reservation.store import ReservationStore
from flashsale.sales.queries import find_sale
from flashsale.settlement.ledger import Ledger
from flashsale.web.app import build_app
from flashsale.web.hot import HotRoutes
from flashsale.web.quick import QuickRoutes
from flashsale.web.server import serving
from tests.sales.shop import SCRIPTS
from tests.web.house import SECRET, House, web_deps


@contextlib.asynccontextmanager
async def another_process(house: House, *, quick: bool) -> AsyncIterator[House]:
    """The same house through a server with a board and connections of its own."""
    store = ReservationStore(house.shop.redis, SCRIPTS)
    board = Board(partial(find_sale, house.shop.pool), store, batch_max=64, waiting_max=1000)
    shop = house.shop._replace(store=store)
    desk = OrderDesk(board, store, Ledger(shop.pool), SECRET)
    deps = web_deps(shop, desk, house.till)
    await deps.access.keyring.refresh()
    hot = HotRoutes(deps.access, deps.desk, deps.faults.problem_of)
    ways = {
        "front": hot.front,
        "quick": QuickRoutes(deps, hot) if quick else None,
    }
    app = build_app(deps)
    watching = asyncio.create_task(board.watch(every_ms=50))
    async with serving(app, host="127.0.0.1", port=0, **ways) as (host, port):
        yield dataclasses.replace(house, url=f"http://{host}:{port}", deps=deps, app=app)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await board.stop()
    await store.close()


@contextlib.asynccontextmanager
async def naive_shop(units: int, people: int) -> AsyncIterator[str]:
    """Looks first, then sells: between the two, all the others of a crowd have looked as well."""
    left = units
    everybody_has_looked = asyncio.Barrier(people)

    async def order(_: web.Request) -> web.Response:
        nonlocal left
        some_are_left = left > 0
        await everybody_has_looked.wait()
        if not some_are_left:
            return web.Response(status=409)
        left -= 1
        return web.Response(status=201)

    app = web.Application()
    app.router.add_post("/orders", order)
    async with serving(app, host="127.0.0.1", port=0) as (host, port):
        yield f"http://{host}:{port}/orders"
