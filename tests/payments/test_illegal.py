"""Every call on an order in every state: what the table of transitions does not allow is refused.

The sale's lanes are retired, so that Postgres alone decides and any state can be put there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from flashsale.domain.orders import OrderAction, OrderState, is_live, transition
from flashsale.orders.values import OrderView, Refusal
from flashsale.payments import queries
from flashsale.payments.provider import MoneyKind
from flashsale.payments.values import Begun, Cause, Closed, Shipped
from flashsale.sales.values import SaleFacts
from tests.payments.till import PRICE, Till
from tests.sales.shop import item

_S, _A = OrderState, OrderAction
STATES = [state for state in OrderState if state is not _S.RESERVED]
#: Postgres may show what was declined as being paid still: Redis has the last word there.
BEGINS = {_S.CONFIRMED, _S.PAYING, _S.ALLOCATED, _S.BALANCE_DUE}


_PAID = """INSERT INTO payments (id, order_id, sale_id, merchant_id, purpose, attempt, provider,
    provider_ref, amount, currency, state, captured, counts, expires_at, captured_at, applied_at)
    VALUES ($1 || '.f1', $1, $2, $3, 'full', 1, 'sandbox', 'ref-' || $1, $4, 'CNY', 'captured',
    $4, true, now(), now(), now())"""
_SHIPPED = """INSERT INTO shipments (order_id, sale_id, carrier, tracking_number)
    VALUES ($1, $2, 'SF', '0')"""


@pytest.fixture(scope="module")
async def sale(till: Till) -> SaleFacts:
    return await till.shop.scheduled(items=[item(supply=500)], per_buyer_limit=1)


async def order_in(till: Till, sale: SaleFacts, state: OrderState) -> tuple[Any, str]:
    """A buyer and an order as history would have left it; its lanes are retired."""
    buyer = till.buyer()
    await till.shop.set_columns(sale, "retired_at = NULL")
    order = await till.order(sale, buyer)
    paid = state not in {_S.CONFIRMED, _S.PAYING, _S.EXPIRED, _S.CANCELLED, _S.REJECTED}
    if paid:
        await till.pool.execute(_PAID, order, sale.id, till.shop.merchant, PRICE)
    if state is _S.FULFILLED:
        await till.pool.execute(_SHIPPED, order, sale.id)
    await till.pool.execute("UPDATE orders SET state = $2 WHERE id = $1", order, state.value)
    if not is_live(state):
        await till.pool.execute("UPDATE sale_items SET live = live - 1 WHERE sale_id = $1", sale.id)
    await till.shop.set_columns(sale, "retired_at = now()")
    till.parts.desk.board.forget(sale.id)
    return buyer, order


async def rows(till: Till, order: str) -> list[Any]:
    """Everything that a refusal must leave as it is."""
    found: list[Any] = []
    for table, key in (
        ("orders", "id"),
        ("payments", "order_id"),
        ("refunds", "order_id"),
        ("shipments", "order_id"),
    ):
        found += await till.pool.fetch(f"SELECT * FROM {table} WHERE {key} = $1 ORDER BY 1", order)
    return [*found, *await till.pool.fetch("SELECT * FROM outbox WHERE subject ^@ $1", order)]


async def begin(till: Till, buyer: Any, order: str) -> object:
    return await till.parts.payments.begin(buyer, order)


async def cancel(till: Till, buyer: Any, order: str) -> object:
    return await till.parts.cancelling.cancel(buyer, order)


async def refund(till: Till, buyer: Any, order: str) -> object:
    return await till.parts.refunds.ask(till.shop.merchant, order, "key", None, "")


async def close(till: Till, buyer: Any, order: str) -> object:
    return await till.parts.refunds.close(order, Cause.DEFAULT)


async def forfeit(till: Till, buyer: Any, order: str) -> object:
    return await queries.transact(
        till.pool, lambda connection: till.parts.refunds.forfeit_in(connection, order)
    )


async def ship(till: Till, buyer: Any, order: str) -> object:
    return await till.parts.fulfilment.ship(till.shop.merchant, order, "SF", "1")


async def charge(till: Till, buyer: Any, order: str) -> object:
    return await till.parts.charges.charge_balance(order)


def by(*actions: OrderAction) -> set[OrderState]:
    return {state for state in STATES if any(transition(state, action) for action in actions)}


CALLS: list[tuple[Callable[..., Awaitable[object]], set[OrderState]]] = [
    (begin, BEGINS),
    # Cancelling what was given back answers the same again; what is allocated is to be paid for.
    (
        cancel,
        (by(_A.CANCEL, _A.REFUND) | {_S.CANCELLED, _S.REFUNDED}) - {_S.ALLOCATED, _S.BALANCE_DUE},
    ),
    (refund, by(_A.REFUND)),
    (close, by(_A.REFUND)),
    (forfeit, by(_A.FORFEIT)),
    (ship, by(_A.FULFIL)),
    (charge, by(_A.CAPTURE_BALANCE)),
]


@pytest.mark.parametrize("state", STATES)
async def test_calls_follow_the_table(till: Till, sale: SaleFacts, state: OrderState):
    for call, legal in CALLS:
        buyer, order = await order_in(till, sale, state)
        before = await rows(till, order)
        answer = await call(till, buyer, order)
        after = await rows(till, order)
        await till.pool.execute("DELETE FROM outbox")
        if state in legal:
            assert not isinstance(answer, Refusal), (call.__name__, answer)
            continue
        assert isinstance(answer, Refusal), (call.__name__, answer)
        assert after == before


@pytest.mark.parametrize("state", STATES)
async def test_money_follows_the_table(till: Till, sale: SaleFacts, state: OrderState):
    """A second payment, begun in time, is captured when the order is in whatever state."""
    buyer, order = await order_in(till, sale, _S.CONFIRMED)
    payment = await till.begin(buyer, order)
    await till.pool.execute("UPDATE orders SET state = $2 WHERE id = $1", order, state.value)
    if not is_live(state):
        await till.pool.execute("UPDATE sale_items SET live = live - 1 WHERE sale_id = $1", sale.id)
    await till.tell(payment.id, MoneyKind.CAPTURED)
    await till.parts.applying.apply(payment.id)
    after = transition(state, _A.CAPTURE)
    assert await till.state(order) is (after or state)
    refunds = [(cause, amount) for cause, amount, _ in await till.refunds(order)]
    assert refunds == ([] if after else [("late", PRICE)])
    assert (await till.payment(payment.id)).applied
    await till.pool.execute("DELETE FROM outbox")


@pytest.mark.parametrize("call", [call for call, _ in CALLS], ids=lambda call: call.__name__)
async def test_while_an_order_closes_nothing_else_is_decided(till: Till, sale: SaleFacts, call):
    buyer, order = await order_in(till, sale, _S.PAID)
    closed = await till.parts.refunds.close(order, Cause.DEFAULT)
    assert isinstance(closed, Closed)
    before = await rows(till, order)
    answer = await call(till, buyer, order)
    if call is cancel:
        assert isinstance(answer, OrderView), "it is given back already"
        assert answer.state is _S.REFUNDED
    else:
        assert isinstance(answer, Refusal)
        assert await rows(till, order) == before
    await till.pool.execute("DELETE FROM outbox")


async def test_strangers_and_nonsense_are_told_the_same(till: Till, sale: SaleFacts):
    buyer, order = await order_in(till, sale, _S.CONFIRMED)
    unknown = Refusal("unknown_order")
    for name in ("", "nonsense", order[:-1], order[:-4] + "AAAA", "a" * 12 + order[12:]):
        assert await begin(till, buyer, name) == unknown
        assert await cancel(till, buyer, name) == unknown
        assert await ship(till, buyer, name) == unknown
        assert await refund(till, buyer, name) == unknown
    assert await begin(till, till.buyer(), order) == unknown
    assert await begin(till, buyer._replace(merchant_id="another"), order) == unknown
    begun = await begin(till, buyer, order)
    assert isinstance(begun, Begun)
    assert isinstance(await ship(till, buyer, await _paid(till, sale)), Shipped)


async def _paid(till: Till, sale: SaleFacts) -> str:
    return (await order_in(till, sale, _S.PAID))[1]


async def test_an_order_on_its_way_to_postgres_is_to_be_asked_for_again(till: Till):
    sale, buyer = await till.shop.scheduled(), till.buyer()
    order = await till.order(sale, buyer, settled=False)
    assert await begin(till, buyer, order) == Refusal("order_not_confirmed")
    assert await begin(till, till.buyer(), order) == Refusal("unknown_order")
    await till.settle()
    assert isinstance(await begin(till, buyer, order), Begun)
