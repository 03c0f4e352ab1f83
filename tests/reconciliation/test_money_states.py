"""Orders on the way of money, audited at every step: settled, unsettled, refined in Postgres."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import product

import pytest

from flashsale.domain.events import EventKind
from flashsale.domain.orders import OrderState
from flashsale.domain.outcomes import Status
from flashsale.reconciliation.diff import judge_order
from flashsale.reconciliation.model import OrderFacts
from flashsale.reservation.replies import Moved
from tests.reconciliation.scene import Scene

ANNA = "anna"
Step = Callable[[Scene, str], Awaitable[object]]


def move(method: str, *rest: EventKind | int) -> Step:
    async def step(scene: Scene, order: str) -> None:
        place = (scene.sale.id, 0, scene.sale.epoch, order, ANNA)
        moved: Moved = await getattr(scene.store, method)(*place, *rest)
        assert moved.status not in {Status.ILLEGAL, Status.ALREADY, Status.UNKNOWN_ORDER}

    return step


def refine(state: str) -> Step:
    async def step(scene: Scene, order: str) -> None:
        await scene.settle()
        await scene.pool.execute(
            "UPDATE orders SET state = $2 WHERE id = $1", scene.sale.id + order, state
        )

    return step


PAY, DECLINE = move("pay", 60_000), move("decline")
SELL, DEPOSIT = move("capture", EventKind.PAID), move("capture", EventKind.DEPOSIT_PAID)
CANCEL = move("release", EventKind.CANCELLED)
REFUND = move("return_units", EventKind.REFUNDED)
FORFEIT = move("return_units", EventKind.FORFEITED)
CHANGE, CHANGE_BACK = move("change_item", 1), move("change_item", 0)
WAYS: dict[str, list[Step]] = {
    "declined and cancelled": [PAY, DECLINE, PAY, CANCEL],
    "paid and refunded": [PAY, SELL, REFUND],
    "paid and sent": [SELL, refine("fulfilled")],
    "another SKU": [PAY, DEPOSIT, CHANGE, CHANGE_BACK, REFUND],
    "a balance not paid": [DEPOSIT, CHANGE, refine("allocated"), refine("balance_due"), FORFEIT],
    "a balance paid": [DEPOSIT, refine("allocated"), refine("paid"), REFUND],
    "a balance paid and sent": [DEPOSIT, refine("paid"), refine("fulfilled")],
}


async def broken(scene: Scene) -> set[str]:
    """What does not hold of orders and units; no payment stands behind them here (INV-12)."""
    return await scene.broken() - {"INV-12"}


@pytest.mark.parametrize("settled", [True, False], ids=["settled", "not settled"])
@pytest.mark.parametrize("way", WAYS)
async def test_the_audit_holds_at_every_step(scene: Scene, way: str, settled: bool):
    order = await scene.reserve(ANNA, 2)
    await scene.reserve("bo")
    for step in WAYS[way]:
        await step(scene, order)
        if settled:
            await scene.settle()
        assert await broken(scene) == set()
    await scene.settle()
    assert await broken(scene) == set()


#: By letter: the order states that may stand beside it.
BESIDE = {
    "R": {"confirmed"},
    "P": {"paying"},
    "S": {"paid", "fulfilled"},
    "E": {"deposit_paid", "allocated", "balance_due", "paid", "fulfilled"},
    "X": {"expired"},
    "C": {"cancelled"},
    "J": {"rejected"},
    "F": {"refunded"},
    "L": {"forfeited"},
}


@pytest.mark.parametrize(("letter", "state"), [*product(BESIDE, OrderState)])
def test_every_other_pair_of_states_is_a_difference(letter: str, state: OrderState):
    """But for a rejection, which Redis hears of last, where nothing is sold or being paid."""
    order = OrderFacts(state, 3, 0, 2, ANNA)
    agrees = state.value in BESIDE[letter]
    waits = state is OrderState.REJECTED and letter not in "PSE"
    found = judge_order("order", order, f"{letter}:3:0:2:9000:{ANNA}")
    assert (found is None) == (agrees or waits)
    if found is not None:
        assert found.invariant in {"INV-5", "INV-11"}
    assert judge_order("order", order, f"{letter}:4:0:2:9000:{ANNA}") or waits


async def test_units_sold_in_redis_alone_are_told(scene: Scene):
    order = await scene.reserve(ANNA, 2)
    await scene.settle()
    await scene.pool.execute("UPDATE orders SET state = 'refunded', version = 2")
    await scene.redis.hset(scene.keys.holds, order, f"S:2:0:2:1:{ANNA}")
    assert "INV-5" in await broken(scene)


async def test_an_order_paid_by_its_first_event_is_told(scene: Scene):
    await SELL(scene, await scene.reserve(ANNA, 2))
    await scene.settle()
    assert await broken(scene) == set()
    await scene.pool.execute("UPDATE orders SET version = 1")
    assert "INV-11" in await broken(scene)
