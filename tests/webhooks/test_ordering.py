"""The events of one order one after another, whatever fails and whoever sends."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict

from aiohttp import web

from flashsale.webhooks import queries
from tests.webhooks.conftest import Office, Receiver, Told

STEPS = ("order.confirmed", "order.paid", "order.fulfilled")
ORDERS = 40


async def _campaign(office: Office, receiver: Receiver) -> dict[str, list[str]]:
    """Orders that take their steps while several processes send, and a third of all fails.

    What was taken, by order; every event is taken in the end.
    """
    dice = random.Random(7)
    taken: dict[str, list[str]] = defaultdict(list)

    async def answer(told: Told) -> web.Response:
        await asyncio.sleep(dice.random() / 200)
        if dice.random() < 0.3:
            return web.Response(status=503)
        taken[told.order or ""].append(told.type)
        return web.Response()

    receiver.answer = answer
    await office.endpoint(receiver, *STEPS)
    orders = [await office.order(f"o{number}") for number in range(ORDERS)]
    processes = [office.deliveries() for _ in range(3)]

    async def steps() -> None:
        for state in ("paid", "fulfilled"):
            for order in orders:
                await office.move(order, state)

    await asyncio.gather(steps(), *(each.deliver_due() for each in processes))
    while "pending" in await office.states():
        office.wait(minutes=1)
        await asyncio.gather(*(each.deliver_due() for each in processes))
    return taken


async def test_an_order_is_told_in_order(office: Office, receiver: Receiver) -> None:
    taken = await _campaign(office, receiver)
    assert set(map(tuple, taken.values())) == {STEPS}


async def test_without_the_rule_it_goes_wrong(
    office: Office, receiver: Receiver, monkeypatch
) -> None:
    """The control: claims that do not ask for earlier events of the order."""
    naive = queries._SQL["claim"].replace("b.event_id < due.event_id", "b.event_id < 0")
    assert naive != queries._SQL["claim"]
    monkeypatch.setattr(queries, "_SQL", {**queries._SQL, "claim": naive})
    taken = await _campaign(office, receiver)
    assert {tuple(sorted(types)) for types in taken.values()} == {tuple(sorted(STEPS))}
    assert set(map(tuple, taken.values())) != {STEPS}


async def test_a_dead_event_lets_the_next_one_pass(office: Office, receiver: Receiver) -> None:
    await office.endpoint(receiver)
    receiver.respond(*[500] * 100)
    stuck = await office.order("x")
    await office.move(stuck, "paid")
    free = await office.order("y")
    deliveries = office.deliveries()
    await deliveries.deliver_due()
    # The other order's event does not wait for the one that fails.
    assert [told.order for told in receiver.told] == [stuck, free]
    while "order.paid" not in receiver.types():
        assert len(receiver.told) < 100
        office.wait(hours=2)
        await deliveries.deliver_due()
    assert (await office.states())[0] == "dead"


async def test_events_without_an_order_wait_for_nothing(office: Office, receiver: Receiver) -> None:
    await office.endpoint(receiver)
    receiver.respond(500, 500, 500)
    for state in ("paused", "open", "closed"):
        await office.pool.execute("UPDATE sales SET state = $1 WHERE merchant_id = 'm'", state)
    await office.deliveries().deliver_due()
    assert sorted(receiver.types()) == ["sale.closed", "sale.paused", "sale.resumed"]


async def test_the_next_event_goes_out_with_the_one_before(
    office: Office, receiver: Receiver
) -> None:
    """A backlog of one order is worked off in one go, not one event a tick."""
    await office.endpoint(receiver)
    order = await office.order("x")
    await office.move(order, "paid", "fulfilled")
    assert await office.deliveries().deliver_due() == 3
    assert receiver.types() == list(STEPS)
