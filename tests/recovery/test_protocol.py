"""What a sale is after its recovery: as Postgres knows it, and nothing sold twice."""

from __future__ import annotations

import asyncio

import pytest

from flashsale.domain.lanes import lane_of
from flashsale.domain.orders import OrderState
from flashsale.domain.outcomes import Status
from flashsale.recovery.protocol import NotRecoverableError
from flashsale.reservation.errors import LaneLostError, StoreUnavailableError
from flashsale.reservation.rebuilding import LaneRebuilder


async def test_a_sale_that_is_well_is_left_alone(ward):
    await ward.reserve("ann")
    await ward.settle()
    assert await ward.faults() == []


async def test_what_postgres_knows_comes_back_to_an_empty_redis(ward):
    kept = await ward.reserve("ann", 2)
    ended = await ward.reserve("bob")
    await ward.cancel(ended, "bob")
    await ward.settle()
    await ward.redis.flushdb()
    (fault,) = await ward.faults()
    assert fault.sale == ward.sale.id
    assert "not in Redis" in fault.reason

    done = await ward.recover()

    assert (done.orders, done.live_units, done.entries_lost) == (2, 2, 0)
    assert await ward.faults() == []
    assert await ward.broken() == set()
    (stock, _) = (await ward.store.snapshot(ward.sale.id, 0)).stock
    assert (stock.capacity, stock.available, stock.held) == (10, 8, 2)
    # The same request names the same order; the limit remembers; who gave back may come again.
    replayed = await ward.ask(kept, "ann", 2)
    assert replayed.status is Status.REPLAYED
    assert replayed.hold.state is OrderState.RESERVED
    assert (await ward.ask("n" * 20, "ann")).status is Status.LIMIT_REACHED
    assert (await ward.ask(ended, "bob")).hold.state is OrderState.CANCELLED
    assert (await ward.ask("m" * 20, "bob", 2)).status is Status.RESERVED


async def test_nobody_is_sold_what_a_forgetful_redis_would_sell_again(ward):
    orders = {f"buyer-{n}": await ward.reserve(f"buyer-{n}") for n in range(10)}
    await ward.settle()
    await ward.redis.flushdb()
    await ward.recover()
    assert (await ward.ask("n" * 20, "late")).status is Status.SOLD_OUT
    for buyer, order in orders.items():
        assert (await ward.ask(order, buyer)).status is Status.REPLAYED


async def test_entries_that_survived_unsettled_are_settled_first(ward):
    await ward.reserve("ann")
    await ward.settle()
    unsettled = await ward.reserve("bob")
    await ward.recover()
    assert await ward.live() == 2
    assert (await ward.ask(unsettled, "bob")).status is Status.REPLAYED
    assert await ward.broken() == set()


async def test_a_redis_put_back_in_time_is_noticed_and_brought_forward(ward):
    await ward.reserve("ann")
    await ward.settle()
    disk = await ward.keep_disk()
    forgotten = [await ward.reserve(f"buyer-{n}") for n in range(5)]
    await ward.settle()
    await ward.put_back(disk)
    assert (await ward.store.snapshot(ward.sale.id, 0)).stock[0].available == 9

    (fault,) = await ward.faults()
    assert "went back" in fault.reason
    done = await ward.recover()

    assert done.live_units == 6
    assert await ward.broken() == set()
    for number, order in enumerate(forgotten):
        assert (await ward.ask(order, f"buyer-{number}")).status is Status.REPLAYED


async def test_entries_that_no_disk_has_are_accounted_for(ward):
    await ward.reserve("ann")
    await ward.settle()
    disk = await ward.keep_disk()
    lost = [await ward.reserve(f"buyer-{n}") for n in range(3)]
    await ward.faults()  # somebody saw that there were so many
    await ward.put_back(disk)
    assert len(await ward.faults()) == 1
    done = await ward.recover()
    assert done.entries_lost == 3
    assert await ward.broken() == set()
    sql = "SELECT may_have_lost FROM sales WHERE id = $1"
    assert await ward.pool.fetchval(sql, ward.sale.id)
    # Their units are on sale again, and the same request names the same order as before.
    assert (await ward.ask(lost[0], "buyer-0")).status is Status.RESERVED
    await ward.settle()
    assert await ward.broken() == set()


async def test_what_the_old_redis_sold_before_it_was_noticed_is_not_sold_twice(ward):
    await ward.reserve("ann")
    await ward.settle()
    disk = await ward.keep_disk()
    for number in range(9):
        await ward.reserve(f"winner-{number}")
    await ward.settle()
    await ward.put_back(disk)
    too_many = await ward.reserve("surplus", 2)
    done = await ward.recover()
    assert done.live_units == 10
    assert (await ward.ask(too_many, "surplus", 2)).hold.state is OrderState.REJECTED
    assert await ward.broken() == set()


async def test_every_lane_gets_its_buyers_and_a_share_of_the_rest(wide_ward):
    ward = wide_ward
    orders = {f"buyer-{n}": await ward.reserve(f"buyer-{n}") for n in range(4)}
    await ward.settle()
    await ward.redis.flushdb()
    await ward.recover()
    assert await ward.broken() == set()
    stocks = [(await ward.store.snapshot(ward.sale.id, lane)).stock[0] for lane in range(4)]
    assert sum(stock.capacity for stock in stocks) == 10
    assert sum(stock.held for stock in stocks) == 4
    for buyer, order in orders.items():
        lane = lane_of(buyer, 4)
        assert await ward.store.find_hold(ward.sale.id, lane, order) is not None


async def test_while_a_lane_is_rebuilt_it_takes_nothing(ward):
    order = await ward.reserve("ann")
    old = ward.sale.epoch
    await ward.rebuilder.seal(ward.sale.id, 0, old + 1)
    for epoch in (old, old + 1):
        ward.sale = type(ward.sale)(**{**_fields(ward.sale), "epoch": epoch})
        with pytest.raises(LaneLostError):
            await ward.ask(order, "ann")


async def test_what_carries_the_old_epoch_is_refused_afterwards(ward):
    order, old = await ward.reserve("ann"), ward.sale
    await ward.recover()
    assert ward.sale.epoch == old.epoch + 1
    with pytest.raises(LaneLostError):
        await ward.store.reserve(old.id, 0, old.epoch, [_request(order)])


async def test_a_wave_that_is_counted_is_sold_once(ward):
    """Killed between Postgres, which has counted the wave, and Redis, which has not heard of it."""
    await ward.pool.execute(
        """INSERT INTO supplies (id, sale_id, item, quantity, at, reason, applied_at)
        VALUES ('sup_x', $1, 0, 5, now(), 'wave', now())""",
        ward.sale.id,
    )
    await ward.pool.execute(
        "UPDATE sale_items SET capacity = 15 WHERE sale_id = $1 AND item = 0", ward.sale.id
    )
    await ward.redis.flushdb()
    await ward.recover()
    assert (await ward.store.snapshot(ward.sale.id, 0)).stock[0].available == 15
    sql = "SELECT state FROM supplies WHERE id = 'sup_x'"
    assert await ward.pool.fetchval(sql) == "applied"


async def test_a_sale_without_lanes_is_not_recoverable(ward):
    await ward.pool.execute("UPDATE sales SET retired_at = now() WHERE id = $1", ward.sale.id)
    with pytest.raises(NotRecoverableError):
        await ward.recovery().recover(ward.sale.id, "a test")


async def test_two_who_recover_at_once_do_it_once(ward):
    await ward.reserve("ann")
    await ward.settle()
    await ward.redis.flushdb()

    async def well() -> bool:
        return not await ward.faults()

    both = [ward.recovery().recover(ward.sale.id, "a test", unless=well) for _ in range(2)]
    done = [each for each in await asyncio.gather(*both) if each is not None]
    await ward.look_again()
    assert len(done) == 1
    assert ward.sale.epoch == 2
    assert await ward.broken() == set()


class KilledError(StoreUnavailableError):
    pass


class Dying(LaneRebuilder):
    """Stops before, or after, its call of a number: what a kill -9 does to who recovers."""

    def __init__(self, alive: LaneRebuilder, calls: int, *, after: bool) -> None:
        super().__init__(alive._runner)
        self._left, self._after = calls, after

    async def _run(self, script, keys, arguments):
        self._left -= 1
        if self._left == 0 and not self._after:
            raise KilledError
        answer = await super()._run(script, keys, arguments)
        if self._left == 0:
            raise KilledError
        return answer


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("calls", range(1, 17))
async def test_killed_anywhere_it_is_gone_on_with(wide_ward, calls, after):
    """Four lanes: four seals, then beginnings and orders, then four openings."""
    ward = wide_ward
    for number in range(8):
        await ward.reserve(f"buyer-{number}")
    await ward.settle()
    await ward.redis.flushdb()
    with pytest.raises(KilledError):
        await ward.recover(Dying(ward.rebuilder, calls, after=after))
    assert len(await ward.faults()) == 1

    done = await ward.recover()

    assert (done.epoch, done.orders, done.live_units) == (2, 8, 8)
    assert await ward.faults() == []
    assert await ward.broken() == set()
    assert await ward.pool.fetchval("SELECT count(*) FROM recoveries WHERE step = 'opened'") == 1


async def test_a_lane_that_went_back_behind_its_opening_is_filled_again(ward):
    """Killed between the last opening and the end; sold from, and lost once more."""
    await ward.reserve("ann")
    await ward.settle()
    await ward.redis.flushdb()
    with pytest.raises(KilledError):
        await ward.recover(Dying(ward.rebuilder, 4, after=True))
    await ward.look_again()
    disk = await ward.keep_disk()
    order = await ward.reserve("bob")
    await ward.settle()
    await ward.put_back(disk)

    done = await ward.recover()

    assert (done.epoch, done.orders, done.live_units) == (4, 2, 2)
    assert (await ward.store.snapshot(ward.sale.id, 0)).stock[0].available == 8
    assert (await ward.ask(order, "bob")).status is Status.REPLAYED
    assert await ward.faults() == []
    assert await ward.broken() == set()


def _fields(sale):
    return {name: getattr(sale, name) for name in sale.__slots__}


def _request(order):
    from flashsale.reservation.replies import Request

    return Request(order, "ann", 0, 1)
