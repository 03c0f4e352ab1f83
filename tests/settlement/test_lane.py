"""One lane from stream to acknowledgement, with faults put between the steps."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from flashsale.settlement.lane import BatchReport, Effects, LaneSettlement, Pace
from flashsale.settlement.settler import Settler
from flashsale.stream.reader import LaneReader

if TYPE_CHECKING:
    from tests.settlement.conftest import Lane

PACE = Pace(gather_ms=1, block_ms=20, reclaim_every_ms=50, trim_every_ms=1)


class Log:
    """Records what settlement asks of others; `failing` calls of `give_back` fail first."""

    def __init__(self, lane: Lane, failing: int = 0) -> None:
        self.lane = lane
        self.failing = failing
        self.given_back: list[tuple[str, int, str, str]] = []
        self.trims = 0
        self.reports: list[BatchReport] = []
        self.troubles: list[str] = []

    async def give_back(self, *call: str | int) -> None:
        self.failing -= 1
        if self.failing >= 0:
            raise RedisConnectionError("gone")
        self.given_back.append(call)

    async def trim(self, *_: str | int) -> None:
        self.trims += 1

    def effects(self) -> Effects:
        return Effects(self.give_back, self.trim, self.reports.append, self.troubles.append)

    @property
    def rows(self) -> int:
        return sum(report.settled.rows for report in self.reports)


def settlement(
    lane: Lane, log: Log, reader: LaneReader | None = None, **pace: int
) -> LaneSettlement:
    return LaneSettlement(
        reader or lane.reader(),
        Settler(lane.pool),
        lane.catalogue,
        lane.number,
        log.effects(),
        Pace(**{**{name: getattr(PACE, name) for name in PACE.__slots__}, **pace}),
        asyncio.Semaphore(1),
    )


class Faulty(LaneReader):
    """The real reader, whose first `faults` acknowledgements are lost."""

    faults = 1

    async def acknowledge(self, entry_ids: list[str]) -> int:
        self.faults -= 1
        if self.faults >= 0:
            raise RedisConnectionError("killed after the commit")
        return await super().acknowledge(entry_ids)


async def until(condition: object, *arguments: object) -> None:
    async with asyncio.timeout(20):
        while not await condition(*arguments):
            await asyncio.sleep(0.005)


async def all_settled(lane: Lane) -> bool:
    """Whether every entry is remembered, or set aside, and acknowledged."""
    dead = await lane.pool.fetchval("SELECT count(*) FROM dead_letters")
    pending = await lane.reader().pending()
    return len(await lane.settled()) + dead == lane.seq and pending.entries == 0


async def test_a_crash_between_commit_and_acknowledgement_settles_once(lane: Lane) -> None:
    await lane.append(("R", "a"), ("R", "b"))
    await lane.append(("C", "b"))
    log = Log(lane)
    with pytest.raises(RedisConnectionError):
        await settlement(lane, log, Faulty(lane.redis, lane.sale, 0, "one")).drain()
    assert await lane.states() == {"a": "confirmed", "b": "cancelled"}
    assert (await lane.reader().pending()).entries == 2
    await settlement(lane, log).drain()
    assert (await lane.reader().pending()).entries == 0
    assert log.rows == 0, "the second time nothing changed"
    assert await lane.live() == [1, 0]


async def test_a_lost_acknowledgement_is_made_up_for_without_a_restart(lane: Lane) -> None:
    stop, log = asyncio.Event(), Log(lane)
    running = asyncio.create_task(
        settlement(lane, log, Faulty(lane.redis, lane.sale, 0, "one")).run(stop)
    )
    await lane.append(("R", "a"))
    await until(all_settled, lane)
    stop.set()
    await running
    assert "goes on by itself" in log.troubles[0]


async def test_the_entries_of_a_dead_worker_are_taken_over(lane: Lane) -> None:
    await lane.append(("R", "a"))
    await lane.reader("dead").read_new(10)
    await lane.append(("C", "a"))
    log = Log(lane)
    await settlement(lane, log, lane.reader("living", reclaim_idle_ms=0)).drain()
    assert await lane.states() == {"a": "cancelled"}
    assert await all_settled(lane)


async def test_entries_are_taken_over_while_new_ones_come(lane: Lane) -> None:
    await lane.append(("R", "a"))
    await lane.reader("dead").read_new(10)
    stop, log = asyncio.Event(), Log(lane)
    living = lane.reader("living", reclaim_idle_ms=30)
    running = asyncio.create_task(settlement(lane, log, living).run(stop))
    await lane.append(("R", "b"))
    await until(all_settled, lane)
    stop.set()
    await running
    assert set(await lane.states()) == {"a", "b"}


async def test_transactions_are_bounded(lane: Lane) -> None:
    for number in range(6):
        await lane.append(("R", f"a{number}"), ("R", f"b{number}"))
    await lane.append(*[("R", f"c{number}") for number in range(7)])
    log = Log(lane)
    await settlement(lane, log, batch_rows_max=5).drain()
    assert [report.settled.rows for report in log.reports] == [4, 4, 4, 7]
    assert log.trims >= 1
    assert log.reports[0].lag_ms > 0


async def test_a_rejected_order_is_given_back_before_it_is_acknowledged(lane: Lane) -> None:
    await lane.pool.execute("UPDATE sale_items SET capacity = 0")
    await lane.append(("R", "a"))
    log = Log(lane, failing=1)
    with pytest.raises(RedisConnectionError):
        await settlement(lane, log).drain()
    assert await lane.states() == {"a": "rejected"}
    assert (await lane.reader().pending()).entries == 1
    await settlement(lane, log).drain()
    assert log.given_back == [(lane.sale, 0, lane.order("a"), "a")]
    assert await all_settled(lane)


async def test_poison_does_not_hold_up_the_lane(lane: Lane) -> None:
    await lane.append(("R", "a"))
    await lane.append(("R", "b", 9, 1))
    await lane.append(("nonsense", "b", 9, 1))
    await lane.append(("R", "c"))
    log = Log(lane)
    await settlement(lane, log).drain()
    assert set(await lane.states()) == {"a", "c"}
    assert await lane.settled() == {1, 4}
    letters = [letter.seq for report in log.reports for letter in report.settled.dead_letters]
    assert letters == [2, 3]
    assert await all_settled(lane)


async def cut_postgres(lane: Lane) -> None:
    await lane.pool.execute(
        """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()"""
    )


async def cut_redis(lane: Lane) -> None:
    await lane.redis.execute_command("CLIENT KILL TYPE normal SKIPME yes")


@pytest.mark.parametrize("cut", [cut_postgres, cut_redis])
async def test_cut_connections_lose_nothing_and_bury_nothing(lane: Lane, cut: object) -> None:
    stop, log = asyncio.Event(), Log(lane)
    running = [
        asyncio.create_task(settlement(lane, log, lane.reader(name, reclaim_idle_ms=50)).run(stop))
        for name in ("one", "two")
    ]
    for number in range(150):
        await lane.append(("R", f"buyer-{number}"), ("R", f"other-{number}"))
        if number % 3 == 0:
            await lane.append(("C", f"buyer-{number}"))
        if number % 10 == 0:
            await cut(lane)
        await asyncio.sleep(0.002)
    await until(all_settled, lane)
    stop.set()
    await asyncio.gather(*running)
    assert await lane.live() == [250, 0]
    assert await lane.pool.fetchval("SELECT count(*) FROM dead_letters") == 0
    assert log.troubles, "the cuts were felt"


async def test_an_outage_of_postgres_is_waited_out_without_wearing_entries(lane: Lane) -> None:
    await lane.pool.execute("ALTER TABLE orders RENAME TO elsewhere")
    stop, log = asyncio.Event(), Log(lane)
    reader = lane.reader(deliveries_max=1)
    running = asyncio.create_task(settlement(lane, log, reader).run(stop))
    await lane.append(("R", "a"))

    async def tried_often() -> bool:
        return len(log.troubles) >= 4

    await until(tried_often)
    await lane.pool.execute("ALTER TABLE elsewhere RENAME TO orders")
    await until(all_settled, lane)
    stop.set()
    await running
    assert await lane.states() == {"a": "confirmed"}


async def test_nothing_is_taken_over_while_postgres_is_away(lane: Lane) -> None:
    await lane.append(("R", "a"))
    await lane.reader("other").read_new(10)
    async with asyncpg.create_pool(host="/nowhere", min_size=0) as unreachable:
        work = settlement(lane, Log(lane), lane.reader("one", reclaim_idle_ms=0))
        work.settler = Settler(unreachable)
        with pytest.raises(OSError, match="No such file"):
            await work.drain()
    assert (await lane.reader().pending()).by_consumer == {"other": 1}


async def test_a_flushed_redis_is_read_from_the_beginning_again(lane: Lane) -> None:
    stop, log = asyncio.Event(), Log(lane)
    running = asyncio.create_task(settlement(lane, log).run(stop))
    await lane.append(("R", "a"))
    await until(all_settled, lane)
    await lane.redis.flushdb()
    await lane.append(("R", "b"))
    await until(all_settled, lane)
    stop.set()
    await running
    assert set(await lane.states()) == {"a", "b"}


async def test_stopping_finishes_what_is_in_flight(lane: Lane) -> None:
    stop, log = asyncio.Event(), Log(lane)
    running = asyncio.create_task(settlement(lane, log, gather_ms=0).run(stop))
    for number in range(200):
        await lane.append(("R", f"buyer-{number}"))
        if number == 100:
            stop.set()
    await running
    assert (await lane.reader().pending()).entries == 0
    assert len(await lane.states()) == log.rows
    assert log.rows > 0


async def test_stopping_in_an_outage_leaves_entries_pending(lane: Lane) -> None:
    stop, log = asyncio.Event(), Log(lane)
    await lane.append(("R", "a"))
    await lane.pool.execute("ALTER TABLE orders RENAME TO elsewhere")
    running = asyncio.create_task(settlement(lane, log).run(stop))

    async def tried() -> bool:
        return bool(log.troubles)

    await until(tried)
    stop.set()
    await running
    await lane.pool.execute("ALTER TABLE elsewhere RENAME TO orders")
    assert (await lane.reader().pending()).entries == 1
    await settlement(lane, log).drain()
    assert await all_settled(lane)
