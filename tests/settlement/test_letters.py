"""A dead letter is settled again once what kept it from that is mended, and never twice."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from flashsale.domain.identity import order_hash
from flashsale.domain.outcomes import Status
from flashsale.reservation.replies import Request
from flashsale.settlement.letters import DeadLetter, dead_letters, replay
from tests.reconciliation.scene import Scene, open_scene

NEW_ITEM = (
    "INSERT INTO sale_items (sale_id, item, sku, name, price_amount, price_currency, capacity)"
    " VALUES ($1, 2, 'mi3-128', 'Mi 3 128 GB', 249900, 'CNY', $2)"
)
ORDERS = "SELECT state FROM orders WHERE sale_id = $1 AND item = 2"


@pytest.fixture
async def scene(schema, new_database, redis_db, redis_url) -> AsyncIterator[Scene]:
    """Ada holds two units of an item that Postgres has never heard of: a dead letter."""
    async with new_database(template=schema) as dsn, open_scene(dsn, redis_url) as opened:
        place = (opened.sale.id, 0, opened.sale.epoch)
        assert await opened.store.add_item(*place, 2, 5) is Status.DONE
        await opened.reserve("bo")
        order = order_hash(b"s" * 32, opened.sale.id, "ada", "1")
        (decision,) = await opened.store.reserve(*place, [Request(order, "ada", 2, 2)])
        assert decision.status is Status.RESERVED
        await opened.settle()
        yield opened


async def give_back(*_: object) -> None:
    raise AssertionError("there is room")


async def only_letter(scene: Scene) -> DeadLetter:
    (letter,) = await dead_letters(scene.pool, scene.sale.id)
    return letter


async def test_it_stays_while_the_reason_does(scene: Scene):
    letter = await only_letter(scene)
    done = await replay(scene.pool, letter, give_back)
    assert "item" in (done.error or "")
    assert await only_letter(scene) == letter
    report = await scene.audit()
    assert any("Dead letter" in alert for alert in report.alerts)


async def test_it_is_settled_once_mended_and_only_once(scene: Scene):
    letter = await only_letter(scene)
    await scene.pool.execute(NEW_ITEM, scene.sale.id, 5)
    first = await replay(scene.pool, letter, give_back)
    assert (first.error, first.rows, first.rejected) == (None, 1, 0)
    assert await dead_letters(scene.pool) == []
    assert await scene.broken() == set()
    again = await replay(scene.pool, letter, give_back)
    assert (again.error, again.rows) == (None, 0)
    assert [row["state"] for row in await scene.pool.fetch(ORDERS, scene.sale.id)] == ["confirmed"]
    assert await scene.broken() == set()


async def test_killed_before_the_letter_went_it_is_settled_all_the_same(scene: Scene):
    letter = await only_letter(scene)
    await scene.pool.execute(NEW_ITEM, scene.sale.id, 5)
    await replay(scene.pool, letter, give_back)
    await scene.pool.execute(
        "INSERT INTO dead_letters (sale_id, lane, seq, entry_id, fields, error)"
        " VALUES ($1, 0, $2, $3, '{}', 'as a crash leaves it')",
        scene.sale.id,
        letter.seq,
        letter.entry_id,
    )
    assert await scene.broken() == set()
    assert (await replay(scene.pool, letter, give_back)).rows == 0
    assert await dead_letters(scene.pool) == []


async def test_who_has_no_room_gets_the_units_back(scene: Scene):
    letter = await only_letter(scene)
    await scene.pool.execute(NEW_ITEM, scene.sale.id, 1)
    told: list[tuple[object, ...]] = []

    async def note(*order: object) -> None:
        told.append(order)

    done = await replay(scene.pool, letter, note)
    assert (done.error, done.rejected) == (None, 1)
    assert [(sale, lane, buyer) for sale, lane, _, buyer in told] == [(scene.sale.id, 0, "ada")]
    assert [row["state"] for row in await scene.pool.fetch(ORDERS, scene.sale.id)] == ["rejected"]


async def test_what_nobody_can_read_stays(scene: Scene):
    await scene.pool.execute('UPDATE dead_letters SET fields = \'{"seq": "2"}\'')
    done = await replay(scene.pool, await only_letter(scene), give_back)
    assert "cannot be read" in (done.error or "")
    assert await only_letter(scene)
