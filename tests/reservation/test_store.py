"""The store hands on what scripts answer, as values; what is not an answer is an exception."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from flashsale.domain.events import EventKind
from flashsale.domain.orders import OrderState
from flashsale.domain.outcomes import Decision, Hold, Status
from flashsale.domain.sales import Terms
from flashsale.domain.stock import Stock
from flashsale.reservation.errors import LaneLostError, ScriptError, StoreUnavailableError
from flashsale.reservation.keys import lane_keys
from flashsale.reservation.links import Links
from flashsale.reservation.replies import Expired, Moved, Request, parse_hold
from flashsale.reservation.scripts import load_scripts
from flashsale.reservation.store import ReservationStore
from flashsale.shipped import shipped

SALE = "sale2222aaaa"
LANE = (SALE, 0, 1)
TERMS = Terms(starts_at_ms=1_000, ends_at_ms=9_000_000_000_000, buyer_limit=2, hold_ms=3_600_000)
ANN = Request("order-a", "ann", 0, 2)


async def test_a_lane_from_its_opening_to_its_end(store: ReservationStore, client: Redis):
    assert await store.open_sale(*LANE, TERMS, [10, 1]) is Status.OPENED
    assert await store.open_sale(*LANE, TERMS, [10, 1]) is Status.ALREADY
    longer = Terms(1_000, 9_000_000_000_001, 2, 3_600_000)
    assert await store.open_sale(*LANE, longer, [10, 1]) is Status.UPDATED
    assert await store.add_supply(*LANE, "s1", 1, 4) is Status.DONE
    assert await store.pause(*LANE, 1) is Status.DONE
    assert await store.pause(*LANE, 1) is Status.ALREADY
    assert await store.resume(*LANE, 1) is Status.DONE
    (decision,) = await store.reserve(*LANE, [ANN])
    assert decision.status is Status.RESERVED

    seen = await store.snapshot(SALE, 0)
    assert (seen.epoch, seen.seq, seen.state, seen.terms) == (1, 6, "open", longer)
    assert seen.stock == (Stock(10, 8, held=2), Stock(5, 5))
    assert (seen.hold_records, seen.live_holds, seen.stream_length) == (1, 1, 6)
    assert seen.now_ms < decision.at_ms

    assert await store.close_sale(*LANE) is Status.DONE
    assert await store.close_sale(*LANE, cancelled=True) is Status.ILLEGAL
    assert await store.retire(*LANE) is Status.BUSY_LANE
    await store.release(*LANE, ANN.order, ANN.buyer, EventKind.REJECTED)
    await client.xgroup_create(lane_keys(SALE, 0).events, "settlement", id=seen.last_entry_id)
    assert await store.trim_events(SALE, 0) == 6
    await client.xtrim(lane_keys(SALE, 0).events, maxlen=0)
    assert await store.retire(*LANE) is Status.DONE
    assert await client.keys("*") == []


async def test_decisions_keep_the_order_of_the_requests(store: ReservationStore):
    await store.open_sale(*LANE, TERMS, [2])
    decisions = await store.reserve(
        *LANE,
        [
            ANN,
            Request("order-b", "bob", 0, 1),
            ANN,
            Request("order-a", "ann", 0, 1),
            Request("order-c", "ann", 0, 1),
            Request("order-d", "dee", -1, 1),
        ],
    )
    deadline_ms = decisions[0].at_ms
    assert decisions == [
        Decision(Status.RESERVED, deadline_ms),
        Decision(Status.SOLD_OUT),
        Decision(Status.REPLAYED, 0, Hold(OrderState.RESERVED, 1, 0, 2, deadline_ms, "ann")),
        Decision(Status.KEY_REUSED),
        Decision(Status.LIMIT_REACHED),
        Decision(Status.UNKNOWN_SKU),
    ]


async def test_a_sale_that_has_not_begun_says_when_it_will(store: ReservationStore):
    starts = 8_000_000_000_000
    await store.open_sale(*LANE, Terms(starts, starts + 1, 2, 1000), [2])
    assert await store.reserve(*LANE, [ANN]) == [Decision(Status.NOT_OPEN, starts)]


async def test_a_hold_is_found_live_and_ended(store: ReservationStore):
    await store.open_sale(*LANE, TERMS, [10])
    assert await store.find_hold(SALE, 0, ANN.order) is None
    (decision,) = await store.reserve(*LANE, [ANN])
    live = Hold(OrderState.RESERVED, 1, 0, 2, decision.at_ms, "ann")
    assert await store.find_hold(SALE, 0, ANN.order) == live
    ended = live._replace(state=OrderState.CANCELLED, version=2)

    async def release(order: str, buyer: str, kind: EventKind) -> Moved:
        return await store.release(*LANE, order, buyer, kind)

    assert await release("other", "ann", EventKind.CANCELLED) == (Status.UNKNOWN_ORDER, None)
    assert await release(ANN.order, "bob", EventKind.CANCELLED) == (Status.UNKNOWN_ORDER, None)
    assert await release(ANN.order, "ann", EventKind.CANCELLED) == (Status.RELEASED, ended)
    assert await release(ANN.order, "ann", EventKind.CANCELLED) == (Status.ALREADY, ended)
    assert await release(ANN.order, "ann", EventKind.REJECTED) == (Status.ILLEGAL, ended)
    assert await store.find_hold(SALE, 0, ANN.order) == ended
    assert await store.buyers(SALE, 0) == {"ann"}


async def test_overdue_holds_end_and_the_next_deadline_is_told(store: ReservationStore):
    await store.open_sale(*LANE, Terms(1_000, 9_000_000_000_000, 2, 1), [10])
    assert await store.expire_due(*LANE, 10) == Expired(0, None)
    (short,) = await store.reserve(*LANE, [ANN])
    await store.open_sale(*LANE, TERMS, [10])
    (long,) = await store.reserve(*LANE, [Request("order-b", "bob", 0, 1)])
    while (await store.snapshot(SALE, 0)).now_ms < short.at_ms:
        pass
    assert await store.expire_due(*LANE, 10) == Expired(1, long.at_ms)
    assert await store.expire_due(*LANE, 10) == Expired(0, long.at_ms)


async def test_holds_of_a_cancelled_sale_end_in_bounded_calls(store: ReservationStore):
    await store.open_sale(*LANE, TERMS, [10])
    await store.reserve(*LANE, [Request(f"o{number}", f"b{number}", 0, 1) for number in range(3)])
    assert await store.cancel_holds(*LANE, 2) == 0, "it is not cancelled yet"
    await store.close_sale(*LANE, cancelled=True)
    assert [await store.cancel_holds(*LANE, 2) for _ in range(3)] == [2, 1, 0]
    assert (await store.snapshot(SALE, 0)).stock == (Stock(10, 10),)


async def test_a_tail_is_read_on_from_where_it_ended(store: ReservationStore):
    await store.open_sale(*LANE, TERMS, [10, 1])
    await store.reserve(*LANE, [ANN])
    whole = await store.tail(*LANE, "0-0", 10)
    assert (whole.seq, whole.capacity, whole.available) == (2, (10, 1), (8, 1))
    assert (whole.state, whole.buyer_limit) == ("open", 2)
    assert (whole.starts_at_ms, whole.ends_at_ms) == (TERMS.starts_at_ms, TERMS.ends_at_ms)
    assert [entry.seq for entry in whole.entries] == [1, 2]
    assert whole.entries[1].events.startswith("R\t1\torder-a\t0\t2\t")
    assert (await store.tail(*LANE, whole.entries[0].entry_id, 10)).entries == whole.entries[1:]
    assert (await store.tail(*LANE, "-", 10)).entries == ()


LOST: list[tuple[str, Callable[[ReservationStore, int], Awaitable[object]]]] = [
    ("reserve", lambda store, epoch: store.reserve(SALE, 0, epoch, [ANN])),
    ("expire_due", lambda store, epoch: store.expire_due(SALE, 0, epoch, 1)),
    ("cancel_holds", lambda store, epoch: store.cancel_holds(SALE, 0, epoch, 1)),
    ("tail", lambda store, epoch: store.tail(SALE, 0, epoch, "-", 1)),
    ("snapshot", lambda store, epoch: store.snapshot(SALE, epoch)),
]
SAID: list[tuple[str, Callable[[ReservationStore, int], Awaitable[object]]]] = [
    ("pause", lambda store, epoch: store.pause(SALE, 0, epoch, 1)),
    ("resume", lambda store, epoch: store.resume(SALE, 0, epoch, 1)),
    ("close", lambda store, epoch: store.close_sale(SALE, 0, epoch)),
    ("supply", lambda store, epoch: store.add_supply(SALE, 0, epoch, "s", 0, 1)),
    ("retire", lambda store, epoch: store.retire(SALE, 0, epoch)),
]


@pytest.mark.parametrize("call", [call for _, call in LOST], ids=[name for name, _ in LOST])
async def test_a_lane_that_is_lost_is_an_exception_where_no_status_says_it(store, call):
    with pytest.raises(LaneLostError, match="MISSING_LANE"):
        await call(store, 1)
    await store.open_sale(SALE, 0, 2, TERMS, [10])
    with pytest.raises(LaneLostError):  # another epoch's; another lane for the snapshot
        await call(store, 1)


@pytest.mark.parametrize("call", [call for _, call in SAID], ids=[name for name, _ in SAID])
async def test_a_lane_that_is_lost_is_a_status_where_there_is_one(store, call):
    assert await call(store, 1) is Status.MISSING_LANE
    await store.open_sale(SALE, 0, 2, TERMS, [10])
    assert await call(store, 1) is Status.FOREIGN_EPOCH


async def test_bad_arguments_are_a_bug_and_not_an_answer(store: ReservationStore):
    await store.open_sale(*LANE, TERMS, [10])
    with pytest.raises(ScriptError, match="refused its arguments"):
        await store.add_supply(*LANE, "s1", 0, 0)
    with pytest.raises(ScriptError, match="refused its arguments"):
        await store.reserve(*LANE, [Request("o", "ann", 0, 0)])


async def test_a_redis_that_is_gone_is_said_so_by_everything(tmp_path: Path):
    nobody = Redis(unix_socket_path=str(tmp_path / "nobody.sock"), retry=Retry(NoBackoff(), 0))
    gone = ReservationStore(nobody, load_scripts(shipped("lua")))
    calls = [call(gone, 1) for _, call in LOST + SAID]
    calls += [gone.find_hold(SALE, 0, "o"), gone.buyers(SALE, 0), gone.server(), gone.now_ms()]
    for call in calls:
        with pytest.raises(StoreUnavailableError, match="Redis did not answer"):
            await call
    await gone.close()


async def test_an_answer_that_takes_too_long_is_unknown_and_the_next_is_right(client: Redis):
    """The late reply must not be taken for the next one's."""
    links = Links(client, links_max=1, timeout_ms=50)
    await client.execute_command("CLIENT", "PAUSE", 200, "ALL")
    with pytest.raises(TimeoutError):
        await links.call("ECHO", "first")
    await client.ping()
    assert await links.call("ECHO", "second") == "second"
    await links.close()


async def test_what_the_server_promises_is_read_from_it(store: ReservationStore, client: Redis):
    info = await store.server()
    configured = await client.config_get("append*", "maxmemory-policy")
    assert info.appendonly == configured["appendonly"]
    assert info.appendfsync == configured["appendfsync"]
    assert info.maxmemory_policy == configured["maxmemory-policy"]
    assert int(info.version.partition(".")[0]) >= 7
    assert info.memory_used_bytes > 0
    seconds, _ = await client.time()
    assert 0 <= int(seconds) - info.now_ms // 1000 <= 60
    assert info.now_ms <= await store.now_ms()


async def test_a_server_that_hides_its_settings_still_tells_the_time(
    client: Redis, redis_url: str
) -> None:
    await client.acl_setuser(
        "guest", enabled=True, nopass=True, keys="*", commands=["+@all", "-config"]
    )
    guest = Redis.from_url(redis_url, username="guest", password="any", decode_responses=True)
    try:
        store = ReservationStore(guest, load_scripts(shipped("lua")))
        assert await store.now_ms() > 0
        facts = await store.server()
        assert (facts.appendonly, facts.appendfsync, facts.maxmemory_policy) == (None, None, None)
        assert facts.memory_used_bytes > 0
    finally:
        await guest.aclose()
        await client.acl_deluser("guest")


def test_a_record_may_hold_any_name():
    assert parse_hold("X:3:1:2:1700000000000:a:b:") == Hold(
        OrderState.EXPIRED, 3, 1, 2, 1_700_000_000_000, "a:b:"
    )


async def test_an_edit_never_makes_a_lost_lane_anew(store: ReservationStore) -> None:
    longer = Terms(1_000, 9_000_000_000_001, 2, 3_600_000)
    assert await store.renew_terms(*LANE, longer, 2) is Status.MISSING_LANE
    with pytest.raises(LaneLostError):
        await store.snapshot(*LANE[:2])
    await store.open_sale(*LANE, TERMS, [10, 1])
    assert await store.renew_terms(*LANE, longer, 2) is Status.UPDATED
    assert (await store.snapshot(*LANE[:2])).terms == longer
