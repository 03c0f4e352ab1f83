"""One transaction a batch, against real servers: twice, late, in a race, too many, or poisoned."""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING

import asyncpg
import pytest

from flashsale.domain.events import Entry, OrderEvent
from flashsale.settlement.settler import RoomMayComeError, Settled, Settler
from flashsale.stream.reader import Delivery

if TYPE_CHECKING:
    from tests.settlement.conftest import Lane


async def settle(lane: Lane, delivery: Delivery) -> Settled:
    return await Settler(lane.pool).settle(lane.catalogue, lane.number, delivery)


async def read(lane: Lane, *entries: list[tuple]) -> Delivery:
    for events in entries:
        await lane.append(*events)
    return await lane.reader().read_new(100)


def of(delivery: Delivery, *numbers: int) -> Delivery:
    """Some entries of a delivery, in the order asked for."""
    return Delivery([delivery.entries[number] for number in numbers], (), delivery.raw)


async def test_a_batch_becomes_rows_counters_and_a_watermark(lane: Lane) -> None:
    delivery = await read(lane, [("R", "a", 0, 2), ("R", "b", 1, 1)], [("X", "b", 1, 1)])
    settled = await settle(lane, delivery)
    assert (settled.rows, settled.rejected, settled.dead_letters) == (2, [], [])
    assert await lane.states() == {"a": "confirmed", "b": "expired"}
    assert await lane.live() == [2, 0]
    assert await lane.settled() == {1, 2}
    row = await lane.pool.fetchrow("SELECT * FROM orders WHERE buyer_id = 'a'")
    assert (row["id"], row["sale_id"]) == (lane.sale + lane.order("a"), lane.sale)
    assert (row["unit_amount"], row["version"]) == (1000, 1)
    assert row["hold_expires_at"].timestamp() == 9
    assert row["decided_at"].timestamp() == 5
    last = await lane.pool.fetchval("SELECT last_entry_id FROM lanes")
    assert last == delivery.last_id


async def test_settling_again_changes_nothing(lane: Lane) -> None:
    delivery = await read(lane, [("R", "a"), ("R", "b")], [("C", "b")])
    await settle(lane, delivery)
    before = await lane.pool.fetch("SELECT * FROM orders ORDER BY id")
    for again in (delivery, of(delivery, 0), of(delivery, 1)):
        assert (await settle(lane, again)).rows == 0
    assert await lane.pool.fetch("SELECT * FROM orders ORDER BY id") == before
    assert await lane.live() == [1, 0]


async def test_a_release_may_come_before_its_reservation(lane: Lane) -> None:
    delivery = await read(lane, [("R", "a", 0, 3)], [("C", "a", 0, 3)])
    await settle(lane, of(delivery, 1))
    assert await lane.states() == {"a": "cancelled"}
    assert await lane.settled() == {2}
    await settle(lane, of(delivery, 0))
    assert await lane.states() == {"a": "cancelled"}
    assert await lane.live() == [0, 0]
    assert await lane.settled() == {1, 2}


async def test_the_watermark_never_goes_back(lane: Lane) -> None:
    delivery = await read(lane, [("R", "a")], [("R", "b")])
    assert delivery.last_id < "9", "as text, the late one would be the highest"
    late = Delivery([delivery.entries[0]._replace(entry_id="9-1")], (), delivery.raw)
    await settle(lane, of(delivery, 1))
    await settle(lane, late)
    assert await lane.pool.fetchval("SELECT last_entry_id FROM lanes") == delivery.last_id


async def naively(lane: Lane, delivery: Delivery) -> None:
    """The control: what most would write. The last event to arrive wins and counts."""
    for entry in delivery.entries:
        for event in entry.orders:
            live = 1 if event.kind.value == "R" else -1
            async with lane.pool.acquire() as connection, connection.transaction():
                await connection.execute(
                    """INSERT INTO orders (id, sale_id, item, buyer_id, quantity, unit_amount,
                        state, version, hold_expires_at, decided_at)
                    VALUES ($1, $2, $3, $4, $5, 1, $6, $7, now(), now())
                    ON CONFLICT (id) DO UPDATE SET state = EXCLUDED.state""",
                    lane.sale + event.order, lane.sale, event.item, event.buyer, event.quantity,
                    "confirmed" if live > 0 else "cancelled", event.version,
                )  # fmt: skip
                await connection.execute(
                    "UPDATE sale_items SET live = greatest(live + $1, 0) WHERE item = $2",
                    live * event.quantity, event.item,
                )  # fmt: skip


@pytest.mark.parametrize("protected", [True, False], ids=["settler", "control"])
async def test_workers_in_a_race_end_where_one_would(lane: Lane, protected: bool) -> None:
    buyers = [f"buyer-{number}" for number in range(60)]
    reservations = [[("R", buyer, number % 2, 1)] for number, buyer in enumerate(buyers)]
    releases = [[("C", buyers[at], at % 2, 1)] for at in range(0, 60, 3)]
    delivery = await read(lane, *reservations)
    delivery = Delivery(
        [*delivery.entries, *(await read(lane, *releases)).entries], (), delivery.raw
    )
    chance = random.Random(7)
    numbers = list(range(len(delivery.entries)))

    async def worker() -> None:
        """Takes every entry, in batches of its own and in an order of its own."""
        shuffled = chance.sample(numbers, len(numbers))
        for at in range(0, len(shuffled), 7):
            part = of(delivery, *shuffled[at : at + 7])
            await (settle if protected else naively)(lane, part)

    await asyncio.gather(*(worker() for _ in range(4)))
    expected = {
        buyer: "cancelled" if at % 3 == 0 else "confirmed" for at, buyer in enumerate(buyers)
    }
    if protected:
        assert await lane.states() == expected
        assert await lane.live() == [20, 20]
    else:
        assert await lane.states() != expected


async def test_what_does_not_fit_is_rejected_and_told(lane: Lane) -> None:
    await lane.pool.execute("UPDATE sale_items SET capacity = 3 WHERE item = 0")
    delivery = await read(lane, [("R", "a", 0, 2), ("R", "b", 0, 2), ("R", "c"), ("R", "d", 1, 5)])
    settled = await settle(lane, delivery)
    assert [event.buyer for event in settled.rejected] == ["b"]
    assert await lane.states() == {
        "a": "confirmed", "b": "rejected", "c": "confirmed", "d": "confirmed",
    }  # fmt: skip
    assert await lane.live() == [3, 5]
    again = await settle(lane, delivery)
    assert [event.buyer for event in again.rejected] == ["b"], "told until it is acknowledged"
    assert await lane.live() == [3, 5]


async def test_many_workers_never_exceed_the_capacity(lane: Lane) -> None:
    await lane.pool.execute("UPDATE sale_items SET capacity = 25 WHERE item = 0")
    delivery = await read(lane, *[[("R", f"buyer-{number}")] for number in range(60)])
    parts = [of(delivery, *range(at, at + 5)) for at in range(0, 60, 5)]
    results = await asyncio.gather(*(settle(lane, part) for part in parts))
    assert await lane.live() == [25, 0]
    assert sum(len(settled.rejected) for settled in results) == 35
    assert sorted((await lane.states()).values()) == ["confirmed"] * 25 + ["rejected"] * 35


def poisoned(entry: Entry, **changes: object) -> Entry:
    """The entry with its last order event changed."""
    *others, last = entry.orders
    return entry._replace(orders=(*others, OrderEvent(**{**last._asdict(), **changes})))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"item": 9}, "the sale has no item 9"),
        ({"buyer": "nul\0"}, "invalid byte sequence"),
        ({"deadline_ms": 10**18}, "year"),
        ({"quantity": 2**40}, "value out of int32 range"),
        ({"quantity": -1}, "orders_quantity_check"),
    ],
)
async def test_one_poison_entry_is_put_aside_and_the_others_settle(
    lane: Lane, change: dict[str, object], error: str
) -> None:
    delivery = await read(
        lane, *[[("R", f"buyer-{number}"), ("R", f"b{number}")] for number in range(8)]
    )
    entries = [poisoned(entry, **change) if entry.seq == 6 else entry for entry in delivery.entries]
    for _ in range(2):  # delivered again, it is one dead letter still
        settled = await settle(lane, Delivery(entries, (), delivery.raw))
        assert [letter.seq for letter in settled.dead_letters] == [6]
    assert len(await lane.states()) == 14
    assert await lane.live() == [14, 0]
    assert await lane.settled() == {1, 2, 3, 4, 5, 7, 8}
    (letter,) = await lane.pool.fetch("SELECT * FROM dead_letters")
    assert (letter["seq"], letter["entry_id"]) == (6, entries[5].entry_id)
    assert error in letter["error"]
    assert json.loads(letter["fields"])["seq"] == "6"


async def test_an_undecodable_entry_becomes_a_dead_letter(lane: Lane) -> None:
    await lane.redis.xadd(lane.key, {b"seq": b"1", b"events": b"\xff\0"})
    settled = await settle(lane, await read(lane, [("R", "a")]))
    assert len(settled.dead_letters) == 1
    assert await lane.states() == {"a": "confirmed"}
    fields = json.loads(await lane.pool.fetchval("SELECT fields FROM dead_letters"))
    assert fields == {"seq": "1", "events": r"\xff\x00"}


async def test_an_outage_is_an_error_and_no_dead_letter(lane: Lane) -> None:
    delivery = await read(lane, [("R", "a")], [("R", "b")])
    await lane.pool.execute("ALTER TABLE orders RENAME TO elsewhere")
    with pytest.raises(asyncpg.UndefinedTableError):
        await settle(lane, delivery)
    await lane.pool.execute("ALTER TABLE elsewhere RENAME TO orders")
    assert await lane.pool.fetchval("SELECT count(*) FROM dead_letters") == 0
    assert (await settle(lane, delivery)).rows == 2


async def test_an_illegal_event_is_settled_without_effect_and_told(lane: Lane) -> None:
    delivery = await read(lane, [("R", "a")], [("X", "a")])
    await settle(lane, of(delivery, 0))
    await lane.pool.execute("UPDATE orders SET state = 'paid'")
    settled = await settle(lane, of(delivery, 1))
    assert [one.state.value for one in settled.illegal] == ["paid"]
    assert await lane.states() == {"a": "paid"}
    assert await lane.settled() == {1, 2}


async def test_units_of_a_release_still_to_come_are_waited_for(lane: Lane) -> None:
    await lane.pool.execute("UPDATE sale_items SET capacity = 1 WHERE item = 0")
    delivery = await read(lane, [("R", "a")], [("C", "a")], [("R", "b")])
    await settle(lane, of(delivery, 0))
    settler = Settler(lane.pool)
    with pytest.raises(RoomMayComeError):
        await settler.settle(lane.catalogue, lane.number, of(delivery, 2), patient=True)
    assert await lane.states() == {"a": "confirmed"}, "nothing is written while it may still fit"
    await settle(lane, of(delivery, 1))
    await settler.settle(lane.catalogue, lane.number, of(delivery, 2), patient=True)
    assert await lane.states() == {"a": "cancelled", "b": "confirmed"}


async def test_without_waiting_an_honest_order_is_rejected(lane: Lane) -> None:
    """The control of the test above."""
    await lane.pool.execute("UPDATE sale_items SET capacity = 1 WHERE item = 0")
    delivery = await read(lane, [("R", "a")], [("C", "a")], [("R", "b")])
    for number in (0, 2, 1):
        await settle(lane, of(delivery, number))
    assert await lane.states() == {"a": "cancelled", "b": "rejected"}


async def test_where_nothing_is_missing_there_is_no_waiting(lane: Lane) -> None:
    await lane.pool.execute("UPDATE sale_items SET capacity = 1 WHERE item = 0")
    delivery = await read(lane, [("R", "a")], [("R", "b")])
    await Settler(lane.pool).settle(lane.catalogue, lane.number, delivery, patient=True)
    assert await lane.states() == {"a": "confirmed", "b": "rejected"}
