"""A change of SKU whose process stood still: with an answer of lanes that are lost, or too long."""

from __future__ import annotations

import asyncio

import pytest

from flashsale.access.tokens import Buyer
from flashsale.domain.orders import OrderState
from flashsale.orders.values import Refusal
from flashsale.payments.outbox import Bounds, Outbox
from flashsale.preorders.changes import CHANGE_ITEM, ItemChanges
from flashsale.sales.values import SaleFacts
from tests.payments.test_lost_money import lose_everything
from tests.payments.test_zombies import Standing
from tests.payments.till import Till
from tests.sales.shop import item


async def with_deposit(till: Till, supply: int = 5) -> tuple[SaleFacts, Buyer, str]:
    """A pre-order of the first of two SKUs, its deposit paid; `supply` of the second one."""
    deposit = {"amount": 100, "currency": "CNY"}
    items = [item(deposit=deposit), item("mi3-64", supply, deposit=deposit)]
    sale = await till.shop.scheduled(kind="preorder", items=items, per_buyer_limit=1)
    buyer = till.buyer()
    order = await till.order(sale, buyer)
    await till.press((await till.begin(buyer, order)).checkout_url, "pay")
    await till.calm()
    assert await till.state(order) is OrderState.DEPOSIT_PAID
    return sale, buyer, order


async def carry_out(till: Till, changes: ItemChanges) -> None:
    """Everything that is wished for, changes of SKU as well."""
    handlers = {**till.parts.handlers, CHANGE_ITEM: changes.enact}
    outbox = Outbox(till.pool, handlers, till.parts.counters, bounds=Bounds(first_ms=1))
    async with asyncio.timeout(30):
        while await till.pool.fetchval("SELECT count(*) FROM outbox"):
            await till.pool.execute("UPDATE outbox SET due_at = now()")
            await outbox.tick()
            await till.settle()
    await till.settle()


async def places(till: Till, sale: SaleFacts, order: str) -> tuple[int, int, str | None]:
    """The order's SKU in Redis and in Postgres, and what is still awaited."""
    hold = await till.shop.store.find_hold(sale.id, 0, order[12:])
    assert hold is not None
    row = await till.pool.fetchrow("SELECT item, closing FROM orders WHERE id = $1", order)
    return hold.item, row["item"], row["closing"]


async def test_an_answer_of_lost_lanes_is_not_taken(till: Till):
    """It would be the last word: nothing would ask Redis again, and the order would wait for it."""
    sale, buyer, order = await with_deposit(till)
    store = Standing(till.shop.store, "change_item", behind=True)
    late = asyncio.create_task(ItemChanges(till.pool, store).change(buyer, order, "mi3-64"))
    await store.there.wait()
    await lose_everything(till, sale)
    store.on.set()
    await asyncio.gather(late, return_exceptions=True)
    await carry_out(till, ItemChanges(till.pool, till.shop.store))
    assert await places(till, sale, order) == (1, 1, None)


async def test_a_question_that_comes_too_late_is_not_answered(till: Till):
    """Another process was refused meanwhile and said so; the order has been allocated since."""
    sale, buyer, order = await with_deposit(till, supply=1)
    other = till.buyer()
    taken = await till.order(sale, other, item=1)
    store = Standing(till.shop.store, "change_item", behind=False)
    slow = ItemChanges(till.pool, store, lease_ms=50)
    late = asyncio.create_task(slow.change(buyer, order, "mi3-64"))
    await store.there.wait()
    await carry_out(till, ItemChanges(till.pool, till.shop.store))
    refused = await till.pool.fetchval(
        "SELECT refusal FROM item_changes WHERE order_id = $1", order
    )
    assert refused == "sold_out"
    await till.expire(sale, taken)
    await till.pool.execute("UPDATE orders SET state = 'allocated' WHERE id = $1", order)
    store.on.set()
    assert await late == Refusal("sold_out")
    await till.settle()
    assert await places(till, sale, order) == (0, 0, None)


@pytest.mark.parametrize("lease_ms", [50, 15_000])
async def test_a_question_within_its_time_is_answered(till: Till, lease_ms: int):
    """The control: without its time being over the same question takes the unit."""
    sale, buyer, order = await with_deposit(till)
    store = Standing(till.shop.store, "change_item", behind=False)
    changes = ItemChanges(till.pool, store, lease_ms=lease_ms)
    late = asyncio.create_task(changes.change(buyer, order, "mi3-64"))
    await store.there.wait()
    if lease_ms == 50:
        await asyncio.sleep(0.1)
    store.on.set()
    await asyncio.gather(late, return_exceptions=True)
    await till.settle()
    assert (await places(till, sale, order))[0] == (0 if lease_ms == 50 else 1)
    await carry_out(till, ItemChanges(till.pool, till.shop.store))
    assert await places(till, sale, order) == (1, 1, None)
