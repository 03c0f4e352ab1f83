"""Cancelling over HTTP: unpaid at once, paid as the sale has promised, and never against it."""

from __future__ import annotations

import asyncio

import pytest

from flashsale.domain.orders import OrderAction, OrderState, transition
from tests.sales.shop import item
from tests.web.house import House, Reply
from tests.web.till import callback

DEPOSIT = {"amount": 100, "currency": "CNY"}
PRICE = {"amount": 199900, "currency": "CNY"}
NOTHING = {"amount": 0, "currency": "CNY"}
_S, _A = OrderState, OrderAction
STATES = sorted(set(_S) - {_S.RESERVED})


async def cancel(house: House, order: str, buyer: str) -> Reply:
    return await house.call("POST", f"/v1/orders/{order}/cancel", bearer=house.token(buyer))


def _ends_unpaid(state: OrderState) -> bool:
    return transition(state, _A.CANCEL) is not None


@pytest.mark.parametrize(
    "state",
    [
        state
        for state in STATES
        if not _ends_unpaid(state)
        and transition(state, _A.REFUND) is None
        and state not in {_S.CANCELLED, _S.REFUNDED}
    ],
)
async def test_what_cannot_be_cancelled_stays(house: House, state: OrderState) -> None:
    order, buyer = await house.stand(state)
    reply = await cancel(house, order, buyer)
    expired = state is _S.EXPIRED
    code = (410, "hold_expired") if expired else (409, "order_not_cancellable")
    assert (reply.status, reply.code) == code
    assert (await house.read(order, buyer))["state"] == state.value


@pytest.mark.parametrize("state", [_S.ALLOCATED, _S.BALANCE_DUE])
async def test_what_was_allocated_is_the_buyers_to_pay_for(house: House, state: OrderState) -> None:
    order, buyer = await house.stand(state, kind="preorder", items=[item(deposit=DEPOSIT)])
    reply = await cancel(house, order, buyer)
    assert (reply.status, reply.code) == (409, "order_not_cancellable")
    assert (await house.read(order, buyer))["state"] == state.value


async def test_a_paid_order_is_cancelled_as_the_sale_has_promised(house: House) -> None:
    sale, buyer = await house.sale(), house.buyer()
    order = await house.paid(sale, buyer)
    answers = await asyncio.gather(*(cancel(house, order, buyer) for _ in range(3)))
    assert {each.status for each in answers} == {200}, [each.text for each in answers]
    await house.dispatch()
    gone = await house.read(order, buyer)
    assert (gone["state"], gone["amount_due"]) == ("refunded", NOTHING)
    asked = await house.shop.pool.fetch("SELECT amount FROM refunds WHERE order_id = $1", order)
    assert [row["amount"] for row in asked] == [199900]
    stock = (await house.manage("GET", f"/sales/{sale}")).json["items"][0]["stock"]
    assert (stock["available"], stock["sold"]) == (10, 0)


async def test_a_paid_order_stays_where_the_sale_says_so(house: House) -> None:
    buyer = house.buyer()
    order = await house.paid(await house.sale(cancellation={"paid": "refused"}), buyer)
    reply = await cancel(house, order, buyer)
    assert (reply.status, reply.code) == (409, "order_not_cancellable")
    assert (await house.read(order, buyer))["state"] == "paid"


async def test_after_its_minutes_a_paid_order_stays(house: House) -> None:
    sale, buyer = await house.sale(cancellation={"paid": "refund", "within_minutes": 30}), "minutes"
    order = await house.paid(sale, buyer)
    await house.shop.pool.execute(
        "UPDATE payments SET captured_at = captured_at - interval '31 minutes' WHERE order_id = $1",
        order,
    )
    reply = await cancel(house, order, buyer)
    assert (reply.status, reply.code) == (409, "order_not_cancellable")


async def test_an_order_that_is_closing_takes_nothing_else(house: House) -> None:
    buyer = house.buyer()
    order = await house.paid(await house.sale(), buyer)
    await house.shop.pool.execute("UPDATE orders SET closing = 'changing' WHERE id = $1", order)
    reply = await cancel(house, order, buyer)
    assert (reply.status, reply.code) == (409, "order_closing")
    assert int(reply.headers["Retry-After"]) > 0


async def test_a_buyer_who_cancels_while_paying_gets_late_money_back(house: House) -> None:
    sale, buyer = await house.sale(), house.buyer()
    order = await house.buy(sale, buyer)
    payment = (await house.pay(order, buyer)).json
    await house.settle()
    assert (await house.read(order, buyer))["state"] == "paying"
    gone = await cancel(house, order, buyer)
    assert (gone.status, gone.json["state"]) == (200, "cancelled")
    assert (await house.tell(callback("captured", payment))).status == 200
    for _ in range(2):
        await house.dispatch()
    shown = await house.read(order, buyer)
    assert shown["state"] == "cancelled"
    (late,) = shown["payments"]
    assert late["captured"] == PRICE
    assert late["note"]
    asked = await house.shop.pool.fetch("SELECT cause FROM refunds WHERE order_id = $1", order)
    assert [row["cause"] for row in asked] == ["late"]
