"""A SKU that joins a running sale: Postgres first, then every lane, finished after a crash."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from flashsale.domain.outcomes import Status
from flashsale.reconciliation.audit import audit
from flashsale.reservation.errors import LaneLostError
from flashsale.reservation.inspector import LaneInspector
from flashsale.sales import queries
from flashsale.sales.effects import bring_in_line
from flashsale.sales.errors import EffectPendingError, IllegalTransitionError, ValidationFailedError
from flashsale.sales.forms import ItemForm, parse_form
from flashsale.sales.supply import carry_out
from flashsale.sales.values import SaleFacts, SupplyState
from tests.sales.shop import Shop, item, now, rfc3339

NEW = "mi3-silver"


async def add(shop: Shop, sale: SaleFacts, supply: int = 5, **changes) -> SaleFacts:
    form = parse_form(ItemForm, item(NEW, supply=supply, **changes))
    return await shop.service.add_item(shop.merchant, sale.id, form)


async def known_to_postgres(shop: Shop, sale: SaleFacts, supply: int = 5) -> SaleFacts:
    """What a crash leaves between the two stores."""
    form = parse_form(ItemForm, item(NEW, supply=supply))
    async with queries.sale_lock(shop.pool, sale.id) as transaction:
        await queries.add_item(transaction, sale, form)
    return await shop.service.facts(sale.id)


@pytest.mark.parametrize("state", ["scheduled", "open", "paused"])
async def test_it_is_sold_at_once(shop: Shop, state: str):
    starts = now() + timedelta(hours=1 if state == "scheduled" else 0)
    sale = await shop.scheduled(
        starts_at=rfc3339(starts), ends_at=rfc3339(starts + timedelta(hours=1))
    )
    if state == "paused":
        await shop.service.pause(shop.merchant, sale.id)
    added = await add(shop, sale)
    assert [each.sku for each in added.items] == ["mi3-16", NEW]
    assert added.revision > sale.revision
    stock = await shop.stock(sale, item=1)
    assert (stock.capacity, stock.available) == (5, 5)
    assert (await shop.stock(sale)).capacity == 10


async def test_lanes_share_it(shop: Shop):
    sale = await shop.scheduled(lanes=3)
    await add(shop, sale, supply=5)
    assert [(await shop.stock(sale, lane, 1)).capacity for lane in range(3)] == [2, 2, 1]


async def test_the_same_item_again_changes_nothing(shop: Shop):
    sale = await shop.scheduled()
    first = await add(shop, sale)
    await shop.supply(first, 3, sku=NEW)
    again = await add(shop, sale)
    assert len(again.items) == 2
    assert (await shop.stock(sale, item=1)).capacity == again.items[1].capacity == 8
    for changes in ({"supply": 6}, {"price": {"amount": 1, "currency": "CNY"}}, {"name": "Other"}):
        with pytest.raises(ValidationFailedError) as refusal:
            await add(shop, sale, **changes)
        assert [error.pointer for error in refusal.value.errors] == ["/sku"]


async def test_the_same_item_many_times_at_once_is_one(shop: Shop):
    sale = await shop.scheduled(lanes=2)
    added = await asyncio.gather(*(add(shop, sale, supply=6) for _ in range(6)))
    assert {len(each.items) for each in added} == {2}
    assert [(await shop.stock(sale, lane, 1)).capacity for lane in range(2)] == [3, 3]


async def test_without_the_lock_two_items_would_want_one_number(shop: Shop):
    """The control: what both read before either writes is the same place."""
    sale = await shop.scheduled()
    forms = [parse_form(ItemForm, item(name)) for name in ("a", "b")]
    async with shop.pool.acquire() as connection:
        await queries.add_item(connection, sale, forms[0])
        with pytest.raises(Exception, match="duplicate key"):
            await queries.add_item(connection, sale, forms[1])
    added = await asyncio.gather(
        *(shop.service.add_item(shop.merchant, sale.id, form) for form in [forms[1], *forms])
    )
    assert [each.sku for each in (await shop.service.facts(sale.id)).items] == ["mi3-16", "a", "b"]
    assert len(added) == 3


@pytest.mark.parametrize("action", ["draft", "close", "cancel"])
async def test_refused_where_nothing_sells(shop: Shop, action: str):
    sale = await (shop.draft() if action == "draft" else shop.scheduled())
    if action != "draft":
        await getattr(shop.service, action)(shop.merchant, sale.id)
    with pytest.raises(IllegalTransitionError) as refusal:
        await add(shop, sale)
    assert refusal.value.state is (await shop.service.facts(sale.id)).state
    assert len((await shop.service.facts(sale.id)).items) == 1


async def test_a_crash_between_the_stores_is_finished(shop: Shop):
    sale = await known_to_postgres(shop, await shop.scheduled(lanes=2), supply=4)
    assert len((await shop.store.snapshot(sale.id, 0)).stock) == 1
    await shop.store.add_item(sale.id, 0, sale.epoch, 1, 2)  # the crash came after the first lane
    await bring_in_line(shop.pool, shop.store, sale.id)
    assert [(await shop.stock(sale, lane, 1)).capacity for lane in range(2)] == [2, 2]


@pytest.mark.parametrize("state", ["closed", "cancelled"])
async def test_a_crash_before_the_end_of_the_sale_is_finished_after_it(shop: Shop, state: str):
    """Nobody can buy it any more, but both stores count what there is of it."""
    sale = await known_to_postgres(shop, await shop.scheduled(lanes=2), supply=4)
    await shop.store.add_item(sale.id, 0, sale.epoch, 1, 2)  # the crash came after the first lane
    await shop.pool.execute("UPDATE sales SET state = $2 WHERE id = $1", sale.id, state)
    await bring_in_line(shop.pool, shop.store, sale.id)
    assert [(await shop.stock(sale, lane, 1)).capacity for lane in range(2)] == [2, 2]
    (report,) = await audit(shop.pool, LaneInspector(shop.redis), sale.id)
    assert report.broken == ()


async def test_supply_waits_for_its_item_and_is_counted_once(shop: Shop):
    sale = await known_to_postgres(shop, await shop.scheduled(), supply=4)
    with pytest.raises(EffectPendingError):
        await shop.supply(sale, 3, sku=NEW)
    (pending,) = (await shop.service.list_supplies(shop.merchant, sale.id)).items
    assert pending.state is SupplyState.PENDING
    with pytest.raises(LaneLostError):
        await carry_out(shop.pool, shop.store, pending.id)
    await bring_in_line(shop.pool, shop.store, sale.id)
    assert (await shop.stock(sale, item=1)).capacity == 4
    assert (await carry_out(shop.pool, shop.store, pending.id)).state is SupplyState.APPLIED
    assert (await shop.stock(sale, item=1)).capacity == 7
    assert (await shop.service.facts(sale.id)).items[1].capacity == 7


async def test_a_sale_armed_before_it_knew_the_item_learns_of_it(shop: Shop):
    """Whoever armed had read the sale before the item joined it."""
    sale = await shop.draft()
    await shop.set_columns(sale, "state = 'scheduled'")
    await known_to_postgres(shop, sale)
    status = await shop.store.open_sale(sale.id, 0, sale.epoch, sale.terms, [10])
    assert status is Status.OPENED
    await bring_in_line(shop.pool, shop.store, sale.id)
    counted = (await shop.store.snapshot(sale.id, 0)).stock
    assert [stock.capacity for stock in counted] == [10, 5]
