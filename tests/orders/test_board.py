"""The board: one look-up for all who ask, bounded, and never in a buyer's way."""

from __future__ import annotations

import asyncio

import pytest

from flashsale.domain.outcomes import Status
from flashsale.orders import board as board_module
from flashsale.orders.board import Board
from flashsale.reservation.errors import LaneLostError
from flashsale.reservation.keys import lane_keys
from flashsale.reservation.replies import Request
from tests.orders.stores import Gated, LookUps, nothing
from tests.sales.shop import Shop

ANN = Request("order-a", "ann", 0, 1)


async def test_all_who_ask_at_once_share_a_look_up_and_none_can_end_it(
    shop: Shop, board: Board, look_ups: LookUps
):
    sale = (await shop.scheduled()).id
    gate = asyncio.Event()
    look_ups.before = gate.wait
    askers = [asyncio.create_task(board.listing(sale)) for _ in range(20)]
    await asyncio.sleep(0)
    for asker in askers[:19:2]:
        asker.cancel()
    await asyncio.sleep(0)
    gate.set()
    answers = await asyncio.gather(*askers, return_exceptions=True)
    listing = await board.listing(sale)
    assert answers[1::2] == [listing] * 10
    assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[:19:2])
    assert look_ups.asked == [sale]
    assert listing.facts.id == sale


async def test_all_may_go_away_and_an_error_that_nobody_hears_is_no_trouble(
    shop: Shop, board: Board, look_ups: LookUps
):
    sale = (await shop.scheduled()).id
    complaints: list[dict] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, each: complaints.append(each))
    gate = asyncio.Event()

    async def fail() -> None:
        await gate.wait()
        raise OSError("Postgres is away")

    look_ups.before = fail
    asker = asyncio.create_task(board.listing(sale))
    await asyncio.sleep(0)
    asker.cancel()
    await asyncio.gather(asker, return_exceptions=True)
    gate.set()
    with pytest.raises(OSError, match="Postgres is away"):
        await board.listing(sale)
    look_ups.before = nothing
    assert (await board.listing(sale)).facts.id == sale
    asyncio.get_running_loop().set_exception_handler(None)
    assert complaints == []


async def test_names_of_no_sale_are_remembered_briefly_and_push_out_no_sale(
    shop: Shop, board: Board, look_ups: LookUps, monkeypatch
):
    monkeypatch.setattr(board_module, "SALES_MAX", 3)
    monkeypatch.setattr(board_module, "UNKNOWN_MAX", 5)
    sale, draft = (await shop.scheduled()).id, (await shop.draft()).id
    listing = await board.listing(sale)
    for number in range(20):
        for _ in range(2):
            assert await board.listing(f"nowhere{number:05}") is None
    assert await board.listing(draft) is None
    assert len(look_ups.asked) == 1 + 20 + 1, "what is unknown is believed for a moment"
    assert len(board._unknown) == 5
    assert await board.listing(sale) is listing
    assert len(look_ups.asked) == 22
    # A notice ends the belief at once.
    await shop.service.schedule(shop.merchant, draft)
    board.forget(draft)
    assert (await board.listing(draft)).facts.id == draft


async def test_who_waits_in_a_listing_that_is_pushed_out_is_answered(
    shop: Shop, board: Board, store: Gated, monkeypatch
):
    monkeypatch.setattr(board_module, "SALES_MAX", 1)
    pushed_out, other = await shop.scheduled(), await shop.scheduled()
    desk = (await board.listing(pushed_out.id)).desks[0]
    store.gate.clear()
    waiting = [asyncio.create_task(desk.reserve(ANN._replace(order=f"o-{n}"))) for n in range(20)]
    await asyncio.sleep(0)
    await board.listing(other.id)
    assert list(board._listings) == [other.id]
    store.gate.set()
    told = [decision.status for decision in await asyncio.gather(*waiting)]
    assert told == [Status.RESERVED] * 2 + [Status.LIMIT_REACHED] * 18


async def test_a_new_epoch_takes_over_and_those_who_wait_in_the_old_one_hear_of_it(
    shop: Shop, board: Board, store: Gated
):
    sale = await shop.scheduled()
    old = await board.listing(sale.id)
    store.gate.clear()
    waiting = asyncio.create_task(old.desks[0].reserve(ANN))
    await asyncio.sleep(0)
    await shop.redis.delete(*lane_keys(sale.id, 0))
    await shop.set_columns(sale, "epoch = 2")
    await shop.store.open_sale(sale.id, 0, 2, sale.terms, [10])
    board.forget(sale.id)
    fresh = await board.listing(sale.id)
    assert fresh is await board.listing(sale.id)
    assert (fresh.facts.epoch, fresh.desks[0] is old.desks[0]) == (2, False)
    store.gate.set()
    with pytest.raises(LaneLostError):
        await waiting
    assert (await fresh.desks[0].reserve(ANN)).status is Status.RESERVED


async def test_a_retired_sale_keeps_nobody_in_memory(shop: Shop, board: Board, store: Gated):
    sale = await shop.scheduled()
    listing = await board.listing(sale.id)
    await board.refresh(listing)
    assert listing.desks[0].follower.known is not None
    store.gate.clear()
    waiting = asyncio.create_task(listing.desks[0].reserve(ANN))
    await shop.service.close(shop.merchant, sale.id)
    await shop.set_columns(sale, "retired_at = now()")
    board.forget(sale.id)
    retired = await board.listing(sale.id)
    assert retired.desks[0] is not listing.desks[0]
    assert retired.desks[0].follower.known is None
    store.gate.set()
    assert (await waiting).status is Status.SALE_OVER, "who waits in the old ones is answered"
    await listing.desks[0].stop()
