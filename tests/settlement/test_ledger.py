"""What readers get from the ledger: pages without gaps, sums, and only what is theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashsale.domain.orders import OrderState
from flashsale.settlement.ledger import Ledger
from flashsale.settlement.settler import Settler

if TYPE_CHECKING:
    from tests.settlement.conftest import Lane


async def settled(lane: Lane) -> Ledger:
    """Five orders: one expired, one of two units; and a stranger's sale of a near id."""
    await lane.append(("R", "a", 0, 2), ("R", "b"), ("R", "c", 1, 1), ("R", "d"), ("R", "e"))
    await lane.append(("X", "d"))
    delivery = await lane.reader().read_new(10)
    await Settler(lane.pool).settle(lane.catalogue, 0, delivery)
    await lane.pool.execute(
        "INSERT INTO merchants (id, name) VALUES ('other', 'Other')",
    )
    await lane.pool.execute(
        """INSERT INTO sales (id, merchant_id, name, kind, starts_at, ends_at, per_buyer_limit,
        hold_seconds) SELECT 'abcdefghijkm', 'other', name, kind, starts_at, ends_at, 1, 1
        FROM sales"""
    )
    await lane.pool.execute(
        """INSERT INTO orders SELECT 'abcdefghijkm' || right(id, 24), 'abcdefghijkm', item,
        buyer_id, quantity, unit_amount, state, version, hold_expires_at, decided_at FROM orders"""
    )
    return Ledger(lane.pool)


async def test_an_order_is_found_by_its_id(lane: Lane) -> None:
    ledger = await settled(lane)
    row = await ledger.find_order(lane.sale + lane.order("a"))
    assert row is not None
    assert row[1:8] == (lane.sale, 0, "a", 2, 1000, OrderState.CONFIRMED, 1)
    assert (row.hold_expires_at_ms, row.decided_at_ms) == (9000, 5000)
    assert await ledger.find_order(lane.sale + lane.order("nobody")) is None


async def test_pages_of_a_sale_hold_each_order_once(lane: Lane) -> None:
    ledger = await settled(lane)
    seen, cursor, sizes = [], None, []
    while True:
        page = await ledger.orders_of_sale(lane.sale, cursor, 2)
        seen += [row.buyer_id for row in page.items]
        sizes.append(len(page.items))
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sizes == [2, 2, 1]
    assert sorted(seen) == ["a", "b", "c", "d", "e"]
    expired = await ledger.orders_of_sale(lane.sale, None, 10, OrderState.EXPIRED)
    assert [row.buyer_id for row in expired.items] == ["d"]


async def test_a_cursor_of_another_sale_leads_nowhere_else(lane: Lane) -> None:
    ledger = await settled(lane)
    earlier = await ledger.orders_of_sale(lane.sale, "aaaaaaaaaaaa", 10)
    later = await ledger.orders_of_sale(lane.sale, "abcdefghijkm", 10)
    assert ({row.sale_id for row in earlier.items}, len(earlier.items)) == ({lane.sale}, 5)
    assert later.items == []


async def test_an_export_comes_in_chunks(lane: Lane) -> None:
    ledger = await settled(lane)
    chunks = [len(chunk) async for chunk in ledger.export(lane.sale, chunk=5)]
    assert chunks == [5]
    assert [len(chunk) async for chunk in ledger.export(lane.sale, chunk=3)] == [3, 2]
    assert [chunk async for chunk in ledger.export("no such sale")] == []


async def test_a_buyer_is_known_by_merchant(lane: Lane) -> None:
    ledger = await settled(lane)
    page = await ledger.orders_of_buyer("m", "a", None, 1)
    assert [(row.sale_id, row.buyer_id) for row in page.items] == [(lane.sale, "a")]
    assert page.next_cursor is None
    assert (await ledger.orders_of_buyer("m", "a", page.items[0].id, 1)).items == []
    assert len((await ledger.orders_of_buyer("other", "a", None, 5)).items) == 1


async def test_a_report_adds_up(lane: Lane) -> None:
    ledger = await settled(lane)
    assert await ledger.report(lane.sale) == [
        (0, OrderState.CONFIRMED, 3, 4, 4000),
        (0, OrderState.EXPIRED, 1, 1, 1000),
        (1, OrderState.CONFIRMED, 1, 1, 2000),
    ]
