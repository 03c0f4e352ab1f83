"""The two hot routes, in front of the router: placing an order and reading a sale.

They run the same checks and the same service as every other route; what they leave out is routing,
middleware, per-request metrics and header maps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import lru_cache

import orjson
from aiohttp import web

from flashsale.domain.identity import SALE_ID_LENGTH
from flashsale.orders.service import OrderDesk
from flashsale.orders.values import Placed, Refusal
from flashsale.web.auth import Access
from flashsale.web.body import parse_order_body, read_body
from flashsale.web.errors import PROBLEM_MEDIA_TYPE, Problem, refuse
from flashsale.web.fast import fast
from flashsale.web.idempotency import idempotency_key
from flashsale.web.metrics import Metrics
from flashsale.web.middleware import COMMON_HEADERS
from flashsale.web.render import order as order_json
from flashsale.web.render import rfc3339
from flashsale.web.server import Handler

ORDER_ROUTE = "/v1/sales/{sale}/orders"
_PREFIX = "/v1/sales/"
_SUFFIX = "/orders"
_SALE_END = len(_PREFIX) + SALE_ID_LENGTH
_ORDER_PATH_LENGTH = _SALE_END + len(_SUFFIX)


def header_lines(headers: dict[str, str]) -> str:
    """Header fields as the lines that `fast` takes."""
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


_ORDER_FIELDS = header_lines({**COMMON_HEADERS, "Content-Type": "application/json"})
_REPLAYED_FIELDS = _ORDER_FIELDS + "Idempotency-Replayed: true\r\n"


@lru_cache(maxsize=1024)
def _refusal(refusal: Refusal) -> tuple[int, str, bytes]:
    extra = {"starts_at": rfc3339(refusal.starts_at_ms)} if refusal.starts_at_ms else {}
    return _parts(Problem(refusal.code, extra=extra))


def _parts(problem: Problem) -> tuple[int, str, bytes]:
    headers = {**COMMON_HEADERS, "Content-Type": PROBLEM_MEDIA_TYPE, **problem.all_headers()}
    return problem.status, header_lines(headers), problem.body()


class HotRoutes:
    """Answers the hot routes and hands everything else on.

    `answered` and `refused` count by status and by code; whoever exports metrics takes them out.
    """

    def __init__(
        self, access: Access, desk: OrderDesk, problem_of: Callable[[Exception], Problem]
    ) -> None:
        self._access = access
        self._desk = desk
        self._problem_of = problem_of
        self.answered: Counter[int] = Counter()
        self.refused: Counter[str] = Counter()

    def front(self, handler: Handler) -> Handler:
        """The handler of the server: hot routes here, the rest by `handler`."""

        async def serve(request: web.BaseRequest) -> web.StreamResponse:
            path = request.raw_path
            if (
                len(path) == _ORDER_PATH_LENGTH
                and request.method == "POST"
                and path.startswith(_PREFIX)
                and path.endswith(_SUFFIX)
            ):
                return await self._order(request, path[len(_PREFIX) : _SALE_END])
            return await handler(request)

        return serve

    def export(self, metrics: Metrics) -> None:
        """Hand the counts since the last time to `metrics`."""
        for status, count in self.answered.items():
            metrics.counted(ORDER_ROUTE, status, count)
        for code, count in self.refused.items():
            metrics.refused(code, count)
        self.answered.clear()
        self.refused.clear()

    async def _order(self, request: web.BaseRequest, sale: str) -> web.StreamResponse:
        try:
            answer = await self._place(request, sale)
        except Exception as error:  # noqa: BLE001 - the one place where every fault ends
            return self._refuse(self._problem_of(error))
        if isinstance(answer, Problem):
            return self._refuse(answer)
        if isinstance(answer, Refusal):
            self.refused[answer.code] += 1
            status, fields, body = _refusal(answer)
            self.answered[status] += 1
            return fast(status, fields, body)
        self.answered[201] += 1
        order = answer.order
        fields = _REPLAYED_FIELDS if answer.replayed else _ORDER_FIELDS
        return fast(
            201, f"{fields}Location: /v1/orders/{order.id}\r\n", orjson.dumps(order_json(order))
        )

    def _refuse(self, problem: Problem) -> web.StreamResponse:
        self.refused[problem.code] += 1
        self.answered[problem.status] += 1
        return fast(*_parts(problem))

    async def _place(self, request: web.BaseRequest, sale: str) -> Placed | Refusal | Problem:
        headers = request.headers
        buyer = await self._access.buyer(headers)
        key = idempotency_key(headers)
        if isinstance(key, Problem):
            return key
        body = parse_order_body(await read_body(request))
        if isinstance(body, Problem):
            return body
        listing = await self._desk.board.listing(sale)
        if listing is None:
            raise refuse("unknown_sale")
        return await self._desk.place(listing, buyer, key, body.sku, body.quantity)
