"""Two things at once to one order: one of them wins, and units and money say the same.

Each race has a control that goes wrong without the lock that decides it.
"""

from __future__ import annotations

import asyncio

import pytest

from flashsale.domain.orders import OrderState
from flashsale.orders.values import OrderView, Refusal
from flashsale.payments.provider import MoneyKind
from flashsale.payments.values import Begun, Cause, Closed, RefundAnswer, Shipped
from flashsale.sales.values import SaleFacts
from tests.payments.faults import Faults
from tests.payments.till import PRICE, Till
from tests.sales.shop import item

ROUNDS = 8


@pytest.fixture(scope="module")
async def sale(till: Till) -> SaleFacts:
    return await till.shop.scheduled(items=[item(supply=500)], per_buyer_limit=1)


async def paid_orders(till: Till, sale: SaleFacts, count: int = ROUNDS) -> list[str]:
    """Orders paid together."""
    buyers = [till.buyer() for _ in range(count)]
    orders = [await till.order(sale, buyer) for buyer in buyers]
    begun = await asyncio.gather(*map(till.begin, buyers, orders))
    await asyncio.gather(*(till.press(each.checkout_url, "pay") for each in begun))
    await till.calm()
    return orders


async def test_begin_and_begin(till: Till, sale: SaleFacts):
    buyer = till.buyer()
    order = await till.order(sale, buyer)
    other = till.broken_process(Faults())
    begun = await asyncio.gather(
        *(parts.payments.begin(buyer, order) for parts in (till.parts, other) for _ in range(10))
    )
    assert all(isinstance(each, Begun) for each in begun)
    assert len({each.payment.id for each in begun}) == 1
    assert len({each.payment.checkout_url for each in begun}) == 1
    assert sum(not each.replayed for each in begun) == 1
    assert len(await till.parts.payments.of_order(order)) == 1


async def test_without_the_orders_lock_both_would_begin(till: Till):
    await till.pool.execute("CREATE TABLE naive_payments (order_id text, attempt int)")
    looked = asyncio.Barrier(2)

    async def naive() -> None:
        before = await till.pool.fetchval("SELECT count(*) FROM naive_payments")
        await looked.wait()
        if before == 0:
            await till.pool.execute("INSERT INTO naive_payments VALUES ('o', 1)")

    await asyncio.gather(naive(), naive())
    assert await till.pool.fetchval("SELECT count(*) FROM naive_payments") == 2


async def test_payment_and_expiry(till: Till, sale: SaleFacts):
    """Units are left, so the buyer's money finds one whichever comes first."""
    buyers = [till.buyer() for _ in range(ROUNDS)]
    orders = [await till.order(sale, buyer) for buyer in buyers]
    begun = [await till.begin(buyer, order) for buyer, order in zip(buyers, orders, strict=True)]
    for payment, order in zip(begun, orders, strict=True):
        await till.press(payment.checkout_url, "pay")
        await till.run_out(sale, order)
    await asyncio.gather(
        *(till.parts.applying.apply(payment.id) for payment in begun),
        *(till.shop.store.expire_due(sale.id, 0, sale.epoch, 2) for _ in range(ROUNDS)),
        till.settle(),
    )
    await till.calm()
    assert {await till.state(order) for order in orders} == {OrderState.PAID}
    await till.audit(sale)


async def test_payment_and_cancel(till: Till, sale: SaleFacts):
    """Unpaid it is cancelled and the money goes back; paid it is given back by the policy."""
    buyers = [till.buyer() for _ in range(ROUNDS)]
    orders = [await till.order(sale, buyer) for buyer in buyers]
    begun = [await till.begin(buyer, order) for buyer, order in zip(buyers, orders, strict=True)]
    for payment in begun:
        await till.press(payment.checkout_url, "pay")

    async def cancel(buyer, order: str) -> object:
        async with asyncio.TaskGroup() as group:
            answer = group.create_task(till.parts.cancelling.cancel(buyer, order))
            group.create_task(till.settle())
        return answer.result()

    answers = await asyncio.gather(
        *(till.parts.applying.apply(payment.id) for payment in begun),
        *(cancel(buyer, order) for buyer, order in zip(buyers, orders, strict=True)),
    )
    await till.calm()
    for order, answer in zip(orders, answers[ROUNDS:], strict=True):
        state, refunds = await till.state(order), await till.refunds(order)
        if isinstance(answer, OrderView):
            assert state in {OrderState.CANCELLED, OrderState.REFUNDED}
            assert [each[1:] for each in refunds] == [(PRICE, "done")]
        else:
            assert (answer, state) == (Refusal("payment_in_progress"), OrderState.PAID)
            assert refunds == []
    await till.audit(sale)


async def test_cancel_and_cancel(till: Till, sale: SaleFacts):
    buyer = till.buyer()
    order = await till.paid(sale, buyer)
    answers = await asyncio.gather(*(till.parts.cancelling.cancel(buyer, order) for _ in range(10)))
    assert {each.state for each in answers} == {OrderState.REFUNDED}
    await till.calm()
    assert await till.refunds(order) == [("cancelled", PRICE, "done")]
    await till.audit(sale)


async def test_refund_and_refund(till: Till, sale: SaleFacts):
    whole, parts = await paid_orders(till, sale, 2)
    ask = till.parts.refunds.ask
    answers = await asyncio.gather(
        *(ask(till.shop.merchant, whole, f"key-{number}", None, "") for number in range(5)),
        *(till.parts.refunds.close(whole, Cause.CANCELLED) for _ in range(5)),
    )
    assert sum(isinstance(each, RefundAnswer | Closed) for each in answers) == 1
    halves = await asyncio.gather(
        *(ask(till.shop.merchant, parts, f"key-{n}", PRICE // 2 + 1, "") for n in range(5))
    )
    assert sum(isinstance(each, RefundAnswer) for each in halves) == 1
    assert halves.count(Refusal("refund_above_captured")) == 4
    same = await asyncio.gather(
        *(ask(till.shop.merchant, parts, "one", 1, "same") for _ in range(5))
    )
    assert sorted(each.replayed for each in same) == [False, True, True, True, True]
    await till.calm()
    assert sum(each[1] for each in await till.refunds(whole)) == PRICE
    assert sum(each[1] for each in await till.refunds(parts)) == PRICE // 2 + 2


async def test_without_the_lock_more_would_go_back_than_came_in(till: Till, sale: SaleFacts):
    order = await till.paid(sale)
    looked = asyncio.Barrier(2)

    async def naive(key: str) -> None:
        left = (await till.payment(f"{order}.f1")).left
        await looked.wait()
        if left >= PRICE:
            await till.pool.execute(
                """INSERT INTO refunds (id, payment_id, order_id, amount, currency, cause)
                    VALUES ($1, $2, $3, $4, 'CNY', 'merchant')""",
                *(f"{order}.{key}", f"{order}.f1", order, PRICE),
            )

    await asyncio.gather(naive("a"), naive("b"))
    assert sum(each[1] for each in await till.refunds(order)) == 2 * PRICE


async def test_refund_and_ship(till: Till, sale: SaleFacts):
    orders = await paid_orders(till, sale)
    merchant = till.shop.merchant
    answers = await asyncio.gather(
        *(till.parts.refunds.ask(merchant, order, "key", None, "") for order in orders),
        *(till.parts.fulfilment.ship(merchant, order, "SF", "1") for order in orders),
    )
    await till.calm()
    for order, refund, ship in zip(orders, answers[:ROUNDS], answers[ROUNDS:], strict=True):
        assert isinstance(refund, RefundAnswer) != isinstance(ship, Shipped), (refund, ship)
        shipped = isinstance(ship, Shipped)
        expected = OrderState.FULFILLED if shipped else OrderState.REFUNDED
        assert await till.state(order) is expected
        assert bool(await till.parts.fulfilment.shipment_of(order)) == shipped


async def test_without_the_lock_what_is_shipped_would_be_given_back(till: Till, sale: SaleFacts):
    order = await till.paid(sale)
    looked = asyncio.Barrier(2)

    async def naive(statement: str) -> int:
        state = await till.state(order)
        await looked.wait()
        if state is not OrderState.PAID:
            return 0
        await till.pool.execute(statement, order)
        return 1

    done = await asyncio.gather(
        naive("UPDATE orders SET state = 'fulfilled' WHERE id = $1"),
        naive("UPDATE orders SET closing = 'refunded' WHERE id = $1"),
    )
    assert sum(done) == 2
    await till.pool.execute("UPDATE orders SET state = 'paid', closing = NULL WHERE id = $1", order)


async def test_refund_and_a_second_capture(till: Till, sale: SaleFacts):
    """The second payment's money goes back, whether it comes before or after the refund."""
    buyer = till.buyer()
    order = await till.order(sale, buyer)
    first = await till.begin(buyer, order)
    await till.tell(first.id, MoneyKind.DECLINED)
    await till.calm()
    second = await till.begin(buyer, order)
    await till.press(second.checkout_url, "pay")
    await till.calm()
    await till.press(first.checkout_url, "pay")
    await asyncio.gather(
        till.parts.applying.apply(first.id),
        till.parts.refunds.ask(till.shop.merchant, order, "key", None, ""),
        till.parts.applying.apply(first.id),
    )
    await till.calm()
    assert await till.state(order) is OrderState.REFUNDED
    found = await till.refunds(order)
    assert sorted(each[0] for each in found) == ["duplicate", "merchant"]
    assert sum(each[1] for each in found) == 2 * PRICE
    assert await till.money(order) == 0


async def test_lines_of_two_lists_at_once(till: Till, sale: SaleFacts):
    """All of a list or nothing; twins of it find it done."""
    from flashsale.payments.values import Imported, LineRefusal, ShipmentLine

    orders = await paid_orders(till, sale, 4)
    lines = [ShipmentLine(n, order, "SF", str(n)) for n, order in enumerate(orders, start=2)]
    ship_all = till.parts.fulfilment.ship_all
    wrong = [*lines, lines[0]._replace(number=9), ShipmentLine(10, "nonsense", "SF", "1")]
    refused = await ship_all(till.shop.merchant, sale.id, wrong)
    assert refused == [
        LineRefusal(9, orders[0], "order_named_twice"),
        LineRefusal(10, "nonsense", "unknown_order"),
    ]
    assert {await till.state(order) for order in orders} == {OrderState.PAID}
    done = await asyncio.gather(
        ship_all(till.shop.merchant, sale.id, lines),
        ship_all(till.shop.merchant, sale.id, lines[::-1]),
    )
    assert sorted(done) == [Imported(0, 4), Imported(4, 0)]
