"""Several timekeepers: one acts, another takes over, and acting at once does no harm."""

from __future__ import annotations

import asyncio

from flashsale.reservation.errors import StoreUnavailableError
from flashsale.reservation.keys import lane_keys
from flashsale.timekeeper import queries
from flashsale.timekeeper.timekeeper import Timekeeper
from tests.sales.shop import Shop


async def until(condition) -> None:
    while not condition():
        await asyncio.sleep(0.01)


async def overdue(shop: Shop, count: int):
    """A sale with holds that are all overdue, and none expired."""
    sale = await shop.scheduled(hold_seconds=1)
    await shop.hold(sale, count)
    deadlines = lane_keys(sale.id, 0).deadlines
    latest = int((await shop.redis.zrange(deadlines, -1, -1, withscores=True))[0][1])
    while await shop.store.now_ms() <= latest:
        await asyncio.sleep(0.05)
    return sale


async def expiries(shop: Shop, sale) -> list[str]:
    """Order hashes of all expiry events of the first lane."""
    entries = await shop.redis.xrange(lane_keys(sale.id, 0).events)
    lines = [line for _, fields in entries for line in fields["events"].split("\n")]
    return [line.split("\t")[2] for line in lines if line.startswith("X\t")]


async def test_two_that_act_at_once_expire_each_hold_once(shop: Shop):
    sale = await overdue(shop, 10)
    keepers = [Timekeeper(shop.pool, shop.store, expire_batch_max=1) for _ in range(4)]

    async def act(keeper: Timekeeper) -> None:
        async with shop.pool.acquire() as session:
            while await keeper.act(session):
                pass

    await asyncio.gather(*map(act, keepers))
    assert sum(keeper.progress.expired for keeper in keepers) == 10
    expired = await expiries(shop, sale)
    assert len(expired) == len(set(expired)) == 10
    stock = await shop.stock(sale)
    assert (stock.available, stock.held) == (10, 0)
    assert stock.balances()


async def test_control_two_that_read_and_then_write_expire_twice(shop: Shop):
    """The same without the script: both read what is due before either has written."""
    sale = await overdue(shop, 10)
    keys = lane_keys(sale.id, 0)
    both_have_read = asyncio.Barrier(2)

    async def expire_without_a_script() -> None:
        due = await shop.redis.zrange(keys.deadlines, 0, -1)
        await both_have_read.wait()
        for order in due:
            await shop.redis.zrem(keys.deadlines, order)
            await shop.redis.hincrby(keys.stock, "available:0", 1)
            await shop.redis.hincrby(keys.stock, "held:0", -1)

    await asyncio.gather(expire_without_a_script(), expire_without_a_script())
    stock = await shop.stock(sale)
    assert (stock.available, stock.held) == (20, -10)
    assert not stock.balances()


LEADS = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"


async def depose(shop: Shop, keepers: list[Timekeeper]) -> Timekeeper:
    """End the session of the one that leads, once it has acted a few times alone."""
    await until(lambda: any(keeper.progress.leading for keeper in keepers))
    (leader,) = [keeper for keeper in keepers if keeper.progress.leading]
    passes, failures = leader.progress.passes, leader.progress.failures
    await until(lambda: leader.progress.passes > passes + 2)
    assert [keeper for keeper in keepers if keeper.progress.leading] == [leader]
    (holder,) = await shop.pool.fetch(LEADS)
    await shop.pool.execute("SELECT pg_terminate_backend($1)", holder["pid"])
    await until(lambda: leader.progress.failures > failures)
    return leader


async def test_one_leads_and_another_takes_over(shop: Shop):
    stop = asyncio.Event()
    keepers = [Timekeeper(shop.pool, shop.store, tick_ms=20) for _ in range(3)]
    tasks = [asyncio.create_task(keeper.run(stop)) for keeper in keepers]
    leaders = [await depose(shop, keepers) for _ in range(4)]
    stop.set()
    await asyncio.gather(*tasks)
    assert len({id(leader) for leader in leaders}) > 1
    assert not any(keeper.progress.leading for keeper in keepers)
    assert await shop.pool.fetch(LEADS) == []


async def test_a_frozen_one_loses_the_lead(shop: Shop):
    async with shop.pool.acquire() as frozen, shop.pool.acquire() as next_one:
        await queries.lose_when_idle(frozen, 50)
        assert await queries.take_lead(frozen)
        await queries.lose_when_idle(next_one, 60_000)
        while not await queries.take_lead(next_one):
            await asyncio.sleep(0.01)


async def test_a_redis_that_is_away_is_waited_for(shop: Shop, monkeypatch):
    sale = await shop.scheduled(hold_seconds=1)
    await shop.hold(sale, 2)
    now_ms = shop.store.now_ms

    async def unreachable():
        raise StoreUnavailableError("away")

    monkeypatch.setattr(shop.store, "now_ms", unreachable)
    stop, lines = asyncio.Event(), []
    keeper = Timekeeper(shop.pool, shop.store, tick_ms=10, on_trouble=lines.append)
    task = asyncio.create_task(keeper.run(stop))
    await until(lambda: len(lines) >= 2)
    monkeypatch.setattr(shop.store, "now_ms", now_ms)
    await until(lambda: keeper.progress.expired == 2)
    stop.set()
    await task
    assert all("away" in line and "\n" not in line for line in lines)
