"""Each corruption, planted in a healthy sale, breaks the invariants that it names and no other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from flashsale.reconciliation.evaluate import Bounds
from tests.reconciliation.scene import Scene

ANNA, BO = "anna", "bo"


async def _settled(scene: Scene) -> str:
    """Anna holds two units, Bo's one was cancelled; all of it is in Postgres. Anna's order."""
    order = await scene.reserve(ANNA, 2)
    await scene.cancel(await scene.reserve(BO), BO)
    await scene.settle()
    assert await scene.broken() == set()
    return order


def redis(command: str, *arguments: str) -> Callable[[Scene, str], Awaitable[None]]:
    """`{order}` stands for Anna's order; a key is named by its field in LaneKeys."""

    async def plant(scene: Scene, order: str) -> None:
        key, *rest = (argument.format(order=order) for argument in arguments)
        await scene.redis.execute_command(command, getattr(scene.keys, key), *rest)

    return plant


def postgres(*statements: str) -> Callable[[Scene, str], Awaitable[None]]:
    """`{order}` stands for the id of Anna's order."""

    async def plant(scene: Scene, order: str) -> None:
        for statement in statements:
            await scene.pool.execute(statement.format(order=scene.sale.id + order))

    return plant


def both(*plants: Callable[[Scene, str], Awaitable[None]]):
    async def plant(scene: Scene, order: str) -> None:
        for part in plants:
            await part(scene, order)

    return plant


ANOTHER_ROW = (
    "INSERT INTO orders (id, sale_id, item, buyer_id, quantity, unit_amount, state, version,"
    " hold_expires_at, decided_at) SELECT overlay(id PLACING 'zzzz' FROM 13), sale_id, item,"
    " 'zoe', 1, unit_amount, '{state}', {version}, hold_expires_at, decided_at"
    " FROM orders WHERE version = 1"
)

PLANTED = {
    "a unit from nowhere": (
        redis("HINCRBY", "stock", "available:0", "1"),
        {"INV-1"},
    ),
    "a unit moved without an event": (
        both(
            redis("HINCRBY", "stock", "available:0", "1"),
            redis("HINCRBY", "stock", "held:0", "-1"),
        ),
        {"INV-4"},
    ),
    "a counter that is no number": (
        redis("HSET", "stock", "available:0", "many"),
        {"INV-1"},
    ),
    "capacity that no supply gave": (
        both(
            redis("HINCRBY", "stock", "available:0", "5"),
            redis("HINCRBY", "stock", "capacity:0", "5"),
        ),
        {"INV-1"},
    ),
    "a hold deleted": (redis("HDEL", "holds", "{order}"), {"INV-9"}),
    "a hold nobody made": (
        redis("HSET", "holds", "z" * 24, "R:1:0:1:1:zoe"),
        {"INV-9"},
    ),
    "a hold damaged": (redis("HSET", "holds", "{order}", "?"), {"INV-9"}),
    "a deadline lost": (redis("ZREM", "deadlines", "{order}"), {"INV-9"}),
    "another quantity in Redis": (
        redis("HSET", "holds", "{order}", f"R:1:0:1:1:{ANNA}"),
        {"INV-8"},
    ),
    "a hold ended in Redis alone": (
        redis("HSET", "holds", "{order}", f"X:2:0:2:1:{ANNA}"),
        {"INV-5"},
    ),
    "a version from the future": (
        redis("HSET", "holds", "{order}", f"R:3:0:2:1:{ANNA}"),
        {"INV-11"},
    ),
    "a buyer's count raised": (redis("HINCRBY", "buyers", ANNA, "1"), {"INV-7"}),
    "a buyer's count lost": (redis("HDEL", "buyers", ANNA), {"INV-7"}),
    "a count of a buyer without orders": (redis("HSET", "buyers", "zoe", "1"), {"INV-7"}),
    "entries nobody appended": (redis("HINCRBY", "meta", "seq", "5"), {"INV-15"}),
    "the lane's tail lost": (redis("HSET", "meta", "seq", "1"), {"INV-15"}),
    "another epoch": (redis("HSET", "meta", "epoch", "7"), {"INV-9"}),
    "the lane gone": (redis("DEL", "meta"), {"INV-9"}),
    "a row's state": (
        postgres("UPDATE orders SET state = 'cancelled', version = 2 WHERE id = '{order}'"),
        {"INV-2", "INV-4", "INV-5", "INV-7", "INV-9"},
    ),
    "a row that ended by its first event": (
        postgres("UPDATE orders SET version = 1 WHERE state = 'cancelled'"),
        {"INV-11"},
    ),
    "a row's price": (
        postgres("UPDATE orders SET unit_amount = 1 WHERE id = '{order}'"),
        {"INV-8"},
    ),
    "a row's buyer": (
        postgres("UPDATE orders SET buyer_id = 'zoe' WHERE id = '{order}'"),
        {"INV-7", "INV-8"},
    ),
    "a row decided before the sale began": (
        postgres("UPDATE orders SET decided_at = now() - interval '1 day' WHERE version = 1"),
        {"INV-13"},
    ),
    "a row deleted": (
        postgres("DELETE FROM orders WHERE id = '{order}'"),
        {"INV-2", "INV-4", "INV-7", "INV-9"},
    ),
    "a row nobody reserved": (
        postgres(ANOTHER_ROW.format(state="confirmed", version=1)),
        {"INV-2", "INV-4", "INV-7", "INV-9"},
    ),
    "an ended row nobody reserved": (
        postgres(ANOTHER_ROW.format(state="expired", version=2)),
        {"INV-7", "INV-9"},
    ),
    "the live counter lowered": (
        postgres("UPDATE sale_items SET live = live - 1 WHERE item = 0"),
        {"INV-2"},
    ),
    "capacity below live": (
        postgres(
            "ALTER TABLE sale_items DROP CONSTRAINT live_within_capacity",
            "UPDATE sale_items SET capacity = 1 WHERE item = 0",
        ),
        {"INV-1", "INV-2"},
    ),
    "a limit that was broken": (
        postgres("UPDATE sales SET per_buyer_limit = 1"),
        {"INV-7"},
    ),
}


@pytest.mark.parametrize("name", PLANTED)
async def test_it_is_caught(scene: Scene, name: str):
    plant, expected = PLANTED[name]
    order = await _settled(scene)
    await plant(scene, order)
    assert await scene.broken() == expected


async def test_stock_changed_behind_the_newest_event_is_caught(scene: Scene):
    await _settled(scene)
    await scene.reserve("cy")
    await scene.redis.hincrby(scene.keys.stock, "available:1", -1)
    await scene.redis.hincrby(scene.keys.stock, "capacity:1", -1)
    assert await scene.broken() == {"INV-1", "INV-3"}


async def test_an_unsettled_entry_dropped_is_caught(scene: Scene):
    await _settled(scene)
    await scene.reserve("cy")
    (entry_id, _), *_ = await scene.redis.xrevrange(scene.keys.events, count=1)
    await scene.redis.xdel(scene.keys.events, entry_id)
    assert await scene.broken() >= {"INV-4", "INV-9", "INV-15"}


async def test_an_entry_appended_twice_is_caught(scene: Scene):
    await _settled(scene)
    await scene.reserve("cy")
    (_, fields), *_ = await scene.redis.xrevrange(scene.keys.events, count=1)
    await scene.redis.xadd(scene.keys.events, fields)
    assert await scene.broken() == {"INV-3"}


async def test_an_entry_without_a_number_alerts(scene: Scene):
    await _settled(scene)
    await scene.redis.xadd(scene.keys.events, {b"hello": b"\xff"})
    report = await scene.audit()
    assert report.holds
    assert report.alerts == ("Lane 0 has 1 entries in its stream that have no number.",)


async def test_an_unapplied_event_does_not_hide_a_lost_hold(scene: Scene):
    await _settled(scene)
    order = await scene.reserve("cy")
    await scene.redis.hdel(scene.keys.holds, order)
    assert await scene.broken() == {"INV-9"}


async def test_overdue_holds_and_an_old_backlog_are_caught(scene: Scene):
    await _settled(scene)
    order = await scene.reserve("cy")
    await scene.redis.zadd(scene.keys.deadlines, {order: 1})
    report = await scene.audit(bounds=Bounds(overdue_ms=1000, backlog_ms=-1))
    assert [check.invariant for check in report.broken] == ["INV-18", "INV-18"]
    assert report.broken[0].left == 1


async def test_the_sums_alone_miss_what_only_the_walk_can_see(scene: Scene):
    """The control: a count that is wrong in no sum."""
    order = await _settled(scene)
    await scene.redis.hset(scene.keys.holds, order, f"X:2:0:2:1:{ANNA}")
    assert (await scene.audit(each_order=False)).holds
    assert not (await scene.audit()).holds


async def test_what_is_broken_is_said_with_numbers_and_names(scene: Scene):
    order = await _settled(scene)
    await scene.redis.hincrby(scene.keys.buyers, ANNA, 1)
    await scene.redis.hdel(scene.keys.holds, order)
    told = {check.invariant: check.detail for check in (await scene.audit()).broken}
    assert told["INV-7"] == "buyer 'anna': 3 in Redis, 2 live units in all orders"
    assert f"{scene.sale.id}{order}: the record of a confirmed order is missing" in told["INV-9"]
