"""A SKU that the stores count differently is shut, no other is, and it is reopened once mended."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from flashsale.domain.outcomes import Status
from flashsale.reconciliation import queries
from flashsale.reconciliation.errors import NotShutError, StillDriftingError
from flashsale.reconciliation.watch import DriftWatch, reopen
from flashsale.reconciliation.watch_drift import Drift
from flashsale.reservation.replies import Request
from tests.reconciliation.scene import Scene
from tests.reconciliation.test_planted import PLANTED

#: Of the corruptions that the audit finds, those that sums alone show, and whether of one SKU.
SUMS = {
    "a unit from nowhere": True,
    "a unit moved without an event": True,
    "a counter that is no number": True,
    "capacity that no supply gave": True,
    "entries nobody appended": False,
    "the lane's tail lost": False,
}


@dataclass
class Watching:
    """A watch whose rounds the test makes itself."""

    scene: Scene
    told: list[tuple[Drift, bool]] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.watch = DriftWatch(
            self.scene.pool,
            self.scene.inspector,
            self.scene.store,
            every_seconds=0.01,
            again_seconds=0.0,
            on_drift=lambda _, drift, shut: self.told.append((drift, shut)),
            on_trouble=self.troubles.append,
        )

    async def shut_skus(self) -> list[str]:
        return [
            item.sku for item in await queries.shut_items_of(self.scene.pool, self.scene.sale.id)
        ]


@pytest.fixture
def watching(scene: Scene) -> Watching:
    return Watching(scene)


async def ask(scene: Scene, buyer: str, item: int) -> Status:
    request = Request(f"{buyer}/{item}".ljust(20, "x"), buyer, item, 1)
    (decision,) = await scene.store.reserve(scene.sale.id, 0, scene.sale.epoch, [request])
    return decision.status


async def plant(scene: Scene, name: str) -> None:
    order = await scene.reserve("anna", 2)
    await scene.cancel(await scene.reserve("bo"), "bo")
    await scene.settle()
    await PLANTED[name][0](scene, order)


async def add_a_unit(scene: Scene, units: int = 1) -> None:
    await scene.redis.hincrby(scene.keys.stock, "available:0", units)


async def test_healthy_stores_are_left_alone_whatever_is_on_its_way(
    scene: Scene, watching: Watching
):
    await scene.reserve("anna", 2)
    await scene.cancel(await scene.reserve("bo"), "bo")
    await watching.watch.round()
    await scene.settle()
    await scene.supply(5)
    await watching.watch.round()
    assert (watching.told, watching.troubles, await watching.shut_skus()) == ([], [], [])
    progress = watching.watch.progress
    assert (progress.rounds, progress.drifting, progress.shut) == (2, 0, 0)
    assert progress.looked_at > 0


@pytest.mark.parametrize("name", SUMS)
async def test_what_is_broken_twice_shuts_its_sku(scene: Scene, watching: Watching, name: str):
    of_one_sku = SUMS[name]
    assert await ask(scene, "early", 0) is Status.RESERVED
    await plant(scene, name)
    await watching.watch.round()
    assert watching.told
    assert watching.watch.progress.drifting == len(watching.told)
    assert await watching.shut_skus() == (["mi3-16"] if of_one_sku else [])
    assert any(shut for _, shut in watching.told) is of_one_sku
    closed = Status.PAUSED if of_one_sku else Status.RESERVED
    assert await ask(scene, "late", 0) is closed
    assert await ask(scene, "late", 1) is Status.RESERVED, "the other SKU goes on"
    assert await ask(scene, "early", 0) is Status.REPLAYED, "who holds a unit is told so"


async def test_what_is_broken_once_shuts_nothing(scene: Scene, watching: Watching, monkeypatch):
    """It is mended between the two looks: what one cut alone shows is no proof."""
    look = DriftWatch.look

    async def looked(self: DriftWatch, sale: str) -> list[Drift]:
        found = await look(self, sale)
        await add_a_unit(scene, -1)
        return found

    monkeypatch.setattr(DriftWatch, "look", looked)
    await add_a_unit(scene)
    await watching.watch.round()
    assert (watching.told, await watching.shut_skus()) == ([], [])


async def test_shutting_is_told_once_and_seen_by_the_audit(scene: Scene, watching: Watching):
    await add_a_unit(scene)
    await watching.watch.round()
    await watching.watch.round()
    assert [shut for _, shut in watching.told].count(True) == 1
    entries = await scene.pool.fetch(
        "SELECT entry::json ->> 'actor' AS actor, entry::json ->> 'subject' AS subject,"
        " entry::json -> 'detail' ->> 'reason' AS reason FROM audit_log"
        " WHERE entry::json ->> 'action' = 'shut_item'"
    )
    assert [(row["actor"], row["subject"]) for row in entries] == [("engine", "mi3-16")]
    report = await scene.audit()
    assert not report.holds
    (alert,) = [alert for alert in report.alerts if "shut" in alert]
    assert entries[0]["reason"] in alert
    assert "mi3-16" in alert


async def test_it_is_reopened_once_the_stores_agree(scene: Scene, watching: Watching):
    doors = (scene.pool, scene.inspector, scene.store, scene.sale.id, "mi3-16")
    with pytest.raises(NotShutError):
        await reopen(*doors, "nothing was shut")
    await add_a_unit(scene)
    await watching.watch.round()
    with pytest.raises(StillDriftingError, match="available"):
        await reopen(*doors, "impatience")
    assert await ask(scene, "anna", 0) is Status.PAUSED
    await add_a_unit(scene, -1)
    await watching.watch.round()
    assert await ask(scene, "anna", 0) is Status.PAUSED, "it does not reopen by itself"
    await reopen(*doors, "somebody added a unit by hand")
    assert await ask(scene, "anna", 0) is Status.RESERVED
    because = await scene.pool.fetchval(
        "SELECT entry::json -> 'detail' ->> 'because' FROM audit_log"
        " WHERE entry::json ->> 'action' = 'reopen_item'"
    )
    assert because == "somebody added a unit by hand"
    assert await scene.broken() == set()


async def test_a_lane_that_recovery_has_to_mend_is_left_to_it(scene: Scene, watching: Watching):
    await scene.reserve("anna")
    await scene.redis.delete(scene.keys.meta)
    await watching.watch.round()
    await scene.redis.hset(scene.keys.meta, "epoch", "-2")
    await watching.watch.round()
    assert (watching.told, await watching.shut_skus()) == ([], [])


async def test_rounds_go_on_while_it_may_look(scene: Scene, watching: Watching):
    stop, watch = asyncio.Event(), watching.watch
    leading = False
    watch.may_look = lambda: leading
    running = asyncio.create_task(watch.run(stop))
    await asyncio.sleep(0.05)
    assert watch.progress.rounds == 0
    leading = True
    while watch.progress.rounds < 3:
        await asyncio.sleep(0.01)
    stop.set()
    await running
