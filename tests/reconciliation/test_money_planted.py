"""Each fault of money, planted among orders in order, breaks the equations it names, no other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import pytest

from tests.reconciliation.scene import Scene
from tests.reconciliation.till import DEPOSIT, PRICE, Till

PRICES = "kept of paid and fulfilled orders = price - refunds granted"
DEPOSITS = "kept of orders with a deposit = deposit - refunds granted"
UNPAID = "kept of orders unpaid, ended or refunded = 0"
IDLE = "kept of payments that pay no order = 0"
ONCE = "payments that count = orders and purposes that they pay"
CAPTURED = "captured of payments = captures in the money ledger"
REFUNDED = "refunded of payments = refunds in the money ledger"
FEES = "fees of payments = fees in the money ledger"
DONE = "refunded of payments = refunds done"
ASKED = "refunded of payments = what of it was asked to be refunded"
MOVEMENT = "captures and refunds applied = payments and refunds moved by them"
EVENT = "rows of the money ledger = events of the provider"
CURRENCY = "payments in another currency than their order = 0"
SHIPPED = "shipments = orders fulfilled"
UNAPPLIED = "payments whose outcome is late to reach the order = 0"
CLOSING = "orders whose closing is late to reach Redis = 0"


class Books(NamedTuple):
    """Orders in order, by their ids, and the payment that paid the first."""

    paid: str
    payment: str
    deposit: str
    refunded: str
    refund: str
    expired: str
    fulfilled: str


Plant = Callable[[Till, Books], Awaitable[object]]


async def _books(till: Till) -> Books:
    paid = await till.order("paid")
    payment = await till.capture(paid, PRICE)
    deposit = await till.order("deposit_paid")
    await till.capture(deposit, DEPOSIT, purpose="deposit")
    refunded = await till.order("refunded")
    back = await till.capture(refunded, PRICE)
    refund = await till.refund(back, refunded, PRICE, cause="cancelled")
    expired = await till.order("expired")
    await till.payment(expired, PRICE, state="void", applied=True)
    fulfilled = await till.paid_order("fulfilled")
    return Books(paid, payment, deposit, refunded, refund, expired, fulfilled)


def sql(*statements: str) -> Plant:
    """`{paid}` stands for the id of the paid order, and so on."""

    async def plant(till: Till, books: Books) -> None:
        for statement in statements:
            await till.run(statement.format(**books._asdict()))

    return plant


async def _twice(till: Till, books: Books) -> None:
    await till.run("DROP INDEX payments_count_once")
    await till.capture(books.paid, PRICE)


async def _refunded_twice(till: Till, books: Books) -> None:
    order = await till.order("refunded")
    await till.refund(await till.capture(order, 2 * PRICE), order, PRICE, cause="cancelled")
    await till.run(
        "UPDATE payments SET refunding = refunding + $2, refunded = refunded + $2"
        " WHERE order_id = $1",
        *(order, PRICE),
    )


async def _told_twice(till: Till, books: Books) -> None:
    """A callback's row, without the key that keeps it from being there twice."""
    await till.run("ALTER TABLE ledger_entries DROP CONSTRAINT ledger_entries_pkey")
    await till.run(
        "INSERT INTO ledger_entries SELECT * FROM ledger_entries WHERE payment_id = $1",
        books.payment,
    )


PLANTED: dict[str, tuple[Plant, set[str]]] = {
    "a row of the ledger dropped": (
        sql("DELETE FROM ledger_entries WHERE payment_id = '{payment}'"),
        {CAPTURED},
    ),
    "another fee in the ledger": (
        sql("UPDATE ledger_entries SET fee = 1 WHERE payment_id = '{payment}'"),
        {FEES},
    ),
    "a refund's row dropped": (
        sql("DELETE FROM ledger_entries WHERE refund_id = '{refund}'"),
        {REFUNDED},
    ),
    "another amount in the ledger": (
        sql("UPDATE ledger_entries SET amount = 1 WHERE payment_id = '{payment}'"),
        {CAPTURED},
    ),
    "a row applied to no payment": (
        sql(
            "UPDATE ledger_entries SET payment_id = NULL WHERE payment_id = '{payment}'",
        ),
        {CAPTURED, MOVEMENT},
    ),
    "an event told twice": (_told_twice, {CAPTURED, MOVEMENT, EVENT}),
    "an order paid without a capture": (
        lambda till, _: till.order("paid"),
        {PRICES},
    ),
    "an order paid with too little": (
        sql("UPDATE orders SET unit_amount = unit_amount + 1 WHERE id = '{paid}'"),
        {PRICES, "orders of another sale, item or price than they say = 0"},
    ),
    "a paid order's money does not count": (
        sql("UPDATE payments SET counts = false WHERE id = '{payment}'"),
        {PRICES, IDLE},
    ),
    "two payments count for one purpose": (_twice, {PRICES, ONCE}),
    "a deposit paid without a capture": (
        lambda till, _: till.order("deposit_paid"),
        {DEPOSITS},
    ),
    "a deposit that was not kept": (
        lambda till, _: _forfeited_and_refunded(till),
        {DEPOSITS},
    ),
    "cancelled with money left": (
        sql("UPDATE orders SET state = 'cancelled' WHERE id = '{paid}'"),
        {UNPAID, "the item's live counter = live units of its orders"},
    ),
    "late money kept": (
        lambda till, books: till.capture(books.expired, PRICE, counts=False),
        {IDLE},
    ),
    "refunded twice": (_refunded_twice, {REFUNDED, DONE}),
    "refunded once too often, all told": (
        lambda till, books: till.refund(books.payment, books.paid, PRICE, cause="duplicate"),
        {PRICES},
    ),
    "refunded without being asked": (
        sql(
            "ALTER TABLE payments DROP CONSTRAINT payments_check",
            "ALTER TABLE payments DROP CONSTRAINT payments_check1",
            "UPDATE payments SET refunding = 0 WHERE order_id = '{refunded}'",
        ),
        {ASKED},
    ),
    "a refund done that no payment knows": (
        sql("UPDATE payments SET refunded = 0, refunding = 0 WHERE order_id = '{refunded}'"),
        {UNPAID, REFUNDED, DONE},
    ),
    "another currency": (
        sql("UPDATE payments SET currency = 'EUR' WHERE id = '{payment}'"),
        {CURRENCY},
    ),
    "shipped without being fulfilled": (
        sql("INSERT INTO shipments VALUES ('{paid}', left('{paid}', 12), 'SF', '1')"),
        {SHIPPED},
    ),
    "fulfilled without a shipment": (
        sql("DELETE FROM shipments WHERE order_id = '{fulfilled}'"),
        {SHIPPED},
    ),
    "a checkout nobody swept": (
        lambda till, books: till.payment(books.expired, PRICE),
        {UNAPPLIED},
    ),
    "a capture that never reached its order": (
        sql("UPDATE payments SET applied_at = NULL WHERE id = '{payment}'"),
        {UNAPPLIED},
    ),
    "a closing that was wished for too long ago": (
        sql(
            "UPDATE orders SET closing = 'forfeited' WHERE id = '{deposit}'",
            "INSERT INTO outbox (kind, subject, created_at)"
            " VALUES ('return_units', '{deposit}', now() - interval '1 hour')",
        ),
        {CLOSING},
    ),
    "a closing that Redis never heard of": (
        sql("UPDATE orders SET closing = 'refunded' WHERE id = '{paid}'"),
        {CLOSING},
    ),
}


async def _forfeited_and_refunded(till: Till) -> None:
    order = await till.order("forfeited")
    payment = await till.capture(order, DEPOSIT, purpose="deposit")
    await till.refund(payment, order, DEPOSIT, cause="default")


@pytest.mark.parametrize("name", PLANTED)
async def test_it_is_caught(scene: Scene, name: str):
    till = Till(scene)
    await till.retire()
    books = await _books(till)
    assert await till.broken() == {}
    plant, expected = PLANTED[name]
    await plant(till, books)
    assert set(await till.broken()) == expected


async def test_what_is_wrong_is_said_with_numbers_and_names(scene: Scene):
    till = Till(scene)
    await till.retire()
    orders = {await till.order("paid") for _ in range(5)}
    check = (await till.broken())[PRICES]
    assert (check.left, check.right) == (0, PRICE)
    assert check.detail.endswith(" and 2 more")
    assert sum(order in check.detail for order in orders) == 3
