"""What every routed answer passes: faults become problem documents, and each is counted once."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from flashsale.reservation.errors import LaneLostError, StoreBusyError, StoreUnavailableError
from flashsale.sales.errors import SaleError
from flashsale.web.errors import Problem, ProblemError, problem_of_sale
from flashsale.web.metrics import Metrics

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Middleware = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]

_LOG = structlog.get_logger(__name__)

#: What aiohttp itself raises, by status; the rest of its exceptions is unused.
_HTTP_CODES = {
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    417: "expectation_failed",
}

_COMMON_HEADERS = {
    "Server": "flashsale",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


def problem_documents(metrics: Metrics, outages: tuple[type[Exception], ...]) -> Middleware:
    """Make the middleware; `outages` are what a store that cannot be reached raises."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.perf_counter()
        try:
            response = await handler(request)
        except Exception as error:  # noqa: BLE001 - the one place where every fault ends
            problem = _problem_of(error, outages)
            metrics.refused(problem.code)
            response = problem.response()
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "unknown"
        metrics.answered(route, response.status, time.perf_counter() - started)
        return response

    return answer


def _problem_of(error: Exception, outages: tuple[type[Exception], ...]) -> Problem:
    match error:
        case ProblemError():
            return error.problem
        case SaleError():
            return problem_of_sale(error)
        case web.HTTPException() if error.status in _HTTP_CODES:
            allow = error.headers.get("Allow")
            headers = {} if allow is None else {"Allow": allow}
            return Problem(_HTTP_CODES[error.status], headers=headers)
        case StoreBusyError():
            return Problem("busy")
        case StoreUnavailableError() | LaneLostError():
            return Problem("recovering")
        case _ if isinstance(error, outages):
            return Problem("recovering")
        case _:
            request_id = secrets.token_hex(8)
            _LOG.error("request_failed", request_id=request_id, exc_info=error)
            return Problem("internal", extra={"request_id": request_id})


async def common_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Add to an answer the headers that it did not choose itself."""
    for name, value in _COMMON_HEADERS.items():
        response.headers.setdefault(name, value)
