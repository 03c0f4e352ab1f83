"""Everything that a sale's lane goes through: what the engine needs rights for."""

from __future__ import annotations

from flashsale.domain.events import EventKind
from flashsale.domain.outcomes import Status
from tests.reconciliation.scene import Scene


async def whole_life(scene: Scene) -> None:
    """Everything that a sale's lane goes through."""
    place = (scene.sale.id, 0, scene.sale.epoch)
    store = scene.store
    orders = [await scene.reserve(f"buyer-{number}") for number in range(5)]
    await scene.settle()
    for number in (0, 1, 2):
        paying = await store.pay(*place, orders[number], f"buyer-{number}", 60_000)
        assert paying.status is Status.PAYING
    await store.capture(*place, orders[0], "buyer-0", EventKind.PAID)
    returned = await store.return_units(*place, orders[0], "buyer-0", EventKind.REFUNDED)
    assert returned.status is Status.RETURNED
    await store.decline(*place, orders[1], "buyer-1")
    await scene.cancel(orders[3], "buyer-3")
    await scene.supply(5)
    await scene.service.pause(scene.merchant, scene.sale.id)
    await scene.service.resume(scene.merchant, scene.sale.id)
    await store.expire_due(*place, 10)
    await store.tail(*place, "-", 10)
    assert len(await store.buyers(scene.sale.id, 0)) > 0
    await store.now_ms()
    await store.server()
    await scene.settle()
    await scene.service.close(scene.merchant, scene.sale.id)
    await store.cancel_holds(*place, 10)
    await scene.settle()
    await store.trim_events(scene.sale.id, 0)
