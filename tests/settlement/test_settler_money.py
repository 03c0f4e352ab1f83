"""The way of money into Postgres, against real servers: out of order, late, and without room."""

from __future__ import annotations

from itertools import islice, permutations
from typing import TYPE_CHECKING

import asyncpg
import pytest

from flashsale.settlement.plan import Catalogue, UnknownItemError
from flashsale.settlement.settler import RoomMayComeError, Settler
from tests.settlement.test_lane import Log, settlement
from tests.settlement.test_settler import of, read, settle

if TYPE_CHECKING:
    from tests.settlement.conftest import Lane

#: A deposit that came too late for its hold, another SKU, and the money back.
HISTORY = [
    [("R", "a", 0, 2, 1)],
    [("X", "a", 0, 2, 2)],
    [("E", "a", 0, 2, 3)],
    [("M", "a", 1, 2, 4)],
    [("F", "a", 1, 2, 5)],
]


async def row(lane: Lane) -> asyncpg.Record:
    (found,) = await lane.pool.fetch("SELECT * FROM orders WHERE buyer_id = 'a'")
    return found


@pytest.mark.parametrize("length", [3, 4, 5])
async def test_a_history_in_any_order_ends_as_it_was_decided(lane: Lane, length: int) -> None:
    delivery = await read(lane, *HISTORY[:length])
    state = {3: "deposit_paid", 4: "deposit_paid", 5: "refunded"}[length]
    live = {3: [2, 0], 4: [0, 2], 5: [0, 0]}[length]
    step = {3: 1, 4: 3, 5: 7}[length]  # tests of the plan try them all, without a disk
    for numbers in islice(permutations(range(length)), 0, None, step):
        await lane.pool.execute("TRUNCATE orders CASCADE")
        await lane.pool.execute("UPDATE sale_items SET live = 0")
        for number in (*numbers, *numbers):
            settled = await settle(lane, of(delivery, number))
            assert not settled.illegal
            assert not settled.dead_letters
        found = await row(lane)
        assert (found["state"], found["version"], found["item"]) == (state, length, length > 3)
        assert found["unit_amount"] == (2000 if length > 3 else 1000)
        assert await lane.live() == live


async def test_the_event_that_answers_a_decision_opens_the_order_again(lane: Lane) -> None:
    delivery = await read(lane, *HISTORY)
    await settle(lane, of(delivery, 2))
    await lane.pool.execute("UPDATE orders SET closing = 'changing'")
    await settle(lane, of(delivery, 0, 1))
    assert (await row(lane))["closing"] == "changing", "these were decided before"
    await settle(lane, of(delivery, 3))
    assert (await row(lane))["closing"] is None


async def test_what_postgres_decided_since_is_not_set_back(lane: Lane) -> None:
    delivery = await read(lane, *HISTORY[:3])
    await settle(lane, of(delivery, 2))
    await lane.pool.execute("UPDATE orders SET state = 'balance_due'")
    await settle(lane, delivery)
    assert (await row(lane))["state"] == "balance_due"
    assert await lane.live() == [2, 0]


async def test_late_money_waits_for_units_that_are_still_to_be_given_back(lane: Lane) -> None:
    await lane.pool.execute("UPDATE sale_items SET capacity = 1 WHERE item = 0")
    delivery = await read(
        lane,
        [("R", "a", 0, 1, 1)],
        [("X", "a", 0, 1, 2)],
        [("R", "b", 0, 1, 1)],
        [("C", "b", 0, 1, 2)],
        [("S", "a", 0, 1, 3)],
    )
    await settle(lane, of(delivery, 0, 1))
    await settle(lane, of(delivery, 2))
    settler = Settler(lane.pool)
    with pytest.raises(RoomMayComeError):
        await settler.settle(lane.catalogue, lane.number, of(delivery, 4), patient=True)
    assert await lane.states() == {"a": "expired", "b": "confirmed"}
    await settle(lane, of(delivery, 3))
    await settler.settle(lane.catalogue, lane.number, of(delivery, 4), patient=True)
    assert await lane.states() == {"a": "paid", "b": "cancelled"}
    assert await lane.live() == [1, 0]


async def test_money_without_a_unit_is_put_aside_and_never_rejected(lane: Lane) -> None:
    await lane.pool.execute("UPDATE sale_items SET capacity = 1 WHERE item = 0")
    delivery = await read(
        lane,
        [("R", "a", 0, 1, 1)],
        [("X", "a", 0, 1, 2)],
        [("R", "b", 0, 1, 1)],
        [("S", "a", 0, 1, 3), ("R", "c", 1, 1, 1)],
        [("R", "d", 1, 1, 1)],
    )
    await settle(lane, of(delivery, 0, 1, 2))
    rest = of(delivery, 3, 4)
    settled = await Settler(lane.pool).settle(lane.catalogue, lane.number, rest, patient=True)
    assert [(letter.seq, settled.rejected) for letter in settled.dead_letters] == [(4, [])]
    assert "more units are paid" in settled.dead_letters[0].error
    assert await lane.states() == {"a": "expired", "b": "confirmed", "d": "confirmed"}
    assert await lane.live() == [1, 1]


async def test_an_item_that_joined_the_sale_is_looked_up_before_anything_is_put_aside(
    lane: Lane,
) -> None:
    lane.catalogue = Catalogue(lane.sale, {0: 1000})
    delivery = await read(lane, [("R", "a", 1, 2)])
    with pytest.raises(UnknownItemError):
        await Settler(lane.pool).settle(lane.catalogue, lane.number, delivery, current=False)
    assert await lane.states() == {}
    log = Log(lane)
    await settlement(lane, log).drain()
    assert (await row(lane))["unit_amount"] == 2000
    assert await lane.pool.fetchval("SELECT count(*) FROM dead_letters") == 0


async def test_an_item_that_nobody_knows_is_put_aside_all_the_same(lane: Lane) -> None:
    lane.catalogue = Catalogue(lane.sale, {0: 1000})
    await lane.append(("R", "a", 7, 1))
    await lane.append(("R", "b", 1, 1))
    await settlement(lane, Log(lane)).drain()
    assert await lane.states() == {"b": "confirmed"}
    assert await lane.pool.fetchval("SELECT error FROM dead_letters") == (
        "UnknownItemError: the sale has no item 7"
    )
