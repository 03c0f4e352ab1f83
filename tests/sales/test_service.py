"""The merchant's commands against real servers: what they leave in Postgres and in Redis."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from flashsale.access.queries import create_merchant
from flashsale.domain.outcomes import Status
from flashsale.domain.sales import SaleState
from flashsale.sales import errors
from flashsale.sales.effects import enact
from flashsale.sales.forms import SaleForm, parse_form
from tests.sales.shop import Shop, body, item, now, rfc3339

LATER = timedelta(minutes=5)
OVER = "starts_at = now() - interval '2 h', ends_at = now() - interval '1 h'"


def later() -> str:
    return rfc3339(now() + LATER)


async def test_a_draft_is_read_back_as_it_was_sent(shop: Shop):
    ships_at = "2027-01-01T00:00:00.500Z"
    form = parse_form(
        SaleForm, body(items=[item(), item("b", 5, ships_at=ships_at)], lanes=3, name="小米")
    )
    sale = await shop.service.create(shop.merchant, form)
    assert (sale.state, sale.revision, sale.armed, sale.is_public) == ("draft", 1, False, False)
    assert (sale.name, sale.lanes, sale.durability) == ("小米", 3, "strict")
    assert [(each.item, each.sku, each.capacity) for each in sale.items] == [
        (0, "mi3-16", 10),
        (1, "b", 5),
    ]
    assert sale.items[0].price == (199900, "CNY")
    assert sale.items[1].ships_at_ms == 1798761600500
    assert sale == await shop.service.get(shop.merchant, sale.id)


async def test_another_merchants_sale_is_unknown(shop: Shop):
    sale = await shop.draft()
    other = (await create_merchant(shop.pool, "Hongmi", now=now())).merchant_id
    for command in (shop.service.get, shop.service.schedule, shop.service.cancel):
        with pytest.raises(errors.UnknownSaleError):
            await command(other, sale.id)
    with pytest.raises(errors.UnknownSaleError):
        await shop.service.get(shop.merchant, "aaaaaaaaaaaa")
    assert (await shop.service.list(other)).items == []


async def test_scheduling_arms_every_lane_with_its_share(shop: Shop):
    sale = await shop.scheduled(items=[item(supply=10), item("b", 3)], lanes=4)
    assert (sale.state, sale.armed, sale.is_public) == ("scheduled", True, True)
    stocks = [(await shop.store.snapshot(sale.id, lane)).stock for lane in range(4)]
    assert [[stock.available for stock in lane] for lane in stocks] == [
        [3, 1],
        [3, 1],
        [2, 1],
        [2, 0],
    ]
    assert (await shop.store.snapshot(sale.id, 3)).terms == sale.terms
    assert (await shop.reserve(sale, "ada")).status is Status.RESERVED


async def test_nothing_is_sold_before_the_start(shop: Shop):
    sale = await shop.scheduled(starts_at=later())
    decision = await shop.reserve(sale, "ada")
    assert (decision.status, decision.at_ms) == (Status.NOT_OPEN, sale.starts_at_ms)


async def test_the_life_of_a_sale_reaches_redis(shop: Shop):
    sale, steps = await shop.scheduled(), []
    for command in (shop.service.pause, shop.service.resume, shop.service.close):
        state = (await command(shop.merchant, sale.id)).state
        again = (await command(shop.merchant, sale.id)).state
        assert again is state, "a repeated command answers the sale as it stands"
        steps.append((state, (await shop.reserve(sale, f"buyer of {state}")).status))
    assert steps == [
        (SaleState.PAUSED, Status.PAUSED),
        (SaleState.OPEN, Status.RESERVED),
        (SaleState.CLOSED, Status.SALE_OVER),
    ]
    cancelled = await shop.service.cancel(shop.merchant, (await shop.scheduled()).id)
    assert (await shop.store.snapshot(cancelled.id, 0)).state == "cancelled"


async def test_who_read_a_sale_before_it_was_paused_does_not_resume_it(shop: Shop):
    """As a timekeeper that stood still between its reading and its telling."""
    before = await shop.scheduled()
    await shop.service.pause(shop.merchant, before.id)
    await enact(shop.pool, shop.store, before)
    assert (await shop.store.snapshot(before.id, 0)).state == "paused"

    # The control: told under the newest revision it would sell.
    paused = await shop.service.facts(before.id)
    await enact(shop.pool, shop.store, dataclasses.replace(before, revision=paused.revision))
    assert (await shop.store.snapshot(before.id, 0)).state == "open"


async def test_a_cancelled_draft_never_was_public(shop: Shop):
    sale = await shop.service.cancel(shop.merchant, (await shop.draft()).id)
    assert (sale.state, sale.armed, sale.is_public) == ("cancelled", False, False)


@pytest.mark.parametrize(
    ("before", "action"),
    [
        ([], "pause"),
        ([], "resume"),
        ([], "close"),
        (["schedule"], "resume"),
        (["schedule", "close"], "schedule"),
        (["schedule", "close"], "pause"),
        (["schedule", "close"], "cancel"),
        (["schedule", "cancel"], "close"),
        (["cancel"], "schedule"),
    ],
)
async def test_illegal_transitions_change_nothing(shop: Shop, before, action):
    # Before its start, so that a scheduled sale is not taken for an open one.
    sale = await shop.draft(starts_at=later())
    for step in before:
        sale = await getattr(shop.service, step)(shop.merchant, sale.id)
    with pytest.raises(errors.IllegalTransitionError):
        await getattr(shop.service, action)(shop.merchant, sale.id)
    assert sale == await shop.service.facts(sale.id)


async def test_a_sale_past_its_end_counts_as_closed(shop: Shop):
    sale = await shop.scheduled()
    sale = await shop.set_columns(sale, OVER)
    for command in (shop.service.pause, shop.service.cancel):
        with pytest.raises(errors.IllegalTransitionError):
            await command(shop.merchant, sale.id)
    assert (await shop.service.close(shop.merchant, sale.id)).state is SaleState.CLOSED
    draft = await shop.draft()
    await shop.set_columns(draft, OVER)
    with pytest.raises(errors.ValidationFailedError):
        await shop.service.schedule(shop.merchant, draft.id)


async def test_a_draft_takes_every_edit(shop: Shop):
    sale = await shop.draft()
    await shop.supply(sale, 5)
    sale = await shop.service.facts(sale.id)
    edited = await shop.patch(
        sale, name="Mi 4", items=[item("b", 7), item("c", 8)], lanes=2, starts_at=later()
    )
    assert (edited.name, edited.lanes, edited.revision) == ("Mi 4", 2, sale.revision + 1)
    assert [(each.sku, each.capacity) for each in edited.items] == [("b", 7), ("c", 8)]
    assert edited.starts_at_ms > sale.starts_at_ms
    assert edited.per_buyer_limit == sale.per_buyer_limit


async def test_an_edit_reaches_the_lanes(shop: Shop):
    sale = await shop.scheduled(starts_at=later(), lanes=2)
    edited = await shop.patch(sale, starts_at=rfc3339(now()), per_buyer_limit=1, hold_seconds=5)
    for lane in range(2):
        snapshot = await shop.store.snapshot(sale.id, lane)
        assert snapshot.terms == edited.terms
        assert snapshot.stock[0].capacity == 5


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"items": [item()]}, "/items"),
        ({"lanes": 2}, "/lanes"),
        ({"starts_at": later()}, "/starts_at"),
        ({"hold_seconds": 5}, "/hold_seconds"),
        ({"per_buyer_limit": 1}, "/per_buyer_limit"),
        ({"durability": "relaxed"}, "/durability"),
    ],
)
async def test_a_running_sale_takes_only_safe_edits(shop: Shop, changes, pointer):
    sale = await shop.scheduled()
    with pytest.raises(errors.UnsafeEditError) as refusal:
        await shop.patch(sale, **changes)
    assert [error.pointer for error in refusal.value.errors] == [pointer]
    edited = await shop.patch(
        sale, name="Mi 3!", ends_at=later(), per_buyer_limit=3, published_supply=True
    )
    assert (await shop.store.snapshot(sale.id, 0)).terms == edited.terms
    with pytest.raises(errors.UnsafeEditError):
        await shop.patch(await shop.service.close(shop.merchant, sale.id), name="over")


async def test_an_edit_is_checked_against_what_stays(shop: Shop):
    sale = await shop.draft()
    for changes, pointer in (
        ({"per_buyer_limit": 11}, "/per_buyer_limit"),
        ({"starts_at": rfc3339(now() + timedelta(days=1))}, "/ends_at"),
        ({"kind": "draw"}, "/kind"),
    ):
        with pytest.raises(errors.ValidationFailedError) as refusal:
            await shop.patch(sale, **changes)
        assert [error.pointer for error in refusal.value.errors] == [pointer]


async def test_a_stale_edit_changes_nothing(shop: Shop):
    sale = await shop.draft()
    edited = await shop.patch(sale, name="first")
    with pytest.raises(errors.StaleRevisionError):
        await shop.patch(sale, name="second")
    assert await shop.patch(edited) == edited, "an empty edit is no edit"


async def test_lists_are_paged_without_gaps_or_repeats(shop: Shop):
    made = [await shop.scheduled() for _ in range(5)]
    await shop.draft()
    for read, count in ((shop.service.list_public, 5), (_mine(shop), 6)):
        seen, cursor = [], None
        while True:
            page = await read(cursor, 2)
            seen += [sale.id for sale in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert len(seen) == len(set(seen)) == count
        assert {sale.id for sale in made} <= set(seen)
    for bad in ("", "!", "bm9uc2Vuc2U", cursor or "MTIz"):
        with pytest.raises(errors.ValidationFailedError):
            await shop.service.list_public(bad)


def _mine(shop: Shop):
    return lambda cursor, limit: shop.service.list(shop.merchant, cursor, limit)


async def test_strict_sales_need_safe_servers_in_production(shop: Shop, monkeypatch):
    safe = await shop.store.server()
    unsafe = [
        dataclasses.replace(safe, appendonly="no"),
        dataclasses.replace(safe, appendfsync="everysec"),
        dataclasses.replace(safe, maxmemory_policy="allkeys-lru"),
        dataclasses.replace(safe, appendfsync=None),
    ]
    service = type(shop.service)(shop.pool, shop.store, now, production=True)
    for info in unsafe:

        async def server(info=info):
            return info

        monkeypatch.setattr(shop.store, "server", server)
        sale = await shop.draft()
        with pytest.raises(errors.UnsafeDurabilityError, match=r"set |allow "):
            await service.schedule(shop.merchant, sale.id)
        assert (await shop.service.facts(sale.id)).state is SaleState.DRAFT
        relaxed = await shop.patch(sale, durability="relaxed")
        assert (await service.schedule(shop.merchant, relaxed.id)).state is SaleState.SCHEDULED
    monkeypatch.undo()
    assert (await service.schedule(shop.merchant, sale.id)).state is SaleState.SCHEDULED


async def test_an_armed_lane_that_is_gone_is_never_made_anew(shop: Shop):
    sale = await shop.scheduled()
    await shop.redis.flushall()
    with pytest.raises(errors.EffectPendingError):
        await shop.service.pause(shop.merchant, sale.id)
    with pytest.raises(errors.EffectPendingError):
        await shop.service.resume(shop.merchant, sale.id)
    assert await shop.redis.dbsize() == 0
    assert (await shop.service.facts(sale.id)).state is SaleState.OPEN, "the intent is kept"
