"""Lanes that leave Redis together, that went before a crash, or that were lost."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from flashsale.domain.sales import SaleState
from flashsale.reservation.keys import lane_keys
from flashsale.sales.values import SaleFacts
from flashsale.timekeeper.queries import TendedSale
from flashsale.timekeeper.tending import Tending
from flashsale.timekeeper.timekeeper import Timekeeper
from tests.sales.shop import Shop, now

OUTLIVED = "closed_at = now() - interval '11 min'"


async def ended(shop: Shop, sale: SaleFacts) -> SaleFacts:
    """The sale closed long ago, everything in its streams settled."""
    await shop.service.close(shop.merchant, sale.id)
    await settle(shop, sale)
    return await shop.set_columns(sale, OUTLIVED)


async def settle(shop: Shop, sale: SaleFacts) -> None:
    for lane in range(sale.lanes):
        await shop.redis.xtrim(lane_keys(sale.id, lane).events, maxlen=0, approximate=False)


async def visits(shop: Shop, count: int = 2) -> Timekeeper:
    """What a timekeeper has done after some passes over everything."""
    keeper = Timekeeper(shop.pool, shop.store)
    async with shop.pool.acquire() as session:
        for _ in range(count):
            keeper._tending._due_ms.clear()
            await keeper.act(session)
    return keeper


async def test_no_lane_goes_before_the_last_one_may(shop: Shop):
    """An audit would miss the first one."""
    sale = await shop.scheduled(lanes=2, hold_seconds=1)
    await shop.hold(sale, 1, lane=1)
    await ended(shop, sale)
    keeper = await visits(shop)
    assert keeper.progress.retired == 0
    assert [await shop.redis.exists(lane_keys(sale.id, lane).meta) for lane in (0, 1)] == [1, 1]
    while not keeper.progress.expired:
        await asyncio.sleep(0.05)
        keeper = await visits(shop, 1)
    await settle(shop, sale)
    assert (await visits(shop)).progress.retired == 1
    assert (await shop.service.facts(sale.id)).retired


@pytest.mark.parametrize("told", [1, 2])
async def test_no_lane_goes_before_each_has_been_told_that_the_sale_is_over(shop: Shop, told: int):
    """Redis was away after the first lane was closed, or (the control) after the last one."""
    sale = await shop.scheduled(lanes=2)
    await shop.set_columns(sale, "state = 'closed'")
    for lane in range(told):
        await shop.store.close_sale(sale.id, lane, sale.epoch)
    await settle(shop, sale)
    tended = TendedSale(sale.id, SaleState.CLOSED, 2, sale.epoch, armed=True, outlived=True)
    did = await Tending(shop.store, 500).visit(tended, await shop.store.now_ms())
    left = [await shop.redis.exists(lane_keys(sale.id, lane).meta) for lane in (0, 1)]
    assert (did.retired, left) == ((False, [1, 1]) if told == 1 else (True, [0, 0]))


@pytest.mark.parametrize("gone", [1, 2])
async def test_lanes_that_went_before_a_crash_are_written_down_after_it(shop: Shop, gone: int):
    sale = await ended(shop, await shop.scheduled(lanes=2))
    for lane in range(gone):
        await shop.store.retire(sale.id, lane, sale.epoch)
    assert (await visits(shop)).progress.retired == 1
    assert (await shop.service.facts(sale.id)).retired


async def test_lanes_that_were_lost_are_not_called_retired(shop: Shop):
    sale = await ended(shop, await shop.scheduled())
    await shop.pool.execute(
        "INSERT INTO orders VALUES ($1, $2, 0, 'ada', 1, 1, 'confirmed', 1, $3, $3, $3)",
        f"{sale.id}{'a' * 20}",
        sale.id,
        now() - timedelta(hours=1),
    )
    await shop.redis.flushall()
    keeper = await visits(shop)
    assert keeper.progress.lost_lanes
    assert not (await shop.service.facts(sale.id)).retired
    await shop.pool.execute("UPDATE orders SET state = 'expired'")
    assert (await visits(shop)).progress.retired == 1
