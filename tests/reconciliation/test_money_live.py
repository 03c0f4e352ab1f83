"""Both stores with money between them: the whole audit holds at every step of an order's life."""

from __future__ import annotations

import asyncio

import pytest

from flashsale.domain.events import EventKind
from flashsale.domain.outcomes import Status
from flashsale.reconciliation.money import MoneyBounds
from tests.reconciliation.scene import Scene
from tests.reconciliation.till import PRICE, Till

NOTHING_WAITS = MoneyBounds(
    transit_seconds=0, unapplied_seconds=0, closing_seconds=0, statement_seconds=0
)


@pytest.fixture
def till(scene: Scene) -> Till:
    return Till(scene)


def place(scene: Scene, order: str, buyer: str) -> tuple[str, int, int, str, str]:
    return scene.sale.id, 0, scene.sale.epoch, order, buyer


async def holds(till: Till, unapplied: int) -> None:
    """With what is not settled, and without any time for money to be on its way."""
    report = await till.audit(money_bounds=NOTHING_WAITS)
    assert report.broken == ()
    assert report.counts["unapplied_events"] == unapplied


async def capture(till: Till, order: str, buyer: str) -> str:
    """As payments do it: the money is written down, and then Redis finds the unit."""
    async with till.at_once() as writing:
        payment = await writing.capture(till.sale + order, PRICE, age=0)
    moved = await till.scene.store.capture(*place(till.scene, order, buyer), EventKind.PAID)
    assert moved.status is Status.CAPTURED
    return payment


async def test_it_holds_from_the_hold_to_the_refund(till: Till):
    scene = till.scene
    order = await scene.reserve("anna")
    await scene.settle()
    await scene.store.pay(*place(scene, order, "anna"), 60_000)
    await holds(till, 1)
    payment = await capture(till, order, "anna")
    await holds(till, 2)
    await scene.settle()
    await holds(till, 0)
    report = await till.audit()
    assert report.counts["payments"] == 1
    await till.run("UPDATE orders SET closing = 'refunded'")
    await till.refund(payment, till.sale + order, PRICE, cause="cancelled")
    await till.run(
        "INSERT INTO outbox (kind, subject) VALUES ('return_units', $1)", till.sale + order
    )
    assert (await till.audit()).broken == ()
    await scene.store.return_units(*place(scene, order, "anna"), EventKind.REFUNDED)
    await till.run("DELETE FROM outbox")
    await holds(till, 1)
    await scene.settle()
    await holds(till, 0)


async def test_late_money_that_finds_a_unit_holds(till: Till):
    scene = till.scene
    order = await scene.reserve("anna")
    await scene.redis.zadd(scene.keys.deadlines, {order: 1})
    await scene.redis.hset(scene.keys.holds, order, "R:1:0:1:1:anna")
    await scene.store.expire_due(*place(scene, order, "anna")[:3], 10)
    await scene.settle()
    await holds(till, 0)
    await capture(till, order, "anna")
    await holds(till, 1)
    await scene.settle()
    await holds(till, 0)


async def test_money_without_its_event_is_caught(till: Till):
    """The control: what the two stores each take for granted, only the money tells apart."""
    scene = till.scene
    order = await scene.reserve("anna")
    await scene.store.capture(*place(scene, order, "anna"), EventKind.PAID)
    await scene.settle()
    broken = (await till.audit(money_bounds=NOTHING_WAITS)).broken
    assert [check.invariant for check in broken] == ["INV-12"]
    assert (broken[0].left, broken[0].right) == (0, PRICE)


async def test_it_holds_at_any_moment_of_many_payments(till: Till):
    """Buyers pay and settlement runs while the audit looks, again and again."""
    scene = till.scene
    orders = {f"buyer {number}": await scene.reserve(f"buyer {number}") for number in range(10)}
    await scene.settle()

    async def pay(buyer: str, order: str) -> None:
        await scene.store.pay(*place(scene, order, buyer), 60_000)
        await capture(till, order, buyer)
        await scene.settle()

    async with asyncio.TaskGroup() as group:
        paying = [group.create_task(pay(*each)) for each in orders.items()]
        looks = 0
        while not looks or not all(task.done() for task in paying):
            assert (await till.audit()).broken == ()
            looks += 1
    await scene.settle()
    await holds(till, 0)
    assert (await till.audit()).counts["ledger_rows"] == 10
