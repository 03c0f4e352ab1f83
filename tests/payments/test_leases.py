"""Who works on a wish keeps it, however long that takes, and only as long as they live."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from flashsale.payments import queries_outbox
from flashsale.payments.outbox import Bounds, Outbox
from flashsale.payments.queries_outbox import Wish, wish
from flashsale.payments.values import MoneyCounters
from tests.payments.till import PATIENCE_SECONDS, Till

LEASE_MS = 2_000
#: A process that claims what is due and never gets done with it.
CLAIMER = f"""
import asyncio, sys, asyncpg
from flashsale.payments.outbox import Bounds, Outbox
from flashsale.payments.values import MoneyCounters

async def endless(subject):
    print(subject, flush=True)
    await asyncio.Event().wait()

async def main():
    async with asyncpg.create_pool(sys.argv[1], min_size=1, max_size=2) as pool:
        bounds = Bounds(lease_ms={LEASE_MS})
        await Outbox(pool, {{"kind": endless}}, MoneyCounters(), bounds=bounds).run(asyncio.Event())

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
async def empty(till: Till) -> None:
    await till.pool.execute("DELETE FROM outbox")


@contextlib.asynccontextmanager
async def claimer(till: Till) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that is at work on the wish."""
    await wish(till.pool, [Wish("kind", "s")])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLAIMER, till.shop.dsn, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await process.stdout.readline() == b"s\n"
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def taker(till: Till, seen: list[str]) -> Outbox:
    async def note(subject: str) -> None:
        seen.append(subject)

    bounds = Bounds(lease_ms=LEASE_MS)
    return Outbox(till.pool, {"kind": note}, MoneyCounters(), bounds=bounds)


async def passed(till: Till, instant: Any) -> None:
    """Until the server's clock is behind an instant."""
    while not await till.pool.fetchval("SELECT now() > $1", instant):
        await asyncio.sleep(0.02)


async def due_at(till: Till) -> Any:
    return await till.pool.fetchval("SELECT due_at FROM outbox")


async def test_who_is_killed_leaves_its_wish_to_others_within_the_lease(till: Till):
    seen: list[str] = []
    async with claimer(till) as process:
        await passed(till, await due_at(till))
        assert await taker(till, seen).tick() == 0, "it is alive, and at work on it"
        process.kill()
        await process.wait()
        await passed(till, await due_at(till))
        assert await taker(till, seen).tick() == 1
    assert seen == ["s"]


async def test_who_never_renews_loses_what_it_is_at(till: Till, monkeypatch):
    """The control: with a lease as short, and no more than that, two are at the same."""

    async def never(_: Outbox) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Outbox, "_renew", never)
    begun, go, stop = asyncio.Event(), asyncio.Event(), asyncio.Event()
    seen: list[str] = []

    async def slow(subject: str) -> None:
        begun.set()
        await go.wait()
        seen.append(subject)

    await wish(till.pool, [Wish("kind", "s")])
    bounds = Bounds(lease_ms=100)
    outbox = Outbox(till.pool, {"kind": slow}, MoneyCounters(), bounds=bounds)
    running = asyncio.create_task(outbox.run(stop))
    await begun.wait()
    stop.set()
    await passed(till, await due_at(till))
    assert await taker(till, seen).tick() == 1
    go.set()
    await running
    assert seen == ["s", "s"]


@pytest.mark.parametrize("again", [True, False], ids=["", "control"])
async def test_what_is_wished_again_meanwhile_is_not_put_off(till: Till, again: bool):
    """It is due at once, for whoever is next."""
    await wish(till.pool, [Wish("kind", "s")])
    held = await queries_outbox.claim(till.pool, ["kind"], 1, LEASE_MS)
    if again:
        await wish(till.pool, [Wish("kind", "s")])
    before = await due_at(till)
    await queries_outbox.renew(till.pool, held, 10 * LEASE_MS)
    assert (await due_at(till) == before) == again
