"""A pre-order on the whole web with real money: what tests over HTTP and of races begin with."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from flashsale.preorders.clock import PreorderClock
from tests.web.house import House, Reply

_keys = itertools.count(1)
BALANCE = {"window_hours": 72, "grace_hours": 48, "retry_hours": 24}


def skus(supply: int = 10) -> list[dict[str, Any]]:
    """Gold at 1000, silver at 800 and a gift that costs its deposit; a deposit is 100."""
    return [
        {
            "sku": sku,
            "name": sku,
            "price": {"amount": price, "currency": "CNY"},
            "deposit": {"amount": 100, "currency": "CNY"},
            "supply": supply,
            "ships_at": "2040-03-01T00:00:00.000Z",
        }
        for sku, price in (("gold", 1000), ("silver", 800), ("gift", 100))
    ]


async def preorder(house: House, **changes: Any) -> str:
    """The id of a pre-order that is open."""
    terms = {"balance": BALANCE, "on_default": "forfeit", "free_cancel_days": 14}
    whole = {"kind": "preorder", "items": skus(), "preorder": terms}
    return await house.sale(**(whole | changes))


async def deposit(house: House, sale: str, *, sku: str = "gold") -> tuple[str, str]:
    """An order with a paid deposit, and its buyer."""
    buyer = house.buyer()
    return await house.paid(sale, buyer, sku=sku), buyer


async def command(house: House, sale: str, call: str, **body: Any) -> Reply:
    """A merchant's command with a new key."""
    headers = {"Idempotency-Key": f"command-{next(_keys)}"}
    whole = {"sku": "gold", "reason": "dock 4"} | body
    return await house.manage("POST", f"/sales/{sale}/{call}", whole, headers=headers)


async def change(house: House, order: str, buyer: str, sku: str) -> Reply:
    return await house.call(
        "POST", f"/v1/orders/{order}/item", {"sku": sku}, bearer=house.token(buyer)
    )


async def cancel(house: House, order: str, buyer: str) -> Reply:
    return await house.call("POST", f"/v1/orders/{order}/cancel", bearer=house.token(buyer))


def clock_of(house: House) -> PreorderClock:
    return PreorderClock(house.shop.pool, house.till.desks.refunds)


async def tick(house: House, after: timedelta = timedelta(seconds=5)) -> PreorderClock:
    """Let the clock do everything that is due then, and then everybody who was asked to."""
    clock = clock_of(house)
    while await clock.tick(datetime.now(UTC) + after):
        pass
    await house.dispatch()
    return clock


async def state(house: House, order: str) -> str:
    """As Postgres has it."""
    return await house.shop.pool.fetchval("SELECT state FROM orders WHERE id = $1", order)
