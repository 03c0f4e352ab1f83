"""What a buyer is told of an order that Redis may have forgotten: never "no such order"."""

from __future__ import annotations

from flashsale.recovery.protocol import Recovery
from flashsale.reservation.links import Links
from flashsale.reservation.rebuilding import LaneRebuilder
from flashsale.reservation.scripts import ScriptRunner
from tests.reconciliation.scene import SCRIPTS


async def _recover(house, sale: str) -> None:
    links = Links(house.shop.redis)
    rebuilder = LaneRebuilder(ScriptRunner(links, SCRIPTS))

    async def drain(*_: object) -> None:
        await house.settle()

    recovery = Recovery(house.shop.pool, house.shop.store, rebuilder, drain)
    assert await recovery.recover(sale, "a test") is not None
    house.deps.desk.board.forget()
    await links.close()


async def test_until_redis_is_rebuilt_nobody_is_told_that_there_is_no_order(house):
    sale, buyer = await house.sale(), house.buyer()
    placed = (await house.order(sale, buyer)).json
    await house.shop.redis.flushdb()
    token = house.token(buyer)
    for method, what in (("GET", ""), ("POST", "/cancel"), ("GET", "/payments")):
        answer = await house.call(method, f"/v1/orders/{placed['id']}{what}", bearer=token)
        assert (answer.status, answer.code) == (503, "recovering")
        assert answer.headers["Retry-After"]


async def test_a_reservation_that_no_disk_has_is_said_to_be_lost(house):
    sale, buyer = await house.sale(), house.buyer()
    placed = (await house.order(sale, buyer, key="lost")).json
    await house.shop.redis.flushdb()
    await _recover(house, sale)
    token = house.token(buyer)
    for method, what in (("GET", ""), ("POST", "/cancel"), ("POST", "/payments")):
        answer = await house.call(method, f"/v1/orders/{placed['id']}{what}", bearer=token)
        assert (answer.status, answer.code) == (410, "reservation_lost")
    # Another's order, and one that never was, get the same answer as one that was lost.
    stranger = await house.call("GET", f"/v1/orders/{placed['id']}", bearer=house.token("eve"))
    assert stranger.code == "reservation_lost"
    # The same request may have its order yet: it is the same order.
    again = await house.order(sale, buyer, key="lost")
    assert (again.status, again.json["id"]) == (201, placed["id"])


async def test_a_settled_order_is_never_lost(house):
    sale, buyer = await house.sale(), house.buyer()
    placed = (await house.order(sale, buyer)).json
    await house.settle()
    await house.shop.redis.flushdb()
    await _recover(house, sale)
    found = await house.call("GET", f"/v1/orders/{placed['id']}", bearer=house.token(buyer))
    assert (found.status, found.json["state"]) == (200, "confirmed")
