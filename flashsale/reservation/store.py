"""The store: one typed method a script. It decides nothing; what it is answered it hands on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from redis.asyncio import Redis

from flashsale.domain.outcomes import Decision, Hold, Status
from flashsale.domain.sales import Terms
from flashsale.domain.stock import Stock
from flashsale.reservation.answered import answered
from flashsale.reservation.keys import lane_keys
from flashsale.reservation.links import Admit, Links
from flashsale.reservation.moves import Moves
from flashsale.reservation.replies import (
    STATUSES,
    Expired,
    LaneSnapshot,
    Request,
    Tail,
    TailEntry,
    lane_status_of,
    parse_hold,
    status_of,
)
from flashsale.reservation.scripts import Script, ScriptRunner
from flashsale.reservation.server import RedisServerFacts, run_id, server_facts, unix_ms

_COUNTERS = 5


class ReservationStore(Moves):
    """Every command that Redis takes, by sale, lane and epoch.

    Every method raises StoreUnavailableError where Redis did not answer. `Status` results include
    MISSING_LANE and FOREIGN_EPOCH; methods that return anything else raise LaneLostError for them.
    """

    def __init__(
        self,
        redis: Redis,
        scripts: Mapping[str, Script],
        *,
        links_max: int = 32,
        timeout_ms: int | None = None,
        admit: Admit | None = None,
    ) -> None:
        """`admit` is asked before a server is used that was not used yet, or was restarted."""
        #: The newest entry number that buyers of a (sale, lane) were answered with.
        self.heard: dict[tuple[str, int], int] = {}
        self._redis = redis
        self._links = Links(redis, links_max=links_max, timeout_ms=timeout_ms, admit=admit)
        self._runner = ScriptRunner(self._links, scripts)

    async def close(self) -> None:
        """Close the connections of scripts; the client given stays its owner's."""
        await self._links.close()

    async def open_sale(
        self, sale: str, lane: int, epoch: int, terms: Terms, capacities: Sequence[int]
    ) -> Status:
        """Arm a lane, or give it new terms: OPENED, UPDATED, ALREADY, ILLEGAL, FOREIGN_EPOCH."""
        return await self._open(sale, lane, epoch, terms, [len(capacities), *capacities])

    async def renew_terms(
        self, sale: str, lane: int, epoch: int, terms: Terms, items: int
    ) -> Status:
        """New terms for a lane that is there: UPDATED, ALREADY, ILLEGAL, MISSING_LANE."""
        return await self._open(sale, lane, epoch, terms, [items])

    async def _open(
        self, sale: str, lane: int, epoch: int, terms: Terms, stock: Sequence[int]
    ) -> Status:
        keys = lane_keys(sale, lane)
        arguments = [epoch, terms.starts_at_ms, terms.ends_at_ms, terms.buyer_limit, terms.hold_ms]
        reply = await self._runner.run(
            "open_sale", (keys.meta, keys.stock, keys.events), [*arguments, *stock]
        )
        return status_of(reply)

    async def pause(self, sale: str, lane: int, epoch: int, revision: int) -> Status:
        """Stop selling for a while: DONE, ALREADY, ILLEGAL.

        `revision` is the sale's when it was read: where a later one was told this is ALREADY too.
        """
        return await self._set_state("pause", sale, lane, epoch, "paused", revision)

    async def resume(self, sale: str, lane: int, epoch: int, revision: int) -> Status:
        """Sell again, likewise."""
        return await self._set_state("pause", sale, lane, epoch, "open", revision)

    async def close_sale(
        self, sale: str, lane: int, epoch: int, *, cancelled: bool = False
    ) -> Status:
        """End the sale: DONE, ALREADY, ILLEGAL."""
        state = "cancelled" if cancelled else "closed"
        return await self._set_state("close_sale", sale, lane, epoch, state)

    async def _set_state(
        self, script: str, sale: str, lane: int, epoch: int, state: str, *more: int
    ) -> Status:
        keys = lane_keys(sale, lane)
        arguments: list[str | int] = [epoch, state, *more]
        reply = await self._runner.run(script, (keys.meta, keys.stock, keys.events), arguments)
        return status_of(reply)

    async def add_supply(
        self, sale: str, lane: int, epoch: int, supply: str, item: int, quantity: int
    ) -> Status:
        """Add or take back units, once a supply id: DONE, ALREADY, BELOW_LIVE, UNKNOWN_SKU."""
        keys = lane_keys(sale, lane)
        reply = await self._runner.run(
            "add_supply",
            (keys.meta, keys.stock, keys.events, keys.supplies),
            (epoch, supply, item, quantity),
        )
        return status_of(reply)

    async def reserve(
        self, sale: str, lane: int, epoch: int, requests: Sequence[Request]
    ) -> list[Decision]:
        """Decide a batch, in order. Raises LaneLostError where the lane is not as expected."""
        arguments: list[str | int] = [epoch, len(requests)]
        for request in requests:
            arguments += request
        reply = await self._runner.run("reserve", lane_keys(sale, lane)[:6], arguments)
        lane_status_of(reply)
        if reply[2] > self.heard.get((sale, lane), 0):
            self.heard[sale, lane] = reply[2]
        decisions = []
        for status, detail in zip(reply[3::2], reply[4::2], strict=True):
            if status == "REPLAYED":
                decisions.append(Decision(Status.REPLAYED, hold=parse_hold(detail)))
            else:
                decisions.append(Decision(STATUSES[status], detail))
        return decisions

    async def add_item(self, sale: str, lane: int, epoch: int, item: int, capacity: int) -> Status:
        """Another SKU, of the next number, with the lane's units of it: DONE, ALREADY, ILLEGAL."""
        keys = lane_keys(sale, lane)
        reply = await self._runner.run(
            "add_item", (keys.meta, keys.stock, keys.events), (epoch, item, capacity)
        )
        return status_of(reply)

    async def shut_item(
        self, sale: str, lane: int, epoch: int, item: int, *, shut: bool = True
    ) -> Status:
        """Stop one SKU from being reserved, or let it be: DONE, ALREADY, UNKNOWN_SKU."""
        state = "shut" if shut else "open"
        reply = await self._runner.run("shut_item", lane_keys(sale, lane)[:1], (epoch, item, state))
        return status_of(reply)

    async def expire_due(self, sale: str, lane: int, epoch: int, limit: int) -> Expired:
        """End at most `limit` overdue holds and checkouts."""
        keys = lane_keys(sale, lane)
        reply = await self._runner.run("expire_due", keys[:6], (epoch, limit))
        lane_status_of(reply)
        return Expired(reply[1], reply[2] or None)

    async def cancel_holds(self, sale: str, lane: int, epoch: int, limit: int) -> int:
        """End at most `limit` holds of a cancelled sale; how many were ended."""
        keys = lane_keys(sale, lane)
        reply = await self._runner.run("cancel_holds", keys[:6], (epoch, limit))
        return int(reply[1]) if lane_status_of(reply) is Status.DONE else 0

    async def snapshot(self, sale: str, lane: int) -> LaneSnapshot:
        """All counters of a lane at one instant. Raises LaneLostError where it is not there."""
        keys = lane_keys(sale, lane)
        reply = await self._runner.run(
            "snapshot", (keys.meta, keys.stock, keys.holds, keys.deadlines, keys.events), ()
        )
        lane_status_of(reply)
        counters = reply[15:]
        return LaneSnapshot(
            epoch=reply[1],
            seq=reply[2],
            now_ms=reply[3],
            state=reply[4],
            terms=Terms(*reply[5:9]),
            hold_records=reply[9],
            live_holds=reply[10],
            stream_length=reply[11],
            last_entry_id=reply[12],
            stock=tuple(
                Stock(*counters[at : at + _COUNTERS]) for at in range(0, len(counters), _COUNTERS)
            ),
            shut=frozenset(int(item) for item in reply[14].split(",") if item),
        )

    async def tail(self, sale: str, lane: int, epoch: int, after: str, limit: int) -> Tail:
        """Where the lane stands, and entries after `after` ("-": none). Raises LaneLostError."""
        keys = lane_keys(sale, lane)
        reply = await self._runner.run(
            "tail", (keys.meta, keys.stock, keys.events), (epoch, after, limit)
        )
        lane_status_of(reply)
        entries_at = 8 + reply[7] * 2
        entries = reply[entries_at:]
        seq, now_ms, state, starts_at_ms, ends_at_ms, buyer_limit = reply[1:7]
        return Tail(
            seq=seq,
            now_ms=now_ms,
            state=state,
            starts_at_ms=starts_at_ms,
            ends_at_ms=ends_at_ms,
            buyer_limit=buyer_limit,
            capacity=tuple(reply[8:entries_at:2]),
            available=tuple(reply[9:entries_at:2]),
            entries=tuple(TailEntry(*entries[at : at + 3]) for at in range(0, len(entries), 3)),
        )

    async def retire(self, sale: str, lane: int, epoch: int) -> Status:
        """Remove a finished lane: DONE, BUSY_LANE, ILLEGAL, MISSING_LANE."""
        return status_of(await self._runner.run("retire", lane_keys(sale, lane), (epoch,)))

    async def trim_events(self, sale: str, lane: int) -> int:
        """Drop entries that are read and acknowledged; how many went."""
        reply = await self._runner.run("trim_events", (lane_keys(sale, lane).events,), ())
        return int(reply[1])

    async def find_hold(self, sale: str, lane: int, order: str) -> Hold | None:
        """The newest record of an order, live or ended; None where Redis knows none."""
        return (await self.find_holds(sale, lane, [order]))[0]

    async def find_holds(self, sale: str, lane: int, orders: Sequence[str]) -> list[Hold | None]:
        """Likewise of several orders, in their order; at least one."""
        with answered():
            records = await self._redis.hmget(lane_keys(sale, lane).holds, list(orders))
        return [None if record is None else parse_hold(str(record)) for record in records]

    async def buyers(self, sale: str, lane: int) -> set[str]:
        """Everyone who ever held something here: all who did at the call's start, maybe more."""
        names: set[str] = set()
        with answered():
            async for name, _ in self._redis.hscan_iter(lane_keys(sale, lane).buyers, count=1000):
                names.add(name)
        return names

    async def ping(self) -> None:
        """Return once Redis answers; StoreUnavailableError where it does not."""
        with answered():
            await self._redis.ping()

    async def now_ms(self) -> int:
        """Redis' clock, Unix milliseconds: the one that decides windows and deadlines."""
        with answered():
            return unix_ms(await self._redis.time())

    async def run_id(self) -> str:
        """Which run of which server this is: another one after each restart."""
        with answered():
            return run_id(await self._links.call("INFO", "server"))

    async def server(self) -> RedisServerFacts:
        """Version, durability settings, memory and clock of the server."""
        with answered():
            return await server_facts(self._redis)
