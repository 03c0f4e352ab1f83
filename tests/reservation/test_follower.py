"""What a process knows of a lane is exact: it refuses as Redis would, and overlooks no holder."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from flashsale.domain.events import EventKind
from flashsale.domain.orders import OrderState
from flashsale.domain.outcomes import Decision, Status
from flashsale.domain.sales import Terms
from flashsale.reservation.desk import LaneDesk
from flashsale.reservation.follower import Follower, Position
from flashsale.reservation.keys import lane_keys
from flashsale.reservation.replies import Request, Tail
from flashsale.reservation.scripts import load_scripts
from flashsale.reservation.store import ReservationStore
from flashsale.shipped import shipped
from tests.reservation.door import (
    FUTURE,
    LANE,
    PAST,
    SALE,
    STRANGER,
    TERMS,
    WINNER,
    Breakable,
    refused_here,
    replace_follower,
    sell_out,
    shut,
    until,
)

SHUT_LANES = {
    "sold out": (TERMS, [2, 0], None),
    "paused": (TERMS, [2, 0], "paused"),
    "closed": (TERMS, [2, 0], "closed"),
    "cancelled": (TERMS, [2, 0], "cancelled"),
    "not open": (Terms(FUTURE - 9, FUTURE, 2, 1000), [2, 0], None),
    "not open and paused": (Terms(FUTURE - 9, FUTURE, 2, 1000), [2, 0], "paused"),
    "over": (Terms(PAST, PAST + 1, 2, 1000), [2, 0], None),
    "over and paused": (Terms(PAST, PAST + 1, 2, 1000), [2, 0], "paused"),
}


@pytest.mark.parametrize(("terms", "capacities", "state"), SHUT_LANES.values(), ids=SHUT_LANES)
async def test_every_refusal_is_the_one_redis_gives(
    store: ReservationStore, desk: LaneDesk, terms, capacities, state
):
    await store.open_sale(*LANE, terms, capacities)
    if state == "paused":
        await store.pause(*LANE, 1)
    elif state is not None:
        await store.close_sale(*LANE, cancelled=state == "cancelled")
    await shut(desk, Request("order-0", "asker", 1, 1))
    refused = 0
    for item in (-1, 0, 1, 2):
        for quantity in (1, 2, 3, 1_000_000_000):
            request = Request(
                f"order-{item}-{quantity}", f"buyer-{item}-{quantity}", item, quantity
            )
            if desk.follower.shut(request):
                refused += 1
                (by_redis,) = await store.reserve(*LANE, [request])
                decision = Decision(by_redis.status, int(by_redis.at_ms))
                assert await refused_here(desk, request) == decision
    assert refused >= (14 if state is None and terms is TERMS else 16)


class BlindToGaps(Follower):
    """The control: believes whatever it reads to be all there was."""

    def _take_in(self, position: Position, tail: Tail) -> Position | None:
        whole = [entry._replace(seq=position.seq + n) for n, entry in enumerate(tail.entries, 1)]
        last = super()._take_in(position, Tail(**{**_fields(tail), "entries": tuple(whole)}))
        return Position((last or position).entry_id, tail.seq)


def _fields(tail: Tail) -> dict:
    return {name: getattr(tail, name) for name in Tail.__slots__}


@pytest.mark.parametrize("entries_after_the_gap", [0, 1])
@pytest.mark.parametrize("follower", [Follower, BlindToGaps])
async def test_what_was_trimmed_unread_is_never_overlooked(
    store: ReservationStore, desk: LaneDesk, client: Redis, entries_after_the_gap: int, follower
):
    replace_follower(desk, follower(store, *LANE))
    await sell_out(store, desk)
    await store.release(*LANE, WINNER.order, WINNER.buyer, EventKind.CANCELLED)
    heir = Request("order-h", "heir", 0, 2)
    await store.reserve(*LANE, [heir])
    assert await client.xtrim(lane_keys(SALE, 0).events, maxlen=0, approximate=False)
    for number in range(entries_after_the_gap):
        await store.add_supply(*LANE, f"wave-{number}", 0, 1)
        await store.reserve(*LANE, [Request(f"order-{number}", f"late-{number}", 0, 1)])
    told = await desk.reserve(heir)
    if follower is BlindToGaps:
        assert told.status is Status.SOLD_OUT, "the control must wrong the heir"
        return
    assert (told.status, told.hold.state) == (Status.REPLAYED, OrderState.RESERVED)
    # Enrolled again, it knows the heir and refuses strangers by itself.
    await shut(desk)
    assert (await refused_here(desk, STRANGER)).status is Status.SOLD_OUT
    assert (await desk.reserve(heir)).status is Status.REPLAYED


class LateToPosition(Follower):
    """The control: looks where the stream stands after it has listed the holders."""

    async def _enrol(self) -> None:
        sale, lane, _ = self._place
        self._holders = {hash(buyer) for buyer in await self._store.buyers(sale, lane)}
        snapshot = await self._store.snapshot(sale, lane)
        self._position = Position(snapshot.last_entry_id, snapshot.seq)


class Interrupted(ReservationStore):
    """Something happens just after the holders were listed."""

    meanwhile: Callable[[], Awaitable[object]]

    async def buyers(self, sale: str, lane: int) -> set[str]:
        names = await super().buyers(sale, lane)
        await self.meanwhile()
        return names


@pytest.mark.parametrize("follower", [Follower, LateToPosition])
async def test_who_comes_in_while_holders_are_listed_is_known(
    store: ReservationStore, desk: LaneDesk, client: Redis, follower
):
    interrupted = Interrupted(client, load_scripts(shipped("lua")))
    replace_follower(desk, follower(interrupted, *LANE))
    heir = Request("order-h", "heir", 0, 2)

    async def hand_over() -> None:
        await store.release(*LANE, WINNER.order, WINNER.buyer, EventKind.CANCELLED)
        await store.reserve(*LANE, [heir])

    interrupted.meanwhile = hand_over
    await sell_out(store, desk)
    told = await desk.reserve(heir)
    wronged = told.status is Status.SOLD_OUT
    assert wronged is (follower is LateToPosition), "the control must wrong the heir"
    await interrupted.close()


async def test_an_enrolment_that_fails_is_begun_anew_and_troubles_nobody(
    store: ReservationStore, desk: LaneDesk, breakable: Breakable
):
    complaints: list[dict] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    try:
        await store.open_sale(*LANE, TERMS, [2])
        await store.reserve(*LANE, [WINNER])
        breakable.broken = frozenset({"buyers"})
        assert (await desk.reserve(STRANGER)).status is Status.SOLD_OUT
        await until(lambda: desk.follower._enrolling is None)
        assert not desk.follower.shut(STRANGER)
        breakable.broken = frozenset()
        await shut(desk)
        assert (await refused_here(desk, STRANGER)).status is Status.SOLD_OUT
    finally:
        loop.set_exception_handler(None)
    assert complaints == []
