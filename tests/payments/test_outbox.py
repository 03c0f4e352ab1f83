"""What is still to be done is done at least once, later where it fails, and never forgotten."""

from __future__ import annotations

import asyncio

import pytest

from flashsale.payments import queries_outbox
from flashsale.payments.outbox import Bounds, NotYetError, Outbox
from flashsale.payments.queries_outbox import Wish, remind, wish
from flashsale.payments.values import MoneyCounters
from tests.payments.till import Till


@pytest.fixture(autouse=True)
async def empty(till: Till) -> None:
    await till.pool.execute("DELETE FROM outbox")


def worker(till: Till, handler, **bounds: int) -> Outbox:
    counters = MoneyCounters()
    made = Outbox(
        till.pool, {"kind": handler}, counters, bounds=Bounds(**bounds), jitter=lambda: 1.0
    )
    made.counters = counters
    return made


async def left(till: Till) -> list[str]:
    rows = await till.pool.fetch("SELECT subject FROM outbox ORDER BY subject")
    return [row["subject"] for row in rows]


async def delay_ms(till: Till, subject: str) -> float:
    """How far ahead a wish is due, by the server's clock."""
    return await till.pool.fetchval(
        "SELECT extract(epoch FROM due_at - now()) * 1000 FROM outbox WHERE subject = $1", subject
    )


async def test_each_wish_is_carried_out_once_by_several_workers(till: Till):
    seen: list[str] = []

    async def note(subject: str) -> None:
        await asyncio.sleep(0)
        seen.append(subject)

    subjects = [f"s{number}" for number in range(300)]
    await wish(till.pool, [Wish("kind", subject) for subject in subjects])
    await wish(till.pool, [Wish("other", "not ours")])
    await asyncio.gather(*(worker(till, note, concurrency=20).tick() for _ in range(4)))
    assert sorted(seen) == sorted(subjects)
    assert await left(till) == ["not ours"]


async def test_without_a_claim_two_workers_would_do_the_same(till: Till):
    """The control: who only reads what is due does what another one is at."""
    await wish(till.pool, [Wish("kind", "s")])
    looked, seen = asyncio.Barrier(2), []

    async def naive() -> None:
        due = await left(till)
        await looked.wait()
        seen.extend(due)

    await asyncio.gather(naive(), naive())
    assert seen == ["s", "s"]


async def test_a_wish_made_while_the_work_goes_on_is_not_lost(till: Till):
    runs: list[str] = []

    async def wishes_again(subject: str) -> None:
        runs.append(subject)
        if len(runs) == 1:
            await wish(till.pool, [Wish("kind", subject)])

    await wish(till.pool, [Wish("kind", "s")])
    assert await worker(till, wishes_again).tick() == 2
    assert (runs, await left(till)) == (["s", "s"], [])


async def test_what_fails_comes_later_and_ever_later(till: Till):
    async def fails(_: str) -> None:
        raise OSError("away")

    await wish(till.pool, [Wish("kind", "s")])
    outbox = worker(till, fails, first_ms=100_000, most_ms=1_000_000, stuck_after=3)
    delays = []
    for _ in range(6):
        await till.pool.execute("UPDATE outbox SET due_at = now()")
        assert await outbox.tick() == 1
        delays.append(await delay_ms(till, "s"))
    for found, expected in zip(delays, [100, 200, 400, 800, 1000, 1000], strict=True):
        assert expected * 900 < found <= expected * 1000
    assert (outbox.counters.outbox_failures, outbox.counters.outbox_stuck) == (6, 4)
    error = await till.pool.fetchval("SELECT last_error FROM outbox")
    assert error == "OSError: away"


async def test_what_has_to_wait_has_not_failed(till: Till):
    async def waits(_: str) -> None:
        raise NotYetError("settlement comes first")

    await wish(till.pool, [Wish("kind", "s")])
    outbox = worker(till, waits, stuck_after=1)
    assert await outbox.tick() >= 1
    assert (outbox.counters.outbox_failures, outbox.counters.outbox_stuck) == (0, 0)
    assert await left(till) == ["s"]


async def test_who_dies_leaves_its_wishes_to_the_next(till: Till):
    await wish(till.pool, [Wish("kind", "s")])
    assert len(await queries_outbox.claim(till.pool, ["kind"], 10, 600_000)) == 1
    seen: list[str] = []

    async def note(subject: str) -> None:
        seen.append(subject)

    assert await worker(till, note).tick() == 0, "it is another one's for the lease"
    await till.pool.execute("UPDATE outbox SET due_at = due_at - interval '600 seconds'")
    assert await worker(till, note).tick() == 1
    assert seen == ["s"]


async def test_reminding_changes_nothing_where_the_wish_is_there(till: Till):
    await wish(till.pool, [Wish("kind", "s", 1_000_000)])
    await remind(till.pool, [Wish("kind", "s"), Wish("kind", "t")])
    assert await left(till) == ["s", "t"]
    assert await delay_ms(till, "s") > 900_000
    await wish(till.pool, [Wish("kind", "s")])
    assert await delay_ms(till, "s") <= 0
    assert (await queries_outbox.backlog(till.pool)).waiting == 2


async def test_it_works_until_it_is_stopped_and_finishes_what_it_began(till: Till):
    stop, begun, go = asyncio.Event(), asyncio.Event(), asyncio.Event()
    seen: list[str] = []

    async def slow(subject: str) -> None:
        begun.set()
        await go.wait()
        seen.append(subject)

    running = asyncio.create_task(worker(till, slow, poll_ms=1).run(stop))
    await wish(till.pool, [Wish("kind", "s")])
    await begun.wait()
    stop.set()
    go.set()
    await running
    assert (seen, await left(till)) == (["s"], [])
