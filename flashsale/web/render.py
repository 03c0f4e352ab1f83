"""Values to JSON: the last stage of an answer, the same for routed calls and the hot path. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Protocol, TypeVar

import orjson
from aiohttp import web

from flashsale.domain.money import Money
from flashsale.domain.sales import SaleState
from flashsale.domain.stock import Availability, availability
from flashsale.orders.values import OrderView, Refusal
from flashsale.sales.promises import HOUR_MS
from flashsale.sales.values import CancellationTerms, ItemFacts, PreorderTerms, SaleFacts
from flashsale.web.errors import Problem

_T = TypeVar("_T", covariant=True)  # noqa: PLC0105 - Listed and page share it
#: For public answers, which anyone between may keep for a second.
SHARED_BRIEFLY = {"Cache-Control": "public, max-age=1"}
_NOTHING_SELLS = frozenset({SaleState.CLOSED, SaleState.CANCELLED})


@lru_cache(maxsize=4096)
def rfc3339(instant_ms: int) -> str:
    """Unix milliseconds as RFC 3339 in UTC: `2026-11-11T10:00:00.000Z`."""
    seconds, milliseconds = divmod(instant_ms, 1000)
    whole = datetime.fromtimestamp(seconds, UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{milliseconds:03}Z"


def rfc3339_of(instant: datetime) -> str:
    """An instant with a time zone, likewise; what is finer than a millisecond is cut."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def money(value: Money) -> dict[str, Any]:
    """Minor units and currency."""
    return {"amount": value.amount, "currency": value.currency}


def order(view: OrderView) -> dict[str, Any]:
    """An order, as `OrderView` of the document."""
    return {
        "id": view.id,
        "sale_id": view.sale_id,
        "sku": view.sku,
        "quantity": view.quantity,
        "state": view.state.value,
        "hold_expires_at": rfc3339(view.hold_expires_at_ms),
        "amount_due": money(view.amount_due),
    }


def refusal(refused: Refusal, now_ms: int) -> Problem:
    """Why there is no order; before the opening it says when to come back."""
    if not refused.starts_at_ms:
        return Problem(refused.code)
    return Problem(
        refused.code,
        extra={"starts_at": rfc3339(refused.starts_at_ms)},
        retry_after_seconds=max(1, -((now_ms - refused.starts_at_ms) // 1000)),
    )


def public_sale(
    facts: SaleFacts,
    *,
    available: Sequence[int],
    capacity: Sequence[int],
    now_ms: int,
) -> dict[str, Any]:
    """The public facts of a sale at an instant.

    `available` and `capacity` are what the lanes were last seen to hold, item by item; empty where
    they have not been read, or are gone.
    """
    state = facts.visible_state(now_ms)
    sale: dict[str, Any] = {
        "id": facts.id,
        "name": facts.name,
        "kind": facts.kind.value,
        "state": state.value,
        "starts_at": rfc3339(facts.starts_at_ms),
        "ends_at": rfc3339(facts.ends_at_ms),
        "server_time": rfc3339(now_ms),
        "items": [
            _public_item(facts, item, _availability(item, state, available, capacity))
            for item in facts.items
        ],
        "per_buyer_limit": facts.per_buyer_limit,
        "hold_seconds": facts.hold_seconds,
        "published_supply": facts.published_supply,
        "cancellation": cancellation(facts.cancellation),
    }
    if facts.preorder is not None:
        sale["preorder"] = preorder(facts.preorder)
    if facts.durability != "strict":
        sale["durability"] = facts.durability
    return sale


def cancellation(terms: CancellationTerms) -> dict[str, Any]:
    """What a buyer who has paid may do."""
    answer: dict[str, Any] = {"paid": terms.paid}
    if terms.within_minutes is not None:
        answer["within_minutes"] = terms.within_minutes
    return answer


def preorder(terms: PreorderTerms) -> dict[str, Any]:
    """How a pre-order collects its balance, as its form says it, what was left out filled in."""
    balance: dict[str, Any] = {"mode": terms.mode}
    if terms.opens_at_ms is not None and terms.due_at_ms is not None:
        balance["opens_at"] = rfc3339(terms.opens_at_ms)
        balance["due_at"] = rfc3339(terms.due_at_ms)
    else:
        balance["window_hours"] = _hours(terms.window_ms)
    balance["grace_hours"] = _hours(terms.grace_ms)
    balance["retry_hours"] = _hours(terms.retry_ms)
    balance["reminder_hours"] = _hours(terms.reminder_ms)
    days = _hours(terms.free_cancel_ms) / 24
    return {"balance": balance, "on_default": terms.on_default, "free_cancel_days": days}


def _hours(milliseconds: int) -> float:
    return milliseconds / HOUR_MS


def _availability(
    item: ItemFacts, state: SaleState, available: Sequence[int], capacity: Sequence[int]
) -> Availability:
    # Units that a sale called off gives back are not for sale any more.
    if item.item < len(available) and state is not SaleState.CANCELLED:
        return availability(available[item.item], capacity[item.item])
    # Before the first reading nothing is sold yet; a sale that is over has nothing to offer.
    left = 0 if state in _NOTHING_SELLS else item.capacity
    return availability(left, item.capacity)


def _public_item(facts: SaleFacts, item: ItemFacts, shown: Availability) -> dict[str, Any]:
    answer = {
        "sku": item.sku,
        "name": item.name,
        "price": money(item.price),
        "availability": shown.value,
    }
    if item.deposit is not None:
        answer["deposit"] = money(item.deposit)
    if item.ships_at_ms is not None:
        answer["ships_at"] = rfc3339(item.ships_at_ms)
    return {**answer, "supply": item.capacity} if facts.published_supply else answer


def lasting(sale: Mapping[str, Any]) -> dict[str, Any]:
    """What matters of a public sale: all but the clock."""
    return {name: value for name, value in sale.items() if name != "server_time"}


class Listed(Protocol[_T]):
    """A page as the capabilities answer it."""

    @property
    def items(self) -> Sequence[_T]:
        """What is on the page."""

    @property
    def next_cursor(self) -> str | None:
        """Where the next page begins, None on the last."""


def page(listed: Listed[_T], render: Callable[[_T], Mapping[str, Any]]) -> dict[str, Any]:
    """A page of a list."""
    return {"items": [render(item) for item in listed.items], "next_cursor": listed.next_cursor}


def cacheable(request: web.Request, value: Mapping[str, Any], matters: Any) -> web.Response:
    """A public answer that may be shared for a second; 304 where the caller has it already.

    `matters` is what the validator (RFC 9110, 8.8.1) covers; a clock in the answer is left out.
    """
    tag = entity_tag(matters)
    headers = {"ETag": f"W/{tag}", **SHARED_BRIEFLY}
    if has_already(request.headers.get("If-None-Match"), tag):
        return web.Response(status=304, headers=headers)
    return json_response(value, headers=headers)


def entity_tag(matters: Any) -> str:
    """What tells two states of a public answer apart, quoted."""
    return f'"{blake2b(orjson.dumps(matters), digest_size=9).hexdigest()}"'


def has_already(if_none_match: str | None, tag: str) -> bool:
    """Whether a caller's If-None-Match names the state of `tag`."""
    known = (if_none_match or "").split(",")
    return any(each.strip().removeprefix("W/") in {tag, "*"} for each in known)


def json_response(
    value: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An answer; private unless its headers say otherwise."""
    return web.Response(
        body=orjson.dumps(value), status=status, content_type="application/json", headers=headers
    )
