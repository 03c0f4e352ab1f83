"""Reads one lane's stream as a member of the settlement group; never acknowledges by itself.

An entry handed out stays pending in Redis until `acknowledge`: whatever happens to the reader, the
entry is delivered again, to it or to another one. Every call names one stream, so lanes may live on
different nodes of a cluster.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.client import NEVER_DECODE
from redis.exceptions import RedisError, ResponseError

from flashsale.domain.events import Entry
from flashsale.reservation.keys import SETTLEMENT_GROUP, lane_keys
from flashsale.stream.codec import PoisonEntryError, decode
from flashsale.stream.position import FIRST_ID, position

#: The client that lanes are read with, and what it raises where Redis is away or refuses.
Client = Redis
OUTAGES: tuple[type[Exception], ...] = (RedisError,)
#: Bytes whatever the client was told: text that is not UTF-8 must spoil one entry, not the reply.
_RAW = {NEVER_DECODE: True}
#: A consumer's pending entries at one time; its batches in flight are thousands at most.
_PENDING_MAX = 100_000

Raw = tuple[bytes, Mapping[bytes, bytes] | None]


class PoisonEntry(NamedTuple):
    """An entry that cannot be settled, as text that JSON and Postgres can hold; `seq` 0: unread."""

    entry_id: str
    seq: int
    fields: dict[str, str]
    error: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one read brought, decoded, in the order of the stream."""

    entries: Sequence[Entry] = ()
    poison: Sequence[PoisonEntry] = ()
    raw: Mapping[str, Mapping[bytes, bytes]] = field(default_factory=dict)
    #: Entries that were delivered suspiciously often: each is to be settled on its own.
    worn: frozenset[str] = frozenset()

    @property
    def size(self) -> int:
        """How many entries were delivered."""
        return len(self.entries) + len(self.poison)

    @property
    def entry_ids(self) -> list[str]:
        """What to acknowledge once all of it is kept."""
        return [
            *(entry.entry_id for entry in self.entries),
            *(letter.entry_id for letter in self.poison),
        ]

    def as_poison(self, entry: Entry, error: str) -> PoisonEntry:
        """One of `entries` that turned out not to be settleable."""
        return _poison(entry.entry_id.encode(), self.raw[entry.entry_id], error)

    @property
    def last_id(self) -> str:
        """The highest entry id delivered; call it only on a delivery that is not empty."""
        return max(self.entry_ids, key=position)


class Pending(NamedTuple):
    """Entries delivered and not acknowledged, over all consumers; ids None where there are none."""

    entries: int
    lowest_id: str | None
    highest_id: str | None
    by_consumer: Mapping[str, int]


class LaneReader:
    """One consumer's view of one lane's stream.

    The client must not retry by itself and must wait longer for a reply than `block_ms`. Every
    method lets the errors of redis-py pass: nothing is lost by calling again.
    """

    def __init__(
        self,
        redis: Redis,
        sale: str,
        lane: int,
        consumer: str,
        *,
        reclaim_idle_ms: int = 10_000,
        deliveries_max: int = 20,
    ) -> None:
        self._execute: Callable[..., Awaitable[Any]] = redis.execute_command
        self._redis = redis
        self._key = lane_keys(sale, lane).events
        self._consumer = consumer
        self._reclaim_idle_ms = reclaim_idle_ms
        self._deliveries_max = deliveries_max
        self._reclaim_cursor = FIRST_ID

    async def read_new(self, count: int, block_ms: int | None = None) -> Delivery:
        """Up to `count` entries nobody has been given yet, waiting `block_ms` for the first one."""
        wait = () if block_ms is None else ("BLOCK", block_ms)
        raw = await self._read_group(("COUNT", count, *wait), ">")
        if raw is None and block_ms is not None:
            # Redis does not wait on a stream that is not there; without this we would ask for ever.
            await asyncio.sleep(block_ms / 1000)
        return _decoded(raw or ())

    async def read_own_pending(self, after_id: str, count: int) -> Delivery:
        """Entries behind `after_id` given to this consumer before and not acknowledged.

        Left over from a crash or a lost reply. An entry delivered too often comes as poison.
        """
        raw = await self._read_group(("COUNT", count), after_id)
        return await self._decoded_again(raw or ())

    async def reclaim(self, count: int) -> Delivery:
        """Take over entries whose consumer has left them alone for `reclaim_idle_ms`.

        Each call goes on where the last one stopped, so that all of them are looked at in time.
        """
        try:
            reply = await self._execute(
                "XAUTOCLAIM", self._key, SETTLEMENT_GROUP, self._consumer, self._reclaim_idle_ms,
                self._reclaim_cursor, "COUNT", count, **_RAW,
            )  # fmt: skip
        except ResponseError as error:
            if not _is_missing(error):
                raise
            return Delivery()
        self._reclaim_cursor = reply[0].decode()
        deleted: list[Raw] = [(entry_id, None) for entry_id in reply[2]]
        return await self._decoded_again([*reply[1], *deleted])

    async def acknowledge(self, entry_ids: Sequence[str]) -> int:
        """Take settled entries off the list of pending ones; how many of them were on it."""
        if not entry_ids:
            return 0
        return int(await self._execute("XACK", self._key, SETTLEMENT_GROUP, *entry_ids))

    async def rewind(self) -> None:
        """Let all that the stream still has be read as new again, also what was acknowledged."""
        try:
            await self._redis.xgroup_setid(self._key, SETTLEMENT_GROUP, FIRST_ID)
        except ResponseError as error:
            if not _is_missing(error) and "requires the key to exist" not in str(error):
                raise

    async def pending(self) -> Pending:
        """What is delivered and not acknowledged; nothing where the stream does not exist."""
        try:
            reply = await self._redis.xpending(self._key, SETTLEMENT_GROUP)
        except ResponseError as error:
            if not _is_missing(error):
                raise
            return Pending(0, None, None, {})
        consumers = {_text(row["name"]): row["pending"] for row in reply["consumers"]}
        lowest, highest = (_text(reply[end]) if reply[end] else None for end in ("min", "max"))
        return Pending(reply["pending"], lowest, highest, consumers)

    async def _read_group(self, options: Iterable[Any], after_id: str) -> list[Raw] | None:
        """The entries; None where there is no stream."""
        for _ in range(2):
            try:
                reply = await self._execute(
                    "XREADGROUP", "GROUP", SETTLEMENT_GROUP, self._consumer, *options,
                    "STREAMS", self._key, after_id, **_RAW,
                )  # fmt: skip
                return _only_stream(reply)
            except ResponseError as error:
                if not _is_missing(error):
                    raise
            if not await self._ensure_group():
                break
        return None

    async def _ensure_group(self) -> bool:
        """Create the group at the stream's beginning; False where there is no stream yet.

        The stream itself is the scripts' to make: a lane that was removed must stay removed.
        """
        try:
            await self._redis.xgroup_create(self._key, SETTLEMENT_GROUP, id=FIRST_ID)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                if "requires the key to exist" in str(error):
                    return False
                raise
        return True

    async def _decoded_again(self, raw: Sequence[Raw]) -> Delivery:
        """Decode entries delivered before; those delivered too often are suspected of killing us.

        A suspect is settled on its own, so that the innocent of its batch are told apart. The first
        one that was tried twice as often is poison: those before it were settled, so it is the one.
        """
        if not raw:
            return Delivery()
        rows = await self._execute(
            "XPENDING", self._key, SETTLEMENT_GROUP, raw[0][0], "+", _PENDING_MAX, self._consumer,
            parse_detail=True, **_RAW,
        )  # fmt: skip
        times = {row["message_id"]: row["times_delivered"] for row in rows}
        killers = [item for item in raw if times.get(item[0], 0) > 2 * self._deliveries_max][:1]
        delivery = _decoded([item for item in raw if item not in killers])
        poison = [
            _poison(entry_id, fields, f"delivered {times[entry_id]} times and never settled")
            for entry_id, fields in killers
        ]
        worn = {entry_id.decode() for entry_id in times if times[entry_id] > self._deliveries_max}
        return replace(delivery, poison=(*delivery.poison, *poison), worn=frozenset(worn))


def _is_missing(error: ResponseError) -> bool:
    """Whether the stream or its group does not exist, or went away while we waited for it."""
    return str(error).startswith(("NOGROUP", "UNBLOCKED"))


def _only_stream(reply: Any) -> list[Raw]:
    """The entries of a reply about one stream, in the shapes of RESP2 and of RESP3.

    redis-py gives a list of pairs, a mapping, or a mapping to a list of one list.
    """
    if not reply:
        return []
    entries = next(iter(reply.values())) if isinstance(reply, Mapping) else reply[0][1]
    if entries and isinstance(entries[0], list):
        entries = entries[0]
    return list(entries)


def _decoded(raw: Iterable[Raw]) -> Delivery:
    entries: list[Entry] = []
    poison: list[PoisonEntry] = []
    kept: dict[str, Mapping[bytes, bytes]] = {}
    for entry_id, fields in raw:
        if not fields:
            poison.append(_poison(entry_id, None, "deleted from the stream before it was settled"))
            continue
        try:
            entry = _entry(entry_id, fields)
        except PoisonEntryError as error:
            poison.append(_poison(entry_id, fields, str(error)))
        else:
            entries.append(entry)
            kept[entry.entry_id] = fields
    return Delivery(entries, poison, kept)


def _entry(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Entry:
    try:
        text = {name.decode(): value.decode() for name, value in fields.items()}
    except UnicodeDecodeError as error:
        raise PoisonEntryError(f"not UTF-8: {error}") from error
    return decode(entry_id.decode(), text)


def _poison(entry_id: bytes, fields: Mapping[bytes, bytes] | None, error: str) -> PoisonEntry:
    text = {_printable(name): _printable(value) for name, value in (fields or {}).items()}
    seq = text.get("seq", "")
    known = seq.isascii() and seq.isdigit() and len(seq) < 19
    return PoisonEntry(
        entry_id.decode(), int(seq) if known else 0, text, _printable(error.encode())
    )


def _printable(raw: bytes) -> str:
    """Any bytes as text that a jsonb column takes: no NUL, no half characters."""
    return raw.decode(errors="backslashreplace").replace("\0", "\\x00")


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
