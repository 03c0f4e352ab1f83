"""A healthy sale holds at every step of its life, whatever Postgres has settled of it."""

from __future__ import annotations

import io

import asyncpg
import pytest
from rich.console import Console

from flashsale.domain.events import EventKind
from flashsale.reconciliation.audit import audit
from flashsale.reconciliation.errors import UnknownSaleError
from flashsale.reconciliation.report import render, to_json
from flashsale.reservation.inspector import LaneInspector
from flashsale.sales.forms import SaleForm, parse_form
from tests.reconciliation.scene import open_scene
from tests.sales.shop import body

NAMES = {"invariant", "equation", "holds", "left", "right", "detail"}


async def test_it_holds_at_every_step(scene):
    async def holds(unapplied: int) -> None:
        report = await scene.audit()
        assert report.broken == ()
        assert report.counts["unapplied_events"] == unapplied
        assert report.alerts == ()

    await holds(0)
    first = await scene.reserve("anna", 2)
    second = await scene.reserve("bo", at=1)
    await holds(2)
    await scene.settle()
    await holds(0)
    await scene.cancel(first, "anna")
    await holds(1)
    await scene.reserve("anna")
    await scene.supply(5)
    await scene.supply(-3)
    await holds(2)
    await scene.settle()
    await holds(0)
    await scene.cancel(second, "bo")
    await scene.reserve("cy")
    await holds(2)
    await scene.service.close(scene.merchant, scene.sale.id)
    await holds(2)
    await scene.settle()
    await holds(0)


async def test_it_tells_what_postgres_has_not_settled(scene):
    await scene.reserve("anna", 2)
    await scene.settle()
    await scene.reserve("bo", 2)
    report = await scene.audit()
    (balance,) = [check for check in report.checks if check.invariant == "INV-4"]
    assert (balance.left, balance.right) == (4, 4)
    assert report.counts["live_units"] == 2
    assert report.counts["orders_walked"] == report.counts["buyers_walked"] == 2


async def test_an_order_ended_before_it_was_settled_holds(scene):
    """Both of its events are unapplied: the newest alone counts."""
    order = await scene.reserve("anna")
    await scene.cancel(order, "anna")
    assert await scene.broken() == set()


async def test_lanes_are_added_up(schema, new_database, redis_db, redis_url):
    async with (
        new_database(template=schema) as dsn,
        open_scene(dsn, redis_url, lanes=4) as scene,
    ):
        for number in range(8):
            await scene.reserve(f"buyer {number}")
        assert await scene.broken() == set()
        await scene.settle()
        assert await scene.broken() == set()
        await scene.redis.hincrby(scene.keys.stock, "available:1", 1)
        assert "INV-1" in await scene.broken()


async def test_units_that_settlement_rejects_are_on_their_way_back(scene):
    """Postgres has refused an order and Redis still holds its units: no drift, yet."""
    order = await scene.reserve("anna")
    await scene.pool.execute("UPDATE sale_items SET capacity = 0")
    returned = []

    async def later(sale: str, lane: int, order: str, buyer: str) -> None:
        returned.append((sale, lane, 1, order, buyer, EventKind.REJECTED))

    scene.worker.give_back = later
    await scene.settle()
    await scene.pool.execute("UPDATE sale_items SET capacity = 10")
    assert [call[3] for call in returned] == [order]
    assert await scene.broken() == set()
    await scene.store.release(*returned[0])
    assert await scene.broken() == set()
    await scene.settle()
    report = await scene.audit()
    assert report.broken == ()
    assert report.alerts == ("1 orders were rejected: Postgres had no room for what Redis sold.",)


async def test_a_dead_letter_alerts_and_its_units_count_as_held(scene):
    await scene.pool.execute("ALTER TABLE orders ADD CHECK (buyer_id <> 'anna')")
    await scene.reserve("anna", 2)
    await scene.reserve("bo")
    await scene.settle()
    report = await scene.audit()
    assert report.broken == ()
    assert report.counts["dead_letters"] == 1
    assert report.counts["unapplied_events"] == 1
    (alert,) = report.alerts
    assert "Dead letter in lane 0" in alert


async def test_a_retired_sale_is_judged_by_postgres_alone(scene):
    order = await scene.reserve("anna")
    await scene.cancel(order, "anna")
    await scene.service.close(scene.merchant, scene.sale.id)
    await scene.settle()
    await scene.store.retire(scene.sale.id, 0, 1)
    await scene.pool.execute("UPDATE sales SET retired_at = now()")
    report = await scene.audit()
    assert report.holds
    assert {check.invariant for check in report.checks} == {
        *("INV-2", "INV-7", "INV-8", "INV-11", "INV-12", "INV-13", "INV-15", "INV-18")
    }


async def test_a_draft_is_in_order(scene):
    draft = await scene.service.create(scene.merchant, parse_form(SaleForm, body()))
    (report,) = await audit(scene.pool, scene.inspector, draft.id)
    assert report.holds


async def test_an_empty_installation_has_nothing_to_audit(schema, new_database, redis_db):
    async with (
        new_database(template=schema) as dsn,
        asyncpg.create_pool(dsn, min_size=1, max_size=2) as pool,
    ):
        inspector = LaneInspector(redis_db)
        assert await audit(pool, inspector) == []
        with pytest.raises(UnknownSaleError, match="There is no sale"):
            await audit(pool, inspector, "nosuchsale22")


async def test_every_armed_sale_is_audited_where_none_is_named(scene):
    assert [report.sale_id for report in await audit(scene.pool, scene.inspector)] == [
        scene.sale.id
    ]


async def test_the_report_as_json_and_as_a_table(scene):
    report = await scene.audit()
    found = to_json(report)
    assert found["sale_id"] == scene.sale.id
    assert found["holds"] is True
    assert found["taken_at"].endswith("Z")
    assert all(set(check) == NAMES for check in found["checks"])
    shown = io.StringIO()
    Console(file=shown, width=120).print(render([report]), render([]))
    assert f"{scene.sale.id} (scheduled): holds" in shown.getvalue()
    assert "held + paying + sold in Redis" in shown.getvalue()
    assert "nothing to audit" in shown.getvalue()
