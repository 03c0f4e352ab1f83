"""Deposits and balances: the deposit takes the unit, the balance only the state."""

from __future__ import annotations

import pytest

from flashsale.domain.orders import OrderState
from flashsale.orders.values import Refusal
from flashsale.payments import queries
from flashsale.payments.provider import MoneyKind
from flashsale.payments.values import Cause, Closed, PaymentState, PaymentView, Purpose
from flashsale.sales.values import SaleFacts
from tests.payments.till import PRICE, Till
from tests.sales.shop import item

DEPOSIT = 100
STATES = [OrderState.ALLOCATED, OrderState.BALANCE_DUE]


async def with_deposit(till: Till) -> tuple[SaleFacts, object, str]:
    """A pre-order whose deposit is paid."""
    deposit = {"amount": DEPOSIT, "currency": "CNY"}
    sale = await till.shop.scheduled(kind="preorder", items=[item(deposit=deposit)])
    buyer = till.buyer()
    order = await till.order(sale, buyer, quantity=2)
    payment = await till.begin(buyer, order)
    assert (payment.purpose, payment.amount.amount) == (Purpose.DEPOSIT, 2 * DEPOSIT)
    await till.press(payment.checkout_url, "pay")
    await till.calm()
    assert await till.state(order) is OrderState.DEPOSIT_PAID
    assert await till.parts.payments.begin(buyer, order) == Refusal("nothing_due")
    return sale, buyer, order


async def put(till: Till, order: str, state: OrderState) -> None:
    """What allocation has decided; the order keeps its unit."""
    await till.pool.execute("UPDATE orders SET state = $2 WHERE id = $1", order, state.value)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("automatic", [True, False])
async def test_a_balance_is_paid(till: Till, state: OrderState, automatic: bool):
    sale, buyer, order = await with_deposit(till)
    await put(till, order, state)
    if automatic:
        payment = await till.parts.charges.charge_balance(order)
        assert isinstance(payment, PaymentView)
        again = await till.parts.charges.charge_balance(order)
        assert again == payment
        assert await till.parts.payments.begin(buyer, order) == Refusal("payment_in_progress")
    else:
        payment = await till.begin(buyer, order)
        in_progress = Refusal("payment_in_progress")
        assert await till.parts.charges.charge_balance(order) == in_progress
        await till.press(payment.checkout_url, "pay")
    assert payment.amount.amount == 2 * (PRICE - DEPOSIT)
    await till.calm()
    assert await till.state(order) is OrderState.PAID
    hold = await till.shop.store.find_hold(sale.id, 0, order[12:])
    assert hold.state is OrderState.DEPOSIT_PAID, "Redis is not told: the unit was sold before"
    await till.audit(sale)
    closed = await till.parts.refunds.close(order, Cause.MERCHANT)
    assert closed == Closed(order, 2 * PRICE)
    await till.calm()
    assert await till.state(order) is OrderState.REFUNDED
    assert sorted(each[1] for each in await till.refunds(order)) == [
        2 * DEPOSIT,
        2 * (PRICE - DEPOSIT),
    ]
    await till.audit(sale)


async def test_a_charge_that_is_declined_may_be_tried_again(till: Till):
    _, _, order = await with_deposit(till)
    await put(till, order, OrderState.BALANCE_DUE)
    first = await till.parts.charges.charge_balance(order)
    await till.tell(first.id, MoneyKind.DECLINED)
    await till.parts.applying.apply(first.id)
    assert await till.state(order) is OrderState.BALANCE_DUE
    await till.pool.execute("DELETE FROM outbox WHERE kind = 'charge_payment'")
    second = await till.parts.charges.charge_balance(order)
    assert second.id != first.id
    await till.calm()
    assert await till.state(order) is OrderState.PAID


async def test_a_deposit_is_kept_where_the_balance_never_came(till: Till):
    sale, _, order = await with_deposit(till)
    await put(till, order, OrderState.BALANCE_DUE)
    payment = await till.parts.charges.charge_balance(order)
    await till.pool.execute("DELETE FROM outbox WHERE kind = 'charge_payment'")
    kept = await queries.transact(
        till.pool, lambda connection: till.parts.refunds.forfeit_in(connection, order)
    )
    assert kept == Closed(order, 0)
    await till.calm()
    assert await till.state(order) is OrderState.FORFEITED
    assert await till.refunds(order) == []
    shut = await till.payment(payment.id)
    assert (shut.state, shut.applied) == (PaymentState.VOID, True)
    await till.tell(payment.id, MoneyKind.CAPTURED)
    await till.parts.applying.apply(payment.id)
    assert [each[:2] for each in await till.refunds(order)] == [("late", payment.amount.amount)]
    assert await till.state(order) is OrderState.FORFEITED
    assert (await till.shop.stock(sale)).available == 10
    await till.pool.execute("DELETE FROM outbox")


async def test_a_deposit_goes_back_as_a_whole(till: Till):
    sale, buyer, order = await with_deposit(till)
    answer = await till.parts.cancelling.cancel(buyer, order)
    assert answer.state is OrderState.REFUNDED
    await till.calm()
    assert await till.refunds(order) == [("cancelled", 2 * DEPOSIT, "done")]
    await till.audit(sale)


async def test_what_is_allocated_is_not_cancelled_unless_it_is_free_to(till: Till):
    _, buyer, order = await with_deposit(till)
    await put(till, order, OrderState.ALLOCATED)
    assert await till.parts.cancelling.cancel(buyer, order) == Refusal("order_not_cancellable")

    async def free(_: object, name: str) -> bool:
        return name == order

    till.parts.cancelling._free_cancel = free
    answer = await till.parts.cancelling.cancel(buyer, order)
    assert answer.state is OrderState.REFUNDED
    await till.calm()
