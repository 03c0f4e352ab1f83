"""What becomes an event: each state reached, once, in the transaction that reaches it."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from flashsale.domain.orders import TRANSITIONS, OrderAction, OrderState
from flashsale.domain.sales import SALE_TRANSITIONS, SaleState
from flashsale.settlement.settler import Settler
from flashsale.stream.reader import Delivery
from flashsale.webhooks.announce import announce
from flashsale.webhooks.values import EVENT_TYPES, TEST_TYPE
from tests.settlement.conftest import Lane
from tests.tidy.sources import ROOT
from tests.webhooks.conftest import SALE, Office, Receiver

QUIET = {OrderState.CONFIRMED, OrderState.PAYING}
STEPS = sorted({(source, target) for (source, _), target in TRANSITIONS.items()})


@pytest.mark.parametrize("state", [state for state in OrderState if state != "reserved"])
async def test_a_new_order_is_told_in_the_state_it_has(
    office: Office, receiver: Receiver, state: str
) -> None:
    await office.endpoint(receiver)
    await office.order("x", state)
    told = "confirmed" if state == "paying" else state
    assert await office.types() == [f"order.{told}"]
    assert f"order.{told}" in EVENT_TYPES


@pytest.mark.parametrize(("before", "after"), [step for step in STEPS if step[0] != "reserved"])
async def test_each_transition_gives_one_event(
    office: Office, receiver: Receiver, before: str, after: str
) -> None:
    order = await office.order("x", before)
    await office.endpoint(receiver)
    await office.move(order, after)
    quiet = after in QUIET or before == after
    assert await office.types() == ([] if quiet else [f"order.{after}"])
    # What moves no state says nothing, however often it is written.
    await office.pool.execute("UPDATE orders SET closing = 'refunded', decided_at = now()")
    assert len(await office.types()) == (0 if quiet else 1)


async def test_another_sku_is_a_change(office: Office, receiver: Receiver) -> None:
    assert TRANSITIONS[OrderState.DEPOSIT_PAID, OrderAction.CHANGE_SKU] == "deposit_paid"
    order = await office.order("x", "deposit_paid")
    await office.endpoint(receiver)
    await office.pool.execute("UPDATE orders SET item = 1 WHERE id = $1", order)
    assert await office.types() == ["order.changed"]
    await office.deliveries().deliver_due()
    assert receiver.told[0].json["data"] == {
        "order_id": order,
        "sale_id": SALE,
        "sku": "sku-1",
        "quantity": 1,
        "state": "deposit_paid",
        "buyer_id": "ann",
        "unit_price": {"amount": 1000, "currency": "CNY"},
    }


async def test_what_is_rolled_back_was_never_told(office: Office, receiver: Receiver) -> None:
    await office.endpoint(receiver)
    async with office.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            """INSERT INTO orders (id, sale_id, item, buyer_id, quantity, unit_amount, state,
                version, hold_expires_at, decided_at)
                VALUES ('x', $1, 0, 'b', 1, 1, 'paid', 1, now(), now())""",
            SALE,
        )
        assert await connection.fetchval("SELECT count(*) FROM webhook_deliveries") == 1
        await transaction.rollback()
    assert await office.types() == await office.states() == []


async def test_an_order_that_is_rejected_was_never_confirmed(
    office: Office, receiver: Receiver
) -> None:
    await office.endpoint(receiver)
    async with office.pool.acquire() as connection, connection.transaction():
        for order in ("fits", "not"):
            await connection.execute(
                """INSERT INTO orders (id, sale_id, item, buyer_id, quantity, unit_amount, state,
                    version, hold_expires_at, decided_at)
                    VALUES ($1, $2, 0, 'b', 1, 1, 'confirmed', 1, now(), now())""",
                order,
                SALE,
            )
        await connection.execute("UPDATE orders SET state = 'rejected' WHERE id = 'not'")
    rows = await office.pool.fetch("SELECT order_id, type FROM webhook_events ORDER BY id")
    assert [tuple(row) for row in rows] == [("fits", "order.confirmed"), ("not", "order.rejected")]
    assert await office.states() == ["pending", "pending"]


async def test_whoever_asked_is_told_and_nobody_else(office: Office, receiver: Receiver) -> None:
    every = await office.endpoint(receiver)
    paid = await office.endpoint(receiver, "order.paid")
    theirs = await office.endpoint(receiver, merchant="n")
    gone = await office.endpoint(receiver)
    await office.service().delete("m", gone.id)
    order = await office.order("x")
    await office.move(order, "paid")
    rows = await office.pool.fetch(
        """SELECT v.type, array_agg(d.endpoint_id ORDER BY d.endpoint_id) AS told
            FROM webhook_events v JOIN webhook_deliveries d ON d.event_id = v.id
            GROUP BY v.id ORDER BY v.id"""
    )
    assert [(row["type"], row["told"]) for row in rows] == [
        ("order.confirmed", [every.id]),
        ("order.paid", sorted([every.id, paid.id])),
    ]
    await office.order("y", sale="mnopqrstuvwx")
    assert await office.pool.fetch(
        "SELECT FROM webhook_deliveries WHERE endpoint_id = $1", theirs.id
    )


async def test_nobody_listening_leaves_nothing_behind(office: Office, receiver: Receiver) -> None:
    await office.endpoint(receiver, "sale.closed", merchant="n")
    order = await office.order("x")
    await office.move(order, "paid")
    assert not await office.tell("order.balance_reminder", order)
    assert await office.types() == []


async def test_events_of_settlement_out_of_order(
    office: Office, receiver: Receiver, redis_db: Redis
) -> None:
    """The end of an order arrives before its beginning: the end is told, and nothing after it."""
    await office.endpoint(receiver)
    lane = Lane(redis_db, office.pool)
    await lane.append(("R", "ann"), ("R", "bob"), ("R", "eve"))
    await lane.append(("X", "ann"), ("C", "bob"))
    read = await lane.reader().read_new(100)
    settler = Settler(office.pool)
    earlier, later = [Delivery([entry], (), read.raw) for entry in read.entries]
    await settler.settle(lane.catalogue, 0, later)
    assert sorted(await office.types()) == ["order.cancelled", "order.expired"]
    for _ in range(2):  # and once more, as after a crash before the acknowledgement
        await settler.settle(lane.catalogue, 0, earlier)
        assert sorted(await office.types()) == [
            "order.cancelled",
            "order.confirmed",
            "order.expired",
        ]


async def test_each_step_of_a_sale_is_told(office: Office, receiver: Receiver) -> None:
    await office.endpoint(receiver)
    names = {
        SaleState.SCHEDULED: "scheduled",
        SaleState.OPEN: "opened",
        SaleState.PAUSED: "paused",
        SaleState.CLOSED: "closed",
        SaleState.CANCELLED: "cancelled",
    }
    for (before, _), after in SALE_TRANSITIONS.items():
        await office.pool.execute("ALTER TABLE sales DISABLE TRIGGER webhooks_of_sales")
        await office.pool.execute("UPDATE sales SET state = $2 WHERE id = $1", SALE, before)
        await office.pool.execute("ALTER TABLE sales ENABLE TRIGGER webhooks_of_sales")
        await office.pool.execute("DELETE FROM webhook_events")
        await office.pool.execute("UPDATE sales SET state = $2 WHERE id = $1", SALE, after)
        await office.pool.execute(
            "UPDATE sales SET state = $2, name = 'T' WHERE id = $1", SALE, after
        )
        resumed = (before, after) == (SaleState.PAUSED, SaleState.OPEN)
        expected = f"sale.{'resumed' if resumed else names[after]}"
        assert await office.types() == [expected]
        assert expected in EVENT_TYPES


async def test_sold_out_is_told_once_for_each_capacity(office: Office, receiver: Receiver) -> None:
    await office.endpoint(receiver)
    deliveries = office.deliveries()
    assert await deliveries.announce_sold_out() == 0
    await office.pool.execute("UPDATE sale_items SET live = capacity WHERE item = 0")
    assert await deliveries.announce_sold_out() == 0  # the other SKU has units left
    await office.pool.execute("UPDATE sale_items SET live = capacity")
    found = await asyncio.gather(*(office.deliveries().announce_sold_out() for _ in range(4)))
    assert sum(found) == 1
    await office.pool.execute("UPDATE sale_items SET live = live - 1")
    await office.pool.execute("UPDATE sale_items SET live = capacity")
    assert await deliveries.announce_sold_out() == 0  # a unit came back and went again
    await office.pool.execute("UPDATE sale_items SET capacity = capacity + 5, live = capacity + 5")
    assert await deliveries.announce_sold_out() == 1
    assert await office.types() == ["sale.sold_out"] * 2
    assert await deliveries.announce_sold_out() == 0


async def test_announcing_joins_the_callers_transaction(office: Office, receiver: Receiver) -> None:
    await office.endpoint(receiver)
    order = await office.order("x")
    assert await office.tell("order.balance_reminder", order, due_at="2026-01-01T00:00:00.000Z")
    async with office.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        assert await announce(connection, "m", "order.paid", order, SALE, {})
        await transaction.rollback()
    await office.deliveries().deliver_due()
    assert receiver.types() == ["order.confirmed", "order.balance_reminder"]
    assert receiver.told[1].json["data"] == {
        "order_id": order,
        "sale_id": SALE,
        "due_at": "2026-01-01T00:00:00.000Z",
    }


@pytest.mark.parametrize("cause", ["late", "duplicate", "merchant"])
async def test_money_that_goes_back_by_itself_is_told(
    office: Office, receiver: Receiver, cause: str
) -> None:
    order = await office.order("x", "expired")
    await office.endpoint(receiver)
    await office.pool.execute(
        """INSERT INTO payments (id, order_id, sale_id, merchant_id, purpose, attempt, provider,
            amount, currency, captured, refunding, expires_at)
            VALUES ('pay', $1, $2, 'm', 'full', 1, 'none', 1000, 'CNY', 1000, 1000, now())""",
        order,
        SALE,
    )
    await office.pool.execute(
        """INSERT INTO refunds (id, payment_id, order_id, amount, currency, cause)
            VALUES ('back', 'pay', $1, 1000, 'CNY', $2)""",
        order,
        cause,
    )
    told = f"payment.{cause}_refunded"
    assert await office.types() == ([] if cause == "merchant" else [told])
    assert (told in EVENT_TYPES) is (cause != "merchant")
    await office.deliveries().deliver_due()
    for each in receiver.told:
        assert each.json["data"] == {
            "order_id": order,
            "sale_id": SALE,
            "payment_id": "pay",
            "refund_id": "back",
            "amount": {"amount": 1000, "currency": "CNY"},
        }


def test_the_page_for_receivers_names_every_type() -> None:
    page = (ROOT / "docs" / "webhooks.md").read_text()
    assert {name for name in (*EVENT_TYPES, TEST_TYPE) if f"`{name}`" not in page} == set()
