"""The recovery protocol: seal, drain, rebuild, open. Killed at any step, it is gone on with.

1. The epoch is raised in Postgres and what is left of each lane is sealed: no script takes it.
2. What survived in the streams and is not settled yet is settled, so that Postgres knows all. Who
   still holds something that was read before settles it no more.
3. Each lane is emptied and filled again out of Postgres: orders, limits, idempotency records.
4. `available` is what is left; the epoch is written last, and with it the lane is open.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from flashsale.domain.lanes import lane_of
from flashsale.domain.orders import is_live
from flashsale.domain.outcomes import Status
from flashsale.domain.sales import LANE_STATES
from flashsale.recovery import queries
from flashsale.recovery.plan import (
    LaneHistory,
    StoredOrder,
    lane_capacities,
    lane_order,
    lost_entries,
)
from flashsale.reservation.errors import LaneLostError
from flashsale.reservation.rebuilding import ORDERS_MAX, LaneRebuilder
from flashsale.reservation.store import ReservationStore
from flashsale.sales.queries import find_sale
from flashsale.sales.values import SaleFacts
from flashsale.settlement.queries import Connection, Pool
from flashsale.stream.position import position

#: Settles all that a lane's stream holds, whoever was given it before.
Drain = Callable[[str, int], Awaitable[None]]


class NotRecoverableError(Exception):
    """The sale has no lanes that Redis should hold; one line."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was rebuilt. `took_ms` by step; `entries_lost` are those that no disk has any more."""

    sale: str
    epoch: int
    reason: str
    orders: int
    live_units: int
    entries_lost: int
    took_ms: dict[str, int]


@dataclass(slots=True)
class _Known:
    """What was known of the lanes when they were sealed."""

    #: Lanes that an earlier attempt has opened: then all of them were filled.
    opened: set[int] = field(default_factory=set)
    survived: list[int] = field(default_factory=list)
    last_ids: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Recovery:
    """Recovers sales, one at a time each, whoever asks and however often."""

    pool: Pool
    store: ReservationStore
    rebuilder: LaneRebuilder
    drain: Drain

    async def recover(
        self, sale: str, reason: str, *, unless: Callable[[], Awaitable[bool]] | None = None
    ) -> Recovered | None:
        """Rebuild a sale; None where somebody else is at it, or `unless` says it is well by now.

        Raises NotRecoverableError, StoreUnavailableError, LaneLostError and Postgres' errors; then
        it may be called again, and goes on.
        """
        async with self.pool.acquire() as session:
            if not await queries.take_sale(session, sale):
                return None
            try:
                if unless is not None and await unless():
                    return None
                return await self._recover(session, sale, reason)
            finally:
                if not session.is_closed():
                    await queries.release_sale(session, sale)

    async def _recover(self, session: Connection, sale: str, reason: str) -> Recovered:
        begun = time.monotonic()
        # Asked first: where Redis restarts in between, this is all done again.
        run = await self.store.run_id()
        facts = await find_sale(session, sale)
        if facts is None:
            raise NotRecoverableError(f"There is no sale {sale[:40]!r}. Nothing was changed.")
        found = await self._epoch_in_redis(session, facts, run)
        epoch = await queries.begin(session, sale, reason, found)
        if epoch is None:
            raise NotRecoverableError(f"Sale {sale} has no lanes that Redis should hold.")
        known = await self._seal(session, facts, epoch)
        # What is sealed is used by nobody: from here on other sales need not wait for this one.
        await queries.sealed(session, sale, run, known.survived)
        begun = await self._step(session, sale, epoch, "draining", "sealing", begun)
        for lane in range(facts.lanes):
            await self.drain(sale, lane)
        await queries.fence(session, sale, facts.lanes, epoch)
        begun = await self._step(session, sale, epoch, "rebuilding", "draining", begun)
        return await self._rebuild(session, sale, epoch, known, begun)

    async def _epoch_in_redis(self, session: Connection, facts: SaleFacts, run: str) -> int:
        """The highest epoch that a lane is open or sealed in; 0 where there is no lane.

        One above it where a lane is open that may have gone back since: it is filled anew.
        """
        found = 0
        restarted = await queries.run_of(session, facts.id) != run
        records = await queries.lane_records(session, facts.id, facts.lanes)
        for lane, record in enumerate(records):
            with contextlib.suppress(LaneLostError):
                snapshot = await self.store.snapshot(facts.id, lane)
                went_back = restarted or snapshot.seq < _known_seq(record)
                found = max(found, abs(snapshot.epoch) + (went_back and snapshot.epoch > 0))
        return found

    async def _step(
        self, session: Connection, sale: str, epoch: int, step: str, ended: str, begun: float
    ) -> float:
        now = time.monotonic()
        took_ms = int((now - begun) * 1000)
        await queries.step_on(session, sale, epoch, step=step, ended=ended, took_ms=took_ms)
        return now

    async def _seal(self, session: Connection, facts: SaleFacts, epoch: int) -> _Known:
        """Shut every lane. What a lane still tells is taken down before anything is removed."""
        known = _Known()
        records = await queries.lane_records(session, facts.id, facts.lanes)
        for lane, record in enumerate(records):
            if await self.rebuilder.seal(facts.id, lane, epoch) is Status.OPENED:
                known.opened.add(lane)
            known_seq = _known_seq(record)
            try:
                snapshot = await self.store.snapshot(facts.id, lane)
                seq, last_id = snapshot.seq, snapshot.last_entry_id
            except LaneLostError:
                seq, last_id = 0, "0-0"
            if seq < known_seq or not seq:
                await queries.may_have_lost(session, facts.id)
            known.survived.append(max(seq, known_seq))
            known.last_ids.append(max(last_id, record.last_entry_id, key=position))
        return known

    async def _rebuild(
        self, session: Connection, sale: str, epoch: int, known: _Known, begun: float
    ) -> Recovered:
        facts = await queries.take_stock(session, sale)
        lanes: list[list[StoredOrder]] = [[] for _ in range(facts.lanes)]
        for order in await queries.orders(session, sale):
            lanes[lane_of(order.buyer, facts.lanes)].append(order)
        records = await queries.lane_records(session, sale, facts.lanes)
        entries_lost = 0
        for lane, record in enumerate(records):
            lost = lost_entries(LaneHistory(record.accounted, known.survived[lane]))
            entries_lost += sum(high - low for low, high in lost)
            await queries.note_lost(session, sale, lane, lost, known.survived[lane])
        if entries_lost or any(record.put_aside for record in records):
            await queries.may_have_lost(session, sale)
        live = [_live_units(orders) for orders in lanes]
        await queries.wish_again(session, sale)
        if not known.opened:
            await self._fill(facts, epoch, known, lanes, live)
        for lane in set(range(facts.lanes)) - known.opened:
            last_id = max(known.last_ids[lane], records[lane].last_entry_id, key=position)
            await self.rebuilder.reopen(
                sale, lane, epoch, orders=len(lanes[lane]), last_entry_id=last_id
            )
        totals = {
            "orders": sum(map(len, lanes)),
            "live_units": sum(units.total() for units in live),
            "entries_lost": entries_lost,
        }
        took_ms = int((time.monotonic() - begun) * 1000)
        reason, steps = await queries.end(session, sale, epoch, **totals, took_ms=took_ms)
        return Recovered(sale, epoch, reason, took_ms=steps, **totals)

    async def _fill(
        self,
        facts: SaleFacts,
        epoch: int,
        known: _Known,
        lanes: Sequence[Sequence[StoredOrder]],
        live: Sequence[Mapping[int, int]],
    ) -> None:
        now_ms = await self.store.now_ms()
        capacities = lane_capacities([item.capacity for item in facts.items], live)
        for lane, orders in enumerate(lanes):
            await self.rebuilder.begin(
                facts.id,
                lane,
                epoch,
                state=LANE_STATES[facts.state],
                terms=facts.terms,
                seq=known.survived[lane],
                capacities=capacities[lane],
            )
            for at in range(0, len(orders), ORDERS_MAX):
                part = orders[at : at + ORDERS_MAX]
                put = [lane_order(order, facts.kind, facts.id, now_ms) for order in part]
                await self.rebuilder.put(facts.id, lane, epoch, put)


def _known_seq(record: queries.LaneRecord) -> int:
    """The newest entry that anybody has settled, put aside or seen."""
    return max([record.seen_seq, *(high - 1 for _, high in record.accounted)])


def _live_units(orders: Sequence[StoredOrder]) -> Counter[int]:
    units: Counter[int] = Counter()
    for order in orders:
        units[order.item] += order.quantity * is_live(order.state)
    return units
