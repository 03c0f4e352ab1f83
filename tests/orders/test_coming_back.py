"""An order that ran out may come back with its money: its buyer reads what Redis has seen last."""

from __future__ import annotations

import asyncio

import pytest

from flashsale.domain.events import EventKind
from flashsale.domain.outcomes import Status
from tests.orders.test_life import listed, read
from tests.web.house import House


@pytest.mark.parametrize("settled", [True, False], ids=["settled", "not settled"])
async def test_an_expired_order_that_was_paid_late_is_paid(house: House, settled: bool):
    sale, buyer = await house.sale(hold_seconds=1), house.buyer()
    order = (await house.order(sale, buyer, key="k")).json["id"]
    await house.settle()
    async with asyncio.timeout(15):
        while not (await house.shop.store.expire_due(sale, 0, 1, 10)).count:
            await asyncio.sleep(0.05)
    await house.settle()
    assert (await read(house, buyer, order)).json["state"] == "expired"
    moved = await house.shop.store.capture(
        sale, 0, 1, order.removeprefix(sale), buyer, EventKind.PAID
    )
    assert moved.status is Status.CAPTURED
    if settled:
        await house.settle()
    assert (await read(house, buyer, order)).json["state"] == "paid"
    assert (await listed(house, buyer))[order] == "paid"
    await house.settle()
    assert (await read(house, buyer, order)).json["state"] == "paid"
