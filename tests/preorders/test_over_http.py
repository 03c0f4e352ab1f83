"""Pre-orders over HTTP: lots, another SKU, dates that move, balances; and every refusal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flashsale.payments.charges import Charges
from flashsale.preorders.balances import CHARGE
from flashsale.preorders.verify import verify_preorder
from tests.preorders.field import cancel, change, command, deposit, preorder, skus, state, tick
from tests.web.house import House
from tests.web.till import callback

DAY = timedelta(days=1)
LATER = "2040-06-01T00:00:00.000Z"


async def test_a_lot_is_given_to_the_first_deposit_whose_balance_is_then_paid(house: House):
    sale = await preorder(house)
    first, buyer = await deposit(house, sale)
    second, _ = await deposit(house, sale)
    lot = await command(house, sale, "lots", quantity=1)
    assert (lot.status, lot.json["quantity"], lot.json["allocated"]) == (201, 1, 0)
    await tick(house)
    assert [await state(house, order) for order in (first, second)] == [
        "balance_due",
        "deposit_paid",
    ]
    listed = (await house.manage("GET", f"/sales/{sale}/lots")).json
    assert [each["allocated"] for each in listed["items"]] == [1]
    shown = await house.read(first, buyer)
    assert shown["amount_due"] == {"amount": 900, "currency": "CNY"}
    assert shown["balance_due_at"]
    assert shown["ships_at"] == "2040-03-01T00:00:00.000Z"
    begun = await house.pay(first, buyer)
    assert (begun.json["purpose"], begun.json["amount"]["amount"]) == ("balance", 900)
    assert (await house.tell(callback("captured", begun.json))).status == 200
    await house.dispatch()
    assert await state(house, first) == "paid"
    assert all(check.holds for check in await verify_preorder(house.shop.pool, sale))


async def test_the_sku_can_be_changed_until_a_unit_is_allocated(house: House):
    sale = await preorder(house)
    order, buyer = await deposit(house, sale)
    changed = await change(house, order, buyer, "silver")
    assert (changed.status, changed.json["sku"]) == (200, "silver")
    await house.settle()
    assert (await house.read(order, buyer))["sku"] == "silver"
    assert await house.shop.pool.fetchval("SELECT closing FROM orders WHERE id = $1", order) is None
    await command(house, sale, "lots", sku="silver", quantity=1)
    await tick(house)
    assert await state(house, order) == "balance_due"
    late = await change(house, order, buyer, "gold")
    assert (late.status, late.code) == (409, "order_not_changeable")
    assert all(check.holds for check in await verify_preorder(house.shop.pool, sale))


async def test_the_sku_it_has_already_is_no_change(house: House):
    sale = await preorder(house)
    order, buyer = await deposit(house, sale)
    assert (await change(house, order, buyer, "gold")).status == 200
    assert await house.shop.pool.fetchval("SELECT count(*) FROM item_changes") == 0


@pytest.mark.parametrize(
    ("sku", "before", "code"),
    [
        ("lead", "", "unknown_sku"),
        ("silver", "UPDATE orders SET closing = 'refunded'", "order_closing"),
        ("silver", "UPDATE orders SET state = 'paid'", "order_not_changeable"),
        ("silver", "UPDATE sales SET state = 'cancelled'", "order_not_changeable"),
        ("gift", "UPDATE payments SET captured = 101", "price_below_paid"),
    ],
)
async def test_a_change_that_cannot_be_is_refused(house: House, sku: str, before: str, code: str):
    sale = await preorder(house)
    order, buyer = await deposit(house, sale)
    if before:
        await house.shop.pool.execute(before)
    reply = await change(house, order, buyer, sku)
    assert reply.code == code
    assert await house.shop.pool.fetchval("SELECT count(*) FROM item_changes") == 0


async def test_a_sku_that_is_sold_out_leaves_the_order_as_it_was(house: House):
    items = [each | {"supply": 1 if each["sku"] == "silver" else 9} for each in skus()]
    sale = await preorder(house, items=items)
    await deposit(house, sale, sku="silver")
    order, buyer = await deposit(house, sale)
    reply = await change(house, order, buyer, "silver")
    assert (reply.status, reply.code) == (409, "sold_out")
    row = await house.shop.pool.fetchrow("SELECT item, closing FROM orders WHERE id = $1", order)
    assert tuple(row) == (0, None)
    assert (await cancel(house, order, buyer)).json["state"] == "refunded"


async def test_another_buyers_order_is_unknown(house: House):
    sale = await preorder(house)
    order, _ = await deposit(house, sale)
    assert (await change(house, order, house.buyer(), "silver")).code == "unknown_order"
    assert (await change(house, "x" * 32, house.buyer(), "silver")).code == "unknown_order"


async def test_what_a_crash_leaves_of_a_change_is_carried_out_later(house: House):
    """Between the commit of the wish and the call of Redis, and after it."""
    sale = await preorder(house)
    changes = house.deps.preorders.changes
    for told in (False, True):
        order, buyer = await deposit(house, sale)
        async with house.shop.pool.acquire() as connection, connection.transaction():
            await connection.execute("UPDATE orders SET closing = 'changing' WHERE id = $1", order)
            await connection.execute(
                "INSERT INTO item_changes (order_id, item) VALUES ($1, 1)", order
            )
        if told:
            await house.shop.store.change_item(sale, 0, 1, order[12:], buyer, 1)
        for _ in range(3):
            await changes.enact(order)
        await house.settle()
        assert (await house.read(order, buyer))["sku"] == "silver"
        assert await house.shop.pool.fetchval(
            "SELECT closing IS NULL FROM orders WHERE id = $1", order
        )


async def test_an_allocated_order_is_let_go_only_while_its_date_has_moved(house: House):
    sale = await preorder(house)
    order, buyer = await deposit(house, sale)
    await command(house, sale, "lots", quantity=1)
    await tick(house)
    kept = await cancel(house, order, buyer)
    assert (kept.status, kept.code) == (409, "order_not_cancellable")
    moved = await command(house, sale, "ship-dates", ships_at=LATER)
    assert (moved.status, moved.json["wave"]) == (201, None)
    listed = (await house.manage("GET", f"/sales/{sale}/ship-dates")).json["items"]
    assert listed == [moved.json]
    assert (await house.read(order, buyer))["ships_at"] == LATER
    free = await cancel(house, order, buyer)
    assert (free.status, free.json["state"]) == (200, "refunded")
    await house.dispatch()
    await tick(house)
    assert (await house.manage("GET", f"/sales/{sale}/lots")).json["items"][0]["allocated"] == 0
    assert all(check.holds for check in await verify_preorder(house.shop.pool, sale))


async def test_a_saved_deposit_is_charged_and_given_up_on_as_stated(house: House):
    sale = await preorder(house)
    order, _ = await deposit(house, sale)
    await command(house, sale, "lots", quantity=1)
    await tick(house)
    await tick(house, 4 * DAY)
    wished = "SELECT count(*) FROM outbox WHERE kind = $1 AND subject = $2"
    assert await house.shop.pool.fetchval(wished, CHARGE, order) == 1
    charge = await Charges(house.shop.pool, lambda: datetime.now(UTC)).charge_balance(order)
    assert (charge.purpose, charge.amount.amount) == ("balance", 900)
    await house.tell(callback("declined", {"id": charge.id, "amount": charge.amount._asdict()}))
    await house.dispatch()
    assert await state(house, order) == "balance_due"
    await tick(house, 6 * DAY)
    assert await state(house, order) == "forfeited"
    assert await house.shop.pool.fetchval("SELECT count(*) FROM refunds") == 0
    await tick(house)
    assert (await house.manage("GET", f"/sales/{sale}/lots")).json["items"][0]["allocated"] == 0


async def test_a_wave_may_promise_its_own_date(house: House):
    sale = await preorder(house, items=[each | {"supply": 2} for each in skus()])
    orders = [await deposit(house, sale) for _ in range(2)]
    body = {"sku": "gold", "quantity": 1, "reason": "more parts", "ships_at": LATER}
    wave = await house.manage("POST", f"/sales/{sale}/supply", body)
    assert (wave.status, wave.json["ships_at"]) == (201, LATER)
    orders.append(await deposit(house, sale))
    await tick(house)
    shown = [(await house.read(*order))["ships_at"] for order in orders]
    assert shown == ["2040-03-01T00:00:00.000Z"] * 2 + [LATER]
    moved = await command(
        house, sale, "ship-dates", ships_at="2040-07-01T00:00:00Z", wave=wave.json["id"]
    )
    assert (moved.status, moved.json["previous"]) == (201, LATER)
    launch = await house.sale()
    refused = await house.manage("POST", f"/sales/{launch}/supply", body | {"sku": "mi3-16"})
    assert refused.pointers == ["/ships_at"]


@pytest.mark.parametrize("call", ["lots", "ship-dates"])
async def test_commands_need_a_key_a_form_and_a_preorder(house: House, call: str):
    sale = await preorder(house)
    body = {"sku": "gold", "reason": "r"}
    body |= {"quantity": 1} if call == "lots" else {"ships_at": LATER}
    path = f"/sales/{sale}/{call}"
    assert (await house.manage("POST", path, body)).code == "idempotency_key_missing"
    key = {"Idempotency-Key": "k"}
    assert (await house.manage("POST", path, {"sku": "gold"}, headers=key)).code == (
        "validation_failed"
    )
    assert (await command(house, sale, call, **(body | {"sku": "lead"}))).code == "unknown_sku"
    launch = await house.sale()
    assert (await command(house, launch, call, **body)).code == "not_a_preorder"
    assert (await command(house, "a" * 12, call, **body)).code == "unknown_sale"
    first = await house.manage("POST", path, body, headers=key)
    again = await house.manage("POST", path, body, headers=key)
    assert (first.status, again.status, again.json) == (201, 201, first.json)
    other = await house.manage("POST", path, body | {"reason": "s"}, headers=key)
    assert (other.status, other.code) == (422, "idempotency_key_reused")
    strange = house.other.api_key
    assert (await house.manage("GET", path, bearer=strange)).code == "unknown_sale"
