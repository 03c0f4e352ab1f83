"""Paying, over HTTP: begin, pay, read, cancel; what each state allows, and what a buyer is told."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from flashsale.domain.orders import TRANSITIONS, OrderAction, OrderState
from flashsale.web.api import payments as calls
from tests.sales.shop import item
from tests.web.house import House
from tests.web.till import callback

DEPOSIT = {"amount": 100, "currency": "CNY"}
PRICE = {"amount": 199900, "currency": "CNY"}
NOTHING = {"amount": 0, "currency": "CNY"}
_S, _A = OrderState, OrderAction


async def test_an_order_is_paid_at_the_provider(house: House) -> None:
    sale, buyer = await house.sale(items=[item(ships_at="2030-03-01T00:00:00Z")]), house.buyer()
    order = await house.buy(sale, buyer)
    begun = await house.pay(order, buyer)
    assert begun.status == 201
    assert "Idempotency-Replayed" not in begun.headers
    payment = begun.json
    assert payment["amount"] == PRICE
    assert (payment["purpose"], payment["state"]) == ("full", "open")
    assert (payment["order_id"], payment["captured"], payment["note"]) == (order, NOTHING, None)
    async with house.session.get(payment["checkout_url"]) as page:
        assert page.status == 200
    async with house.session.post(
        payment["checkout_url"], data={"action": "pay"}, allow_redirects=False
    ):
        pass
    receiver = house.till.sandbox.receiver
    await receiver.wait(1)
    headers, body = receiver.taken[-1]
    signed = {name: value for name, value in headers.items() if name.lower().startswith("webhook")}
    path = "/v1/providers/sandbox/webhooks"
    taken = await house.call("POST", path, data=body, headers=signed)
    assert (taken.status, taken.json) == (200, {"outcome": "applied"})
    await house.dispatch()
    paid = await house.read(order, buyer)
    assert (paid["state"], paid["amount_due"]) == ("paid", NOTHING)
    assert paid["ships_at"] == "2030-03-01T00:00:00.000Z"
    (shown,) = paid["payments"]
    assert (shown["state"], shown["captured"]) == ("captured", PRICE)
    assert "shipment" not in paid
    stock = (await house.manage("GET", f"/sales/{sale}")).json["items"][0]["stock"]
    assert (stock["held"], stock["paying"], stock["sold"]) == (0, 0, 1)
    again = await house.pay(order, buyer)
    assert (again.status, again.code) == (409, "nothing_due")


async def test_a_retry_meets_the_same_checkout(house: House) -> None:
    buyer = house.buyer()
    order = await house.buy(await house.sale(), buyer)
    twins = await asyncio.gather(*(house.pay(order, buyer) for _ in range(6)))
    assert {twin.status for twin in twins} == {201}
    assert len({twin.json["id"] for twin in twins}) == 1
    again = await house.pay(order, buyer)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json["checkout_url"] in {twin.json["checkout_url"] for twin in twins}
    path = f"/v1/orders/{order}/payments"
    listed = (await house.call("GET", path, bearer=house.token(buyer))).json
    assert listed == {"items": [again.json], "next_cursor": None}
    assert (await house.read(order, buyer))["payments"] == [again.json]


async def test_a_payment_begun_behind_its_order_waits_for_settlement(house: House) -> None:
    buyer = house.buyer()
    placed = await house.order(await house.sale(), buyer)
    order = placed.json["id"]
    paying, _ = await asyncio.gather(house.pay(order, buyer), _settle_soon(house))
    assert paying.status == 201


async def _settle_soon(house: House) -> None:
    await asyncio.sleep(0.05)
    await house.settle()


async def test_an_order_that_is_not_settled_yet_is_not_payable_yet(
    house: House, monkeypatch
) -> None:
    monkeypatch.setattr(calls, "RESTS_SECONDS", (0.001,))
    buyer = house.buyer()
    order = (await house.order(await house.sale(), buyer)).json["id"]
    reply = await house.pay(order, buyer)
    assert (reply.status, reply.code) == (409, "order_not_confirmed")
    assert int(reply.headers["Retry-After"]) > 0
    await house.settle()
    assert (await house.pay(order, buyer)).status == 201


async def test_anothers_order_is_as_unknown_as_none(house: House) -> None:
    order = await house.buy(await house.sale(), "owner")
    bodies = set()
    guessed = order[:-1] + ("b" if order[-1] == "a" else "a")
    for name in (order, guessed, "x%00", "x" * 32):
        for method in ("POST", "GET"):
            path = f"/v1/orders/{name}/payments"
            reply = await house.call(method, path, bearer=house.token("stranger"))
            assert (reply.status, reply.code) == (404, "unknown_order")
            bodies.add(reply.text)
    namesake = house.token("owner", merchant=house.other)
    reply = await house.call("POST", f"/v1/orders/{order}/payments", bearer=namesake)
    assert reply.status == 404
    assert len(bodies) == 1


PAYING = {
    _S.CANCELLED: (409, "order_not_payable"),
    _S.REJECTED: (409, "order_not_payable"),
    _S.REFUNDED: (409, "order_not_payable"),
    _S.FORFEITED: (409, "order_not_payable"),
    _S.EXPIRED: (410, "hold_expired"),
    _S.PAID: (409, "nothing_due"),
    _S.FULFILLED: (409, "nothing_due"),
    _S.DEPOSIT_PAID: (409, "nothing_due"),
}
PAYABLE = {
    state
    for state, action in TRANSITIONS
    if action in {_A.PAY, _A.CAPTURE_BALANCE} or state is _S.PAYING
}
STATES = sorted(set(_S) - {_S.RESERVED})


@pytest.mark.parametrize("state", sorted(set(STATES) - PAYABLE))
async def test_what_no_payment_leads_out_of_takes_none(house: House, state: OrderState) -> None:
    order, buyer = await house.stand(state)
    reply = await house.pay(order, buyer)
    assert (reply.status, reply.code) == PAYING[state]
    begun = await house.shop.pool.fetchval(
        "SELECT count(*) FROM payments WHERE order_id = $1", order
    )
    assert begun == 0


def test_the_states_that_take_no_payment_are_all_told_apart() -> None:
    assert set(PAYING) == set(STATES) - PAYABLE


async def test_an_order_that_is_closing_takes_no_money(house: House) -> None:
    order, buyer = await house.stand(_S.BALANCE_DUE, kind="preorder", items=[item(deposit=DEPOSIT)])
    await house.shop.pool.execute("UPDATE orders SET closing = 'forfeited' WHERE id = $1", order)
    reply = await house.pay(order, buyer)
    assert (reply.status, reply.code) == (409, "order_closing")


async def test_declined_and_paid_at_the_second_try(house: House) -> None:
    buyer = house.buyer()
    order = await house.buy(await house.sale(), buyer)
    first = (await house.pay(order, buyer)).json
    assert (await house.tell(callback("declined", first))).json == {"outcome": "applied"}
    await house.dispatch()
    assert (await house.read(order, buyer))["state"] == "confirmed"
    second = await house.pay(order, buyer)
    assert second.status == 201
    assert second.json["id"] != first["id"]
    await house.tell(callback("captured", second.json))
    await house.dispatch()
    shown = await house.read(order, buyer)
    assert (shown["state"], [each["state"] for each in shown["payments"]]) == (
        "paid",
        ["declined", "captured"],
    )


async def test_what_costs_nothing_is_paid_at_once(house: House) -> None:
    buyer = house.buyer()
    free = {"amount": 0, "currency": "CNY"}
    order = await house.buy(await house.sale(items=[item(price=free)]), buyer)
    begun = await house.pay(order, buyer)
    assert (begun.status, begun.json["state"], begun.json["checkout_url"]) == (
        201,
        "captured",
        None,
    )
    await house.dispatch()
    assert (await house.read(order, buyer))["state"] == "paid"


async def test_a_deposit_is_due_before_its_balance(house: House) -> None:
    sale = await house.sale(kind="preorder", items=[item(deposit=DEPOSIT)])
    buyer = house.buyer()
    order = await house.buy(sale, buyer, quantity=2)
    assert (await house.read(order, buyer))["amount_due"]["amount"] == 200
    begun = await house.pay(order, buyer)
    assert (begun.json["purpose"], begun.json["amount"]["amount"]) == ("deposit", 200)
    await house.tell(callback("captured", begun.json))
    await house.dispatch()
    paid = await house.read(order, buyer)
    assert (paid["state"], paid["amount_due"]) == ("deposit_paid", NOTHING)
    await house.shop.pool.execute("UPDATE orders SET state = 'balance_due' WHERE id = $1", order)
    owing = await house.read(order, buyer)
    assert owing["amount_due"] == {"amount": 2 * 199900 - 200, "currency": "CNY"}
    listed = await house.call("GET", "/v1/orders", bearer=house.token(buyer))
    assert listed.json["items"][0]["amount_due"] == owing["amount_due"]
    rest = await house.pay(order, buyer)
    assert (rest.json["purpose"], rest.json["amount"]) == ("balance", owing["amount_due"])


async def test_a_provider_that_is_away_is_told_and_the_payment_stays_the_same(
    house: House, monkeypatch
) -> None:
    buyer = house.buyer()
    order = await house.buy(await house.sale(), buyer)
    provider = house.till.sandbox.provider
    monkeypatch.setattr(provider, "_url", "http://127.0.0.1:9")
    away = await house.pay(order, buyer)
    assert (away.status, away.code) == (503, "provider_unavailable")
    assert int(away.headers["Retry-After"]) > 0
    monkeypatch.undo()
    again = await house.pay(order, buyer)
    assert (again.status, again.json["state"]) == (201, "open")
    assert again.headers["Idempotency-Replayed"] == "true"


async def test_what_a_deposit_was_promised_is_shown(house: House) -> None:
    ships = "2030-03-01T00:00:00.000Z"
    sale = await house.sale(kind="preorder", items=[item(deposit=DEPOSIT, ships_at=ships)])
    buyer = house.buyer()
    order = await house.paid(sale, buyer)
    assert (await house.read(order, buyer))["ships_at"] == ships
    await house.shop.pool.execute(
        """INSERT INTO balances (order_id, sale_id, opens_at, due_at, ends_at)
        VALUES ($1, $2, $3, $3, $3)""",
        order,
        sale,
        datetime(2031, 1, 1, tzinfo=UTC),
    )
    await house.shop.pool.execute(
        "INSERT INTO preorder_queues (sale_id, item, step) VALUES ($1, 0, 1)", sale
    )
    await house.shop.pool.execute(
        """INSERT INTO deposits
            (sale_id, item, joined_step, order_id, quantity, received_at, event_id, promised_at)
        VALUES ($1, 0, 1, $2, 1, now(), 'evt', $3)""",
        sale,
        order,
        datetime(2030, 3, 1, tzinfo=UTC),
    )
    shown = await house.read(order, buyer)
    assert shown["balance_due_at"] == "2031-01-01T00:00:00.000Z"
    assert shown["ships_at"] == ships
