"""What every routed answer passes: faults become problem documents, and each is counted once."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from flashsale.reservation.errors import LaneLostError, StoreBusyError, StoreUnavailableError
from flashsale.sales.errors import SaleError
from flashsale.web.errors import SERVER, Problem, ProblemError, problem_of_sale
from flashsale.web.headers import COMMON_HEADERS, PAGE_HEADERS, transport_security
from flashsale.web.limiting import Throttle
from flashsale.web.metrics import Metrics

OUTAGE_LOG_SECONDS = 1.0

_LOG = structlog.get_logger(__name__)

#: What aiohttp itself raises, by status; the rest of its exceptions is unused.
_HTTP_CODES = {
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    417: "expectation_failed",
}


class Faults:
    """Turns whatever a handler raised into a problem document, for routed calls and the hot path.

    Each fault of ours is logged once, an outage once a second rather than for every request.
    `is_outage` knows what a store raises that cannot be reached.
    """

    def __init__(self, is_outage: Callable[[Exception], bool]) -> None:
        self._is_outage = is_outage
        self._next_outage = 0.0

    def problem_of(self, error: Exception) -> Problem:
        """What a client is told."""
        if isinstance(error, ProblemError):
            return error.problem
        if isinstance(error, SaleError):
            return problem_of_sale(error)
        if isinstance(error, web.HTTPException) and error.status in _HTTP_CODES:
            allow = error.headers.get("Allow")
            return Problem(
                _HTTP_CODES[error.status], headers={} if allow is None else {"Allow": allow}
            )
        if isinstance(error, StoreBusyError):
            return Problem("busy")
        return self._fault(error)

    def _fault(self, error: Exception) -> Problem:
        if isinstance(error, StoreUnavailableError | LaneLostError) or self._is_outage(error):
            return self._outage(error)
        return Problem("internal", extra={"request_id": self.log_internal(error)})

    def _outage(self, error: Exception) -> Problem:
        now = time.monotonic()
        if now >= self._next_outage:
            self._next_outage = now + OUTAGE_LOG_SECONDS
            _LOG.warning("store_unavailable", error=f"{type(error).__name__}: {error}")
        return Problem("recovering")

    @staticmethod
    def log_internal(error: Exception) -> str:
        """Log a bug with its traceback; returns the id that finds it again."""
        request_id = secrets.token_hex(8)
        _LOG.error("request_failed", request_id=request_id, exc_info=error)
        return request_id


def problem_documents(metrics: Metrics, faults: Faults, throttle: Throttle) -> Middleware:
    """Make the middleware."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.perf_counter()
        try:
            await throttle.by_address(request)
            response = await handler(request)
        except Exception as error:
            if request.writer.output_size > 0:  # an answer had begun: it can only be cut off
                faults.log_internal(error)
                raise ConnectionError("the answer could not be finished") from error
            problem = faults.problem_of(error)
            metrics.refused(problem.code)
            response = problem.response()
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "unknown"
        metrics.answered(route, response.status, time.perf_counter() - started)
        return response

    return answer


def common_headers(hsts_seconds: int) -> Callable[..., Awaitable[None]]:
    """Make what adds to an answer the headers that it did not choose itself."""
    everywhere = {**COMMON_HEADERS, **transport_security(hsts_seconds)}
    on_pages = {**everywhere, **PAGE_HEADERS}

    async def add(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Server"] = SERVER  # aiohttp has put its version, and Python's, there
        page = response.content_type == "text/html"
        for name, value in (on_pages if page else everywhere).items():
            response.headers.setdefault(name, value)

    return add
