"""Orders of a sale whose lanes are retired: Postgres alone decides, by the same table."""

from __future__ import annotations

import asyncio
from itertools import product
from typing import TYPE_CHECKING

import pytest

from flashsale.domain.orders import OrderAction, OrderState, is_live, transition
from flashsale.domain.outcomes import Status
from flashsale.settlement.direct import DirectResult, apply
from tests.settlement.test_settler import read, settle

if TYPE_CHECKING:
    from tests.settlement.conftest import Lane

ACTIONS = [action for action in OrderAction if action not in {
    OrderAction.SETTLE, OrderAction.REJECT, OrderAction.ALLOCATE, OrderAction.DEMAND_BALANCE,
    OrderAction.CAPTURE_BALANCE, OrderAction.FULFIL, OrderAction.CHANGE_SKU,
}]  # fmt: skip
STATES = [state for state in OrderState if state is not OrderState.RESERVED]


async def retired(lane: Lane, *buyers: str, state: str = "expired", quantity: int = 1) -> None:
    """Orders in one state, counted, in a sale that Redis no longer holds."""
    await settle(lane, await read(lane, *[[("R", buyer, 0, quantity)] for buyer in buyers]))
    await lane.pool.execute("UPDATE orders SET state = $1, version = 3", state)
    if not is_live(OrderState(state)):
        await lane.pool.execute("UPDATE sale_items SET live = 0")
    await lane.pool.execute("UPDATE sales SET state = 'closed', retired_at = now()")


async def do(lane: Lane, buyer: str, action: OrderAction, item: int | None = None) -> DirectResult:
    async with lane.pool.acquire() as connection, connection.transaction():
        return await apply(connection, lane.sale + lane.order(buyer), action, item=item)


async def test_exactly_the_table_is_taken_and_counted(lane: Lane) -> None:
    await retired(lane, "a", quantity=2)
    for state, action in product(STATES, ACTIONS):
        await lane.pool.execute("UPDATE orders SET state = $1, version = 3", state)
        await lane.pool.execute(
            "UPDATE sale_items SET live = $1 WHERE item = 0", 2 if is_live(state) else 0
        )
        result = await do(lane, "a", action)
        after = transition(state, action)
        found = await lane.pool.fetchrow("SELECT state, version FROM orders")
        if after is None:
            assert result.status in {Status.ILLEGAL, Status.ALREADY}, (state, action)
            assert tuple(found) == (state, 3)
        else:
            assert result == (result.status, after, 4)
            assert tuple(found) == (after, 4)
        assert await lane.live() == [2 if is_live(OrderState(found["state"])) else 0, 0]


async def test_what_was_done_before_is_not_done_again(lane: Lane) -> None:
    await retired(lane, "a", state="paid")
    assert await do(lane, "a", OrderAction.REFUND) == (Status.RETURNED, "refunded", 4)
    assert await do(lane, "a", OrderAction.REFUND) == (Status.ALREADY, "refunded", 4)
    assert await do(lane, "a", OrderAction.CAPTURE) == (Status.ILLEGAL, "refunded", 4)
    assert await lane.live() == [0, 0]


async def test_while_its_lanes_are_there_redis_decides(lane: Lane) -> None:
    await retired(lane, "a", state="paid")
    await lane.pool.execute("UPDATE sales SET retired_at = NULL")
    assert await do(lane, "a", OrderAction.REFUND) == (Status.MISSING_LANE, "paid", 3)
    assert await do(lane, "nobody", OrderAction.REFUND) == (Status.UNKNOWN_ORDER, None, 0)


async def test_late_money_takes_only_what_is_left(lane: Lane) -> None:
    await retired(lane, "a", quantity=2)
    await lane.pool.execute("UPDATE sale_items SET capacity = 1 WHERE item = 0")
    assert (await do(lane, "a", OrderAction.CAPTURE)).status is Status.SOLD_OUT
    await lane.pool.execute("UPDATE sale_items SET capacity = 2 WHERE item = 0")
    await lane.pool.execute("UPDATE sales SET per_buyer_limit = 1")
    assert (await do(lane, "a", OrderAction.CAPTURE)).status is Status.LIMIT_REACHED
    await lane.pool.execute("UPDATE sales SET per_buyer_limit = 2, state = 'cancelled'")
    assert (await do(lane, "a", OrderAction.CAPTURE)).status is Status.ILLEGAL
    assert await lane.live() == [0, 0]
    await lane.pool.execute("UPDATE sales SET state = 'closed'")
    assert await do(lane, "a", OrderAction.CAPTURE) == (Status.CAPTURED, "paid", 4)
    assert await lane.live() == [2, 0]


async def test_another_sku_moves_units_and_price(lane: Lane) -> None:
    await retired(lane, "a", state="deposit_paid", quantity=2)
    change = OrderAction.CHANGE_SKU
    assert (await do(lane, "a", change, 0)).status is Status.ALREADY
    assert (await do(lane, "a", change, 9)).status is Status.UNKNOWN_SKU
    await lane.pool.execute("UPDATE sale_items SET capacity = 1 WHERE item = 1")
    assert (await do(lane, "a", change, 1)).status is Status.SOLD_OUT
    await lane.pool.execute("UPDATE sale_items SET capacity = 2 WHERE item = 1")
    await lane.pool.execute("UPDATE orders SET closing = 'changing'")
    assert await do(lane, "a", change, 1) == (Status.CHANGED, "deposit_paid", 4)
    row = await lane.pool.fetchrow("SELECT item, unit_amount, closing FROM orders")
    assert tuple(row) == (1, 2000, None)
    assert await lane.live() == [0, 2]


async def test_what_is_announced_is_the_only_thing_that_may_follow(lane: Lane) -> None:
    await retired(lane, "a", state="deposit_paid")
    await lane.pool.execute("UPDATE orders SET closing = 'refunded'")
    assert (await do(lane, "a", OrderAction.CHANGE_SKU, 1)).status is Status.ILLEGAL
    assert (await do(lane, "a", OrderAction.REFUND)).status is Status.RETURNED
    assert await lane.pool.fetchval("SELECT closing FROM orders") is None


@pytest.mark.parametrize("action", [OrderAction.FULFIL, OrderAction.CHANGE_SKU])
async def test_actions_of_others_are_bugs_here(lane: Lane, action: OrderAction) -> None:
    await retired(lane, "a", state="paid")
    with pytest.raises(ValueError, match="cannot be applied"):
        await do(lane, "a", action)


async def test_many_late_payments_at_once_take_each_unit_once(lane: Lane) -> None:
    """The control reads the room first, as most would, and then takes it."""
    buyers = [f"buyer-{number}" for number in range(8)]
    await retired(lane, *buyers)
    await lane.pool.execute("UPDATE sale_items SET capacity = 3 WHERE item = 0")
    results = await asyncio.gather(*(do(lane, buyer, OrderAction.CAPTURE) for buyer in buyers))
    statuses = sorted(result.status for result in results)
    assert statuses == ["CAPTURED"] * 3 + ["SOLD_OUT"] * 5
    assert await lane.live() == [3, 0]

    looked = asyncio.Barrier(2)
    await lane.pool.execute("CREATE TABLE naive AS SELECT 1 AS left_over")

    async def naively() -> None:
        room = await lane.pool.fetchval("SELECT left_over FROM naive")
        await looked.wait()
        if room > 0:
            await lane.pool.execute("UPDATE naive SET left_over = left_over - 1")

    await asyncio.gather(naively(), naively())
    assert await lane.pool.fetchval("SELECT left_over FROM naive") < 0
