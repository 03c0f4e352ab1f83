"""Waves and cuts: each counts once in both stores, and none reaches below live orders."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsale.domain.outcomes import Status
from flashsale.domain.sales import SaleState
from flashsale.reservation.errors import StoreUnavailableError
from flashsale.sales import errors, queries
from flashsale.sales.supply import carry_out, cut_shares
from flashsale.sales.values import SupplyState
from tests.sales.shop import Shop, item, now, rfc3339


async def available(shop: Shop, sale) -> list[int]:
    return [(await shop.stock(sale, lane)).available for lane in range(sale.lanes)]


@pytest.mark.parametrize("lanes", [1, 3])
async def test_a_wave_and_a_cut_count_in_both_stores(shop: Shop, lanes):
    sale = await shop.scheduled(lanes=lanes)
    for quantity, total in ((5, 15), (-12, 3), (1, 4)):
        supply = await shop.supply(sale, quantity)
        assert supply.state is SupplyState.APPLIED
        assert sum(await available(shop, sale)) == await shop.capacity(sale) == total
    history = await shop.service.list_supplies(shop.merchant, sale.id)
    assert [(each.quantity, each.sku) for each in history.items] == [
        (5, "mi3-16"),
        (-12, "mi3-16"),
        (1, "mi3-16"),
    ]


async def test_a_draft_takes_supply_in_postgres_alone(shop: Shop):
    sale = await shop.draft()
    await shop.supply(sale, 5)
    with pytest.raises(errors.SupplyBelowLiveError):
        await shop.supply(sale, -16)
    assert await shop.capacity(sale) == 15
    sale = await shop.service.schedule(shop.merchant, sale.id)
    assert (await shop.stock(sale)).available == 15


@pytest.mark.parametrize("lanes", [1, 3])
async def test_a_cut_never_reaches_below_live_orders(shop: Shop, lanes):
    sale = await shop.scheduled(lanes=lanes)
    await shop.hold(sale, 2)
    before = await available(shop, sale)
    with pytest.raises(errors.SupplyBelowLiveError):
        await shop.supply(sale, -9)
    assert await available(shop, sale) == before
    assert await shop.capacity(sale) == 10
    await shop.supply(sale, -8)
    assert await available(shop, sale) == [0] * lanes
    assert await shop.capacity(sale) == 2


async def test_a_sku_has_a_most(shop: Shop):
    sale = await shop.scheduled(items=[item(supply=10**9 - 1)])
    with pytest.raises(errors.ValidationFailedError):
        await shop.supply(sale, 2)
    await shop.supply(sale, 1)
    assert (await shop.stock(sale)).available == await shop.capacity(sale) == 10**9


async def test_refuses_what_is_not_for_sale(shop: Shop):
    sale = await shop.scheduled()
    with pytest.raises(errors.UnknownSkuError):
        await shop.supply(sale, 1, sku="mi4")
    await shop.service.close(shop.merchant, sale.id)
    with pytest.raises(errors.IllegalTransitionError):
        await shop.supply(sale, 1)


async def test_a_repeated_key_is_the_same_supply(shop: Shop):
    sale = await shop.scheduled()
    first = await shop.supply(sale, 5, idempotency_key="k")
    assert await shop.supply(sale, 5, idempotency_key="k") == first
    with pytest.raises(errors.SupplyKeyReusedError):
        await shop.supply(sale, 6, idempotency_key="k")
    assert await shop.capacity(sale) == 15


async def test_a_later_wave_waits_for_its_instant(shop: Shop):
    sale = await shop.draft()
    at = now() + timedelta(minutes=1)
    supply = await shop.supply(sale, 5, at=rfc3339(at))
    assert (supply.state, await shop.capacity(sale)) == (SupplyState.PENDING, 10)
    assert await queries.due_supplies(shop.pool, at - timedelta(seconds=1), 10) == []
    assert await queries.due_supplies(shop.pool, at, 10) == [supply.id]
    with pytest.raises(errors.UnsafeEditError):
        await shop.patch(await shop.service.facts(sale.id), items=[item("b")])


async def test_a_lost_answer_from_redis_is_finished_once(shop: Shop, monkeypatch):
    sale = await shop.scheduled()
    add_supply = shop.store.add_supply

    async def no_answer(*arguments):
        await add_supply(*arguments)
        raise StoreUnavailableError("cut off after the effect")

    monkeypatch.setattr(shop.store, "add_supply", no_answer)
    for quantity in (5, -3):
        with pytest.raises(errors.EffectPendingError):
            await shop.supply(sale, quantity, idempotency_key=str(quantity))
    monkeypatch.undo()
    due = await queries.due_supplies(shop.pool, now(), 10)
    done = [await carry_out(shop.pool, shop.store, supply_id) for supply_id in due]
    assert [supply.state for supply in done] == [SupplyState.APPLIED] * 2
    await asyncio.gather(*(carry_out(shop.pool, shop.store, supply.id) for supply in done))
    assert (await shop.stock(sale)).capacity == await shop.capacity(sale) == 12


async def test_a_lane_that_refuses_its_share_undoes_the_others(shop: Shop):
    sale = await shop.scheduled(lanes=2)
    supply = await _planned(shop, sale, -8, [-4, -4])
    await shop.hold(sale, 2, lane=1)
    assert (await carry_out(shop.pool, shop.store, supply)).state is SupplyState.REFUSED
    assert await available(shop, sale) == [5, 3]
    assert await shop.capacity(sale) == 10
    assert await queries.half_refused_supplies(shop.pool, 10) == []


async def test_an_undo_that_was_cut_short_is_finished(shop: Shop, monkeypatch):
    sale = await shop.scheduled(lanes=3, items=[item(supply=15)])
    supply = await _planned(shop, sale, -12, [-4, -4, -4])
    await shop.hold(sale, 2, lane=2)
    add_supply, calls = shop.store.add_supply, []

    async def fails_after_six(*arguments):
        calls.append(arguments)
        if len(calls) > 6:
            raise StoreUnavailableError("gone in the middle of the undo")
        return await add_supply(*arguments)

    monkeypatch.setattr(shop.store, "add_supply", fails_after_six)
    with pytest.raises(StoreUnavailableError):
        await carry_out(shop.pool, shop.store, supply)
    monkeypatch.undo()
    assert await available(shop, sale) == [5, 1, 3]
    assert await queries.half_refused_supplies(shop.pool, 10) == [supply]
    for _ in range(2):
        assert (await carry_out(shop.pool, shop.store, supply)).state is SupplyState.REFUSED
        assert await available(shop, sale) == [5, 5, 3]
    assert await queries.half_refused_supplies(shop.pool, 10) == []


async def _planned(shop: Shop, sale, quantity: int, shares: list[int]) -> str:
    await queries.insert_supply(
        shop.pool, "cut", sale.id, item=0, quantity=quantity, at=now(), reason="r"
    )
    supply = await queries.find_supply(shop.pool, "cut")
    assert supply is not None
    await queries.share_supply(shop.pool, supply, shares)
    return supply.id


async def test_a_cut_is_counted_once_the_releases_under_it_are_settled(shop: Shop):
    sale = await shop.scheduled()
    # Postgres still counts eight live units that Redis has given back.
    await shop.pool.execute("UPDATE sale_items SET live = 8")
    supply = await shop.supply(sale, -5)
    assert (supply.state, await shop.capacity(sale)) == (SupplyState.PENDING, 10)
    assert (await shop.stock(sale)).available == 5
    await shop.pool.execute("UPDATE sale_items SET live = 0")
    supply = await carry_out(shop.pool, shop.store, supply.id)
    assert (supply.state, await shop.capacity(sale)) == (SupplyState.APPLIED, 5)
    assert (await shop.stock(sale)).available == 5


async def test_a_wave_that_comes_after_the_close_is_refused(shop: Shop):
    sale = await shop.scheduled()
    supply = await shop.supply(sale, 5, at=rfc3339(now() + timedelta(minutes=1)))
    await shop.service.close(shop.merchant, sale.id)
    assert (await carry_out(shop.pool, shop.store, supply.id)).state is SupplyState.REFUSED
    assert (await shop.stock(sale)).capacity == await shop.capacity(sale) == 10


@pytest.mark.parametrize("lanes", [1, 2])
async def test_a_cut_and_a_rush_never_meet_below_zero(shop: Shop, lanes):
    """Buyers and the merchant reach for the same units until none is left."""
    sale = await shop.scheduled(items=[item(supply=300)], lanes=lanes, per_buyer_limit=300)
    sold, taken = [], []

    async def buy(lane: int):
        while (await shop.reserve(sale, f"buyer{lane}", lane=lane)).status is Status.RESERVED:
            sold.append(lane)
            await asyncio.sleep(0.002)  # a merchant's cut takes several steps, a purchase one

    async def cut():
        with contextlib.suppress(errors.SupplyBelowLiveError):
            while True:
                taken.append(-(await shop.supply(sale, -7)).quantity)

    await asyncio.gather(*(buy(n % lanes) for n in range(4)), cut(), cut(), cut())
    stocks = [await shop.stock(sale, lane) for lane in range(lanes)]
    assert sold
    assert taken, "both sides must have had some, or nothing was raced for"
    assert all(stock.balances() for stock in stocks)
    assert sum(stock.held for stock in stocks) == len(sold)
    assert sum(stock.capacity for stock in stocks) == 300 - sum(taken)
    assert await shop.capacity(sale) == 300 - sum(taken)


async def test_control_a_cut_decided_outside_the_script_goes_below_live(shop: Shop):
    """The same race without the protection: read, decide, write. It must go wrong."""
    sale = await shop.scheduled()
    key = f"fs:{{{sale.id}.0}}:stock"
    read = int(await shop.redis.hget(key, "available:0"))
    await shop.hold(sale, 8)
    assert read >= 9, "by what was read, nine units are unsold"
    await shop.redis.hincrby(key, "available:0", -9)
    await shop.redis.hincrby(key, "capacity:0", -9)
    stock = await shop.stock(sale)
    assert not stock.balances()
    assert stock.held > stock.capacity
    with pytest.raises(errors.SupplyBelowLiveError):
        await shop.supply(sale, -9)


@given(
    unsold=st.lists(st.integers(0, 1000), min_size=1, max_size=64), wanted=st.integers(1, 70_000)
)
def test_the_shares_of_a_cut(unsold, wanted):
    shares = cut_shares(wanted, unsold)
    assert (shares is None) == (wanted > sum(unsold))
    if shares is not None:
        assert sum(shares) == -wanted
        assert all(0 <= -share <= left for share, left in zip(shares, unsold, strict=True))


async def test_pause_and_resume_that_cross_end_in_agreement(shop: Shop):
    sale = await shop.scheduled()
    commands = [shop.service.pause, shop.service.resume] * 6
    answers = await asyncio.gather(
        *(command(shop.merchant, sale.id) for command in commands), return_exceptions=True
    )
    assert not [a for a in answers if isinstance(a, Exception) and not _illegal(a)]
    recorded = (await shop.service.facts(sale.id)).state
    lane = (await shop.store.snapshot(sale.id, 0)).state
    assert lane == ("paused" if recorded is SaleState.PAUSED else "open")


def _illegal(answer: Exception) -> bool:
    return isinstance(answer, errors.IllegalTransitionError)


async def test_nobody_buys_after_pause_was_answered(shop: Shop):
    sale = await shop.scheduled(items=[item(supply=10_000)])
    answered = asyncio.Event()

    async def pause():
        await shop.service.pause(shop.merchant, sale.id)
        answered.set()

    async def buy(buyer: int):
        late = []
        for number in range(40):
            after = answered.is_set()
            decision = await shop.reserve(sale, f"{buyer}-{number}")
            late += [decision.status] if after else []
        return late

    _, *late = await asyncio.gather(pause(), *(buy(n) for n in range(10)))
    assert {status for statuses in late for status in statuses} == {Status.PAUSED}


async def test_control_a_pause_that_redis_never_hears_of_still_sells(shop: Shop):
    sale = await shop.scheduled()
    await shop.set_columns(sale, "state = 'paused'")
    assert (await shop.reserve(sale, "ada")).status is Status.RESERVED
