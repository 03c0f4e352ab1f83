"""Web processes that share limits: what they let through together, and what it costs Redis."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from flashsale.limits.limiter import Limiter
from flashsale.limits.pot import Pot
from flashsale.limits.recent import Recent
from flashsale.reservation.errors import StoreBusyError, StoreUnavailableError
from tests.limits.conftest import TERMS, Process

PROCESSES, SHARE = 4, 0.1
QUOTA = 60
ANN = ("mer_a", "ann")


async def storm(some: list[Process], each: int, subject: object = ANN) -> tuple[int, float]:
    """Everybody asks at once, `each` times a process: how many passed, and the seconds it took."""
    begun = time.monotonic()
    waits = await asyncio.gather(*(one.limiter.admit(subject) for _ in range(each) for one in some))
    return waits.count(0.0), time.monotonic() - begun


def most(quota: int, per_second: int, seconds: float) -> float:
    """What one process may let through in a time that has passed: it may be any time."""
    return quota + per_second * seconds


async def test_one_process_holds_the_limit_exactly(processes):
    async with processes(1) as one:
        passed, seconds = await storm(one, 300)
        assert QUOTA <= passed <= most(QUOTA, 1, seconds)
        more, seconds = await storm(one, 300)
        assert passed + more <= most(QUOTA, 1, seconds + 60)


async def test_many_processes_hold_it_within_their_shares(processes):
    async with processes(PROCESSES) as several:
        passed, seconds = await storm(several, 200)
    tolerance = 1 + (PROCESSES - 1) * SHARE
    assert QUOTA <= passed <= tolerance * most(QUOTA, 1, seconds)


async def test_the_control_each_process_for_itself_lets_all_through():
    """What the common pot is for: with a pot of its own, each process holds the whole limit."""
    several = [alone() for _ in range(PROCESSES)]
    passed, _ = await storm(several, 200)
    assert passed >= PROCESSES * QUOTA > (1 + (PROCESSES - 1) * SHARE) * QUOTA


async def _away(*_: object) -> list[object]:
    raise StoreUnavailableError("Redis is away")


def alone(**terms: int) -> Process:
    """A process whose Redis does not answer."""
    pot = Pot(_away)
    return Process(pot, Limiter("buyer", pot, **(TERMS | terms)))


async def test_a_process_goes_on_by_itself_while_redis_is_away():
    process = alone()
    passed, seconds = await storm([process], 300)
    assert QUOTA <= passed <= most(QUOTA, 1, seconds)


async def test_who_stays_below_the_share_is_never_seen_by_redis(processes, client: Redis):
    async with processes(1, subjects_max=100_000) as (one,):
        for number in range(500):
            assert await one.limiter.admit(("mer_a", f"buyer-{number}")) == 0.0
        assert one.pot.calls == 0
        assert await client.dbsize() == 0


async def test_others_are_not_touched(processes):
    async with processes(1) as one:
        await storm(one, 200)
        assert await one[0].limiter.admit(ANN) > 0
        assert await one[0].limiter.admit(("mer_b", "ann")) == 0.0
        assert await one[0].limiter.admit(("mer_a", "anna")) == 0.0


async def test_who_was_refused_is_refused_from_memory(processes):
    async with processes(1, per_second=1, burst_seconds=60) as one:
        await storm(one, 200)
        calls = one[0].pot.calls
        passed, seconds = await storm(one, 2000)
        # Redis is asked again once there can be a unit: at most once for each that came back.
        assert passed <= seconds + 1
        assert one[0].pot.calls - calls <= seconds + 1


async def test_the_wait_that_is_told_is_when_there_is_room(processes):
    async with processes(1, per_second=10, burst_seconds=1, share_percent=0) as one:
        await storm(one, 200)
        while not (wait := await one[0].limiter.admit(ANN)):
            pass  # so much time has gone by on a slow machine
        assert wait <= 1 / 10
        await asyncio.sleep(wait + 0.001)
        assert await one[0].limiter.admit(ANN) == 0.0


async def test_a_crowd_is_asked_about_in_few_calls(processes):
    """While one call is in flight everybody else joins the next."""
    async with processes(1, share_percent=0) as (one,):
        asks = [one.limiter.admit(("mer_a", f"b{number}")) for number in range(200) for _ in "ab"]
        assert await asyncio.gather(*asks) == [0.0] * 400
        assert one.pot.subjects <= 201
        assert one.pot.calls <= 2


async def test_a_busy_address_is_leased_units(processes):
    async with processes(1, per_second=2000, burst_seconds=1) as (one,):
        assert one.limiter.lease == 20
        begun = time.monotonic()
        waits = [await one.limiter.admit("203.0.113.7") for _ in range(1500)]
        assert not any(waits)
        # The share came first; the rest by twenties.
        assert 1 <= one.pot.calls <= (1500 - 200) / 20 + 1
        waits = [await one.limiter.admit("203.0.113.7") for _ in range(1500)]
        passed = 1500 + waits.count(0.0)
        assert passed <= most(2000, 2000, time.monotonic() - begun)


async def test_leases_hold_the_limit_in_a_crowd_too(processes):
    async with processes(3, per_second=2000, burst_seconds=1) as three:
        passed, seconds = await storm(three, 2000, "203.0.113.7")
    assert passed <= (1 + 2 * SHARE) * most(2000, 2000, seconds)


async def test_every_key_in_redis_expires(processes, client: Redis):
    async with processes(2) as both:
        for number in range(30):
            await storm(both, 50, ("mer_a", f"buyer-{number}"))
        keys = [key async for key in client.scan_iter()]
        assert len(keys) == 30
        assert all([0 < await client.pttl(key) <= 61_000 for key in keys])


async def test_a_look_counts_nothing(processes):
    async with processes(1) as (one,):
        now = time.monotonic()
        notes = {one.limiter.room(ANN, now) for _ in range(1000)}
        assert len(notes) == 1
        assert None not in notes


def filled(table: Recent[str, float], names: Callable[[int], str], count: int) -> int:
    """The most entries that there ever were."""
    largest = 0
    for number in range(count):
        table.put(names(number), 0.0)
        largest = max(largest, len(table))
    return largest


def test_a_million_names_do_not_grow_the_table():
    table: Recent[str, float] = Recent(10_000)
    assert filled(table, str, 1_000_000) <= 10_000
    # The newest half is always there, and a name that is used again is new again.
    assert all(table.get(str(999_999 - back)) is not None for back in range(4_999))
    table = Recent(10_000)
    filled(table, lambda number: "ann" if number % 1000 == 0 else str(number), 100_000)
    assert table.get("ann") is not None
    assert len(dict.fromkeys(map(str, range(100_000)))) > 10_000  # a plain one would hold them all


async def test_a_million_subjects_do_not_grow_a_process():
    process = alone(subjects_max=1000)
    limiter, now = process.limiter, time.monotonic()
    size = sys.getsizeof(limiter._spent_until)
    admitted = 0
    for number in range(1_000_000):
        note = limiter.room(str(number), now)
        if note is not None:
            admitted += 1
            limiter.spend(str(number), note)
    # At one instant the table gives what fits into it, whoever asks, and no name is kept for that.
    assert admitted == 1024 * 6
    assert sys.getsizeof(limiter._spent_until) == size < 10_000
    assert limiter.remembered == 0
    # Everybody is above the shares now, and known by name: the last ones only.
    for start in range(0, 20_000, 1000):
        waits = [limiter.admit(f"late-{number}") for number in range(start, start + 1000)]
        assert not any(await asyncio.gather(*waits))
        assert limiter.remembered <= 1000


async def test_who_shares_a_slot_is_still_told_apart_in_redis(processes):
    """A table of one slot: everybody's share is one, and nobody loses more than that."""
    async with processes(1, subjects_max=1) as one:
        for name in ("ann", "bob", "eve"):
            passed, seconds = await storm(one, 100, ("mer_a", name))
            assert QUOTA * (1 - SHARE) <= passed <= most(QUOTA, 1, seconds)


async def test_too_many_askers_are_told_so():
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow(_name: str, keys: object, _arguments: object) -> list[object]:
        asked.set()
        await answer.wait()
        return ["DONE", *([1, 0] * len(keys))]

    pot = Pot(slow, waiting_max=3)
    limiter = Limiter("buyer", pot, **(TERMS | {"share_percent": 0}))
    first = asyncio.create_task(limiter.admit("first"))
    await asked.wait()
    waiting = [asyncio.create_task(limiter.admit(f"buyer-{number}")) for number in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(StoreBusyError):
        await limiter.admit("one too many")
    waiting[0].cancel()  # its client has gone: the others are answered all the same
    answer.set()
    assert await asyncio.gather(first, *waiting[1:]) == [0.0] * 3
    await pot.stop()
