"""What a web process keeps of each sale: its facts and its lanes. Losing it costs one look-up."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from flashsale.reservation.desk import LaneDesk
from flashsale.reservation.errors import StoreError
from flashsale.reservation.store import ReservationStore
from flashsale.sales.values import ItemFacts, SaleFacts

SALES_MAX = 1000
#: Facts are told of changes; should the messenger die, they are at most this old.
FACTS_SECONDS_MAX = 5.0
#: How long "there is no such sale" is believed without asking again.
UNKNOWN_SECONDS = 1.0
#: A sale nobody has read for this long is no longer watched.
WATCH_SECONDS = 10.0


@dataclass(slots=True)
class Listing:
    """One sale on the board."""

    facts: SaleFacts | None
    loaded_at: float
    read_at: float = 0.0
    desks: list[LaneDesk] = field(default_factory=list)
    items: dict[str, ItemFacts] = field(default_factory=dict)

    def readings(self) -> tuple[object, ...]:
        """What the public sees is made of; another identity, another state."""
        return self.facts, *(desk.follower.known for desk in self.desks)

    @property
    def capacity(self) -> list[int]:
        """Units given to each item, as last read."""
        return self._sum(
            [desk.follower.known.capacity for desk in self.desks if desk.follower.known]
        )

    @property
    def available(self) -> list[int]:
        """Units left of each item, as last read."""
        return self._sum(
            [desk.follower.known.available for desk in self.desks if desk.follower.known]
        )

    @staticmethod
    def _sum(lanes: list[tuple[int, ...]]) -> list[int]:
        return [sum(counts) for counts in zip(*lanes, strict=True)]


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
        self._loading: dict[str, asyncio.Task[Listing]] = {}

    async def listing(self, sale: str) -> Listing | None:
        """A public sale, or None; asks Postgres only where nothing fresh is known."""
        known = self._listings.get(sale)
        now = time.monotonic()
        if known is None or now - known.loaded_at > (
            FACTS_SECONDS_MAX if known.facts else UNKNOWN_SECONDS
        ):
            loading = self._loading.get(sale)
            if loading is None:
                loading = asyncio.create_task(self._load(sale))
                self._loading[sale] = loading
                loading.add_done_callback(lambda _: self._loading.pop(sale, None))
            # Everyone who asks meanwhile shares one look-up; none of them may end it.
            known = await asyncio.shield(loading)
        if known.facts is None or not known.facts.is_public:
            return None
        known.read_at = now
        return known

    async def _load(self, sale: str) -> Listing:
        facts = await self._load_facts(sale)
        listing = self._listings.get(sale)
        if listing is None:
            listing = Listing(None, 0.0)
        if facts is not None and (listing.facts is None or facts.epoch != listing.facts.epoch):
            await self._stop(listing)
            listing.desks = [
                LaneDesk(
                    self._store,
                    sale,
                    lane,
                    facts.epoch,
                    batch_max=self._batch_max,
                    waiting_max=self._waiting_max,
                )
                for lane in range(facts.lanes)
            ]
        listing.facts, listing.loaded_at = facts, time.monotonic()
        listing.items = {item.sku: item for item in facts.items} if facts else {}
        self._listings[sale] = listing
        self._listings.move_to_end(sale)
        while len(self._listings) > SALES_MAX:
            _, oldest = self._listings.popitem(last=False)
            await self._stop(oldest)
        return listing

    def forget(self, sale: str | None = None) -> None:
        """Take a sale's facts, or everybody's, as stale: their next use reads them again."""
        for listing in [self._listings.get(sale)] if sale else self._listings.values():
            if listing is not None:
                listing.loaded_at = 0.0

    async def watch(self, every_ms: int) -> None:
        """Keep what is being read fresh, for ever."""
        while True:
            await asyncio.sleep(every_ms / 1000)
            since = time.monotonic() - WATCH_SECONDS
            for listing in list(self._listings.values()):
                if listing.read_at > since and listing.facts is not None and listing.facts.armed:
                    await self.refresh(listing)

    @staticmethod
    async def refresh(listing: Listing) -> None:
        """Read how many units are left; keeps the last reading where Redis does not answer."""
        for desk in listing.desks:
            with suppress(StoreError):
                await desk.follower.catch_up()

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
        """End all background work."""
        for listing in self._listings.values():
            await self._stop(listing)

    @staticmethod
    async def _stop(listing: Listing) -> None:
        for desk in listing.desks:
            await desk.stop()
        listing.desks = []
