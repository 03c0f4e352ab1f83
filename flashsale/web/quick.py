"""The hot routes without a task: for plain requests of known callers; everything else is declined.

What is declined here goes aiohttp's way to `hot`, which says why: only one place refuses a request.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

from aiohttp.http_parser import RawRequestMessage
from multidict import MultiMapping

from flashsale.access.tokens import Buyer
from flashsale.orders.board import Listing
from flashsale.orders.service import Begun
from flashsale.reservation.errors import LaneLostError, StoreBusyError
from flashsale.web.body import BODY_MAX_BYTES, OrderBody, parse_order_body
from flashsale.web.connection import Reply
from flashsale.web.deps import WebDeps
from flashsale.web.errors import Problem, ProblemError
from flashsale.web.fast import wire
from flashsale.web.hot import ORDER_ROUTE, HotRoutes, hot_route
from flashsale.web.idempotency import idempotency_key
from flashsale.web.limiting import Pass
from flashsale.web.quick_money import QuickMoney, is_usual


class QuickRoutes:
    """A `connection.Quick`; counts its answers where `hot` does."""

    def __init__(self, deps: WebDeps, hot: HotRoutes) -> None:
        self._access = deps.access
        self._desk = deps.desk
        self._hot = hot
        self._money = QuickMoney(deps, hot)
        self._throttle = deps.access.throttle
        self._retries: set[asyncio.Task[None]] = set()

    def __call__(self, message: RawRequestMessage, body: bytes, reply: Reply, peer: Any) -> bool:
        """Take an order or a read of a sale, if all it needs is at hand."""
        found = hot_route(message.method, message.path)
        if found is None:
            return self._money(message, body, reply, peer)
        route, sale = found
        listing = self._desk.board.peek(sale) if is_usual(message.headers) else None
        if listing is None:
            return False
        way, throttle = Pass(time.monotonic()), self._throttle
        if throttle.address is not None:
            address = throttle.place(peer, message.headers)
            if address is not None and not way.admits(throttle.address, address):
                return self._stop(route, way, reply)
        if route is ORDER_ROUTE:
            return self._order(message, body, listing, reply, way)
        page = self._hot.page(sale, listing)
        if page is None:
            return False
        way.spend()
        reply(wire(*self._hot.shown(page, message.headers.get("If-None-Match"))))
        return True

    def _stop(self, route: str, way: Pass, reply: Reply) -> bool:
        """Refuse whom nothing is left for; decline whom the other processes have a say in."""
        refusal = way.refusal()
        if refusal is None:
            return False
        way.spend()
        reply(wire(*self._hot.problem(route, ProblemError(refusal))))
        return True

    def _order(
        self, message: RawRequestMessage, body: bytes, listing: Listing, reply: Reply, way: Pass
    ) -> bool:
        asked = self._asked(message.headers, body)
        if asked is None:
            return False
        buyer, key, order = asked
        buyers, sales = self._throttle.buyer, self._throttle.sale
        if (buyers is not None and not way.admits(buyers, buyer)) or (
            sales is not None and not way.admits(sales, listing.facts.id)
        ):
            return self._stop(ORDER_ROUTE, way, reply)
        try:
            begun = self._desk.begin(listing, buyer, key, order.sku, order.quantity)
        except StoreBusyError as busy:
            way.spend()
            reply(wire(*self._hot.problem(ORDER_ROUTE, busy)))
            return True
        if begun is None:
            return False
        way.spend()
        again = partial(self._again, listing, buyer, key, order, reply)
        begun.decision.add_done_callback(partial(self._decided, begun, again, reply))
        return True

    def _asked(
        self, headers: MultiMapping[str], body: bytes
    ) -> tuple[Buyer, str, OrderBody] | None:
        """Who asks for what, by which key; None where there is anything to object to."""
        if headers.get("Content-Type") != "application/json" or len(body) > BODY_MAX_BYTES:
            return None
        buyer, key = self._access.known_buyer(headers), idempotency_key(headers)
        if buyer is None or isinstance(key, Problem):
            return None
        order = parse_order_body(body)
        return None if isinstance(order, Problem) else (buyer, key, order)

    def _decided(
        self, begun: Begun, again: partial[None], reply: Reply, decision: asyncio.Future[object]
    ) -> None:
        if decision.cancelled():
            return  # the process is stopping, and takes its connections with it
        try:
            parts = self._hot.told(begun.outcome())
        except LaneLostError:
            again()
        except Exception as error:  # noqa: BLE001 - the one place where every fault ends
            reply(wire(*self._hot.problem(ORDER_ROUTE, error)))
        else:
            reply(wire(*parts))

    def _again(
        self, listing: Listing, buyer: Buyer, key: str, order: OrderBody, reply: Reply
    ) -> None:
        """The rare case: the lane is gone, and `place` knows whom to ask then."""

        async def place() -> None:
            try:
                answer = await self._desk.place(listing, buyer, key, order.sku, order.quantity)
                parts = self._hot.told(answer)
            except Exception as error:  # noqa: BLE001 - the one place where every fault ends
                parts = self._hot.problem(ORDER_ROUTE, error)
            reply(wire(*parts))

        retry = asyncio.create_task(place())
        self._retries.add(retry)
        retry.add_done_callback(self._retries.discard)
