"""What is shown of a sale is of this moment where stores answer, and else what was known last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import asyncpg
import pytest

from flashsale.domain.outcomes import Status
from flashsale.orders import board as board_module
from flashsale.orders.board import Board
from flashsale.reservation.keys import lane_keys
from flashsale.reservation.replies import Request
from tests.orders.stores import Gated, LookUps, nothing
from tests.sales.shop import Shop, item


async def test_a_notice_during_a_look_up_is_not_lost(shop: Shop, board: Board, look_ups: LookUps):
    sale = await shop.scheduled()
    await board.listing(sale.id)

    async def rename() -> None:
        look_ups.after = nothing
        await shop.set_columns(sale, "name = 'renamed'")
        board.forget(sale.id)

    look_ups.after = rename
    board.forget(sale.id)
    assert (await board.listing(sale.id)).facts.name == "renamed"
    # Notices may come faster than Postgres answers: each asker is answered all the same.
    look_ups.asked.clear()

    async def notice() -> None:
        board.forget()

    look_ups.after = notice
    board.forget()
    async with asyncio.timeout(10):
        assert await board.listing(sale.id) is not None
    assert len(look_ups.asked) == 2
    look_ups.after = nothing
    assert await board.listing(sale.id) is not None
    assert len(look_ups.asked) == 3, "what was read too early is read again by the next"


@asynccontextmanager
async def away(look_ups: LookUps, how: str) -> AsyncIterator[None]:
    """Postgres refuses, or says nothing at all."""
    back = asyncio.Event()

    async def fail() -> None:
        if how == "silent":
            await back.wait()
        raise asyncpg.CannotConnectNowError("Postgres starts up")

    look_ups.before = fail
    yield
    look_ups.before = nothing
    back.set()


@pytest.mark.parametrize("how", ["refusing", "silent"])
async def test_a_sale_goes_on_while_postgres_is_away(
    shop: Shop, board: Board, look_ups: LookUps, how: str
):
    sale = await shop.scheduled()
    listing = await board.listing(sale.id)
    board.forget()
    async with away(look_ups, how):
        for number in range(20):
            known = await board.listing(sale.id)
            assert known is listing
            assert board.peek(sale.id) is listing, "and the quick way stays open"
            decision = await known.desks[0].reserve(Request(f"o-{number}", f"b-{number}", 0, 1))
            assert decision.status is (Status.RESERVED if number < 10 else Status.SOLD_OUT)
        assert len(look_ups.asked) < 5, "an outage is not asked after by every buyer"
    await shop.set_columns(sale, "name = 'renamed'")
    board.forget(sale.id)
    async with asyncio.timeout(10):
        while (await board.listing(sale.id)).facts.name != "renamed":
            board.forget(sale.id)


async def test_a_bug_in_reading_facts_is_not_taken_for_an_outage(
    shop: Shop, board: Board, look_ups: LookUps
):
    sale = (await shop.scheduled()).id
    await board.listing(sale)
    board.forget()

    async def fail() -> None:
        raise ZeroDivisionError

    look_ups.before = fail
    with pytest.raises(ZeroDivisionError):
        await board.listing(sale)


async def test_only_what_is_fresh_is_found_without_waiting(shop: Shop, board: Board):
    sale, draft = (await shop.scheduled()).id, (await shop.draft()).id
    assert board.peek(sale) is None
    listing = await board.listing(sale)
    assert board.peek(sale) is listing
    board.forget(sale)
    assert board.peek(sale) is None
    await board.listing(draft)
    assert board.peek(draft) is None


async def until_shown(board: Board, sale: str, available: list[int]) -> None:
    async with asyncio.timeout(10):
        while (await board.listing(sale)).available != available:
            await asyncio.sleep(0.01)


async def test_what_is_read_is_watched_whatever_befalls_another_sale(shop: Shop, board: Board):
    ill, well = await shop.scheduled(), await shop.scheduled()
    (desk,) = (await board.listing(ill.id)).desks

    async def fail() -> None:
        raise ZeroDivisionError

    desk.follower.catch_up = fail
    await board.listing(well.id)
    watching = asyncio.create_task(board.watch(every_ms=10))
    await until_shown(board, well.id, [10])
    await shop.reserve(well, "ann")
    await until_shown(board, well.id, [9])
    await shop.redis.delete(lane_keys(well.id, 0).meta)
    del desk.follower.catch_up
    await until_shown(board, ill.id, [10])
    assert (await board.listing(well.id)).available == [9], "the last reading stays"
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_a_sale_nobody_read_for_a_while_is_read_before_it_is_shown(
    shop: Shop, board: Board, monkeypatch
):
    sale = await shop.scheduled()
    listing = await board.listing(sale.id)
    await board.freshen(listing)
    await shop.reserve(sale, "ann")
    await board.freshen(listing)
    assert listing.available == [10], "a reading of this moment is not repeated"
    monkeypatch.setattr(board_module, "READING_SECONDS_MAX", 0)
    await board.freshen(listing)
    assert (listing.available, listing.capacity) == ([9], [10])


async def test_some_lanes_alone_are_never_shown_as_the_whole(
    shop: Shop, board: Board, store: Gated
):
    sale = await shop.draft(items=[item(supply=5)])
    await shop.set_columns(sale, "lanes = 2")
    sale = await shop.service.schedule(shop.merchant, sale.id)
    listing = await board.listing(sale.id)
    store.gone = {1}
    await board.refresh(listing)
    assert (listing.available, listing.capacity) == ([], [])
    store.gone = set()
    await board.freshen(listing)
    assert (listing.available, listing.capacity) == ([5], [5])
    assert replace(sale, revision=0) == replace(listing.facts, revision=0)
