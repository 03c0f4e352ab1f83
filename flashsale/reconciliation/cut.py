"""A consistent cut: both stores as they are at one point of the stream, while traffic flows.

Postgres says which entries it has settled and is read as it is at that moment; then each lane is
read at its entry N, which Postgres cannot be ahead of. What lies between are the entries up to N
that are not settled: those before Postgres' moment were read before it, so that trimming cannot
take them away; of those after it, one could be settled and trimmed before it is read. Then a number
is missing that turns out to be settled by now, and the cut is taken again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from flashsale.domain.events import Entry, OrderEvent
from flashsale.domain.lanes import lane_of
from flashsale.reconciliation import queries
from flashsale.reconciliation.backlog import Backlog, entry_of
from flashsale.reconciliation.errors import NoCutError, UnknownSaleError
from flashsale.reconciliation.model import Forecast, OrderFacts, forecast
from flashsale.reconciliation.queries import AuditedSale, Connection, DeadLetter, LaneLedger, Pool
from flashsale.reconciliation.ranges import covers, uncovered
from flashsale.reservation.inspector import LaneInspector, LaneState

_ATTEMPTS_MAX = 20
_AGAIN_SECONDS = 0.02
_ROWS_MAX = 5000


@dataclass(frozen=True, slots=True)
class Watched:
    """Orders (hash, buyer) and buyers to be read at the very instant of the cut."""

    orders: Sequence[tuple[str, str]] = ()
    buyers: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class LaneCut:
    """One lane. `state` is None where the lane is not in Redis.

    `waiting` are unsettled entry numbers that the stream holds, `lost` those that are nowhere,
    `oldest_ms` the age of the oldest waiting entry, `announced` the units left of each item as the
    entry of this very instant says, None where it is trimmed.
    """

    lane: int
    ledger: LaneLedger
    state: LaneState | None
    dead: frozenset[int] = frozenset()
    waiting: int = 0
    lost: tuple[int, ...] = ()
    repeated: int = 0
    unreadable: int = 0
    oldest_ms: int = 0
    announced: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """A sale at one point of its streams; `coming` is what the unsettled entries will change."""

    sale: AuditedSale
    lanes: tuple[LaneCut, ...]
    dead_letters: tuple[DeadLetter, ...]
    coming: Forecast
    unapplied_events: int
    records: Mapping[str, str | None] = field(default_factory=dict)
    units: Mapping[str, int | None] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether every lane that must be in Redis is there."""
        return self.sale.in_redis and all(cut.state is not None for cut in self.lanes)


@contextlib.asynccontextmanager
async def consistent_cut(
    pool: Pool,
    inspector: LaneInspector,
    sale_id: str,
    *,
    watched: Watched = Watched(),
    overdue_ms: int = 0,
) -> AsyncIterator[tuple[Connection, Cut]]:
    """A cut, with the transaction in which the rest of Postgres' side is read.

    The pool needs two connections. Raises UnknownSaleError, NoCutError and StoreUnavailableError.
    """
    for _ in range(_ATTEMPTS_MAX):
        backlogs = await _read_ahead(pool, inspector, sale_id)
        async with queries.one_instant(pool) as connection:
            taking = _Taking(inspector, connection, backlogs, watched, overdue_ms)
            cut = await taking.take(await _found(connection, sale_id))
            if not await _overtaken(pool, cut):
                yield connection, cut
                return
        await asyncio.sleep(_AGAIN_SECONDS)
    raise NoCutError(sale_id)


async def _read_ahead(pool: Pool, inspector: LaneInspector, sale_id: str) -> list[Backlog]:
    sale = await _found(pool, sale_id)
    if not sale.in_redis:
        return []
    ledgers = await queries.lanes(pool, sale)
    backlogs = [Backlog(inspector, sale.id, lane, ledgers[lane]) for lane in range(sale.lanes)]
    await asyncio.gather(*(backlog.read_on() for backlog in backlogs))
    return backlogs


async def _found(database: queries.Database, sale_id: str) -> AuditedSale:
    sale = await queries.find_sale(database, sale_id)
    if sale is None:
        raise UnknownSaleError(sale_id)
    return sale


async def _overtaken(pool: Pool, cut: Cut) -> bool:
    """Whether what is missing was settled, or the sale retired, while we were looking."""
    now = await _found(pool, cut.sale.id)
    if now != cut.sale:
        return True
    if not any(lane.lost for lane in cut.lanes):
        return False
    ledgers = await queries.lanes(pool, cut.sale)
    dead = {(letter.lane, letter.seq) for letter in await queries.dead_letters(pool, cut.sale.id)}
    return all(
        covers(ledgers[lane.lane].settled, seq) or (lane.lane, seq) in dead
        for lane in cut.lanes
        for seq in lane.lost
    )


@dataclass(slots=True)
class _Taking:
    """One attempt."""

    inspector: LaneInspector
    connection: Connection
    backlogs: Sequence[Backlog]
    watched: Watched
    overdue_ms: int
    unapplied: list[Entry] = field(default_factory=list)
    records: dict[str, str | None] = field(default_factory=dict)
    units: dict[str, int | None] = field(default_factory=dict)

    async def take(self, sale: AuditedSale) -> Cut:
        ledgers = await queries.lanes(self.connection, sale)
        letters = await queries.dead_letters(self.connection, sale.id)
        # In Redis since the look ahead, or gone since: the caller sees that and comes again.
        if sale.in_redis and len(self.backlogs) == sale.lanes:
            states = await asyncio.gather(*(self._look(sale, backlog) for backlog in self.backlogs))
            lanes = tuple(
                self._lane(backlog, state, ledgers[backlog.lane], letters)
                for backlog, state in zip(self.backlogs, states, strict=True)
            )
        else:
            lanes = tuple(LaneCut(lane, ledger, None) for lane, ledger in enumerate(ledgers))
        newest = _newest_events(self.unapplied)
        return Cut(
            sale=sale,
            lanes=lanes,
            dead_letters=tuple(letters),
            coming=forecast(newest, await self._known(sale, list(newest))),
            unapplied_events=sum(len(entry.orders) for entry in self.unapplied),
            records=self.records,
            units=self.units,
        )

    async def _look(self, sale: AuditedSale, backlog: Backlog) -> LaneState | None:
        """The lane's state, and its entries at least as far as that."""
        lane, watched = backlog.lane, self.watched
        state = await self.inspector.look(
            sale.id,
            lane,
            orders=[order for order, buyer in watched.orders if lane_of(buyer, sale.lanes) == lane],
            buyers=[buyer for buyer in watched.buyers if lane_of(buyer, sale.lanes) == lane],
            overdue_ms=self.overdue_ms,
        )
        if state is not None:
            await backlog.read_on()
            self.records |= state.records
            self.units |= state.units
        return state

    async def _known(self, sale: AuditedSale, orders: Sequence[str]) -> dict[str, OrderFacts]:
        known: dict[str, OrderFacts] = {}
        for at in range(0, len(orders), _ROWS_MAX):
            part = orders[at : at + _ROWS_MAX]
            known |= await queries.orders_of(self.connection, sale.id, part)
        return known

    def _lane(
        self,
        backlog: Backlog,
        state: LaneState | None,
        ledger: LaneLedger,
        letters: Sequence[DeadLetter],
    ) -> LaneCut:
        """Find every entry up to the lane's instant: settled, put aside, waiting or lost."""
        lane = backlog.lane
        if state is None:
            return LaneCut(lane, ledger, None)
        dead = {
            letter.seq: letter
            for letter in letters
            if letter.lane == lane and letter.seq and not covers(ledger.settled, letter.seq)
        }
        waiting, lost = 0, []
        oldest_at_ms = state.now_ms
        for seq in uncovered(ledger.settled, state.seq):
            if seq in dead:
                entry = entry_of(dead[seq].entry_id, dead[seq].fields)
            elif seq in backlog.entries:
                waiting += 1
                entry = backlog.entries[seq]
                oldest_at_ms = min(oldest_at_ms, entry.at_ms if entry else state.now_ms)
            else:
                lost.append(seq)
                continue
            if entry is not None:
                self.unapplied.append(entry)
        return LaneCut(
            lane=lane,
            ledger=ledger,
            state=state,
            dead=frozenset(dead),
            waiting=waiting,
            lost=tuple(lost),
            repeated=backlog.repeated,
            unreadable=len(backlog.unreadable),
            oldest_ms=state.now_ms - oldest_at_ms,
            announced=backlog.available(state.seq),
        )


def _newest_events(entries: Sequence[Entry]) -> dict[str, OrderEvent]:
    newest: dict[str, OrderEvent] = {}
    for entry in entries:
        for event in entry.orders:
            seen = newest.get(event.order)
            if seen is None or seen.version < event.version:
                newest[event.order] = event
    return newest
