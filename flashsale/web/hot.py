"""The two hot routes, in front of the router: placing an order and reading a sale.

They run the same checks and the same service as every other route; what they leave out is routing,
middleware, per-request metrics and header maps.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from operator import is_not
from typing import NamedTuple

import orjson
from aiohttp import web

from flashsale.domain.identity import SALE_ID_LENGTH
from flashsale.orders.board import Listing
from flashsale.orders.service import OrderDesk
from flashsale.orders.values import Placed, Refusal
from flashsale.web.api.public import public_sale
from flashsale.web.auth import Access
from flashsale.web.errors import PROBLEM_MEDIA_TYPE, Problem, refuse
from flashsale.web.fast import Parts, fast, header_lines
from flashsale.web.headers import COMMON_HEADERS
from flashsale.web.inputs import order_request
from flashsale.web.metrics import Metrics
from flashsale.web.render import SHARED_BRIEFLY, entity_tag, has_already, lasting, refusal
from flashsale.web.render import order as order_json
from flashsale.web.server import Handler

ORDER_ROUTE = "/v1/sales/{sale}/orders"
_PREFIX = "/v1/sales/"
_SUFFIX = "/orders"
SALE_ROUTE = "/v1/sales/{sale}"
#: How long a rendered sale is handed out: its clock is that old at most.
PAGE_SECONDS = 0.05
PAGES_MAX = 1000
_SALE_END = len(_PREFIX) + SALE_ID_LENGTH
_ORDER_PATH_LENGTH = _SALE_END + len(_SUFFIX)


def hot_route(method: str, path: str) -> tuple[str, str] | None:
    """ORDER_ROUTE or SALE_ROUTE and the sale's id in the path, of whatever letters; else None."""
    if path.startswith(_PREFIX):
        if len(path) == _ORDER_PATH_LENGTH and method == "POST" and path.endswith(_SUFFIX):
            return ORDER_ROUTE, path[len(_PREFIX) : _SALE_END]
        if len(path) == _SALE_END and method == "GET":
            return SALE_ROUTE, path[len(_PREFIX) :]
    return None


_ORDER_FIELDS = header_lines({**COMMON_HEADERS, "Content-Type": "application/json"})
_REPLAYED_FIELDS = _ORDER_FIELDS + "Idempotency-Replayed: true\r\n"


@lru_cache(maxsize=1024)
def _refusal(refused: Refusal, second: int) -> Parts:
    # Retry-After counts seconds, so one rendering a second serves everybody.
    return _parts(refusal(refused, second * 1000))


def _parts(problem: Problem) -> Parts:
    headers = {**COMMON_HEADERS, "Content-Type": PROBLEM_MEDIA_TYPE, **problem.all_headers()}
    return problem.status, header_lines(headers), problem.body()


class Page(NamedTuple):
    """A public sale, rendered from `readings`; good while they are the newest, and until then."""

    readings: tuple[object, ...]
    until: float
    tag: str
    fields: str
    body: bytes


class HotRoutes:
    """Answers the hot routes and hands everything else on.

    `answered` and `refused` count by status and by code; whoever exports metrics takes them out.
    """

    def __init__(
        self, access: Access, desk: OrderDesk, problem_of: Callable[[Exception], Problem]
    ) -> None:
        self._access = access
        self._throttle = access.throttle
        self._desk = desk
        self._problem_of = problem_of
        self._pages: dict[str, Page] = {}
        self.answered: Counter[tuple[str, int]] = Counter()
        self.refused: Counter[str] = Counter()

    def front(self, handler: Handler) -> Handler:
        """The handler of the server: hot routes here, the rest by `handler`."""

        async def serve(request: web.BaseRequest) -> web.StreamResponse:
            if "Expect" in request.headers:
                return await handler(request)  # the router says "100 Continue"
            match hot_route(request.method, request.raw_path):
                case (route, sale) if route is ORDER_ROUTE:
                    return await self._order(request, sale)
                case (_, sale):
                    return await self._sale(request, sale)
            return await handler(request)

        return serve

    def export(self, metrics: Metrics) -> None:
        """Hand the counts since the last time to `metrics`."""
        for (route, status), count in self.answered.items():
            metrics.counted(route, status, count)
        for code, count in self.refused.items():
            metrics.refused(code, count)
        self.answered.clear()
        self.refused.clear()

    async def _sale(self, request: web.BaseRequest, sale: str) -> web.StreamResponse:
        try:
            await self._throttle.by_address(request)
            listing = await self._listed(sale)
            page = self.page(sale, listing) or await self._render(sale, listing)
        except Exception as error:  # noqa: BLE001 - the one place where every fault ends
            return fast(*self.problem(SALE_ROUTE, error))
        return fast(*self.shown(page, request.headers.get("If-None-Match")))

    async def _listed(self, sale: str) -> Listing:
        listing = await self._desk.board.listing(sale)
        if listing is None:
            raise refuse("unknown_sale")
        return listing

    def page(self, sale: str, listing: Listing) -> Page | None:
        """The sale as it was last rendered, where that is still good."""
        page = self._pages.get(sale)
        if (
            page is None
            or page.until < time.monotonic()
            or any(map(is_not, page.readings, listing.readings()))
        ):
            return None
        return page

    def shown(self, page: Page, if_none_match: str | None) -> Parts:
        """The answer to a read."""
        known = if_none_match is not None and has_already(if_none_match, page.tag)
        status, body = (304, b"") if known else (200, page.body)
        self.answered[SALE_ROUTE, status] += 1
        return status, page.fields, body

    async def _render(self, sale: str, listing: Listing) -> Page:
        value = await public_sale(self._desk.board, listing, int(time.time() * 1000))
        tag = entity_tag(lasting(value))
        headers = {**COMMON_HEADERS, **SHARED_BRIEFLY, "ETag": f"W/{tag}"}
        fields = header_lines({**headers, "Content-Type": "application/json"})
        page = Page(
            listing.readings(), time.monotonic() + PAGE_SECONDS, tag, fields, orjson.dumps(value)
        )
        if len(self._pages) >= PAGES_MAX:
            self._pages.clear()
        self._pages[sale] = page
        return page

    async def _order(self, request: web.BaseRequest, sale: str) -> web.StreamResponse:
        try:
            return fast(*self.told(await self._place(request, sale)))
        except Exception as error:  # noqa: BLE001 - the one place where every fault ends
            return fast(*self.problem(ORDER_ROUTE, error))

    def told(self, answer: Placed | Refusal) -> Parts:
        """The answer to an order."""
        if isinstance(answer, Refusal):
            self.refused[answer.code] += 1
            parts = _refusal(answer, int(time.time()))
            self.answered[ORDER_ROUTE, parts[0]] += 1
            return parts
        self.answered[ORDER_ROUTE, 201] += 1
        order = answer.order
        fields = _REPLAYED_FIELDS if answer.replayed else _ORDER_FIELDS
        location = f"Location: /v1/orders/{order.id}\r\n"
        return 201, fields + location, orjson.dumps(order_json(order))

    def problem(self, route: str, error: Exception) -> Parts:
        """The answer where something was raised."""
        problem = self._problem_of(error)
        self.refused[problem.code] += 1
        self.answered[route, problem.status] += 1
        return _parts(problem)

    async def _place(self, request: web.BaseRequest, sale: str) -> Placed | Refusal:
        await self._throttle.by_address(request)
        buyer = await self._access.buyer(request.headers)
        key, body = await order_request(request)
        listing = await self._listed(sale)
        await self._throttle.by_sale(sale)
        return await self._desk.place(listing, buyer, key, body.sku, body.quantity)
