"""A shop with its stores, and the same behind HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from flashsale.orders.board import Board
from tests.orders.stores import Gated, LookUps
from tests.sales.shop import Shop, open_shop
from tests.web.house import House, open_house


@pytest.fixture(scope="module")
async def shop(schema, new_database, redis_url) -> AsyncIterator[Shop]:
    async with new_database(template=schema) as dsn, open_shop(dsn, redis_url) as opened:
        await opened.redis.flushdb()
        yield opened


@pytest.fixture(scope="module")
async def house(schema, new_database, redis_url) -> AsyncIterator[House]:
    async with (
        new_database(template=schema) as dsn,
        open_house(dsn, redis_url) as opened,
    ):
        yield opened


@pytest.fixture
async def store(shop: Shop) -> AsyncIterator[Gated]:
    store = Gated(shop)
    yield store
    await store.close()


@pytest.fixture
async def look_ups(shop: Shop) -> LookUps:
    return LookUps(shop)


@pytest.fixture
async def board(look_ups: LookUps, store: Gated) -> AsyncIterator[Board]:
    board = Board(look_ups, store, batch_max=16, waiting_max=64)
    yield board
    await board.stop()
