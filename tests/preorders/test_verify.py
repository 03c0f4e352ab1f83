"""What was served is recomputed from the rows: any history agrees, and any tampering is caught."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsale.preorders.allocation import LotRoom, Waiting, allocate
from flashsale.preorders.replay import LotRow, ShareRow, StayRow, replay
from flashsale.preorders.verify import verify_preorder
from tests.preorders.yard import HOUR, NOW, SALE, order_id

MINUTE = timedelta(minutes=1)
#: What may happen: a lot of n units, a deposit of n units, a round, or the n-th order's end.
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("lot"), st.integers(1, 6)),
        st.tuples(st.just("join"), st.integers(1, 3)),
        st.tuples(st.just("serve"), st.integers(1, 4)),
        st.tuples(st.just("leave"), st.integers(0, 20)),
    ),
    max_size=40,
)


def history(actions) -> tuple[list[LotRow], list[StayRow], list[ShareRow]]:
    """The rows that the engine would leave behind, kept in the plainest way."""
    step = 0
    lots: list[LotRow] = []
    free: dict[str, int] = {}
    stays: list[StayRow] = []
    shares: list[ShareRow] = []
    for kind, number in actions:
        if kind == "lot":
            step += 1
            lots.append(LotRow(f"lot{step}", number, step))
            free[f"lot{step}"] = number
        elif kind == "join":
            step += 1
            position = (NOW + len(stays) * MINUTE, f"e{step}")
            stays.append(StayRow(f"o{step}", number, position, step, None, None, False))
        elif kind == "serve":
            waiting = [s for s in stays if s.allocated is None and s.left is None]
            rooms = [LotRoom(lot, units) for lot, units in free.items()]
            queue = [Waiting(s.order, s.quantity) for s in waiting[:number]]
            served: dict[str, int] = {}
            for share in allocate(rooms, queue):
                if share.order not in served:
                    step += 1
                    served[share.order] = step
                free[share.lot] -= share.quantity
                shares.append(ShareRow(*share, served[share.order]))
            stays = [s._replace(allocated=served.get(s.order, s.allocated)) for s in stays]
        elif stays and stays[number % len(stays)].left is None:
            step += 1
            gone = stays[number % len(stays)]
            stays[number % len(stays)] = gone._replace(left=step)
            for share in shares:
                if share.order == gone.order:
                    free[share.lot] += share.quantity
    return lots, stays, shares


@given(ACTIONS)
def test_every_history_is_reproduced(actions):
    lots, stays, shares = history(actions)
    result = replay(lots, stays, shares)
    assert (result.right, result.wrong, result.overtaken) == (len(shares), (), ())


@given(ACTIONS, st.randoms(use_true_random=False))
def test_two_orders_that_changed_places_are_noticed(actions, dice: random.Random):
    lots, stays, shares = history(actions)
    served = [s for s in stays if s.allocated is not None]
    if len(served) < 2:
        return
    first, second = dice.sample(served, 2)
    swapped = {first.order: second, second.order: first}
    stays = [
        s._replace(position=swapped[s.order].position) if s.order in swapped else s for s in stays
    ]
    result = replay(lots, stays, shares)
    # They were served in the other's place, unless one was there only after the other was served.
    late = max(first.joined, second.joined) > min(first.allocated, second.allocated)
    assert result.wrong or result.overtaken or late


async def scene(yard) -> None:
    """Deposits, lots, refunds and a change of SKU, in several rounds."""
    for number in range(12):
        await yard.deposit(f"b{number:02}", at=number * MINUTE - HOUR, quantity=1 + number % 2)
    await yard.lot(7)
    await yard.tick(round_max=3)
    await yard.set_state(order_id("b01"), "refunded")
    await yard.set_state(order_id("b11"), "deposit_paid", item=1)
    await yard.lot(2)
    await yard.lot(2, sku="silver")
    await yard.tick()


async def broken(yard) -> list[str]:
    checks = await verify_preorder(yard.pool, SALE)
    assert checks
    return [check.equation for check in checks if not check.holds]


async def test_a_clean_scene_holds(yard):
    assert await verify_preorder(yard.pool, SALE) == []
    await scene(yard)
    assert await broken(yard) == []
    await yard.deposit("later")  # on its way into the queue: news that nobody has taken up
    await yard.set_state(order_id("b02"), "refunded")
    assert await broken(yard) == []


@pytest.mark.parametrize(
    ("fault", "equation"),
    [
        (
            "UPDATE lots SET free = free + 1 WHERE item = 0 AND free = 0 AND quantity = 7",
            "free + given units of lots",
        ),
        (
            """UPDATE deposits SET received_at = received_at - interval '1 day'
                WHERE item = 0 AND allocated_step = (SELECT max(allocated_step) FROM deposits
                    WHERE item = 0)""",
            "allocations of gold",
        ),
        (
            """UPDATE deposits SET received_at = received_at - interval '1 day', changed = false
                WHERE item = 0 AND allocated_step IS NULL AND left_step IS NULL""",
            "allocations of gold",
        ),
        (
            "UPDATE orders SET state = 'deposit_paid' WHERE state = 'balance_due' AND item = 1",
            "orders with units",
        ),
        (
            """DELETE FROM deposits WHERE item = 0 AND allocated_step IS NULL
                AND left_step IS NULL""",
            "orders with a deposit",
        ),
        ("UPDATE promises SET units = units + 1 WHERE item = 1", "promised units"),
        ("UPDATE balances SET next_at = NULL", "orders with a balance"),
    ],
)
async def test_a_planted_fault_is_caught_by_its_equation(yard, fault: str, equation: str):
    await scene(yard)
    await yard.pool.execute(fault)
    await yard.pool.execute("DELETE FROM preorder_news")
    assert any(line.startswith(equation) for line in await broken(yard))
