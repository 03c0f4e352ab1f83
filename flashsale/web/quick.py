"""The hot routes without a task: for plain requests of known callers; everything else is declined.

What is declined here goes aiohttp's way to `hot`, which says why: only one place refuses a request.
"""

from __future__ import annotations

import asyncio
from functools import partial

from aiohttp.http_parser import RawRequestMessage

from flashsale.access.tokens import Buyer
from flashsale.orders.board import Listing
from flashsale.orders.service import Begun, OrderDesk
from flashsale.reservation.errors import LaneLostError, StoreBusyError
from flashsale.web.auth import Access
from flashsale.web.body import BODY_MAX_BYTES, OrderBody, parse_order_body
from flashsale.web.connection import Reply
from flashsale.web.errors import Problem
from flashsale.web.fast import wire
from flashsale.web.hot import ORDER_ROUTE, HotRoutes, hot_route
from flashsale.web.idempotency import idempotency_key

#: Headers that ask for more than the quick way does.
_UNUSUAL = ("Content-Encoding", "Expect")


class QuickRoutes:
    """A `connection.Quick`; counts its answers where `hot` does."""

    def __init__(self, access: Access, desk: OrderDesk, hot: HotRoutes) -> None:
        self._access = access
        self._desk = desk
        self._hot = hot
        self._retries: set[asyncio.Task[None]] = set()

    def __call__(self, message: RawRequestMessage, body: bytes, reply: Reply) -> bool:
        """Take an order or a read of a sale, if all it needs is at hand."""
        found = hot_route(message.method, message.path)
        if found is None or any(name in message.headers for name in _UNUSUAL):
            return False
        route, sale = found
        listing = self._desk.board.peek(sale)
        if listing is None:
            return False
        if route is ORDER_ROUTE:
            return self._order(message, body, listing, reply)
        page = self._hot.page(sale, listing)
        if page is None:
            return False
        reply(wire(*self._hot.shown(page, message.headers.get("If-None-Match"))))
        return True

    def _order(
        self, message: RawRequestMessage, body: bytes, listing: Listing, reply: Reply
    ) -> bool:
        headers = message.headers
        if headers.get("Content-Type") != "application/json" or len(body) > BODY_MAX_BYTES:
            return False
        buyer, key = self._access.known_buyer(headers), idempotency_key(headers)
        if buyer is None or isinstance(key, Problem):
            return False
        order = parse_order_body(body)
        if isinstance(order, Problem):
            return False
        try:
            begun = self._desk.begin(listing, buyer, key, order.sku, order.quantity)
        except StoreBusyError as busy:
            reply(wire(*self._hot.problem(ORDER_ROUTE, busy)))
            return True
        if begun is None:
            return False
        again = partial(self._again, listing, buyer, key, order, reply)
        begun.decision.add_done_callback(partial(self._decided, begun, again, reply))
        return True

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
