"""Tells merchants of something in the transaction that does it. Never sends anything itself.

What happens to orders and sales is told by triggers (migrations/0006_webhooks.sql); this is for
what no row's state shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flashsale.settlement.queries import Connection
from flashsale.webhooks import queries


async def announce(
    connection: Connection,
    merchant_id: str,
    event_type: str,
    order_id: str | None,
    sale_id: str | None,
    data: Mapping[str, Any],
) -> bool:
    """Tell the merchant's endpoints, once this transaction commits; False where none listens.

    `event_type` is one of `values.EVENT_TYPES`. `data` is JSON with times as RFC 3339 text;
    `order_id` and `sale_id` are added to it. Events of an order arrive in the order in which they
    were told, so whoever tells of an order holds the lock of its row.
    """
    named = {"order_id": order_id, "sale_id": sale_id}
    told = {**{name: value for name, value in named.items() if value is not None}, **data}
    return await queries.announce_event(
        connection, merchant_id, event_type, sale_id, order_id, told
    )
