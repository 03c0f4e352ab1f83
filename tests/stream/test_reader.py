"""The reader against a real server: every reply shape, lost groups, dead consumers, poison."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from flashsale.domain.events import EventKind
from flashsale.reservation.keys import lane_keys
from flashsale.stream.position import FIRST_ID, position
from flashsale.stream.reader import LaneReader

SALE, LANE = "abcdefghijkl", 0
KEY = lane_keys(SALE, LANE).events


async def append(redis: Redis, seq: int, events: str = "R\t1\to\t0\t1\t99\tb") -> str:
    fields = {"seq": seq, "epoch": 1, "at_ms": 5, "available": "1", "events": events}
    return (await redis.xadd(KEY, fields, id=f"1-{seq}")).decode()


def reader(redis: Redis, consumer: str = "one", **options: int) -> LaneReader:
    return LaneReader(redis, SALE, LANE, consumer, **options)


CLIENTS = {
    "RESP2": {"protocol": 2},
    "RESP2, text": {"protocol": 2, "decode_responses": True},
    "RESP3": {"protocol": 3},
    "RESP3, text": {"protocol": 3, "decode_responses": True},
    "unified": {"protocol": 3, "legacy_responses": False},
    "protocol chosen by the client": {},
}


@pytest.fixture(params=CLIENTS.values(), ids=CLIENTS)
async def client(
    request: pytest.FixtureRequest, redis_db: Redis, redis_url: str
) -> AsyncIterator[Redis]:
    redis = Redis.from_url(redis_url, retry=Retry(NoBackoff(), 0), **request.param)
    yield redis
    await redis.aclose()


async def test_every_client_reads_and_reclaims_the_same(client: Redis, redis_db: Redis) -> None:
    for seq in (1, 2):
        await append(redis_db, seq)
    first = reader(client)
    delivery = await first.read_new(10)
    assert [(one.entry_id, one.seq, one.orders[0].kind) for one in delivery.entries] == [
        ("1-1", 1, EventKind.RESERVED),
        ("1-2", 2, EventKind.RESERVED),
    ]
    assert (await first.read_new(10)).size == 0
    assert (await first.read_new(10, block_ms=1)).size == 0
    pending = await first.pending()
    assert pending == (2, "1-1", "1-2", {"one": 2})
    assert (await first.read_own_pending(FIRST_ID, 10)).entries == delivery.entries
    assert (await first.read_own_pending("1-1", 10)).last_id == "1-2"
    second = reader(client, "two", reclaim_idle_ms=0)
    assert (await second.reclaim(10)).entries == delivery.entries
    assert await second.acknowledge(delivery.entry_ids) == 2
    assert await second.acknowledge([]) == 0
    assert await first.pending() == (0, None, None, {})


async def test_a_stream_that_is_not_there_is_empty_and_stays_away(redis_db: Redis) -> None:
    lane = reader(redis_db)
    assert (await lane.read_new(10)).size == 0
    assert (await lane.read_own_pending(FIRST_ID, 10)).size == 0
    assert (await lane.reclaim(10)).size == 0
    assert (await lane.pending()).entries == 0
    assert await redis_db.keys() == []


async def test_a_stream_that_is_not_there_is_waited_for_like_an_empty_one(redis_db: Redis) -> None:
    """Otherwise a lane that was lost would be asked for without a pause."""
    reading = asyncio.create_task(reader(redis_db).read_new(10, block_ms=60_000))
    for _ in range(50):
        await redis_db.ping()
    assert not reading.done()
    reading.cancel()
    assert isinstance(
        *await asyncio.gather(reading, return_exceptions=True), asyncio.CancelledError
    )


async def test_the_group_begins_at_the_first_entry_also_after_a_flush(redis_db: Redis) -> None:
    lane = reader(redis_db)
    for _ in range(2):
        await append(redis_db, 1)
        assert (await lane.read_new(10)).entry_ids == ["1-1"]
        await redis_db.flushdb()
        assert (await lane.read_new(10)).size == 0


async def test_a_stream_removed_while_a_reader_waits_is_empty(redis_db: Redis) -> None:
    await append(redis_db, 1)
    lane = reader(redis_db)
    await lane.read_new(10)
    waiting = asyncio.create_task(lane.read_new(10, block_ms=10_000))
    while not (await redis_db.info("clients"))["blocked_clients"]:
        await asyncio.sleep(0.001)
    await redis_db.delete(KEY)
    assert (await waiting).size == 0


async def test_entries_of_the_living_are_left_alone(redis_db: Redis) -> None:
    await append(redis_db, 1)
    await reader(redis_db, "living").read_new(10)
    assert (await reader(redis_db, "other", reclaim_idle_ms=60_000).reclaim(10)).size == 0


async def test_reclaiming_goes_on_where_it_stopped(redis_db: Redis) -> None:
    for seq in range(1, 6):
        await append(redis_db, seq)
    await reader(redis_db, "dead").read_new(10)
    heir = reader(redis_db, "heir", reclaim_idle_ms=0)
    pages = [(await heir.reclaim(2)).entry_ids for _ in range(3)]
    assert pages == [["1-1", "1-2"], ["1-3", "1-4"], ["1-5"]]


async def test_a_suspect_is_told_apart_and_the_first_that_stays_one_is_poison(
    redis_db: Redis,
) -> None:
    await append(redis_db, 1)
    await append(redis_db, 2)
    lane = reader(redis_db, deliveries_max=2)
    await lane.read_new(10)
    for deliveries in range(2, 6):
        delivery = await lane.read_own_pending(FIRST_ID, 10)
        worn = {"1-1", "1-2"} if deliveries > 2 else set()
        assert delivery.worn == worn
        if deliveries <= 4:
            assert (len(delivery.entries), delivery.poison) == (2, ())
    # Had the first not ended its readers, it would have been settled before the second.
    assert [one.entry_id for one in delivery.entries] == ["1-2"]
    (letter,) = delivery.poison
    assert (letter.entry_id, letter.seq) == ("1-1", 1)
    assert letter.error == "delivered 5 times and never settled"


async def test_an_entry_deleted_before_it_was_settled_is_told(redis_db: Redis) -> None:
    await append(redis_db, 1)
    lane = reader(redis_db, reclaim_idle_ms=0)
    await lane.read_new(10)
    await redis_db.xdel(KEY, "1-1")
    for delivery in (await lane.read_own_pending(FIRST_ID, 10), await lane.reclaim(10)):
        (letter,) = delivery.poison
        assert letter == ("1-1", 0, {}, "deleted from the stream before it was settled")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({b"seq": b"7"}, "KeyError: 'events'"),
        ({b"seq": b"7", b"events": b"?"}, "not enough values to unpack"),
        ({b"seq": b"7", b"events": b"\xff\0"}, "not UTF-8"),
        ({b"seq": b"-7", b"\xfe": b"x"}, "not UTF-8"),
    ],
)
async def test_poison_spoils_no_other_entry_and_fits_postgres(
    redis_db: Redis, fields: dict[bytes, bytes], error: str
) -> None:
    await append(redis_db, 1)
    poison_id = (await redis_db.xadd(KEY, fields)).decode()
    await redis_db.xadd(
        KEY, {"seq": 9, "epoch": 1, "at_ms": 5, "available": "1", "events": "close\t"}
    )
    delivery = await reader(redis_db).read_new(10)
    assert [one.seq for one in delivery.entries] == [1, 9]
    (letter,) = delivery.poison
    assert (letter.entry_id, letter.seq) == (poison_id, max(0, int(fields[b"seq"])))
    assert error in letter.error
    assert "\0" not in "".join([*letter.fields, *letter.fields.values(), letter.error])


def test_ids_compare_as_numbers() -> None:
    ids = ["10-10", "9-0", "10-2", "10-0"]
    assert sorted(ids, key=position) == ["9-0", "10-0", "10-2", "10-10"]
    assert position(FIRST_ID) == (0, 0)
