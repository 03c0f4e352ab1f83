"""What a web process keeps of each sale: its facts and its lanes. Losing it costs one look-up."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import structlog

from flashsale.reservation.desk import LaneDesk
from flashsale.reservation.errors import StoreError
from flashsale.reservation.store import ReservationStore
from flashsale.sales.values import ItemFacts, SaleFacts
from flashsale.settlement.faults import Fault, fault_of

_LOG = structlog.get_logger(__name__)

SALES_MAX = 1000
#: Names that no sale has; they must not push out sales, however many are tried.
UNKNOWN_MAX = 1000
#: Facts are told of changes; should the messenger die, they are at most this old.
FACTS_SECONDS_MAX = 5.0
#: Who has facts already waits no longer than this for newer ones, and asks again this much later.
RENEW_SECONDS_MAX = 0.25
RENEW_AGAIN_SECONDS = 1.0
LOOK_UP_SECONDS_MAX = 5.0
#: How long "there is no such sale" is believed without asking again.
UNKNOWN_SECONDS = 1.0
#: A sale nobody has read for this long is no longer watched.
WATCH_SECONDS = 10.0
#: A public read never shows a count of units older than this while Redis answers.
READING_SECONDS_MAX = 1.0


@dataclass(slots=True)
class Listing:
    """One public sale on the board."""

    facts: SaleFacts
    loaded_at: float
    desks: list[LaneDesk]
    items: dict[str, ItemFacts]
    read_at: float = 0.0
    refreshed_at: float = field(default=float("-inf"))

    def readings(self) -> tuple[object, ...]:
        """What the public sees is made of; another identity, another state."""
        return self.facts, *(desk.follower.known for desk in self.desks)

    @property
    def capacity(self) -> list[int]:
        """Units given to each item, as last read; empty until every lane was read."""
        known = [desk.follower.known for desk in self.desks]
        return _sum([tail.capacity if tail else None for tail in known])

    @property
    def available(self) -> list[int]:
        """Units left of each item, as last read; empty until every lane was read."""
        known = [desk.follower.known for desk in self.desks]
        return _sum([tail.available if tail else None for tail in known])


def _sum(lanes: list[tuple[int, ...] | None]) -> list[int]:
    counted = [lane for lane in lanes if lane is not None]
    if len(counted) < len(lanes):
        return []  # some lanes alone would understate what is left
    # An item that joined the sale is counted once every lane has heard of it.
    return [sum(counts) for counts in zip(*counted, strict=False)]


class Board:
    """Facts and lane desks by sale id; bounded, kept fresh by notices and by `watch`."""

    def __init__(
        self,
        load_facts: Callable[[str], Awaitable[SaleFacts | None]],
        store: ReservationStore,
        *,
        batch_max: int,
        waiting_max: int,
    ) -> None:
        self._load_facts = load_facts
        self._store = store
        self._batch_max, self._waiting_max = batch_max, waiting_max
        self._listings: OrderedDict[str, Listing] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._loading: dict[str, asyncio.Task[Listing | None]] = {}
        #: Sales that a notice came for while they were being looked up.
        self._outdated: set[str] = set()

    def peek(self, sale: str) -> Listing | None:
        """A public sale of which something fresh is known; None where it must be looked up."""
        known = self._listings.get(sale)
        if known is None:
            return None
        now = time.monotonic()
        if now - known.loaded_at > FACTS_SECONDS_MAX:
            return None
        known.read_at = now
        return known

    async def listing(self, sale: str) -> Listing | None:
        """A public sale, or None; asks Postgres only where nothing fresh is known.

        A sale once listed is answered even while Postgres is away: Redis decides what it sells.
        """
        known = self._listings.get(sale)
        now = time.monotonic()
        if known is None:
            if now - self._unknown.get(sale, float("-inf")) < UNKNOWN_SECONDS:
                return None
            # Everyone who asks meanwhile shares one look-up; none of them may end it.
            known = await asyncio.shield(self._look_up(sale))
        elif now - known.loaded_at > FACTS_SECONDS_MAX:
            known = await self._renew(sale, known)
        if known is not None:
            known.read_at = now
        return known

    async def _renew(self, sale: str, known: Listing) -> Listing | None:
        """Newer facts; those we have where Postgres is slow or away, so that the sale goes on."""
        loading = self._look_up(sale)
        await asyncio.wait({loading}, timeout=RENEW_SECONDS_MAX)
        if loading.done() and not loading.cancelled():
            error = loading.exception()
            if error is None or not _is_outage(error):
                return loading.result()
        known.loaded_at = time.monotonic() - FACTS_SECONDS_MAX + RENEW_AGAIN_SECONDS
        return known

    def _look_up(self, sale: str) -> asyncio.Task[Listing | None]:
        loading = self._loading.get(sale)
        if loading is None:
            loading = self._loading[sale] = asyncio.create_task(self._load(sale))
            loading.add_done_callback(partial(self._looked_up, sale))
        return loading

    def _looked_up(self, sale: str, loading: asyncio.Task[Listing | None]) -> None:
        del self._loading[sale]
        self._outdated.discard(sale)
        if not loading.cancelled():
            loading.exception()  # those who waited have heard of it, and perhaps nobody waits

    async def _load(self, sale: str) -> Listing | None:
        # A notice that comes meanwhile may tell of what was read too early: read again, but once,
        # for notices may come faster than Postgres answers.
        for _ in range(2):
            self._outdated.discard(sale)
            async with asyncio.timeout(LOOK_UP_SECONDS_MAX):
                facts = await self._load_facts(sale)
            if sale not in self._outdated:
                break
        known = None
        if facts is not None and facts.is_public:
            known = self._list(sale, facts)
        else:
            self._strike(sale)
        if sale in self._outdated:
            self.forget(sale)
        return known

    def _list(self, sale: str, facts: SaleFacts) -> Listing:
        listing = self._listings.get(sale)
        items = {item.sku: item for item in facts.items}
        if listing is None or _lanes_of(listing.facts) != _lanes_of(facts):
            # Desks that are dropped are not stopped: they answer whoever still waits in them. Those
            # of a retired sale take along whom they knew, the most that a sale costs in memory.
            listing = Listing(facts, 0.0, self._desks(facts), items)
        listing.facts, listing.items, listing.loaded_at = facts, items, time.monotonic()
        self._listings[sale] = listing
        self._listings.move_to_end(sale)
        self._unknown.pop(sale, None)
        if len(self._listings) > SALES_MAX:
            self._listings.popitem(last=False)
        return listing

    def _strike(self, sale: str) -> None:
        self._listings.pop(sale, None)
        self._unknown[sale] = time.monotonic()
        self._unknown.move_to_end(sale)
        if len(self._unknown) > UNKNOWN_MAX:
            self._unknown.popitem(last=False)

    def _desks(self, facts: SaleFacts) -> list[LaneDesk]:
        bounds = {"batch_max": self._batch_max, "waiting_max": self._waiting_max}
        return [
            LaneDesk(self._store, facts.id, lane, facts.epoch, **bounds)
            for lane in range(facts.lanes)
        ]

    def forget(self, sale: str | None = None) -> None:
        """Take a sale's facts, or everybody's, as stale: their next use reads them again."""
        if sale is None:
            self._unknown.clear()
            self._outdated.update(self._loading)
        else:
            self._unknown.pop(sale, None)
            if sale in self._loading:
                self._outdated.add(sale)
        for listing in [self._listings.get(sale)] if sale else self._listings.values():
            if listing is not None:
                listing.loaded_at = float("-inf")

    async def watch(self, every_ms: int) -> None:
        """Keep what is being read fresh, for ever."""
        while True:
            await asyncio.sleep(every_ms / 1000)
            since = time.monotonic() - WATCH_SECONDS
            watched = [each for each in self._listings.values() if each.read_at > since]
            rounds = await asyncio.gather(*map(self.refresh, watched), return_exceptions=True)
            for error in rounds:
                if isinstance(error, Exception):  # a bug in reading one sale costs no other
                    _LOG.error("sale_unreadable", exc_info=error)

    async def freshen(self, listing: Listing) -> None:
        """Refresh a listing that nobody has watched of late, or that was never read."""
        age = time.monotonic() - listing.refreshed_at
        if age > READING_SECONDS_MAX or not listing.available:
            await self.refresh(listing)

    @staticmethod
    async def refresh(listing: Listing) -> None:
        """Read how many units are left; keeps the last reading where Redis does not answer."""
        listing.refreshed_at = time.monotonic()
        if listing.facts.armed and not listing.facts.retired:
            for desk in listing.desks:
                with suppress(StoreError):
                    await desk.follower.catch_up()

    def decided(self) -> int:
        """The reservations that script calls decided since `take_gathered` was last asked."""
        desks = (desk for listing in self._listings.values() for desk in listing.desks)
        return sum(desk.reserving.commands for desk in desks)

    def take_gathered(self) -> tuple[int, int]:
        """Script calls and the reservations they decided since this was last asked."""
        batches = requests = 0
        for listing in self._listings.values():
            for desk in listing.desks:
                batches += desk.reserving.batches
                requests += desk.reserving.commands
                desk.reserving.batches = desk.reserving.commands = 0
        return batches, requests

    async def stop(self) -> None:
        """End all background work; whoever still waits is cancelled, so stop serving first."""
        loading = list(self._loading.values())
        for task in loading:
            task.cancel()
        await asyncio.gather(*loading, return_exceptions=True)
        for listing in self._listings.values():
            for desk in listing.desks:
                await desk.stop()


def _lanes_of(facts: SaleFacts) -> tuple[int, bool]:
    return facts.epoch, facts.retired


def _is_outage(error: BaseException) -> bool:
    return isinstance(error, Exception) and fault_of(error) is Fault.OUTAGE
