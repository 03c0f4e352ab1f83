"""The audit of a launch while it runs: buyers come and go, settlement settles and trims."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest

from flashsale.domain.outcomes import Status
from flashsale.reconciliation import cut
from flashsale.reconciliation.errors import NoCutError
from flashsale.reservation.inspector import LaneInspector
from flashsale.reservation.replies import Request
from tests.reconciliation.scene import Scene, open_scene

AUDITS = 12
BUYERS = 400


async def hammer(scene: Scene, seed: int, stop: asyncio.Event) -> int:
    """Batches of reservations with some cancelled again, and waves; how many calls were made."""
    chance, calls = random.Random(seed), 0
    place = (scene.sale.id, 0, scene.sale.epoch)
    while not stop.is_set():
        requests = [
            Request(f"{seed}{calls:09}{number:014}", f"buyer{chance.randrange(BUYERS)}", 0, 1)
            for number in range(chance.randrange(1, 20))
        ]
        decisions = await scene.store.reserve(*place, requests)
        held = [
            request
            for request, decision in zip(requests, decisions, strict=True)
            if decision.status is Status.RESERVED
        ]
        for request in chance.sample(held, len(held) // 2):
            await scene.cancel(request.order, request.buyer)
        calls += 1
    return calls


@pytest.mark.parametrize("batch", [1, 4000])
async def test_it_holds_while_traffic_flows(schema, new_database, redis_db, redis_url, batch: int):
    """The control: what the two stores count at about the same time does differ."""
    async with (
        new_database(template=schema) as dsn,
        open_scene(dsn, redis_url, supply=900) as scene,
    ):
        scene.worker.pace = replace(
            scene.worker.pace, batch_rows_max=batch, block_ms=20, trim_every_ms=5
        )
        stop = asyncio.Event()
        traffic = [asyncio.create_task(hammer(scene, seed, stop)) for seed in (1, 2)]
        settling = asyncio.create_task(scene.worker.run(stop))
        naive_differences = 0
        try:
            for number in range(AUDITS):
                report = await scene.audit()
                assert report.broken == ()
                naive_differences += await _naive_difference(scene)
                if number % 3 == 0:
                    await scene.supply(7)
        finally:
            stop.set()
            *calls, _ = await asyncio.gather(*traffic, settling)
        assert min(calls) > AUDITS
        assert naive_differences > 0
        await scene.settle()
        report = await scene.audit()
        assert report.broken == ()
        assert report.counts["unapplied_entries"] == report.counts["pending_entries"] == 0


async def _naive_difference(scene: Scene) -> bool:
    snapshot = await scene.store.snapshot(scene.sale.id, 0)
    live = await scene.pool.fetchval("SELECT sum(live) FROM sale_items")
    return sum(stock.held for stock in snapshot.stock) != live


async def test_a_corruption_under_traffic_is_caught(scene: Scene):
    stop = asyncio.Event()
    scene.worker.pace = replace(scene.worker.pace, block_ms=20, trim_every_ms=5)
    order = await scene.reserve("anna")
    await scene.settle()
    await scene.redis.hset(scene.keys.holds, order, "X:2:0:1:1:anna")
    traffic = asyncio.create_task(hammer(scene, 3, stop))
    settling = asyncio.create_task(scene.worker.run(stop))
    try:
        assert await scene.broken() == {"INV-5"}
    finally:
        stop.set()
        calls, _ = await asyncio.gather(traffic, settling)
    assert calls > 0


class Overtaken(LaneInspector):
    """Something is sold, settled and trimmed between the look at Postgres and that at Redis."""

    def __init__(self, scene: Scene, times: int) -> None:
        super().__init__(scene.redis)
        self._scene = scene
        self._times = times

    async def look(self, *place, **options):
        if self._times:
            self._times -= 1
            await self._scene.reserve(f"late{self._times}")
            await self._scene.settle()
        return await super().look(*place, **options)


async def test_a_cut_that_was_overtaken_is_taken_again(scene: Scene, monkeypatch):
    scene.inspector = Overtaken(scene, 3)
    assert await scene.broken() == set()

    async def never(*_) -> bool:
        return False

    monkeypatch.setattr(cut, "_overtaken", never)
    scene.inspector = Overtaken(scene, 1)
    async with cut.consistent_cut(scene.pool, scene.inspector, scene.sale.id) as (_, seen):
        assert seen.lanes[0].lost == (5,), "the control: without it, settled entries seem lost"


async def test_a_sale_that_never_stands_still_is_not_judged(scene: Scene):
    await scene.supply(90)
    scene.inspector = Overtaken(scene, 99)
    with pytest.raises(NoCutError, match="nothing was judged"):
        await scene.audit()
