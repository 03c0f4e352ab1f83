"""Paths, query parameters and preconditions, read as strictly as bodies. Asks no store."""

from __future__ import annotations

import re

from aiohttp import web

from flashsale.domain.identity import SALE_ID_LENGTH, split_order_id
from flashsale.web.body import OrderBody, parse_order_body, read_body
from flashsale.web.errors import Problem, ProblemError, invalid, refuse
from flashsale.web.idempotency import idempotency_key
from flashsale.web.schemas import PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX, PageQuery

ID_ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyz234567")

_CURSOR_MAX_CHARACTERS = 200
_LIMIT = re.compile(r"[0-9]{1,9}", re.ASCII)
_REVISION = re.compile(r'"([0-9]{1,9})"', re.ASCII)


async def order_request(request: web.BaseRequest) -> tuple[str, OrderBody]:
    """The idempotency key and the body of an order; ProblemError where one is refused."""
    key = idempotency_key(request.headers)
    if isinstance(key, Problem):
        raise ProblemError(key)
    body = parse_order_body(await read_body(request))
    if isinstance(body, Problem):
        raise ProblemError(body)
    return key, body


def page_query(request: web.Request, *also: str) -> PageQuery:
    """`limit` and `cursor`; ProblemError `validation_failed` where one is not as it should be.

    Parameters named `also` may be given too: the caller reads them.
    """
    query = request.query
    for name in query:
        if name not in PageQuery.model_fields and name not in also:
            raise invalid("", f"Only {', '.join((*also, 'limit'))} and cursor may be given.")
        if len(query.getall(name)) > 1:
            raise invalid(f"/{name}", "May be given once.")
    limit = query.get("limit", str(PAGE_LIMIT_DEFAULT))
    if not (_LIMIT.fullmatch(limit) and 1 <= int(limit) <= PAGE_LIMIT_MAX):
        raise invalid("/limit", f"Must be a whole number from 1 to {PAGE_LIMIT_MAX}.")
    cursor = query.get("cursor")
    if cursor is not None and not (
        0 < len(cursor) <= _CURSOR_MAX_CHARACTERS and cursor.isascii() and cursor.isprintable()
    ):
        raise bad_cursor()
    return PageQuery(limit=int(limit), cursor=cursor)


def bad_cursor() -> Exception:
    """Make the refusal of a cursor that we did not hand out."""
    return invalid("/cursor", "Must be the next_cursor of the page before.")


def sale_in_path(request: web.Request) -> str:
    """The sale named in the path; what cannot be an id is unknown without asking anyone."""
    sale = request.match_info["sale"]
    if len(sale) != SALE_ID_LENGTH or not ID_ALPHABET.issuperset(sale):
        raise refuse("unknown_sale")
    return sale


def order_in_path(request: web.Request) -> str:
    """The order named in the path, likewise."""
    order = request.match_info["order"]
    if split_order_id(order) is None:
        raise refuse("unknown_order")
    return order


def order_cursor(query: PageQuery) -> str | None:
    """The cursor of a list of orders, which is an order's id."""
    if query.cursor is not None and split_order_id(query.cursor) is None:
        raise bad_cursor()
    return query.cursor


def revision_in_if_match(request: web.Request) -> int:
    """The revision that If-Match names; ProblemError where there is none, or not one of ours."""
    tag = request.headers.get("If-Match")
    if tag is None:
        raise refuse("precondition_required")
    named = _REVISION.fullmatch(tag.strip())
    if named is None:
        raise refuse("stale_edit", "If-Match is not an ETag of this sale. Nothing was changed.")
    return int(named[1])
