"""Lots and promised dates as the merchant commands them, with every refusal."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flashsale.preorders import errors
from flashsale.sales import errors as sale_errors
from tests.preorders.test_clock import listen, told
from tests.preorders.yard import HOUR, MERCHANT, NOW, SALE, order_id

DAY = 24 * HOUR


async def wave(yard, quantity: int, ships_at, name: str) -> str:
    await yard.pool.execute(
        """INSERT INTO supplies (id, sale_id, item, quantity, at, reason, state, applied_at,
            ships_at) VALUES ($1, $2, 0, $3, now(), 'r', 'applied', clock_timestamp(), $4)""",
        name, SALE, quantity, ships_at,
    )  # fmt: skip
    await yard.pool.execute(
        "UPDATE sale_items SET capacity = capacity + $1 WHERE item = 0", quantity
    )
    return name


async def waves(yard) -> dict[str, str]:
    rows = await yard.pool.fetch(
        """SELECT o.buyer_id, d.wave FROM deposits d JOIN orders o ON o.id = d.order_id
            WHERE d.left_step IS NULL"""
    )
    return {row["buyer_id"]: row["wave"] for row in rows}


async def test_a_place_in_the_cap_is_a_promised_date(yard):
    await yard.pool.execute("UPDATE sale_items SET capacity = 2 WHERE item = 0")
    await wave(yard, 2, NOW + 130 * DAY, "sup_later")
    for number, buyer in enumerate("abcd"):
        await yard.deposit(buyer, at=number * timedelta(minutes=1) - HOUR)
    await yard.tick()
    assert await waves(yard) == {"a": "", "b": "", "c": "sup_later", "d": "sup_later"}
    promise = await yard.service.promise_of(order_id("c"))
    assert promise.ships_at_ms == promise.promised_at_ms
    assert promise.ships_at_ms == int((NOW + 130 * DAY).timestamp() * 1000)
    await yard.set_state(order_id("a"), "refunded")
    await yard.deposit("e", at=-timedelta(minutes=1))
    await yard.tick()
    assert (await waves(yard))["e"] == ""  # the place that was given back


async def test_moving_a_date_tells_those_affected_and_frees_them_for_a_while(yard):
    await listen(yard)
    await wave(yard, 500, NOW + 130 * DAY, "sup_later")
    for number, buyer in enumerate("abc"):
        await yard.deposit(buyer, at=number * timedelta(minutes=1) - HOUR)
    await yard.tick()
    moved = await yard.move_date(NOW + 120 * DAY)
    assert (moved.before_ms, moved.wave) == (int((NOW + 100 * DAY).timestamp() * 1000), None)
    await yard.tick(HOUR, round_max=2)
    assert await told(yard, "order.ship_date_moved") == [order_id(buyer) for buyer in "abc"]
    async with yard.pool.acquire() as connection:
        assert await yard.service.may_cancel_freely(connection, order_id("a"))
    promise = await yard.service.promise_of(order_id("a"))
    assert promise.ships_at_ms == int((NOW + 120 * DAY).timestamp() * 1000)
    assert promise.promised_at_ms == moved.before_ms
    await yard.deposit("late", at=2 * HOUR)
    await yard.tick(3 * HOUR)
    async with yard.pool.acquire() as connection:
        assert not await yard.service.may_cancel_freely(connection, order_id("late"))
        yard.now = NOW + 14 * DAY
        assert not await yard.service.may_cancel_freely(connection, order_id("a"))
    assert len(await told(yard, "order.ship_date_moved")) == 3


async def test_a_wave_is_moved_by_its_supply_and_the_history_is_kept(yard):
    await wave(yard, 5, NOW + 130 * DAY, "sup_later")
    first = await yard.move_date(NOW + 140 * DAY, wave="sup_later")
    yard.now += HOUR
    second = await yard.move_date(NOW + 150 * DAY, wave="sup_later", key="date-2")
    assert second.before_ms == first.ships_at_ms
    page = await yard.service.list_ship_dates(MERCHANT, SALE, None, 1)
    assert [each.id for each in page.items] == [first.id]
    rest = await yard.service.list_ship_dates(MERCHANT, SALE, page.next_cursor, 5)
    assert ([each.id for each in rest.items], rest.next_cursor) == ([second.id], None)
    base = await yard.pool.fetchval("SELECT ships_at FROM sale_items WHERE item = 0")
    assert base == NOW + 100 * DAY


async def test_the_same_key_is_the_same_command(yard):
    lot = await yard.lot(5, key="k")
    assert await yard.lot(5, key="k") == lot
    assert await yard.free() == 5
    with pytest.raises(errors.KeyReusedError):
        await yard.lot(6, key="k")
    moved = await yard.move_date(NOW + 120 * DAY)
    assert await yard.move_date(NOW + 120 * DAY) == moved
    with pytest.raises(errors.KeyReusedError):
        await yard.move_date(NOW + 121 * DAY)


async def test_lots_are_listed_in_pages(yard):
    lots = [await yard.lot(number + 1) for number in range(3)]
    page = await yard.service.list_lots(MERCHANT, SALE, None, 2)
    assert [each.id for each in page.items] == [each.id for each in lots[:2]]
    rest = await yard.service.list_lots(MERCHANT, SALE, page.next_cursor, 2)
    assert ([each.id for each in rest.items], rest.next_cursor) == ([lots[2].id], None)
    for listing in (yard.service.list_lots, yard.service.list_ship_dates):
        with pytest.raises(sale_errors.ValidationFailedError):
            await listing(MERCHANT, SALE, "lot_of_nobody", 2)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("", sale_errors.UnknownSkuError),
        ("UPDATE sales SET state = 'cancelled'", sale_errors.IllegalTransitionError),
        ("UPDATE sales SET state = 'draft'", sale_errors.IllegalTransitionError),
        ("UPDATE sales SET kind = 'launch', preorder = NULL", errors.NotAPreorderError),
    ],
)
async def test_what_a_sale_does_not_allow_is_refused(yard, change: str, error: type[Exception]):
    sku = "gold" if change else "lead"
    if change:
        await yard.pool.execute(change)
    with pytest.raises(error):
        await yard.lot(5, sku=sku)
    with pytest.raises(error):
        await yard.move_date(NOW + 120 * DAY, sku=sku)
    assert await yard.pool.fetchval("SELECT count(*) FROM lots") == 0


async def test_dates_that_make_no_sense_are_refused(yard):
    with pytest.raises(errors.UnknownWaveError):
        await yard.move_date(NOW + 120 * DAY, wave="sup_none")
    for ships_at in (NOW - HOUR, NOW + 100 * DAY):
        with pytest.raises(sale_errors.ValidationFailedError):
            await yard.move_date(ships_at)
    with pytest.raises(sale_errors.UnknownSaleError):
        await yard.service.list_lots("somebody-else", SALE, None, 5)
    assert await yard.pool.fetchval("SELECT count(*) FROM ship_dates") == 0
