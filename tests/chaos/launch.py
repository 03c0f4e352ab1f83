"""Announces a sale that opens in a moment, as merchants do; it asks until that is done."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from tests.chaos.history import History

SKUS = ("phone", "watch")
PRICES = {"phone": 199_900, "watch": 49_900}
OPENS_IN_SECONDS = 1.0
_LASTS = timedelta(hours=2)
_AGAIN_SECONDS = 0.3


async def announce(
    history: History, owner: dict[str, str], units: int, limit: int, hold_seconds: int
) -> str:
    """The sale's id. It asks for ever: who calls knows how long that may take."""
    sale = None
    while sale is None:
        # A draft that was made without our hearing of it stays one.
        starts_at = datetime.now(UTC) + timedelta(seconds=OPENS_IN_SECONDS)
        form = _form(starts_at, units, limit, hold_seconds)
        sale = await _post(history, owner, "/v1/merchant/sales", form)
    while await _post(history, owner, f"/v1/merchant/sales/{sale}/schedule", {}) is None:
        pass
    return sale


async def _post(
    history: History, owner: dict[str, str], path: str, body: dict[str, Any]
) -> str | None:
    try:
        async with (
            asyncio.timeout(4),
            history.session.post(history.base_url + path, headers=owner, json=body) as response,
        ):
            if response.ok:
                answer = await response.json(content_type=None)
                return str(answer["id"])
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        pass
    await asyncio.sleep(_AGAIN_SECONDS)
    return None


def _form(starts_at: datetime, units: int, limit: int, hold_seconds: int) -> dict[str, Any]:
    return {
        "name": "Chaos",
        "kind": "launch",
        "starts_at": starts_at.isoformat(timespec="milliseconds"),
        "ends_at": (starts_at + _LASTS).isoformat(timespec="milliseconds"),
        "items": [
            {
                "sku": sku,
                "name": sku,
                "price": {"amount": PRICES[sku], "currency": "CNY"},
                "supply": units,
            }
            for sku in SKUS
        ],
        "per_buyer_limit": limit,
        "hold_seconds": hold_seconds,
        "published_supply": True,
    }
