"""One lane on a real server, seen whole: every script, every key, every event."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.asyncio import Redis

from flashsale.domain.events import Entry
from flashsale.reservation.keys import lane_keys
from flashsale.reservation.links import Links
from flashsale.reservation.scripts import ScriptRunner, load_scripts
from flashsale.stream.codec import decode
from tests.lua.header import LUA, header

SALE = "sale2222aaaa"
PAST, FUTURE = 1_000, 9_000_000_000_000
HOUR_MS = 3_600_000
#: Stands for an instant of Redis' clock, or a deadline made from one.
T = "T"

COUNTERS = ("capacity", "available", "held", "paying", "sold")


class View(NamedTuple):
    """A lane's contents with every instant written T: what the tables of the tests spell out.

    `stock` has capacity, available, held, paying and sold for each item.
    """

    stock: tuple[tuple[int, ...], ...]
    holds: dict[str, str]
    live: set[str]
    buyers: dict[str, str]
    state: str
    seq: int


def without_instants(value: Any) -> Any:
    """The same reply or text with every instant of this century as T."""
    if isinstance(value, list | tuple):
        return [without_instants(part) for part in value]
    if isinstance(value, int):
        return T if 10**12 <= value < FUTURE else value
    return re.sub(r"\b1\d{12}\b", T, value)


class Lane:
    """Calls scripts by name, with the keys that their headers name; close it."""

    def __init__(self, redis: Redis, lane: int = 0) -> None:
        self.redis = redis
        self.links = Links(redis)
        self.runner = ScriptRunner(self.links, load_scripts(LUA))
        self.keys = lane_keys(SALE, lane)

    async def close(self) -> None:
        await self.links.close()

    async def call(self, script: str, *arguments: str | int) -> list[Any]:
        keys = [getattr(self.keys, name) for name, _ in header(script).keys]
        return await self.runner.run(script, keys, arguments)

    async def open(self, *capacities: int, **terms: int) -> list[Any]:
        """Arm the lane; by default open for ever, two units a buyer, an hour's hold."""
        known = {"epoch": 1, "starts": PAST, "ends": FUTURE, "limit": 2, "hold_ms": HOUR_MS}
        wanted = {**known, **terms}
        return await self.call("open_sale", *wanted.values(), len(capacities), *capacities)

    async def reserve(self, *requests: Sequence[str | int], epoch: int = 1) -> list[Any]:
        """Requests are (order, buyer, item, quantity)."""
        flat = [part for request in requests for part in request]
        return await self.call("reserve", epoch, len(requests), *flat)

    async def entries(self, after: str = "-") -> list[Entry]:
        """The stream's entries after an id, decoded."""
        start = after if after == "-" else f"({after}"
        found = await self.redis.xrange(self.keys.events, start, "+")
        return [decode(entry_id, fields) for entry_id, fields in found]

    async def event_lines(self, after: str = "-") -> list[list[str]]:
        """For each entry its events as they stand, instants as T."""
        start = after if after == "-" else f"({after}"
        found = await self.redis.xrange(self.keys.events, start, "+")
        return [without_instants(fields["events"]).split("\n") for _, fields in found]

    async def last_id(self) -> str:
        found = await self.redis.xrevrange(self.keys.events, count=1)
        return found[0][0] if found else "-"

    async def view(self) -> View:
        meta = await self.redis.hgetall(self.keys.meta)
        stock = await self.redis.hgetall(self.keys.stock)
        holds = await self.redis.hgetall(self.keys.holds)
        deadlines = await self.redis.zrange(self.keys.deadlines, 0, -1, withscores=True)
        for order, score in deadlines:
            letter, _, _, _, deadline_ms, _ = holds[order].split(":", 5)
            # A checkout has a time of its own; the hold keeps its deadline in the record.
            assert letter == "P" or deadline_ms == str(int(score)), "a hold has one deadline"
        items = range(int(meta["items"]))
        assert len(stock) == len(items) * len(COUNTERS)
        return View(
            stock=tuple(tuple(int(stock[f"{name}:{item}"]) for name in COUNTERS) for item in items),
            holds={order: without_instants(record) for order, record in holds.items()},
            live={order for order, _ in deadlines},
            buyers=await self.redis.hgetall(self.keys.buyers),
            state=meta["state"],
            seq=int(meta["seq"]),
        )

    async def dump(self) -> dict[str, bytes]:
        """Every key of the database with its serialised value."""
        found: dict[str, bytes] = {}
        for key in sorted(await self.redis.keys("*")):
            found[key] = await self.redis.execute_command("DUMP", key, NEVER_DECODE=True)
        return found
