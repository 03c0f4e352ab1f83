"""The report, from orders as settlement leaves them."""

from __future__ import annotations

import dataclasses

import orjson

from flashsale.domain.identity import order_hash
from flashsale.domain.orders import OrderState
from flashsale.sales.report import StateReport, report
from flashsale.sales.takings import Takings
from flashsale.sales.values import instant
from tests.sales.shop import Shop, item


async def order(shop: Shop, sale, *, at_ms: int, item: int = 0, state: str, quantity: int = 1):
    """A settled order that came `at_ms` after the start; its last event is a second younger."""
    hold_ends_ms = sale.starts_at_ms + at_ms + sale.hold_seconds * 1000
    decided_ms = sale.starts_at_ms + at_ms + 1000
    key = order_hash(b"s" * 32, sale.id, "ada", f"{at_ms}-{item}-{state}")
    price = sale.items[item].price.amount
    await shop.pool.execute(
        "INSERT INTO orders VALUES ($1, $2, $3, 'ada', $4, $5, $6, 1, $7, $8, $9)",
        sale.id + key,
        sale.id,
        item,
        quantity,
        price,
        state,
        instant(hold_ends_ms),
        instant(decided_ms),
        instant(decided_ms + at_ms),
    )
    if state not in {"expired", "cancelled", "rejected"}:
        await shop.pool.execute(
            "UPDATE sale_items SET live = live + $3 WHERE sale_id = $1 AND item = $2",
            sale.id,
            item,
            quantity,
        )


async def test_counts_units_and_money_by_sku_and_state(shop: Shop):
    other = await shop.scheduled()
    await order(shop, other, at_ms=1, state="confirmed")
    sale = await shop.scheduled(items=[item(supply=4), item("b", supply=5)])
    await order(shop, sale, at_ms=10, state="confirmed", quantity=2)
    await order(shop, sale, at_ms=20, state="expired")
    await order(shop, sale, at_ms=30, state="confirmed", quantity=2)
    await order(shop, sale, at_ms=40, state="rejected")
    await order(shop, sale, at_ms=50, item=1, state="confirmed")
    await shop.supply(sale, 1, sku="b")
    found = await report(shop.pool, await shop.service.facts(sale.id), sale.starts_at_ms)

    first, second = found.items
    assert first.states == (
        StateReport(OrderState.CONFIRMED, 2, 4, 4 * 199900, Takings(due=4 * 199900)),
        StateReport(OrderState.EXPIRED, 1, 1, 199900, Takings()),
        StateReport(OrderState.REJECTED, 1, 1, 199900, Takings()),
    )
    assert (first.supply, first.unsold, first.live_orders, first.live_units) == (4, 0, 2, 4)
    assert (first.live_amount, first.currency) == (4 * 199900, "CNY")
    assert first.sold_out_at_ms == sale.starts_at_ms + 30
    assert (second.supply, second.unsold, second.sold_out_at_ms) == (6, 5, None)
    assert found.sold_out_at_ms is None
    assert found.first_order_at_ms == sale.starts_at_ms + 10
    assert found.last_order_at_ms == sale.starts_at_ms + 50
    assert found.settlement_lag_max_ms == 50
    assert [supply.quantity for supply in found.supplies] == [1]
    assert orjson.loads(orjson.dumps(found))["items"][0]["states"][0]["state"] == "confirmed"


async def test_a_sale_without_orders_has_a_report_too(shop: Shop):
    sale = await shop.draft()
    found = await report(shop.pool, sale, 0)
    instants = (found.first_order_at_ms, found.last_order_at_ms, found.sold_out_at_ms)
    assert instants == (None, None, None)
    assert dataclasses.asdict(found)["items"][0]["unsold"] == 10
