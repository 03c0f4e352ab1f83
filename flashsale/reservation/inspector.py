"""Reads a lane for the audit: counters at one instant, records, entries. It never writes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.client import NEVER_DECODE
from redis.exceptions import ResponseError

from flashsale.domain.stock import Stock
from flashsale.reservation.answered import answered
from flashsale.reservation.keys import SETTLEMENT_GROUP, LaneKeys, lane_keys
from flashsale.reservation.server import RedisServerFacts, server_facts, unix_ms

#: What a counter that is not there, or is no number, reads as: no rule is true of it.
DAMAGED = -1
#: Names that one call may ask for: under a millisecond of Redis' time.
NAMES_MAX = 1000

_COUNTERS = ("capacity", "available", "held", "paying", "sold")


@dataclass(frozen=True, slots=True)
class LaneState:
    """A lane at one instant, as it stands: a damaged counter is DAMAGED, not an error.

    `overdue` counts holds past their deadline for longer than was asked, `pending` the entries
    delivered and not acknowledged. `records` and `units` answer for the orders and buyers asked
    for: a hold's record as text, a buyer's count of units; None where there is none.
    """

    epoch: int
    seq: int
    state: str
    now_ms: int
    hold_records: int
    live_holds: int
    overdue: int
    buyer_records: int
    stream_length: int
    pending: int
    stock: tuple[Stock, ...]
    records: Mapping[str, str | None]
    units: Mapping[str, int | None]


class RawEntry(NamedTuple):
    """A stream entry as text, not judged; bytes that are not UTF-8 are written out as escapes."""

    entry_id: str
    fields: dict[str, str]


class LaneInspector:
    """Looks at lanes. The client must decode replies; every method raises StoreUnavailableError."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def look(
        self,
        sale: str,
        lane: int,
        *,
        orders: Sequence[str] = (),
        buyers: Sequence[str] = (),
        overdue_ms: int = 0,
    ) -> LaneState | None:
        """The lane at one instant, by one transaction; None where it is not there.

        At most NAMES_MAX orders and as many buyers.
        """
        if max(len(orders), len(buyers)) > NAMES_MAX:
            raise ValueError(f"ask for at most {NAMES_MAX} names at once")
        keys = lane_keys(sale, lane)
        with answered():
            late_ms = unix_ms(await self._redis.time()) - overdue_ms
            replies = await self._transact(keys, orders, buyers, late_ms)
        return _lane_state(replies, orders, buyers)

    async def _transact(
        self, keys: LaneKeys, orders: Sequence[str], buyers: Sequence[str], late_ms: int
    ) -> list[Any]:
        async with self._redis.pipeline(transaction=True) as together:
            together.hgetall(keys.meta)
            together.hgetall(keys.stock)
            together.time()
            together.hlen(keys.holds)
            together.zcard(keys.deadlines)
            together.zcount(keys.deadlines, "-inf", f"({late_ms}")
            together.hlen(keys.buyers)
            together.xlen(keys.events)
            together.xpending(keys.events, SETTLEMENT_GROUP)
            # HMGET takes no empty list; the empty name is never one of ours.
            together.hmget(keys.holds, ["", *orders])
            together.hmget(keys.buyers, ["", *buyers])
            replies: list[Any] = await together.execute(raise_on_error=False)
        for reply in replies:
            if isinstance(reply, Exception) and not str(reply).startswith("NOGROUP"):
                raise reply
        return replies

    async def records_and_units(
        self, sale: str, lane: int, orders: Sequence[str], buyers: Sequence[str]
    ) -> tuple[list[str | None], list[int | None]]:
        """Records and counts in one round trip, not necessarily of one instant."""
        keys = lane_keys(sale, lane)
        with answered():
            async with self._redis.pipeline(transaction=False) as together:
                together.hmget(keys.holds, ["", *orders])
                together.hmget(keys.buyers, ["", *buyers])
                records, units = await together.execute()
        return records[1:], [None if count is None else _number(count) for count in units[1:]]

    async def entries(self, sale: str, lane: int, start: str, count: int) -> list[RawEntry]:
        """At most `count` entries from `start` (`-`, an id, or `(` and an id: behind it)."""
        with answered():
            raw = await self._redis.execute_command(  # type: ignore[no-untyped-call]
                "XRANGE", lane_keys(sale, lane).events, start, "+", "COUNT", count,
                **{NEVER_DECODE: True},
            )  # fmt: skip
        return [
            RawEntry(_text(entry_id), {_text(name): _text(text) for name, text in _pairs(fields)})
            for entry_id, fields in raw
        ]

    async def server(self) -> RedisServerFacts:
        """Which server this is, what it promises, its memory and its clock."""
        with answered():
            return await server_facts(self._redis)


@contextlib.asynccontextmanager
async def inspector_of(url: str, *, timeout_ms: int) -> AsyncIterator[LaneInspector]:
    """An inspector with a client of its own; whether anybody answers, its first call shows.

    Raises ValueError where `url` is no Redis URL.
    """
    async with Redis.from_url(
        url,
        protocol=3,
        decode_responses=True,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=timeout_ms / 1000,
        socket_connect_timeout=timeout_ms / 1000,
    ) as redis:
        yield LaneInspector(redis)


def _lane_state(
    replies: Sequence[Any], orders: Sequence[str], buyers: Sequence[str]
) -> LaneState | None:
    meta, stock, time, holds, live, overdue, buyer_records, length, pending, records, units = (
        replies
    )
    if not meta:
        return None
    items = max(_number(meta.get("items")), 0)
    return LaneState(
        epoch=_number(meta.get("epoch")),
        seq=_number(meta.get("seq")),
        state=meta.get("state", ""),
        now_ms=unix_ms(time),
        hold_records=holds,
        live_holds=live,
        overdue=overdue,
        buyer_records=buyer_records,
        stream_length=length,
        pending=0 if isinstance(pending, ResponseError) else pending["pending"],
        stock=tuple(
            Stock(*(_number(stock.get(f"{name}:{item}")) for name in _COUNTERS))
            for item in range(items)
        ),
        records=dict(zip(orders, records[1:], strict=True)),
        units={
            buyer: None if count is None else _number(count)
            for buyer, count in zip(buyers, units[1:], strict=True)
        },
    )


def _number(text: str | None) -> int:
    try:
        return int(text or "")
    except ValueError:
        return DAMAGED


def _pairs(fields: Any) -> Sequence[tuple[bytes, bytes]]:
    """A mapping or a flat list, as the protocols differ."""
    if fields is None:
        return ()
    if isinstance(fields, Mapping):
        return tuple(fields.items())
    return tuple(zip(fields[::2], fields[1::2], strict=True))


def _text(raw: bytes | str) -> str:
    return raw if isinstance(raw, str) else raw.decode(errors="backslashreplace")
