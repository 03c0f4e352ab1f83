"""With everything switched on that can go wrong at the provider, orders end as without."""

from __future__ import annotations

import asyncio
import json

import pytest

from flashsale.embedded import play_money
from tests.supervisor.running import PATIENCE_SECONDS, Buyers, flashsale
from tests.supervisor.test_payment import begun, press_pay, state_becomes

OFF = {"duplicate": 0, "reorder": False, "delay_ms": 0, "drop": 0.0}
ON = {"duplicate": 3, "reorder": True, "delay_ms": 150, "drop": 1.0}
#: What each buyer does at the checkout, and where that ends.
ENDS = {"pay": "paid", "decline": "confirmed", "pay and cancel": "refunded"}
EACH = 3


async def switch(session, place, switches: dict) -> None:
    key = {"Authorization": f"Bearer {place.api_key}"}
    async with session.put(f"{place.url}/v1/switches", json=switches, headers=key) as response:
        assert response.status == 200, await response.text()


async def press(session, payment: dict, action: str) -> None:
    if action == "decline":
        url = payment["checkout_url"]
        async with session.post(url, data={"action": action}, allow_redirects=False) as response:
            assert response.status == 303
    else:
        await press_pay(session, payment)


async def cancelled(up, session, buyers: Buyers, buyer: str, order: str) -> None:
    url = f"{up.credentials.base_url}/v1/orders/{order}/cancel"
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            async with session.post(url, headers=buyers.headers(buyer)) as response:
                if response.status == 200:
                    return
                assert response.status == 409, await response.text()
            await asyncio.sleep(0.05)


async def one(up, session, buyers: Buyers, buyer: str, does: str) -> str:
    """A buyer's whole way; the state their order ends in."""
    order, payment = await begun(up, session, buyers, buyer)
    await state_becomes(buyers, buyer, order, "paying")
    await press(session, payment, does)
    if does == "pay and cancel":
        await state_becomes(buyers, buyer, order, "paid")
        await cancelled(up, session, buyers, buyer, order)
    return (await state_becomes(buyers, buyer, order, ENDS[does]))["state"]


@pytest.mark.parametrize("switches", [OFF, ON], ids=["off", "on"])
async def test_orders_end_the_same_whatever_the_provider_does(up, session, switches):
    place = play_money.load(up.data_dir)
    assert place is not None
    await switch(session, place, switches)
    try:
        launch = await up.announce(20)
        buyers = Buyers(up.credentials.base_url, launch, session)
        crowd = [(f"{does}-{n}".replace(" ", "-"), does) for does in ENDS for n in range(EACH)]
        ends = await asyncio.gather(*(one(up, session, buyers, *each) for each in crowd))
        assert sorted(ends) == sorted(ENDS[does] for _, does in crowd)
    finally:
        await switch(session, place, OFF)
    # Nothing is counted twice, and nothing is lost, however often and late it was told.
    audited = await asyncio.to_thread(
        flashsale, "audit", launch.sale, "--data-dir", str(up.data_dir), "--json"
    )
    assert audited.returncode == 0, audited.stdout
    assert json.loads(audited.stdout)["holds"]
