"""Problem documents (RFC 9457): every refusal a client can meet, in one table. Never echoes input.

Problem        a refusal as a value: a code of the table and what is particular to this answer
ProblemError   the same, raised where a handler has nothing more to say
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson
from aiohttp import web

from flashsale.sales.errors import FieldsRefusedError, IllegalTransitionError, SaleError
from flashsale.web.headers import COMMON_HEADERS
from flashsale.web.problems_money import MONEY_PROBLEMS
from flashsale.web.problems_preorder import PREORDER_PROBLEMS
from flashsale.web.problems_webhooks import WEBHOOK_PROBLEMS

SERVER = "flashsale"  # which version of what runs here is nobody's business
PROBLEM_MEDIA_TYPE = "application/problem+json"


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}|[0-9]{1,6}")


class Kind(NamedTuple):
    """What every problem of one code says; `retry_after_seconds` 0 sends no Retry-After."""

    status: int
    title: str
    detail: str
    retry_after_seconds: int = 0


_TABLE = {
    # Who is calling
    "token_invalid": (401, "Token refused", "Send a valid buyer token: Authorization: Bearer …"),
    "token_expired": (401, "Token expired", "The token has expired. Get a new one and try again."),
    "token_too_long": (400, "Token too long", "The bearer token is longer than 2048 bytes."),
    "api_key_invalid": (401, "API key refused", "Send a valid API key: Authorization: Bearer fs_…"),
    "scope_missing": (403, "Not allowed", "The API key lacks the scope that this call needs."),
    "wrong_sale": (403, "Wrong sale", "What was presented belongs to another sale or buyer."),
    # Whether there is something to buy, in the order of the checks
    "not_open": (409, "Not open yet", "The sale has not begun. Try again at starts_at."),
    "sale_over": (410, "Sale over", "The sale has ended. No more orders are taken."),
    "paused": (503, "Sale paused", "The sale is paused for a moment. Try again shortly.", 2),
    "limit_reached": (409, "Limit reached", "You would have more units than one buyer may."),
    "sold_out": (409, "Sold out", "Not enough units are left. Some may be given back."),
    "hold_expired": (410, "Hold expired", "The time to pay ran out and the units went back."),
    "reservation_lost": (410, "Reservation lost", "A storage failure lost it. Nothing is charged."),
    "order_not_cancellable": (
        409,
        "Not cancellable",
        "An order in this state can no longer be cancelled.",
    ),
    # What was named
    "unknown_sale": (404, "Unknown sale", "There is no such sale."),
    "unknown_sku": (404, "Unknown SKU", "The sale has no such SKU."),
    "unknown_order": (404, "Unknown order", "There is no such order."),
    "unknown_api_key": (404, "Unknown API key", "There is no such API key."),
    "unknown_buyer_key": (404, "Unknown buyer key", "There is no such buyer key."),
    "not_found": (404, "Not found", "Nothing is served at this address."),
    "method_not_allowed": (405, "Method not allowed", "Allow names the methods served here."),
    # How it was asked
    "bad_request": (400, "Malformed request", "This is not a well-formed HTTP/1.1 request."),
    "header_too_large": (431, "Header too large", "At most 128 lines of 8190 bytes are read."),
    "request_timeout": (408, "Too slow", "The request did not arrive in time."),
    "expectation_failed": (417, "Expectation failed", "Only Expect: 100-continue is understood."),
    "body_malformed": (400, "Malformed body", "Send UTF-8 JSON: no repeated names, NaN or NUL."),
    "body_too_large": (413, "Body too large", "A body has at most 16384 bytes, also unpacked."),
    "unsupported_media_type": (415, "Unsupported media type", "Send application/json."),
    "idempotency_key_missing": (400, "Key missing", "Send an Idempotency-Key header."),
    "idempotency_key_malformed": (
        400,
        "Key malformed",
        "Send one Idempotency-Key of 1 to 255 printable ASCII characters.",
    ),
    "idempotency_key_reused": (
        422,
        "Key reused",
        "This Idempotency-Key was sent before with another body. Nothing was changed.",
    ),
    "validation_failed": (422, "Invalid request", "See errors for each field at fault."),
    # The merchant's side
    "illegal_transition": (409, "Not in this state", "The sale's state does not allow this."),
    "supply_below_live": (409, "Below live orders", "Fewer units are unsold than this takes back."),
    "edit_unsafe": (409, "Unsafe edit", "These fields cannot change in the sale's state."),
    "own_api_key": (
        409,
        "Key in use",
        "An API key cannot revoke itself. Make another admin key and revoke this one with that.",
    ),
    "last_buyer_key": (
        409,
        "Last buyer key",
        "No buyer could call without it. Add its successor first, then retire this one.",
    ),
    "too_many_buyer_keys": (409, "Too many keys", "Retire a buyer key before you add another."),
    "precondition_required": (428, "If-Match required", "Send If-Match with the sale's ETag."),
    "stale_edit": (412, "Stale edit", "The sale has changed since. Read it and edit again."),
    "durability_unsafe": (
        503,
        "Unsafe durability",
        "The servers may lose what is promised. Run `flashsale doctor` for what to set.",
    ),
    # The house
    "rate_limited": (429, "Too many requests", "Slow down and try again.", 1),
    "busy": (503, "Busy", "Too much at once. Nothing was changed; try again.", 1),
    "recovering": (
        503,
        "Recovering",
        "A store is down or being rebuilt. Try again with the same Idempotency-Key.",
        2,
    ),
    "internal": (500, "Internal error", "A fault of ours, logged. Retrying with the key is safe."),
}

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        code: Kind._make((*row, 0)[:4])
        for code, row in (_TABLE | MONEY_PROBLEMS | PREORDER_PROBLEMS | WEBHOOK_PROBLEMS).items()
    }
)


@dataclass(frozen=True, slots=True)
class Problem:
    """A refusal as a value.

    `code` is one of `KINDS`; `detail` replaces the table's sentence; `extra` are further members
    of the document (`starts_at`, `errors`); `headers` go out with it.
    """

    code: str
    detail: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    retry_after_seconds: int | None = None

    @property
    def status(self) -> int:
        """The HTTP status."""
        return KINDS[self.code].status

    def all_headers(self) -> dict[str, str]:
        """`headers` and, where one is due, Retry-After."""
        wait = self.retry_after_seconds
        seconds = KINDS[self.code].retry_after_seconds if wait is None else wait
        return {**self.headers, **({"Retry-After": str(seconds)} if seconds else {})}

    def body(self) -> bytes:
        """The document."""
        return problem_bytes(self.code, self.detail, self.extra)

    def response(self) -> web.Response:
        """The answer."""
        return web.Response(
            body=self.body(),
            status=self.status,
            content_type=PROBLEM_MEDIA_TYPE,
            # Those that meet no router, malformed requests, have no other place to get them from.
            headers={"Server": SERVER, **COMMON_HEADERS, **self.all_headers()},
        )


class ProblemError(Exception):
    """Ends a handler with a problem document."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


def problem_bytes(code: str, detail: str = "", extra: Mapping[str, Any] | None = None) -> bytes:
    """Render a problem document; an empty `detail` takes the table's sentence."""
    kind = KINDS[code]
    return orjson.dumps(
        {
            "type": f"/docs/problems#{code}",
            "title": kind.title,
            "status": kind.status,
            "code": code,
            "detail": detail or kind.detail,
            **(extra or {}),
        }
    )


def refuse(code: str, detail: str = "", **extra: Any) -> ProblemError:
    """Make a ProblemError to raise, with further members of the document."""
    return ProblemError(Problem(code, detail, extra))


def invalid(pointer: str, detail: str) -> ProblemError:
    """Make a ProblemError for one field, `pointer` being a JSON pointer such as `/quantity`."""
    errors = [{"pointer": pointer, "detail": detail}]
    return ProblemError(Problem("validation_failed", extra={"errors": errors}))


def problem_of_sale(error: SaleError) -> Problem:
    """What a capability refused, as a document; each field at fault is named."""
    if isinstance(error, IllegalTransitionError) and error.state is not None:
        return Problem(error.code, str(error), {"state": error.state.value})
    if not isinstance(error, FieldsRefusedError):
        return Problem(error.code, str(error))
    errors = [{"pointer": _shown(each.pointer), "detail": each.detail} for each in error.errors]
    return Problem(error.code, extra={"errors": errors})


def _shown(pointer: str) -> str:
    """A pointer up to the first step that does not look like a field's name.

    An unknown field is named so that it can be found; other text in its place is not sent back.
    """
    steps = itertools.takewhile(_NAME.fullmatch, pointer.removeprefix("/").split("/"))
    return "".join(f"/{step}" for step in steps)
