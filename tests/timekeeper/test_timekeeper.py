"""The timekeeper's duties one by one, against real servers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from flashsale.domain.outcomes import Status
from flashsale.domain.sales import SaleState
from flashsale.reservation.errors import ScriptError
from flashsale.sales import queries as sales
from flashsale.timekeeper.timekeeper import Timekeeper
from tests.sales.shop import Shop, now, rfc3339

LONG_OVER = "starts_at = now() - interval '3 d', ends_at = now() - interval '25 h'"


@contextlib.asynccontextmanager
async def acting(shop: Shop, **settings) -> AsyncIterator[tuple[Timekeeper, object]]:
    """A timekeeper whose passes the test makes itself."""
    keeper = Timekeeper(shop.pool, shop.store, **settings)
    async with shop.pool.acquire() as session:

        async def act() -> bool:
            keeper._repaired_at = float("-inf")  # as if a second had passed
            keeper._rounds = 0
            return await keeper.act(session)

        yield keeper, act


async def test_writes_down_an_opening_once_it_has_happened(shop: Shop):
    sale = await shop.scheduled(starts_at=rfc3339(now() + timedelta(seconds=1)))
    async with acting(shop) as (keeper, act):
        await act()
        assert (await shop.service.facts(sale.id)).state is SaleState.SCHEDULED
        while not keeper.progress.opened:
            await act()
    assert (await shop.service.facts(sale.id)).state is SaleState.OPEN
    assert keeper.progress.lateness_ms >= 0
    assert (await shop.reserve(sale, "ada")).status is Status.RESERVED


async def test_closes_in_postgres_and_in_redis(shop: Shop):
    sale = await shop.scheduled()
    paused = await shop.service.pause(shop.merchant, (await shop.scheduled()).id)
    for each in (sale, paused):
        await shop.set_columns(each, LONG_OVER)
    async with acting(shop, records_keep_minutes=48) as (keeper, act):
        await act()
        assert keeper.progress.closed == 2
        await act()
        assert keeper.progress.closed == 2
    for each in (sale, paused):
        assert (await shop.service.facts(each.id)).state is SaleState.CLOSED
        assert (await shop.store.snapshot(each.id, 0)).state == "closed"


@pytest.mark.parametrize("ending", [None, "close"])
async def test_expires_overdue_holds_in_batches(shop: Shop, ending):
    sale = await shop.scheduled(lanes=2, hold_seconds=1)
    await shop.hold(sale, 5, lane=0)
    await shop.hold(sale, 3, lane=1)
    if ending:
        await getattr(shop.service, ending)(shop.merchant, sale.id)
    async with acting(shop, expire_batch_max=2) as (keeper, act):
        while keeper.progress.expired < 8:
            await act()
        assert not await act(), "nothing is left to do at once"
    assert keeper.progress.expired == 8
    for lane in range(2):
        stock = await shop.stock(sale, lane)
        assert (stock.available, stock.held) == (5, 0)


async def test_looks_at_a_lane_only_when_something_can_be_due(shop: Shop, monkeypatch):
    await shop.scheduled()
    expire_due, asked = shop.store.expire_due, []

    async def counted(*arguments):
        asked.append(arguments)
        return await expire_due(*arguments)

    monkeypatch.setattr(shop.store, "expire_due", counted)
    monkeypatch.setattr(Timekeeper, "_now_ms", lambda _: clock_ms)
    async with acting(shop) as (_, act):
        begun_ms, calls = await shop.store.now_ms(), []
        for passed_ms in (0, 999, 1000, 1001, -60_000):
            clock_ms = begun_ms + passed_ms
            await act()
            calls.append(len(asked))
    assert calls == [1, 1, 2, 2, 3], "after a second, and after the clock was put back"


async def test_a_slow_answer_does_not_put_the_clock_forward(shop: Shop, monkeypatch):
    """A sale would be closed before its end."""
    now_ms = shop.store.now_ms

    async def slow() -> int:
        await asyncio.sleep(0.2)
        return await now_ms()

    monkeypatch.setattr(shop.store, "now_ms", slow)
    async with acting(shop) as (keeper, act):
        await act()
        assert keeper._now_ms() <= await now_ms()


async def test_ends_the_holds_of_a_cancelled_sale(shop: Shop):
    sale = await shop.scheduled()
    await shop.hold(sale, 5)
    await shop.service.cancel(shop.merchant, sale.id)
    async with acting(shop, expire_batch_max=2) as (keeper, act):
        while await act():
            pass
    assert keeper.progress.cancelled == 5
    stock = await shop.stock(sale)
    assert (stock.available, stock.held) == (10, 0)


HALF_DONE = {
    "paused": ("state = 'paused'", "paused"),
    "closed": ("state = 'closed'", "closed"),
    "cancelled": ("state = 'cancelled'", "cancelled"),
    "paused, never armed": ("state = 'paused', armed_at = NULL", "paused"),
    "terms": ("per_buyer_limit = 7, hold_seconds = 9", "open"),
}


@pytest.mark.parametrize(("assignments", "state"), HALF_DONE.values(), ids=HALF_DONE)
async def test_finishes_what_a_crash_left_half_done(shop: Shop, assignments, state):
    """The crash is what it leaves: Postgres has the intent, Redis has not heard of it."""
    sale = await shop.set_columns(await shop.scheduled(lanes=2), assignments)
    async with acting(shop) as (keeper, act):
        await act()
        repaired = keeper.progress.repaired
        await act()
    for lane in range(2):
        snapshot = await shop.store.snapshot(sale.id, lane)
        assert snapshot.state == state
        assert state != "open" or snapshot.terms == sale.terms
    assert (await shop.service.facts(sale.id)).armed
    assert repaired
    assert keeper.progress.repaired == repaired, "the second look finds nothing to do"


@pytest.mark.parametrize("state", ["scheduled", "cancelled", "closed"])
async def test_arms_what_was_scheduled_and_never_reached_redis(shop: Shop, state):
    sale = await shop.set_columns(await shop.draft(), f"state = '{state}'")
    async with acting(shop) as (_, act):
        await act()
    snapshot = await shop.store.snapshot(sale.id, 0)
    assert snapshot.stock[0].available == 10
    assert snapshot.state == ("open" if state == "scheduled" else state)
    assert (await shop.service.facts(sale.id)).armed


async def test_resumes_what_postgres_says_is_open(shop: Shop):
    sale = await shop.service.pause(shop.merchant, (await shop.scheduled()).id)
    await shop.set_columns(sale, "state = 'open'")
    async with acting(shop) as (_, act):
        await act()
    assert (await shop.reserve(sale, "ada")).status is Status.RESERVED


async def test_applies_waves_and_cuts_when_they_are_due(shop: Shop):
    sale, draft = await shop.scheduled(), await shop.draft()
    at = rfc3339(now() + timedelta(seconds=1))
    for target in (sale, draft):
        await shop.supply(target, 5, at=at)
        await shop.supply(target, -3, at=at)
    async with acting(shop) as (keeper, act):
        while keeper.progress.supplied < 4:
            await act()
        await act()
    assert keeper.progress.supplied == 4
    assert (await shop.stock(sale)).available == 12
    assert await shop.capacity(sale) == await shop.capacity(draft) == 12


async def test_one_sales_trouble_is_its_own(shop: Shop, monkeypatch):
    lost, odd, well = [await shop.scheduled(hold_seconds=1) for _ in range(3)]
    await shop.hold(well, 2)
    await shop.redis.delete(f"fs:{{{lost.id}.0}}:meta")
    snapshot = shop.store.snapshot

    async def fails_for_one(sale: str, lane: int):
        if sale == odd.id:
            raise ScriptError("snapshot.lua: a bug")
        return await snapshot(sale, lane)

    monkeypatch.setattr(shop.store, "snapshot", fails_for_one)
    lines: list[str] = []
    async with acting(shop, on_trouble=lines.append) as (keeper, act):
        while keeper.progress.expired < 2:
            await act()
    assert keeper.progress.lost_lanes
    assert lines
    assert all(odd.id in line for line in lines)
    assert await shop.redis.exists(f"fs:{{{lost.id}.0}}:meta") == 0, "recovery's, not ours"


async def test_retires_lanes_once_all_is_settled_and_kept_long_enough(shop: Shop):
    sale = await shop.service.close(shop.merchant, (await shop.scheduled()).id)
    supply = await shop.supply(await shop.scheduled(), 1)
    async with acting(shop) as (keeper, act):
        await act()
        assert keeper.progress.retired == 0, "its records are still fresh"
        await shop.set_columns(sale, "closed_at = now() - interval '11 min'")
        keeper._tending._due_ms.clear()
        await act()
        assert keeper.progress.retired == 0, "the stream still has unsettled entries"
        await shop.redis.xtrim(f"fs:{{{sale.id}.0}}:events", maxlen=0, approximate=False)
        keeper._tending._due_ms.clear()
        await act()
        await act()
    assert keeper.progress.retired == 1
    facts = await shop.service.facts(sale.id)
    assert (facts.retired, facts.is_public) == (True, True)
    assert await shop.redis.keys(f"fs:{{{sale.id}.*") == []
    assert (await sales.find_supply(shop.pool, supply.id)) == supply


async def test_a_long_list_of_sales_is_seen_in_turns(shop: Shop, monkeypatch):
    monkeypatch.setattr("flashsale.timekeeper.timekeeper.SALES_MAX", 2)
    made = [await shop.scheduled(hold_seconds=1) for _ in range(5)]
    for sale in made:
        await shop.hold(sale, 1)
    async with acting(shop) as (keeper, act):
        while keeper.progress.expired < 5:
            await act()
            await asyncio.sleep(0.05)
    assert keeper.progress.expired == 5
